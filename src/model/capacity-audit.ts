import type { Db } from '../store/store.ts'
import { capacityReservationDoc } from './capacity-reservation.ts'
import type { Size } from './placement.ts'

/**
 * Counts anew what each host, reservation and dedicated host has been asked for, and compares that with their counters: a host's
 * room is used by instances outside of both, by reservations whether used or not, and by dedicated hosts.
 *
 * @returns a sentence for each counter that is wrong, and for each host that has promised more than it may.
 */
export async function capacityProblems(db: Db): Promise<string[]> {
  const hosts = await db.selectFrom('hosts').selectAll().execute()
  const instances = await db.selectFrom('instances').selectAll().where('holds_capacity', '=', 1).execute()
  const dedicated = await db.selectFrom('dedicated_hosts').selectAll().where('state', '=', 'available').execute()
  const slots = await db.selectFrom('capacity_reservation_hosts').selectAll().execute()
  const reservations = await db.selectFrom('capacity_reservations').selectAll().where('state', '=', 'active').execute()
  const sizes = new Map(reservations.map((row) => [row.capacity_reservation_id, capacityReservationDoc(row).size]))

  const onHosts = new Counter()
  const onDedicated = new Counter()
  const inSlots = new Map<string, number>()
  for (const row of instances) {
    const size = { vcpus: row.vcpus, memoryMib: row.memory_mib }
    if (row.capacity_reservation_id !== null) {
      const key = `${row.capacity_reservation_id} on ${row.host_id}`
      inSlots.set(key, (inSlots.get(key) ?? 0) + 1)
    } else if (row.dedicated_host_id !== null) onDedicated.add(row.dedicated_host_id, size)
    else onHosts.add(row.host_id, size)
  }
  for (const row of dedicated) onHosts.add(row.host_id, { vcpus: row.vcpus, memoryMib: row.memory_mib })
  for (const row of slots) onHosts.add(row.host_id, sizes.get(row.capacity_reservation_id) ?? { vcpus: 0, memoryMib: 0 }, row.reserved)
  return [
    ...hosts.flatMap((row) => counterProblems(row.host_id, row, onHosts.of(row.host_id))),
    ...dedicated.flatMap((row) => counterProblems(row.dedicated_host_id, row, onDedicated.of(row.dedicated_host_id))),
    ...slots.flatMap((row) => {
      const key = `${row.capacity_reservation_id} on ${row.host_id}`
      return [
        ...(row.used === (inSlots.get(key) ?? 0) ? [] : [`${key}: ${row.used} counted, ${inSlots.get(key) ?? 0} in it`]),
        ...(row.used > row.reserved ? [`${key}: more instances than places`] : []),
        ...(sizes.has(row.capacity_reservation_id) ? [] : [`${key}: places of one that is not active`]),
      ]
    }),
    ...[...inSlots.keys()].filter((key) => !slots.some((row) => key === `${row.capacity_reservation_id} on ${row.host_id}`))
      .map((key) => `${key}: instances without places`),
    ...reservations.flatMap((row) => {
      const places = slots.filter((each) => each.capacity_reservation_id === row.capacity_reservation_id)
        .reduce((sum, each) => sum + each.reserved, 0)
      return places === row.total ? [] : [`${row.capacity_reservation_id}: ${places} places for ${row.total}`]
    }),
  ]
}

interface Counters {
  vcpus: number
  memory_mib: number
  vcpus_used: number
  memory_mib_used: number
}

function counterProblems(id: string, row: Counters, { vcpus, memoryMib }: Size): string[] {
  const isExact = row.vcpus_used === vcpus && row.memory_mib_used === memoryMib
  return [
    ...(isExact ? [] : [`capacity leaked on ${id}: ${row.vcpus_used} vCPUs and ${row.memory_mib_used} MiB counted, ${vcpus} and ${memoryMib} in use`]),
    ...(row.vcpus_used > row.vcpus || row.memory_mib_used > row.memory_mib ? [`capacity oversold on ${id}`] : []),
  ]
}

/** Sums of sizes, by the id of what has them. */
class Counter {
  readonly #sums = new Map<string, Size>()

  add(id: string, size: Size, count = 1): void {
    const { vcpus, memoryMib } = this.of(id)
    this.#sums.set(id, { vcpus: vcpus + size.vcpus * count, memoryMib: memoryMib + size.memoryMib * count })
  }

  of(id: string): Size {
    return this.#sums.get(id) ?? { vcpus: 0, memoryMib: 0 }
  }
}
