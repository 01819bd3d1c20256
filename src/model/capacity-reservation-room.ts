import { groupBy } from '../store/batch.ts'
import type { CapacityReservationHostTable, CapacityReservationTable, InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { capacityReservationDoc, type CapacityReservationState } from './capacity-reservation.ts'
import { giveHostRoomBack, takeCapacity } from './capacity.ts'
import { wakeMarketOfRoom } from './spot-market.ts'

/** What a reservation needs to be known by when its room is counted. */
type Reservation = Pick<CapacityReservationTable, 'capacity_reservation_id' | 'doc'>

/** The reservation has `reserved` places more on a host, `used` of them with instances in them; their room is counted there already. */
export async function addSlots(db: Db, row: Reservation, slots: { hostId: string; reserved: number; used: number }): Promise<void> {
  await db
    .insertInto('capacity_reservation_hosts')
    .values({
      capacity_reservation_id: row.capacity_reservation_id, host_id: slots.hostId, reserved: slots.reserved, used: slots.used,
    })
    .onConflict((conflict) => conflict.columns(['capacity_reservation_id', 'host_id']).doUpdateSet((eb) => ({
      reserved: eb('capacity_reservation_hosts.reserved', '+', slots.reserved),
      used: eb('capacity_reservation_hosts.used', '+', slots.used),
    })))
    .execute()
}

/** What the reservation holds, by host, most free places first. */
export async function slotsOf(db: Db, reservationId: string): Promise<CapacityReservationHostTable[]> {
  const rows = await db
    .selectFrom('capacity_reservation_hosts').selectAll().where('capacity_reservation_id', '=', reservationId).orderBy('host_id').execute()
  return rows.toSorted((a, b) => b.reserved - b.used - (a.reserved - a.used))
}

/** Gives `count` places that no instance is in back to their hosts. @throws Error where there are fewer. */
export async function dropFreeSlots(db: Db, row: Reservation, count: number): Promise<void> {
  const { size } = capacityReservationDoc(row)
  for (const { hostId, count: each } of await takeFreeSlots(db, row.capacity_reservation_id, count)) {
    await giveHostRoomBack(db, hostId, { vcpus: size.vcpus * each, memoryMib: size.memoryMib * each })
  }
}

/** Hands `count` places that no instance is in over to another reservation of the same type. @throws Error where there are fewer. */
export async function handOverSlots(db: Db, from: Reservation, to: Reservation, count: number): Promise<void> {
  for (const { hostId, count: each } of await takeFreeSlots(db, from.capacity_reservation_id, count)) {
    await addSlots(db, to, { hostId, reserved: each, used: 0 })
  }
}

async function takeFreeSlots(db: Db, reservationId: string, count: number): Promise<{ hostId: string; count: number }[]> {
  const taken: { hostId: string; count: number }[] = []
  let left = count
  for (const slots of await slotsOf(db, reservationId)) {
    const each = Math.min(left, slots.reserved - slots.used)
    if (each === 0) break
    await db
      .updateTable('capacity_reservation_hosts').set((eb) => ({ reserved: eb('reserved', '-', each) }))
      .where('capacity_reservation_id', '=', reservationId).where('host_id', '=', slots.host_id)
      .where((eb) => eb(eb('reserved', '-', each), '>=', eb.ref('used'))).execute()
    taken.push({ hostId: slots.host_id, count: each })
    left -= each
  }
  if (left > 0) throw new Error(`${reservationId} has ${left} free places fewer than were to be taken`)
  await dropEmptySlots(db, reservationId)
  return taken
}

/** Hands over the places that instances are in, with them. */
export async function handOverInstances(db: Db, from: Reservation, to: Reservation, instances: readonly InstanceTable[]): Promise<void> {
  for (const { instance_id: id, host_id: hostId } of instances) {
    await db
      .updateTable('capacity_reservation_hosts').set((eb) => ({ reserved: eb('reserved', '-', 1), used: eb('used', '-', 1) }))
      .where('capacity_reservation_id', '=', from.capacity_reservation_id).where('host_id', '=', hostId).execute()
    await addSlots(db, to, { hostId, reserved: 1, used: 1 })
    await db.updateTable('instances').set({ capacity_reservation_id: to.capacity_reservation_id }).where('instance_id', '=', id).execute()
  }
  await dropEmptySlots(db, from.capacity_reservation_id)
}

async function dropEmptySlots(db: Db, reservationId: string): Promise<void> {
  await db
    .deleteFrom('capacity_reservation_hosts').where('capacity_reservation_id', '=', reservationId).where('reserved', '=', 0).execute()
}

/**
 * Lets an instance that runs outside of all reservations go on in this one, in a place that is added for it where it is. What
 * its type promises beyond what it has itself (it may have fewer processors) must be there.
 *
 * @returns false, with nothing changed, where that is not.
 */
export async function adoptInstance(db: Db, row: Reservation, instance: InstanceTable): Promise<boolean> {
  const { size } = capacityReservationDoc(row)
  const more = { vcpus: size.vcpus - instance.vcpus, memoryMib: size.memoryMib - instance.memory_mib }
  const place = { ...instance, capacity_reservation_id: null, dedicated_host_id: null }
  if ((more.vcpus !== 0 || more.memoryMib !== 0) && !await takeCapacity(db, place, more, 1)) return false
  await addSlots(db, row, { hostId: instance.host_id, reserved: 1, used: 1 })
  await db
    .updateTable('instances').set({ capacity_reservation_id: row.capacity_reservation_id })
    .where('instance_id', '=', instance.instance_id).execute()
  return true
}

/**
 * Ends an active reservation. Instances in it go on outside of it: their room is the host's again, and so is what was free.
 */
export async function endReservation(
  db: Db,
  row: Reservation,
  state: Exclude<CapacityReservationState, 'active'>,
  endedMs: number,
): Promise<void> {
  const id = row.capacity_reservation_id
  const doc = capacityReservationDoc(row)
  const inside = groupBy(
    await db.selectFrom('instances').selectAll().where('capacity_reservation_id', '=', id).where('holds_capacity', '=', 1).execute(),
    (instance) => instance.host_id,
  )
  for (const slots of await slotsOf(db, id)) {
    const instances = inside.get(slots.host_id) ?? []
    const sum = (read: (instance: InstanceTable) => number) => instances.reduce((total, each) => total + read(each), 0)
    await giveHostRoomBack(db, slots.host_id, {
      vcpus: slots.reserved * doc.size.vcpus - sum((each) => each.vcpus),
      memoryMib: slots.reserved * doc.size.memoryMib - sum((each) => each.memory_mib),
    })
  }
  await db.updateTable('instances').set({ capacity_reservation_id: null }).where('capacity_reservation_id', '=', id).execute()
  await db.deleteFrom('capacity_reservation_hosts').where('capacity_reservation_id', '=', id).execute()
  await db
    .updateTable('capacity_reservations').set({ state, doc: JSON.stringify({ ...doc, endedMs }) })
    .where('capacity_reservation_id', '=', id).execute()
  await wakeMarketOfRoom(db, endedMs)
}
