import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { stateOfReservation } from '../model/capacity-reservation.ts'
import { endReservation } from '../model/capacity-reservation-room.ts'
import type { CapacityReservationTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import { again, DONE, recording, type Reconciler } from './loop.ts'

/**
 * Ends capacity reservations whose time is over: from that moment on they are shown as expired and nothing is placed in them;
 * here their room goes back to the hosts. Decides anew on the row as it is in the transaction.
 */
export function createReservationReconciler({ store, clock, log }: { store: Store; clock: Clock; log: Logger }): Reconciler {
  return {
    async reconcile(id) {
      const row = await store.read((db) => load(db, id))
      if (!row || row.end_ms === null) return DONE
      const nowMs = clock.now()
      if (row.end_ms > nowMs) return again(row.end_ms - nowMs)
      log.info('a capacity reservation has expired', { id })
      return recording('reservation.expire', (db) => expire(db, id, clock.now()), again(0))
    },
  }
}

async function load(db: Db, id: string): Promise<CapacityReservationTable | undefined> {
  return db
    .selectFrom('capacity_reservations').selectAll().where('capacity_reservation_id', '=', id).where('state', '=', 'active')
    .executeTakeFirst()
}

async function expire(db: Db, id: string, nowMs: number): Promise<void> {
  const row = await load(db, id)
  if (row && row.end_ms !== null && stateOfReservation(row, nowMs) === 'expired') await endReservation(db, row, 'expired', row.end_ms)
}
