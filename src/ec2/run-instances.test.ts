import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { defaultNetwork, insertImage, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { ApiError } from '../core/errors.ts'
import { instanceDoc } from '../model/instance.ts'
import { purgeInstance } from '../reconcile/release-instance.ts'
import { runInstances } from './run-instances.ts'

let store: TestStore
let base: RunInstancesRequest
beforeEach(async () => {
  store = await openTestStore()
  const image = await store.run((context) => insertImage(context))
  base = { ImageId: image.image_id, InstanceType: 't3.nano', MinCount: 1, MaxCount: 1, ClientToken: 'token' }
})

const launch = async (change: Partial<RunInstancesRequest> = {}) => {
  const reservation = await store.run((context) => runInstances(context, { ...base, ...change }))
  return (reservation.Instances ?? []).map((each) => each.InstanceId ?? '')
}
const failure = (change: Partial<RunInstancesRequest>) =>
  launch(change).then(
    () => 'no failure',
    (error: unknown) => error instanceof ApiError ? error.code : Promise.reject(error),
  )
const setState = (state: 'stopped' | 'terminated', id?: string) => store.run(async ({ db }) => {
  const all = db.updateTable('instances').set({ state })
  await (id === undefined ? all : all.where('instance_id', '=', id)).execute()
})
const tokens = () => store.run(({ db }) => db.selectFrom('client_tokens').select('operation').execute())

describe('a client token', () => {
  it('answers the launch that it made, as it is now', async () => {
    const first = await launch()
    await setState('stopped')
    const again = await store.run((context) => runInstances(context, base))
    expect(again.Instances?.map((each) => [each.InstanceId, each.State?.Name])).toEqual([[first[0], 'stopped']])
    expect(again.Instances?.[0]?.ClientToken).toBe('token')
  })

  it('does not take other parameters, in another order neither', async () => {
    const tags = [{ Key: 'a', Value: '1' }, { Key: 'b', Value: '2' }]
    const tagged = (Tags: typeof tags) => ({ TagSpecifications: [{ ResourceType: 'instance' as const, Tags }] })
    await launch(tagged(tags))
    expect(await failure(tagged(tags.toReversed()))).toBe('IdempotentParameterMismatch')
    expect(await failure({})).toBe('IdempotentParameterMismatch')
    expect(await failure({ ...tagged(tags), MaxCount: 2 })).toBe('IdempotentParameterMismatch')
  })

  it('counts in each zone for itself when the launch names a zone or a subnet', async () => {
    const zone = (letter: string) => ({ Placement: { AvailabilityZone: `${REGION}${letter}` } })
    const { subnet } = await store.run((context) => defaultNetwork(context, `${REGION}c`))
    const launched = [
      ...(await launch()), ...(await launch(zone('a'))), ...(await launch(zone('b'))),
      ...(await launch({ SubnetId: subnet.subnet_id })),
    ]
    expect(new Set(launched).size).toBe(4)
    expect(await launch(zone('b'))).toEqual([launched[2]])
    expect(await launch({ SubnetId: subnet.subnet_id })).toEqual([launched[3]])
    expect(await failure({ NetworkInterfaces: [{ DeviceIndex: 0, SubnetId: subnet.subnet_id }] })).toBe('IdempotentParameterMismatch')
  })

  it('is of no use once all its instances are terminated', async () => {
    const [one, two] = await launch({ MinCount: 2, MaxCount: 2 })
    await setState('terminated', one)
    expect(await launch({ MinCount: 2, MaxCount: 2 })).toEqual([one, two])
    await setState('terminated', two)
    expect(await failure({ MinCount: 2, MaxCount: 2 })).toBe('IdempotentInstanceTerminated')
  })

  it('is free again when a launch failed, and when its instances are forgotten', async () => {
    expect(await failure({ KeyName: 'nobody' })).toBe('InvalidKeyPair.NotFound')
    expect(await tokens()).toEqual([])
    const [id = ''] = await launch()
    expect(await tokens()).toHaveLength(1)
    await setState('terminated', id)
    await store.run(async ({ db }) => {
      for (const table of ['interface_groups', 'interfaces', 'volumes'] as const) await db.deleteFrom(table).execute()
      await purgeInstance(db, id)
    })
    expect(await tokens()).toEqual([])
  })

  it('has up to 64 ASCII characters; an empty one is none', async () => {
    expect(await failure({ ClientToken: 'x'.repeat(65) })).toBe('InvalidParameterValue')
    expect(await failure({ ClientToken: 'schlüssel' })).toBe('InvalidParameterValue')
    expect(await launch({ ClientToken: 'x'.repeat(64) })).toHaveLength(1)
    expect(await launch({ ClientToken: '' })).not.toEqual(await launch({ ClientToken: '' }))
  })
})

describe('volumes of a launch', () => {
  it('are written for every instance, with the tags of volumes, and due', async () => {
    const launched = await launch({
      MinCount: 2, MaxCount: 2,
      BlockDeviceMappings: [{ DeviceName: '/dev/sdb', Ebs: { VolumeSize: 3, DeleteOnTermination: false } }],
      TagSpecifications: [{ ResourceType: 'volume', Tags: [{ Key: 'of', Value: 'a launch' }] }],
    })
    const { volumes, tags, due } = await store.run(async ({ db }) => ({
      volumes: await db.selectFrom('volumes').selectAll().orderBy('device').execute(),
      tags: await db.selectFrom('tags').select(['resource_id', 'value']).execute(),
      due: await db.selectFrom('work').select('id').where('kind', '=', 'volume').execute(),
    }))
    expect(volumes.map((each) => [each.device, each.size_gib, each.delete_on_termination, each.state])).toEqual([
      ['/dev/sdb', 3, 0, 'creating'], ['/dev/sdb', 3, 0, 'creating'],
      ['/dev/vda', 1, 1, 'creating'], ['/dev/vda', 1, 1, 'creating'],
    ])
    expect(new Set(volumes.map((each) => each.instance_id))).toEqual(new Set(launched))
    const ids = volumes.map((each) => each.volume_id).toSorted()
    expect(tags.map((each) => each.resource_id).toSorted()).toEqual(ids)
    expect(due.map((each) => each.id).toSorted()).toEqual(ids)
  })
})

describe('a launch with termination protection', () => {
  it('leaves a mark that outlives the protection; another launch has none', async () => {
    const marks = async (change: Partial<RunInstancesRequest>) => {
      const ids = await launch({ ...change, ClientToken: '' })
      const row = await store.run(({ db }) =>
        db.selectFrom('instances').select('doc').where('instance_id', 'in', ids).executeTakeFirstOrThrow())
      return instanceDoc(row).wasProtected
    }
    expect(await marks({ DisableApiTermination: true })).toBe(true)
    expect(await marks({ DisableApiStop: true })).toBeUndefined()
  })
})
