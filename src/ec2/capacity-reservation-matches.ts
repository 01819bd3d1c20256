import { capacityReservationDoc } from '../model/capacity-reservation.ts'
import { adoptInstance } from '../model/capacity-reservation-room.ts'
import { instanceDoc, placementWish } from '../model/instance.ts'
import type { CapacityReservationTable } from '../store/schema.ts'
import type { Context } from './context.ts'

/**
 * Lets running instances that match an open reservation go on in it, at most `limit` of them, the oldest first, as EC2 does
 * when one becomes open or larger. Each has a place of its own in it then, beyond what the reservation has free.
 *
 * @returns how many.
 */
export async function adoptMatching(context: Context, row: CapacityReservationTable, limit: number): Promise<number> {
  const { db, account } = context
  if (row.match_criteria !== 'open') return 0
  const { tenancy } = capacityReservationDoc(row)
  const instances = await db
    .selectFrom('instances').selectAll()
    .where('account_id', '=', account).where('zone', '=', row.zone).where('instance_type', '=', row.instance_type)
    .where('state', 'in', ['pending', 'running']).where('holds_capacity', '=', 1).where('lifecycle', '=', 'on-demand')
    .where('tenancy', '=', tenancy).where('capacity_reservation_id', 'is', null).where('dedicated_host_id', 'is', null)
    .orderBy('launch_ms').orderBy('instance_id').execute()
  let adopted = 0
  for (const instance of instances) {
    if (adopted === limit) break
    const { preference, targetId } = placementWish(instanceDoc(instance)).reservation
    if (preference !== 'open' || targetId !== null) continue
    if (await adoptInstance(db, row, instance)) adopted++
  }
  return adopted
}
