import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { hostOf, insertInstance, NOW_MS, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { giveCapacityBack, takeCapacity } from './capacity.ts'
import { DEFAULT_ACCOUNT } from './account.ts'
import type { Place } from './placement.ts'

const HOST = hostOf(`${REGION}a`)
const SIZE = { vcpus: 2, memoryMib: 1024 }
const ON_HOST: Place = { host_id: HOST, node_id: 'node', dedicated_host_id: null, capacity_reservation_id: null, partition_number: null }
const DEDICATED: Place = { ...ON_HOST, dedicated_host_id: 'h-1' }
const RESERVED: Place = { ...ON_HOST, capacity_reservation_id: 'cr-1' }

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
  // Room for five on the host; of it the dedicated host has two, and the reservation one.
  await store.run(async ({ db }) => {
    await db.updateTable('hosts').set({ vcpus: 10, memory_mib: 10_240, vcpus_used: 6, memory_mib_used: 3072 }).where('host_id', '=', HOST).execute()
    await db.insertInto('dedicated_hosts').values({
      dedicated_host_id: 'h-1', account_id: DEFAULT_ACCOUNT, host_id: HOST, zone: `${REGION}a`, state: 'available', vcpus: 4, memory_mib: 4096,
      vcpus_used: 0, memory_mib_used: 0, created_ms: NOW_MS, released_ms: null, doc: '{}',
    }).execute()
    await db.insertInto('capacity_reservations').values({
      capacity_reservation_id: 'cr-1', account_id: DEFAULT_ACCOUNT, zone: `${REGION}a`, instance_type: 't3.micro', state: 'active', total: 1,
      match_criteria: 'open', end_ms: null, created_ms: NOW_MS, doc: '{}',
    }).execute()
    await db.insertInto('capacity_reservation_hosts').values({ capacity_reservation_id: 'cr-1', host_id: HOST, reserved: 1, used: 0 }).execute()
  })
})
afterEach(() => store.store.close())

const take = (place: Place, count: number) => store.run(({ db }) => takeCapacity(db, place, SIZE, count))
const giveBack = (place: Place) => store.run(async (context) => giveCapacityBack(context.db, await insertInstance(context, place)))
/** vCPUs used of the host and of the dedicated host, and instances in the reservation. */
const used = () => store.run(async ({ db }) => [
  (await db.selectFrom('hosts').select('vcpus_used').where('host_id', '=', HOST).executeTakeFirstOrThrow()).vcpus_used,
  (await db.selectFrom('dedicated_hosts').select('vcpus_used').executeTakeFirstOrThrow()).vcpus_used,
  (await db.selectFrom('capacity_reservation_hosts').select('used').executeTakeFirstOrThrow()).used,
])

describe('capacity', () => {
  it.each<[string, Place, number, number[]]>([
    ['the host itself', ON_HOST, 2, [10, 0, 0]], ['a dedicated host', DEDICATED, 2, [6, 4, 0]], ['a reservation', RESERVED, 1, [6, 0, 1]],
  ])('is taken of %s to the last, and of nothing else; what is too much takes nothing', async (_of, place, most, after) => {
    expect(await take(place, most + 1)).toBe(false)
    expect(await used()).toEqual([6, 0, 0])
    expect(await take(place, most)).toBe(true)
    expect(await used()).toEqual(after)
    expect(await take(place, 1)).toBe(false)
    expect(await used()).toEqual(after)
  })

  it.each([['the host itself', ON_HOST], ['a dedicated host', DEDICATED], ['a reservation', RESERVED]])('goes back to %s', async (_of, place) => {
    const before = await used()
    await take(place, 1)
    await giveBack(place)
    expect(await used()).toEqual(before)
  })

  it('is not had of a dedicated host that was released', async () => {
    await store.run(({ db }) => db.updateTable('dedicated_hosts').set({ state: 'released' }).execute())
    expect(await take(DEDICATED, 1)).toBe(false)
  })

  it('is refused where memory is short and processors are not', async () => {
    await store.run(({ db }) => db.updateTable('hosts').set({ memory_mib: 3072 + 1023 }).where('host_id', '=', HOST).execute())
    expect(await take(ON_HOST, 1)).toBe(false)
  })
})
