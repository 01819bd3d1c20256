import { beforeEach, describe, expect, it } from 'vitest'
import { fixedClock, HOST_ID, hostOf, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { silentLogger } from '../core/logger.ts'
import { cancelCapacityReservation } from '../ec2/capacity-reservations.ts'
import { createCapacityReservation } from '../ec2/capacity-reservations-create.ts'
import { modifyCapacityReservation } from '../ec2/capacity-reservations-modify.ts'
import { createReservationReconciler } from './reservation.ts'

const END_MS = NOW_MS + 60_000

let world: TestStore
let id: string
beforeEach(async () => {
  world = await openTestStore()
  const { CapacityReservation } = await world.run((context) => createCapacityReservation(context, {
    InstanceType: 't3.micro', InstancePlatform: 'Linux/UNIX', AvailabilityZone: 'us-east-1a', InstanceCount: 3, EndDate: new Date(END_MS),
  }))
  id = CapacityReservation?.CapacityReservationId ?? ''
})

/** One run at that time; `meanwhile` happens between its look and what it writes, and the writing is done `times`. */
async function reconcile(nowMs: number, { meanwhile, times = 1 }: { meanwhile?: () => Promise<unknown>; times?: number } = {}): Promise<string> {
  const clock = { ...fixedClock, now: () => nowMs }
  const outcome = await createReservationReconciler({ store: world.store, clock, log: silentLogger }).reconcile(id)
  await meanwhile?.()
  for (let time = 0; time < times; time++) await world.store.transaction('test', async (db) => outcome.observed?.write(db))
  return outcome.kind === 'again' ? `again ${outcome.afterMs}` : outcome.kind
}
const used = () => world.store.read((db) => db
  .selectFrom('hosts').select(['vcpus_used', 'memory_mib_used']).where('host_id', '=', hostOf('us-east-1a')).executeTakeFirstOrThrow())
const state = async () => (await world.store.read((db) => db.selectFrom('capacity_reservations').select('state').executeTakeFirstOrThrow())).state

describe('a capacity reservation with an end', () => {
  it('is the work of the node that has its room, due when it ends', async () => {
    const work = await world.store.read((db) => db.selectFrom('work').select(['kind', 'id', 'host_id', 'due_ms']).execute())
    expect(work).toEqual([{ kind: 'reservation', id, host_id: HOST_ID, due_ms: END_MS }])
  })

  it('holds its room until then, and gives it back once', async () => {
    expect(await reconcile(NOW_MS)).toBe('again 60000')
    expect([await state(), await used()]).toEqual(['active', { vcpus_used: 6, memory_mib_used: 3072 }])
    expect(await reconcile(END_MS, { times: 2 })).toBe('again 0')
    expect([await state(), await used()]).toEqual(['expired', { vcpus_used: 0, memory_mib_used: 0 }])
    expect(await reconcile(END_MS)).toBe('done')
  })

  it('that was cancelled or put off at the last moment is left alone', async () => {
    const later = { CapacityReservationId: id, EndDate: new Date(END_MS + 1) }
    await reconcile(END_MS, { meanwhile: () => world.run((context) => modifyCapacityReservation(context, later)) })
    expect(await state()).toBe('active')
    await reconcile(END_MS + 1, { meanwhile: () => world.run((context) => cancelCapacityReservation(context, { CapacityReservationId: id })) })
    expect([await state(), await used()]).toEqual(['cancelled', { vcpus_used: 0, memory_mib_used: 0 }])
    expect(await reconcile(END_MS + 2)).toBe('done')
  })
})
