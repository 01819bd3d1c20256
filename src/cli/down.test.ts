import { beforeEach, expect, test } from 'vitest'
import { insertInstance, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { moveZone, zoneStates } from '../model/zone.ts'
import { stopFailedZones } from './down.ts'

const [A, B, C] = [`${REGION}a`, `${REGION}b`, `${REGION}c`]

let world: TestStore
beforeEach(async () => {
  world = await openTestStore()
})

test('hearth down heals failed zones in which something lives, and stops that; others stay as they are', async () => {
  await world.run(async (context) => {
    await insertInstance(context, { zone: A, state: 'running' })
    await insertInstance(context, { zone: B, state: 'stopped' })
    for (const zone of [A, B, C]) await moveZone(context, zone, 'impaired')
  })
  expect(await stopFailedZones(world.store)).toEqual([A])
  const states = await world.store.read(zoneStates)
  expect([A, B, C].map((zone) => states.get(zone)?.state)).toEqual(['available', 'impaired', 'impaired'])
  expect(await world.store.read((db) => db.selectFrom('instances').select(['zone', 'state']).orderBy('zone').execute()))
    .toEqual([{ zone: A, state: 'stopping' }, { zone: B, state: 'stopped' }])
})
