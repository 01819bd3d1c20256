import type { ModifyCapacityReservationRequest, ModifyCapacityReservationResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { wakeReservation } from '../model/capacity-reservation.ts'
import { dropFreeSlots } from '../model/capacity-reservation-room.ts'
import { wakeMarketOfRoom } from '../model/spot-market.ts'
import type { CapacityReservationTable } from '../store/schema.ts'
import { adoptMatching } from './capacity-reservation-matches.ts'
import { requireActiveReservation, usedOf } from './capacity-reservation-rows.ts'
import { addRoom, MAX_COUNT, requestedEnd } from './capacity-reservations-create.ts'
import type { Context } from './context.ts'
import { checkEnum, invalidValue, missingParameter, refuseParameters } from './parameters.ts'

/**
 * ModifyCapacityReservation: for how many instances it is, when it ends, and which may come in. All of it is in force when it
 * is answered.
 *
 * @throws ApiError InvalidCapacityReservationState for one that has ended; InvalidParameterValue for fewer places than have
 *   instances in them; InsufficientInstanceCapacity where there is not room for more.
 */
export async function modifyCapacityReservation(
  context: Context,
  input: ModifyCapacityReservationRequest,
): Promise<ModifyCapacityReservationResult> {
  refuseParameters(input, ['AdditionalInfo', 'StartDate', 'QuoteId', 'AcceptModificationTerms'])
  const row = await requireActiveReservation(context, input.CapacityReservationId)
  const end = requestedEnd(context, input)
  const criteria = checkEnum('InstanceMatchCriteria', input.InstanceMatchCriteria, ['open', 'targeted'])
  const count = input.InstanceCount === undefined ? undefined : checkNewCount(input.InstanceCount, row.total)
  // `Accept` is reserved by EC2 and does nothing: what one has made is accepted.
  if (end === undefined && criteria === undefined && count === undefined && input.Accept === undefined) throw missingParameter('InstanceCount')
  const used = (await usedOf(context, [row.capacity_reservation_id])).get(row.capacity_reservation_id) ?? 0
  let changed = await changeCriteria(context, row, criteria, used)
  if (end !== undefined) {
    changed = await change(context, changed, { end_ms: end })
    await wakeReservation(context.db, changed)
  }
  if (count !== undefined) await changeCount(context, changed, count)
  return { Return: true }
}

/** It may be larger than one that is made, but neither grow nor shrink by more at once. */
function checkNewCount(count: number, before: number): number {
  if (Number.isSafeInteger(count) && count >= 1 && Math.abs(count - before) <= MAX_COUNT) return count
  const [least, most] = [Math.max(1, before - MAX_COUNT), before + MAX_COUNT]
  throw new ApiError(
    'InvalidParameterValue', `${count} is an invalid value for InstanceCount. InstanceCount must be between ${least} and ${most}.`,
  )
}

/** Only an idle one may let others in, in EC2; where it becomes open, instances that match and run go on in it. */
async function changeCriteria(
  context: Context,
  row: CapacityReservationTable,
  criteria: CapacityReservationTable['match_criteria'] | undefined,
  used: number,
): Promise<CapacityReservationTable> {
  if (criteria === undefined || criteria === row.match_criteria) return row
  if (used > 0) {
    throw new ApiError(
      'InvalidCapacityReservationState',
      `The instance eligibility of the capacity reservation '${row.capacity_reservation_id}' can be changed only while no instance is in it.`,
    )
  }
  const changed = await change(context, row, { match_criteria: criteria })
  // Each comes with a place where it runs; a free one elsewhere goes for it.
  await dropFreeSlots(context.db, changed, await adoptMatching(context, changed, changed.total))
  await wakeMarketOfRoom(context.db, context.nowMs)
  return changed
}

async function changeCount(context: Context, row: CapacityReservationTable, count: number): Promise<void> {
  const used = (await usedOf(context, [row.capacity_reservation_id])).get(row.capacity_reservation_id) ?? 0
  if (count < used) {
    throw invalidValue('InstanceCount', count, `${used} instances are in the capacity reservation '${row.capacity_reservation_id}'.`)
  }
  const changed = await change(context, row, { total: count })
  if (count > row.total) return addRoom(context, changed, count - row.total)
  await dropFreeSlots(context.db, changed, row.total - count)
  await wakeMarketOfRoom(context.db, context.nowMs)
}

/** Writes some of its columns. @returns the row as it is then. */
export async function change(
  { db }: Pick<Context, 'db'>,
  row: CapacityReservationTable,
  columns: Partial<Pick<CapacityReservationTable, 'total' | 'end_ms' | 'match_criteria'>>,
): Promise<CapacityReservationTable> {
  await db
    .updateTable('capacity_reservations').set(columns).where('capacity_reservation_id', '=', row.capacity_reservation_id).execute()
  return { ...row, ...columns }
}
