import { beforeEach, describe, expect, it } from 'vitest'
import {
  HOST_ID, hostOf, insertInstance, insertInterface, insertVolume, NOW_MS, openTestStore, REGION, type TestStore,
} from '../../test/support/rows.ts'
import { instanceDoc } from '../model/instance.ts'
import type { InstanceTable } from '../store/schema.ts'
import { attachVolume } from './attach-volume.ts'
import type { Context } from './context.ts'
import { startInstances } from './instance-lifecycle.ts'

const ZONE = `${REGION}a`
const [OWN, OTHER] = [hostOf(ZONE), 'host-1-another']

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const insertHost = ({ db }: Context, hostId: string, change: { nodeId?: string; zone?: string } = {}) =>
  db.insertInto('hosts').values({
    host_id: hostId, node_id: change.nodeId ?? HOST_ID, zone: change.zone ?? ZONE, zone_revision: 0, epoch: 1, region: REGION, vcpus: 8,
    memory_mib: 8192, vcpus_used: 0, memory_mib_used: 0, heartbeat_ms: NOW_MS, doc: '{}',
  }).execute()

const fill = ({ db }: Context, hostId: string) =>
  db.updateTable('hosts').set((eb) => ({ vcpus_used: eb.ref('vcpus') })).where('host_id', '=', hostId).execute()

async function stopped(context: Context): Promise<InstanceTable> {
  const row = await insertInstance(context, { state: 'stopped', host_id: OWN, holds_capacity: 0 })
  await insertInterface(context, row, { wanted: 0, ready: 0 })
  await insertVolume(context, row, { host_id: OWN })
  return row
}

const rowOf = ({ db }: Context, id: string) => db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow()
const start = async (context: Context, row: InstanceTable) => {
  await startInstances(context, { InstanceIds: [row.instance_id] })
  return rowOf(context, row.instance_id)
}

describe('an instance that starts while its host is full', () => {
  it('goes to another host of its zone, once the one that it leaves has let go of it', () => test.run(async (context) => {
    const before = await stopped(context)
    await insertHost(context, OTHER)
    await fill(context, OWN)
    const after = await start(context, before)
    expect(after).toMatchObject({ state: 'pending', host_id: OTHER, node_id: HOST_ID, holds_capacity: 1 })
    expect(instanceDoc(after).movedFrom).toBe(OWN)
    const { db } = context
    expect(await db.selectFrom('hosts').select(['vcpus_used', 'memory_mib_used']).where('host_id', '=', OTHER).executeTakeFirst())
      .toEqual({ vcpus_used: before.vcpus, memory_mib_used: before.memory_mib })
    // The host that it leaves is told, and hands it over.
    expect(await db.selectFrom('work').select('host_id').where('kind', '=', 'instance').where('id', '=', before.instance_id).execute())
      .toEqual([{ host_id: OWN }])
    // What its volumes write into stays the business of who has made it.
    expect(await db.selectFrom('volumes').select('host_id').where('instance_id', '=', before.instance_id).execute()).toEqual([{ host_id: OWN }])
  }))

  it('does not start where only another zone has room, or another node, on which its data are not', () => test.run(async (context) => {
    const row = await stopped(context)
    await insertHost(context, 'host-2-a', { nodeId: 'host-2' })
    await insertHost(context, 'host-1-b-2', { zone: `${REGION}b` })
    await fill(context, OWN)
    await expect(start(context, row)).rejects.toMatchObject({ code: 'InsufficientInstanceCapacity' })
    expect(await rowOf(context, row.instance_id)).toMatchObject({ state: 'stopped', host_id: OWN, holds_capacity: 0 })
  }))
})

describe('a volume of another host', () => {
  it('is attached to an instance of the same zone and node', () => test.run(async (context) => {
    await insertHost(context, OTHER)
    const instance = await insertInstance(context, { host_id: OWN })
    const volume = await insertVolume(context, undefined, { host_id: OTHER })
    await attachVolume(context, { InstanceId: instance.instance_id, VolumeId: volume.volume_id, Device: '/dev/sdf' })
    const due = await context.db.selectFrom('work').select(['kind', 'host_id']).execute()
    expect(due).toEqual([{ kind: 'instance', host_id: OWN }])
  }))

  it('is not attached where its data are on another node', () => test.run(async (context) => {
    await insertHost(context, 'host-2-a', { nodeId: 'host-2' })
    const instance = await insertInstance(context, { host_id: OWN })
    const volume = await insertVolume(context, undefined, { host_id: 'host-2-a' })
    await expect(attachVolume(context, { InstanceId: instance.instance_id, VolumeId: volume.volume_id, Device: '/dev/sdf' }))
      .rejects.toMatchObject({ code: 'UnsupportedOperation' })
  }))
})
