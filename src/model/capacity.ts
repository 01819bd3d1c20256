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
  const [vcpus, memoryMib] = [size.vcpus * count, size.memoryMib * count]
  const { update, isDedicated } = roomOf(db, place)
  const taken = await update
    .set((eb) => ({ vcpus_used: eb('vcpus_used', '+', vcpus), memory_mib_used: eb('memory_mib_used', '+', memoryMib) }))
    .where((eb) => eb(eb('vcpus_used', '+', vcpus), '<=', eb.ref('vcpus')))
    .where((eb) => eb(eb('memory_mib_used', '+', memoryMib), '<=', eb.ref('memory_mib')))
    .$if(isDedicated, (query) => query.where('state', '=', 'available'))
    .executeTakeFirst()
  return taken.numUpdatedRows > 0n
}

/** The row that room outside of reservations is counted in: of a dedicated host, or of the host. */
function roomOf(db: Db, { host_id: hostId, dedicated_host_id: dedicatedHostId }: Pick<Place, 'host_id' | 'dedicated_host_id'>) {
  const table: 'hosts' | 'dedicated_hosts' = dedicatedHostId === null ? 'hosts' : 'dedicated_hosts'
  const update = db.updateTable(table)
  return {
    isDedicated: dedicatedHostId !== null,
    update: dedicatedHostId === null ? update.where('host_id', '=', hostId) : update.where('dedicated_host_id', '=', dedicatedHostId),
  }
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
  await giveBack(db, row, { vcpus: row.vcpus, memoryMib: row.memory_mib })
}

/** Gives back what of a host's room was counted for something that is there no more. */
export async function giveHostRoomBack(db: Db, hostId: string, size: Size): Promise<void> {
  await giveBack(db, { host_id: hostId, dedicated_host_id: null }, size)
}

async function giveBack(db: Db, place: Pick<Place, 'host_id' | 'dedicated_host_id'>, { vcpus, memoryMib }: Size): Promise<void> {
  await roomOf(db, place).update
    .set((eb) => ({ vcpus_used: eb('vcpus_used', '-', vcpus), memory_mib_used: eb('memory_mib_used', '-', memoryMib) }))
    .execute()
}
