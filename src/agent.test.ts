import { expect, test } from 'vitest'
import { concurrencyOf } from './agent.ts'
import { moveZone } from './model/zone.ts'
import { SimulatedCloud } from './simulate/simulator.ts'

const hosts = (count: number) => Array.from({ length: count }, (_, index) => ({ hostId: `h-${index}`, zone: 'us-east-1a' }))

test('a node works on sixteen things at a time, and so do its hosts together, each on four at least', () => {
  expect(concurrencyOf({ zone: null, hosts: hosts(3) })).toBe(16)
  expect([1, 3, 6, 18].map((count) => concurrencyOf({ zone: 'us-east-1a', hosts: hosts(count) }))).toEqual([16, 6, 4, 4])
})

test('a host whose zone has failed marks nothing due, minute after minute, and all of it when that is healed', async () => {
  const cloud = await SimulatedCloud.create(1)
  const zone = 'us-east-1b'
  const move = (to: 'impaired' | 'available') =>
    cloud.store.transaction('zone', (db) => moveZone({ db, nowMs: cloud.clock.now() }, zone, to))
  const waiting = () => cloud.store.read((db) => db
    .selectFrom('work').innerJoin('hosts', 'hosts.host_id', 'work.host_id').select('id')
    .where('zone', '=', zone).where('kind', '=', 'instance').execute())
  const image = await cloud.store.read((db) => db.selectFrom('images').select('image_id').executeTakeFirstOrThrow())
  const launched = await cloud.call('RunInstances', {
    ImageId: image.image_id, InstanceType: 't3.micro', MinCount: 2, MaxCount: 2, Placement: { AvailabilityZone: zone },
  })
  expect(launched.kind).toBe('answered')
  await cloud.converge()
  const [{ instance_id: id = '' } = {}] = await cloud.store.read((db) => db.selectFrom('instances').select('instance_id').execute())
  await move('impaired')
  await cloud.clock.advance(5 * 60_000)
  expect(await waiting()).toEqual([])
  await move('available')
  cloud.host.world.processDies(id)
  await cloud.converge()
  expect(await cloud.store.read((db) => db.selectFrom('instances').select('state').where('instance_id', '=', id).execute()))
    .toEqual([{ state: 'stopped' }])
  await cloud.close()
})
