import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Place, Size } from './placement.ts'

/**
 * Counts `count` instances of a size against the place that they are to have: a reservation, a dedicated host, or the host
 * itself. What reservations and dedicated hosts hold is counted as used on their host from the beginning. The guard in
 * each update holds however many callers there are.
 *
 * @returns false, with nothing taken, where there is less room than that.
 */
export async function takeCapacity(db: Db, place: Place, size: Size, count: number): Promise<boolean> {
  if (place.capacity_reservation_id !== null) return takeReserved(db, place.capacity_reservation_id, place.host_id, count)
  if (place.dedicated_host_id !== null) return takeDedicated(db, place.dedicated_host_id, size, count)
  const taken = await db
    .updateTable('hosts')
    .set((eb) => ({
      vcpus_used: eb('vcpus_used', '+', size.vcpus * count),
      memory_mib_used: eb('memory_mib_used', '+', size.memoryMib * count),
    }))
    .where('host_id', '=', place.host_id)
    .where((eb) => eb(eb('vcpus_used', '+', size.vcpus * count), '<=', eb.ref('vcpus')))
    .where((eb) => eb(eb('memory_mib_used', '+', size.memoryMib * count), '<=', eb.ref('memory_mib')))
    .executeTakeFirst()
  return taken.numUpdatedRows > 0n
}

async function takeDedicated(db: Db, dedicatedHostId: string, size: Size, count: number): Promise<boolean> {
  const taken = await db
    .updateTable('dedicated_hosts')
    .set((eb) => ({
      vcpus_used: eb('vcpus_used', '+', size.vcpus * count),
      memory_mib_used: eb('memory_mib_used', '+', size.memoryMib * count),
    }))
    .where('dedicated_host_id', '=', dedicatedHostId).where('state', '=', 'available')
    .where((eb) => eb(eb('vcpus_used', '+', size.vcpus * count), '<=', eb.ref('vcpus')))
    .where((eb) => eb(eb('memory_mib_used', '+', size.memoryMib * count), '<=', eb.ref('memory_mib')))
    .executeTakeFirst()
  return taken.numUpdatedRows > 0n
}

async function takeReserved(db: Db, reservationId: string, hostId: string, count: number): Promise<boolean> {
  const taken = await db
    .updateTable('capacity_reservation_hosts')
    .set((eb) => ({ used: eb('used', '+', count) }))
    .where('capacity_reservation_id', '=', reservationId).where('host_id', '=', hostId)
    .where((eb) => eb(eb('used', '+', count), '<=', eb.ref('reserved')))
    .executeTakeFirst()
  return taken.numUpdatedRows > 0n
}

/** Gives back what an instance that holds capacity has taken, wherever that was. */
export async function giveCapacityBack(db: Db, row: InstanceTable): Promise<void> {
  if (row.capacity_reservation_id !== null) {
    await db
      .updateTable('capacity_reservation_hosts').set((eb) => ({ used: eb('used', '-', 1) }))
      .where('capacity_reservation_id', '=', row.capacity_reservation_id).where('host_id', '=', row.host_id).execute()
    return
  }
  if (row.dedicated_host_id !== null) {
    await db
      .updateTable('dedicated_hosts')
      .set((eb) => ({ vcpus_used: eb('vcpus_used', '-', row.vcpus), memory_mib_used: eb('memory_mib_used', '-', row.memory_mib) }))
      .where('dedicated_host_id', '=', row.dedicated_host_id).execute()
    return
  }
  await giveHostRoomBack(db, row.host_id, { vcpus: row.vcpus, memoryMib: row.memory_mib })
}

/** Gives back what of a host's room was counted for something that is there no more. */
export async function giveHostRoomBack(db: Db, hostId: string, { vcpus, memoryMib }: Size): Promise<void> {
  await db
    .updateTable('hosts')
    .set((eb) => ({ vcpus_used: eb('vcpus_used', '-', vcpus), memory_mib_used: eb('memory_mib_used', '-', memoryMib) }))
    .where('host_id', '=', hostId).execute()
}
