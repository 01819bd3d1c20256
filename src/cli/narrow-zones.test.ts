import { expect, it } from 'vitest'
import { HOST_ID, failZone, insertInstance, NOW_MS, openTestStore } from '../../test/support/rows.ts'
import { narrowZones } from './narrow-zones.ts'
import { countProcesses, troubledZones } from './zone-trouble.ts'
import { listZones } from './zones.ts'

it('zones that hold no small instance are told of', async () => {
  const test = await openTestStore()
  await test.run(({ db }) => db.deleteFrom('hosts').where('host_id', '!=', HOST_ID).execute())
  const insert = (letter: string, vcpus: number, memoryMib: number) => test.run(({ db, region }) => db.insertInto('hosts').values({
    host_id: `h-${letter}`, node_id: HOST_ID, zone: `us-east-1${letter}`, zone_revision: 0, epoch: 1, region, vcpus, memory_mib: memoryMib,
    vcpus_used: 0, memory_mib_used: 0, heartbeat_ms: NOW_MS, doc: '{}',
  }).execute())
  await insert('a', 2, 1024)
  await insert('d', 0, 0)
  expect(await narrowZones(test.store)).toEqual([])
  await insert('b', 64, 512)
  await insert('c', 1, 4096)
  expect(await narrowZones(test.store)).toEqual([
    'no host of us-east-1b, us-east-1c has room for a t3.micro (2 vCPUs, 1 GiB; in us-east-1b the largest promises 512 MiB): '
    + 'have fewer zones, hosts or regions, or raise --overcommit-vcpus and --overcommit-memory',
  ])
  await test.store.close()
})

it('a zone that has failed is told of, and has no processes', async () => {
  const test = await openTestStore()
  for (const zone of ['us-east-1a', 'us-east-1b', 'us-east-1c']) await test.run((context) => insertInstance(context, { zone, state: 'running' }))
  await test.run(async ({ db }) => {
    await failZone(db, 'us-east-1b')
    await failZone(db, 'us-east-1c', 'impaired')
  })
  expect(await countProcesses(test.store)).toBe(2)
  expect((await troubledZones(test.store, { home: '/h', region: 'us-east-1' })).map((line) => line.replace(/heal it: .* zone/, 'heal it: hearth zone'))).toEqual([
    'us-east-1b has failed, as before; to heal it: hearth zone heal us-east-1b --home /h',
    'us-east-1c is impaired, as before; to heal it: hearth zone heal us-east-1c --home /h',
  ])
  // The node has none of that in force yet, which a zone that nothing was done to does not depend on.
  const zones = await listZones(test.store, { region: 'us-east-1', zones: ['a', 'b', 'c'] })
  expect(zones.map(({ isInForce }) => isInForce)).toEqual([true, false, false])
  await test.store.close()
})
