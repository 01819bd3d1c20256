import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openCapacityLab, type CapacityLab } from '../../test/support/capacity-lab.ts'
import { createCapacityReservation } from '../ec2/capacity-reservations-create.ts'
import { allocateHosts } from '../ec2/dedicated-hosts-allocate.ts'
import type { Db } from '../store/store.ts'
import { capacityProblems } from './capacity-audit.ts'

const ZONE = 'us-east-1a'

let lab: CapacityLab
/** A host with an instance, a dedicated host with another one, and a reservation for two with a third one in it. */
beforeEach(async () => {
  lab = await openCapacityLab({ hosts: { 'host-a1': ZONE }, vcpus: 32, memoryMib: 65_536 })
  const { HostIds: [HostId] = [] } = await lab.call(allocateHosts, { InstanceType: 't3.medium', AvailabilityZone: ZONE, Quantity: 1 })
  await lab.launch({ InstanceType: 't3.small' })
  await lab.launch({ InstanceType: 't3.medium', Placement: { Tenancy: 'host', HostId } })
  await lab.call(createCapacityReservation, { InstanceType: 't3.medium', InstancePlatform: 'Linux/UNIX', AvailabilityZone: ZONE, InstanceCount: 2 })
  await lab.launch({ InstanceType: 't3.medium' })
})
afterEach(() => lab.close())

const after = async (spoil: (db: Db) => Promise<unknown>) => {
  await lab.store.transaction('spoil', spoil)
  return lab.store.read(capacityProblems)
}

// Property tests and the simulator rely on it: what it does not see, they do not.
describe('the audit of room', () => {
  it('finds nothing where everything is counted right', async () => {
    expect(await after(async () => undefined)).toEqual([])
  })

  it.each<[string, RegExp, (db: Db) => Promise<unknown>]>([
    ['a host has counted more than is there', /^capacity leaked on host-a1: /, (db) =>
      db.updateTable('hosts').set((eb) => ({ vcpus_used: eb('vcpus_used', '+', 1) })).where('host_id', '=', 'host-a1').execute()],
    ['a host has counted less memory than is there', /^capacity leaked on host-a1: /, (db) =>
      db.updateTable('hosts').set((eb) => ({ memory_mib_used: eb('memory_mib_used', '-', 1) })).where('host_id', '=', 'host-a1').execute()],
    ['a host has promised more than it has', /^capacity oversold on host-a1$/, (db) =>
      db.updateTable('hosts').set({ memory_mib: 1024 }).where('host_id', '=', 'host-a1').execute()],
    ['a dedicated host has counted wrongly', /^capacity leaked on h-/, (db) => db.updateTable('dedicated_hosts').set({ vcpus_used: 0 }).execute()],
    ['an instance holds room that nobody counts', /^capacity leaked on host-a1: /, (db) =>
      db.updateTable('instances').set({ holds_capacity: 0 }).where('instance_type', '=', 't3.small').execute()],
    ['a reservation has counted an instance that is not in it', /: 2 counted, 1 in it$/, (db) =>
      db.updateTable('capacity_reservation_hosts').set({ used: 2 }).execute()],
    ['a reservation has more instances than places', /: more instances than places$/, (db) =>
      db.updateTable('capacity_reservation_hosts').set({ reserved: 0 }).execute()],
    ['a reservation has fewer places than it is for', /: 2 places for 3$/, (db) => db.updateTable('capacity_reservations').set({ total: 3 }).execute()],
    ['one that has ended has places', /: places of one that is not active$/, (db) =>
      db.updateTable('capacity_reservations').set({ state: 'cancelled' }).execute()],
    ['an instance is in a reservation that has no place for it', /: instances without places$/, (db) =>
      db.deleteFrom('capacity_reservation_hosts').execute()],
  ])('tells where %s', async (_what, problem, spoil) => {
    expect(await after(spoil)).toContainEqual(expect.stringMatching(problem))
  })
})
