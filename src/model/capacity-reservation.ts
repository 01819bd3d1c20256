import type { CapacityReservationTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Size } from './placement.ts'

/** How long a reservation that has ended is still shown. */
const SHOWN_FOR_MS = 3_600_000

/** What of a capacity reservation SQL never looks into. */
export interface CapacityReservationDoc {
  platform: 'Linux/UNIX'
  tenancy: 'default' | 'dedicated'
  ebsOptimized: boolean
  /** What one instance of its type takes. */
  size: Size
  /** When it was cancelled or has expired. */
  endedMs: number | null
}

export type CapacityReservationState = CapacityReservationTable['state']

/** The doc of a capacity reservation's row. */
export function capacityReservationDoc(row: Pick<CapacityReservationTable, 'doc'>): CapacityReservationDoc {
  return JSON.parse(row.doc) as CapacityReservationDoc
}

/** Its state at that moment: one whose time is over has expired, also where nobody has come to write that down yet. */
export function stateOfReservation(row: Pick<CapacityReservationTable, 'state' | 'end_ms'>, nowMs: number): CapacityReservationState {
  return row.state === 'active' && row.end_ms !== null && row.end_ms <= nowMs ? 'expired' : row.state
}

/** Whether it is still shown: one that ended is for an hour. */
export function isReservationShown(row: CapacityReservationTable, nowMs: number): boolean {
  const { endedMs } = capacityReservationDoc(row)
  return endedMs === null || endedMs > nowMs - SHOWN_FOR_MS
}

/**
 * Asks the agent of a computer that has room of the reservation to end it at its time. A mark that is there for an earlier
 * time stays; the agent finds then that it is not yet due.
 */
export async function wakeReservation(db: Db, row: Pick<CapacityReservationTable, 'capacity_reservation_id' | 'end_ms'>): Promise<void> {
  if (row.end_ms === null) return
  const at = await db
    .selectFrom('capacity_reservation_hosts').innerJoin('hosts', 'hosts.host_id', 'capacity_reservation_hosts.host_id')
    .select('node_id').where('capacity_reservation_id', '=', row.capacity_reservation_id).orderBy('node_id').executeTakeFirst()
  if (at) await enqueue(db, { kind: 'reservation', id: row.capacity_reservation_id, hostId: at.node_id }, row.end_ms)
}
