import { prepared } from '../store/prepared.ts'
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
  const take = place.dedicated_host_id === null ? takeOfHost : takeOfDedicatedHost
  return (await take(db, size.vcpus * count, size.memoryMib * count, place.dedicated_host_id ?? place.host_id)).length > 0
}

/** The row that room outside of reservations is counted in: of a dedicated host, or of the host. */
function roomOf(db: Db, table: 'hosts' | 'dedicated_hosts', id: string) {
  const update = db.updateTable(table)
  return table === 'hosts' ? update.where('host_id', '=', id) : update.where('dedicated_host_id', '=', id)
}

const takeOf = (table: 'hosts' | 'dedicated_hosts') => (db: Db, vcpus: number, memoryMib: number, id: string) =>
  roomOf(db, table, id)
    .set((eb) => ({ vcpus_used: eb('vcpus_used', '+', vcpus), memory_mib_used: eb('memory_mib_used', '+', memoryMib) }))
    .where((eb) => eb(eb('vcpus_used', '+', vcpus), '<=', eb.ref('vcpus')))
    .where((eb) => eb(eb('memory_mib_used', '+', memoryMib), '<=', eb.ref('memory_mib')))
    .$if(table === 'dedicated_hosts', (query) => query.where('state', '=', 'available'))
    .returning('host_id')

const takeOfHost = prepared(takeOf('hosts'))
const takeOfDedicatedHost = prepared(takeOf('dedicated_hosts'))

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
  const size = { vcpus: row.vcpus, memoryMib: row.memory_mib }
  if (row.dedicated_host_id === null) await giveHostRoomBack(db, row.host_id, size)
  else await giveBack(db, 'dedicated_hosts', row.dedicated_host_id, size)
}

/** Gives back what of a host's room was counted for something that is there no more. */
export async function giveHostRoomBack(db: Db, hostId: string, size: Size): Promise<void> {
  await giveBack(db, 'hosts', hostId, size)
}

async function giveBack(db: Db, table: 'hosts' | 'dedicated_hosts', id: string, { vcpus, memoryMib }: Size): Promise<void> {
  await roomOf(db, table, id)
    .set((eb) => ({ vcpus_used: eb('vcpus_used', '-', vcpus), memory_mib_used: eb('memory_mib_used', '-', memoryMib) }))
    .execute()
}
