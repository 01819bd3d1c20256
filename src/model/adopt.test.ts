import { beforeEach, describe, expect, test } from 'vitest'
import {
  defaultNetwork, HOST_ID, insertInstance, insertInterface, insertLayerRow, insertVolume, NOW_MS, openTestStore, REGION, type TestStore,
} from '../../test/support/rows.ts'
import { ensureSlot } from './slot.ts'
import type { Context } from '../ec2/context.ts'
import type { HostTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { HostLostError, fenced, registerHost, type HostRegistration } from './host.ts'
import { changeInstanceDoc, instanceDoc } from './instance.ts'
import { moveZone } from './zone.ts'

let world: TestStore
beforeEach(async () => {
  world = await openTestStore()
  await world.run(async ({ db }) => void (await db.deleteFrom('hosts').where('zone', 'is not', null).execute()))
})

const [A1, A2, B1] = [`${HOST_ID}-a1`, `${HOST_ID}-a2`, `${HOST_ID}-b1`]
const ALL = [A1, A2, B1].map((hostId) => ({ hostId, zone: zoneOf(hostId) }))

function zoneOf(hostId: string): string {
  return REGION + hostId.slice(-2, -1)
}

const query = <T>(body: (db: Db) => Promise<T>) => world.store.read(body)

/** The agent of a host, or of the node, registers it, on a node of these hosts. */
function register(hostId: string, hosts: HostRegistration['hosts'] = ALL, bootId = 'run-1'): Promise<number> {
  const zone = hostId === HOST_ID ? null : zoneOf(hostId)
  return registerHost(world.store, {
    hostId, nodeId: HOST_ID, zone, hosts, region: REGION, vcpus: 32, memoryMib: 32_768,
    doc: { engine: 'sim', accelerator: 'sim', acceleratorReason: '', cpus: 2, memoryMib: 4096, guestLimits: { vcpus: 2, memoryMib: 2048 }, bootId },
  }, NOW_MS)
}

/** An instance with a volume, which its host has counted. */
async function place(hostId: string, letter = 'a') {
  return world.run(async (context: Context) => {
    const instance = await insertInstance(context, { host_id: hostId, zone: REGION + letter })
    const layer = await insertLayerRow(context, { host_id: hostId, state: 'open' })
    const volume = await insertVolume(context, instance, { host_id: hostId, layer_id: layer.layer_id })
    await context.db
      .updateTable('hosts').set((eb) => ({ vcpus_used: eb('vcpus_used', '+', 2), memory_mib_used: eb('memory_mib_used', '+', 1024) }))
      .where('host_id', '=', hostId).execute()
    return { id: instance.instance_id, instance, volumeId: volume.volume_id, layerId: layer.layer_id }
  })
}

type Placed = Awaited<ReturnType<typeof place>>

/** Who has the instance, its volume and its layer. */
async function ownersOf({ id, volumeId, layerId }: Placed): Promise<string[]> {
  return query(async (db) => [
    (await db.selectFrom('instances').select('host_id').where('instance_id', '=', id).executeTakeFirstOrThrow()).host_id,
    (await db.selectFrom('volumes').select('host_id').where('volume_id', '=', volumeId).executeTakeFirstOrThrow()).host_id,
    (await db.selectFrom('layers').select('host_id').where('layer_id', '=', layerId).executeTakeFirstOrThrow()).host_id,
  ])
}

const used = () => query(async (db) => Object.fromEntries((await db.selectFrom('hosts').selectAll().orderBy('host_id').execute())
  .map((row: HostTable) => [row.host_id, `${row.vcpus_used} ${row.memory_mib_used}`])))
const works = (hostId: string) => query(async (db) =>
  (await db.selectFrom('work').selectAll().where('host_id', '=', hostId).orderBy('kind').execute()).map(({ kind, id }) => `${kind} ${id}`))

describe('the first host of a zone, in a home whose node had everything', () => {
  test('takes over the instances of its zone, with their disks and the room that they hold', async () => {
    const [mine, other] = [await place(HOST_ID), await place(HOST_ID, 'b')]
    await register(A1)
    expect(await ownersOf(mine)).toEqual([A1, A1, A1])
    expect(await ownersOf(other)).toEqual([HOST_ID, HOST_ID, HOST_ID])
    expect(await used()).toEqual({ [HOST_ID]: '2 1024', [A1]: '2 1024' })
  })

  test('takes over volumes that no instance has, and what is being made for a snapshot', async () => {
    const { volume, next } = await world.run(async (context) => {
      const layer = await insertLayerRow(context, { state: 'making' })
      return { volume: await insertVolume(context, undefined, { next_layer_id: layer.layer_id }), next: layer.layer_id }
    })
    await register(A1)
    expect(await query((db) => db.selectFrom('volumes').select('host_id').where('volume_id', '=', volume.volume_id).execute())).toEqual([{ host_id: A1 }])
    expect(await query((db) => db.selectFrom('layers').select('host_id').where('layer_id', 'in', [next, volume.layer_id]).execute()))
      .toEqual([{ host_id: A1 }, { host_id: A1 }])
  })

  test('leaves sealed layers, slots and ports with the node', async () => {
    const sealed = await world.run(async (context) => {
      const instance = await insertInstance(context, {})
      await insertInterface(context, instance)
      await ensureSlot(context.db, context.random, HOST_ID, 'machine', instance.instance_id)
      return insertLayerRow(context, {})
    })
    await register(A1)
    expect(await query(async (db) => [
      await db.selectFrom('layers').select('host_id').where('layer_id', '=', sealed.layer_id).execute(),
      await db.selectFrom('interfaces').select('host_id').execute(),
      await db.selectFrom('slots').select('host_id').execute(),
      await db.selectFrom('instances').select('node_id').execute(),
    ])).toEqual([[{ host_id: HOST_ID }], [{ host_id: HOST_ID }], [{ host_id: HOST_ID }], [{ node_id: HOST_ID }]])
  })

  test('takes over what was to be done with them, and no more', async () => {
    const mine = await place(HOST_ID)
    const { vpcId, event } = await world.run(async (context) => {
      const { db, nowMs } = context
      const { subnet } = await defaultNetwork(context)
      await db.insertInto('instance_events').values({
        event_id: 'instance-event-1', account_id: context.account, instance_id: mine.id, code: 'instance-stop', state: 'scheduled',
        not_before_ms: nowMs, created_ms: nowMs, doc: '{}',
      }).execute()
      for (const [kind, id] of [
        ['instance', mine.id], ['event', 'instance-event-1'], ['volume', mine.volumeId], ['screenshot', `${mine.id} wake-up`],
        ['ports', subnet.vpc_id], ['recycle', 'bin'], ['instance', 'i-00000000000000000'],
      ] as const) await enqueue(db, { kind, id, hostId: HOST_ID }, nowMs)
      return { vpcId: subnet.vpc_id, event: 'instance-event-1' }
    })
    await register(A1)
    expect(await works(A1)).toEqual([`event ${event}`, `instance ${mine.id}`, `screenshot ${mine.id} wake-up`, `volume ${mine.volumeId}`])
    expect(await works(HOST_ID)).toEqual(['instance i-00000000000000000', `ports ${vpcId}`, 'recycle bin'])
  })

  test('takes over an instance that was about to be started there, and one whose row names no node', async () => {
    await register(A1)
    const [moved, early] = [await place(A1), await place(HOST_ID)]
    await world.run(async ({ db }) => {
      const doc = JSON.stringify({ ...instanceDoc(moved.instance), movedFrom: HOST_ID })
      await db.updateTable('instances').set({ doc }).where('instance_id', '=', moved.id).execute()
      await db.updateTable('instances').set({ node_id: '' }).where('instance_id', '=', early.id).execute()
      await enqueue(db, { kind: 'instance', id: moved.id, hostId: HOST_ID }, NOW_MS)
    })
    await register(A1)
    const rows = await query((db) => db.selectFrom('instances').selectAll().execute())
    expect(rows.map((row) => [row.host_id, row.node_id, instanceDoc(row).movedFrom ?? null])).toEqual([[A1, HOST_ID, null], [A1, HOST_ID, null]])
    expect(await works(A1)).toEqual([`instance ${moved.id}`])
  })

  test('does so once, however often it registers', async () => {
    const mine = await place(HOST_ID)
    await register(A1)
    await register(A1)
    await register(HOST_ID)
    expect(await ownersOf(mine)).toEqual([A1, A1, A1])
    expect(await used()).toEqual({ [HOST_ID]: '0 0', [A1]: '2 1024' })
  })

  test('is the only one of them that does', async () => {
    const mine = await place(HOST_ID)
    await register(A2)
    expect(await ownersOf(mine)).toEqual([HOST_ID, HOST_ID, HOST_ID])
    await register(A1)
    expect(await ownersOf(mine)).toEqual([A1, A1, A1])
  })
})

describe('a host that is no more', () => {
  const FEWER = ALL.filter(({ hostId }) => hostId !== A2)

  test('leaves everything to the first of its zone, and its row goes', async () => {
    await register(A1)
    await register(A2)
    const [mine, theirs] = [await place(A1), await place(A2)]
    await world.run(({ db }) => enqueue(db, { kind: 'instance', id: theirs.id, hostId: A2 }, NOW_MS))
    await register(B1, FEWER)
    expect(await ownersOf(theirs)).toEqual([A2, A2, A2])
    await register(HOST_ID, FEWER)
    expect(await ownersOf(theirs)).toEqual([A2, A2, A2])
    await register(A1, FEWER)
    expect(await ownersOf(theirs)).toEqual([A1, A1, A1])
    expect(await ownersOf(mine)).toEqual([A1, A1, A1])
    expect(await used()).toEqual({ [HOST_ID]: '0 0', [A1]: '4 2048', [B1]: '0 0' })
    expect(await works(A1)).toEqual([`instance ${theirs.id}`])
  })

  test('leaves what accounts have reserved there, too', async () => {
    await register(A1)
    await register(A2)
    const common = { account_id: '1', zone: `${REGION}a`, created_ms: NOW_MS, doc: '{}' }
    await world.run(async ({ db }) => {
      await db.insertInto('dedicated_hosts').values({
        ...common, dedicated_host_id: 'h-1', host_id: A2, state: 'available', vcpus: 4, memory_mib: 4096, vcpus_used: 0, memory_mib_used: 0,
      }).execute()
      await db.insertInto('capacity_reservations').values({
        ...common, capacity_reservation_id: 'cr-1', instance_type: 't3.micro', state: 'active', total: 3, match_criteria: 'open', end_ms: null,
      }).execute()
      await db.insertInto('capacity_reservation_hosts').values([
        { capacity_reservation_id: 'cr-1', host_id: A1, reserved: 1, used: 1 },
        { capacity_reservation_id: 'cr-1', host_id: A2, reserved: 2, used: 1 },
      ]).execute()
    })
    await register(A1, FEWER)
    expect(await query((db) => db.selectFrom('dedicated_hosts').select('host_id').execute())).toEqual([{ host_id: A1 }])
    expect(await query((db) => db.selectFrom('capacity_reservation_hosts').select(['host_id', 'reserved', 'used']).execute()))
      .toEqual([{ host_id: A1, reserved: 3, used: 2 }])
  })

  test('lets go of an instance that was about to be started on another host', async () => {
    await register(A1)
    const epoch = await register(A2)
    const moved = await place(A1)
    await world.run(async ({ db }) => {
      const doc = JSON.stringify({ ...instanceDoc(moved.instance), movedFrom: A2 })
      await db.updateTable('instances').set({ doc }).where('instance_id', '=', moved.id).execute()
      await enqueue(db, { kind: 'instance', id: moved.id, hostId: A2 }, NOW_MS)
    })
    await register(A1, FEWER)
    const row = await query((db) => db.selectFrom('instances').selectAll().where('instance_id', '=', moved.id).executeTakeFirstOrThrow())
    expect(instanceDoc(row).movedFrom).toBeNull()
    expect(await works(A1)).toEqual([`instance ${moved.id}`])
    // An agent of it that lives still can do nothing more.
    await expect(fenced(world.store, A2, epoch).transaction('late', async () => {})).rejects.toThrow(HostLostError)
  })

  test('gives back an instance that was about to come from the heir, which waits for nobody then', async () => {
    await register(A1)
    await register(A2)
    const moved = await place(A2)
    await world.run(async ({ db }) => {
      const doc = JSON.stringify({ ...instanceDoc(moved.instance), movedFrom: A1 })
      await db.updateTable('instances').set({ doc }).where('instance_id', '=', moved.id).execute()
      await enqueue(db, { kind: 'instance', id: moved.id, hostId: A1 }, NOW_MS)
    })
    await register(A1, FEWER)
    const row = await query((db) => db.selectFrom('instances').selectAll().where('instance_id', '=', moved.id).executeTakeFirstOrThrow())
    expect([row.host_id, instanceDoc(row).movedFrom]).toEqual([A1, null])
    expect(await works(A1)).toEqual([`instance ${moved.id}`])
  })

  test('leaves machines that came back after a loss of power to be ended once more by an heir that has yet to lose it', async () => {
    await register(A1)
    await register(A2)
    const [back, older] = [await place(A2), await place(A2)]
    await world.run(async ({ db, nowMs }) => {
      await moveZone({ db, nowMs }, `${REGION}a`, 'unavailable')
      await moveZone({ db, nowMs }, `${REGION}a`, 'available')
      await db.updateTable('hosts').set({ zone_revision: 2 }).where('host_id', '=', A2).execute()
      await changeInstanceDoc(db, back.id, { hostBootId: 'run-1/1' })
      await changeInstanceDoc(db, older.id, { hostBootId: 'run-0' })
    })
    const runOf = async ({ id }: Placed) => instanceDoc(await query((db) =>
      db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow())).hostBootId
    await register(A1, FEWER)
    expect([await runOf(back), await runOf(older)]).toEqual(['run-1', 'run-0'])
  })

  test('of a zone that is no more, leaves what is regional to the node', async () => {
    await register(B1)
    const ended = await place(B1, 'b')
    const sealed = await world.run(async ({ db, ...context }) => {
      await db.updateTable('instances').set({ state: 'terminated', holds_capacity: 0 }).where('instance_id', '=', ended.id).execute()
      await db.deleteFrom('volumes').where('volume_id', '=', ended.volumeId).execute()
      await enqueue(db, { kind: 'instance', id: ended.id, hostId: B1 }, NOW_MS)
      return insertLayerRow({ db, ...context }, { host_id: B1 })
    })
    await register(HOST_ID, ALL.filter(({ hostId }) => hostId !== B1))
    expect(await query((db) => db.selectFrom('hosts').select('host_id').execute())).toEqual([{ host_id: HOST_ID }])
    expect(await query((db) => db.selectFrom('layers').select('host_id').where('layer_id', '=', sealed.layer_id).execute())).toEqual([{ host_id: HOST_ID }])
    expect(await works(HOST_ID)).toEqual([`instance ${ended.id}`])
  })

  test('of a zone that is no more, stays where an instance would be lost with it', async () => {
    await register(B1)
    const living = await place(B1, 'b')
    await register(HOST_ID, ALL.filter(({ hostId }) => hostId !== B1))
    expect(await ownersOf(living)).toEqual([B1, B1, B1])
  })
})

describe('ports', () => {
  const portsAfter = async (hostId: string) => {
    await register(HOST_ID)
    await register(A1)
    await world.run(async (context) => void (await insertInterface(context, await insertInstance(context, { host_id: A1 }))))
    await register(hostId, ALL, 'run-2')
    return query((db) => db.selectFrom('interfaces').select('ready').execute())
  }

  test('are lost with the node', async () => {
    expect(await portsAfter(HOST_ID)).toEqual([{ ready: 0 }])
  })

  test('are not lost with a host of it', async () => {
    expect(await portsAfter(A1)).toEqual([{ ready: 1 }])
  })
})
