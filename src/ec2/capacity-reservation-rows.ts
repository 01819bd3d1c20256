import type { CapacityReservation } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { capacityReservationDoc, isReservationShown, stateOfReservation } from '../model/capacity-reservation.ts'
import { capacityReservationToWire } from '../model/capacity-reservation-wire.ts'
import type { ReservedCapacity } from '../scheduler/place.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import { prepared } from '../store/prepared.ts'
import type { CapacityReservationTable } from '../store/schema.ts'
import { forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'
import { deleteTagsOf, tagsOf, toWireTags } from './tags.ts'

const slotsWithRoom = prepared((db, account: string, instanceType: string) =>
  db
    .selectFrom('capacity_reservation_hosts as slots')
    .innerJoin('capacity_reservations as reservations', 'reservations.capacity_reservation_id', 'slots.capacity_reservation_id')
    .selectAll('reservations').select(['host_id', 'reserved', 'used'])
    .where('account_id', '=', account).where('instance_type', '=', instanceType).where('state', '=', 'active')
    .where((eb) => eb('reserved', '>', eb.ref('used')))
    .orderBy('created_ms').orderBy('reservations.capacity_reservation_id'))

/**
 * What each host has free in reservations of this account for a type, oldest first: for the scheduler. Those whose time is
 * over have nothing, whether they have been ended or not.
 */
export async function loadReservations(
  { db, account, nowMs }: Pick<Context, 'db' | 'account' | 'nowMs'>,
  instanceType: string,
): Promise<Map<string, ReservedCapacity[]>> {
  const rows = await slotsWithRoom(db, account, instanceType)
  const open = rows.filter((row) => stateOfReservation(row, nowMs) === 'active')
  return new Map([...groupBy(open, (row) => row.host_id)].map(([hostId, slots]) => [hostId, slots.map((row): ReservedCapacity => ({
    capacityReservationId: row.capacity_reservation_id, matchCriteria: row.match_criteria,
    tenancy: capacityReservationDoc(row).tenancy, free: row.reserved - row.used, createdMs: row.created_ms,
  }))]))
}

/** The account's reservations that are shown, or those of the ids. */
export async function shownReservations(
  { db, account, nowMs }: Context,
  ids: readonly string[] = [],
): Promise<CapacityReservationTable[]> {
  const query = db.selectFrom('capacity_reservations').selectAll().where('account_id', '=', account)
  const rows = ids.length === 0
    ? await query.execute()
    : await inBatches(ids, (batch) => query.where('capacity_reservation_id', 'in', batch).execute())
  return rows.filter((row) => isReservationShown(row, nowMs))
}

/**
 * The row of the reservation that a call names.
 *
 * @throws ApiError MissingParameter, InvalidCapacityReservationId.Malformed, InvalidCapacityReservationId.NotFound.
 */
export async function requireReservation(
  context: Context,
  id: string | undefined,
  parameter = 'CapacityReservationId',
): Promise<CapacityReservationTable> {
  if (!id) throw missingParameter(parameter)
  checkIds(RESOURCE_KINDS.capacityReservation, [id])
  const [row] = await shownReservations(context, [id])
  if (!row) throw notFoundError(RESOURCE_KINDS.capacityReservation, [id])
  return row
}

/** The row of one that is active. @throws ApiError as `requireReservation`, and InvalidCapacityReservationState. */
export async function requireActiveReservation(
  context: Context,
  id: string | undefined,
  parameter?: string,
): Promise<CapacityReservationTable> {
  const row = await requireReservation(context, id, parameter)
  const state = stateOfReservation(row, context.nowMs)
  if (state === 'active') return row
  throw new ApiError(
    'InvalidCapacityReservationState', `The capacity reservation '${row.capacity_reservation_id}' is ${state}; it must be active.`,
  )
}

/** How many instances are in each of the reservations; those without any are not in the map. */
export async function usedOf({ db }: Pick<Context, 'db'>, ids: readonly string[]): Promise<Map<string, number>> {
  const rows = await inBatches(ids, (batch) => db
    .selectFrom('capacity_reservation_hosts').select(['capacity_reservation_id', 'used']).where('capacity_reservation_id', 'in', batch).execute())
  const used = new Map<string, number>()
  for (const row of rows) used.set(row.capacity_reservation_id, (used.get(row.capacity_reservation_id) ?? 0) + row.used)
  return used
}

/** The wire forms of reservations, in their order. */
export async function loadReservationsToWire(context: Context, rows: readonly CapacityReservationTable[]): Promise<CapacityReservation[]> {
  const ids = rows.map((row) => row.capacity_reservation_id)
  const tags = await tagsOf(context.db, ids)
  const used = await usedOf(context, ids)
  return rows.map((row) => capacityReservationToWire(row, {
    region: context.region, nowMs: context.nowMs, used: used.get(row.capacity_reservation_id) ?? 0,
    tags: toWireTags(tags.get(row.capacity_reservation_id)),
  }))
}

/** The wire form of one that is there, as it is now. */
export async function loadReservationToWire(context: Context, id: string): Promise<CapacityReservation> {
  const wire = await findReservationToWire(context, id)
  if (!wire) throw new Error(`${id} is not there`)
  return wire
}

/** The wire form of one, as it is now; undefined where it has been forgotten. */
export async function findReservationToWire(context: Context, id: string): Promise<CapacityReservation | undefined> {
  const rows = await context.db
    .selectFrom('capacity_reservations').selectAll().where('account_id', '=', context.account)
    .where('capacity_reservation_id', '=', id).execute()
  return (await loadReservationsToWire(context, rows))[0]
}

/** Forgets the account's reservations that ended too long ago to be shown. */
export async function forgetEndedReservations(context: Context): Promise<void> {
  const { db, account, nowMs } = context
  const rows = await db
    .selectFrom('capacity_reservations').selectAll().where('account_id', '=', account).where('state', '<>', 'active').execute()
  const ids = rows.filter((row) => !isReservationShown(row, nowMs)).map((row) => row.capacity_reservation_id)
  await deleteTagsOf(db, ids)
  for (const id of ids) await forgetTokensOf(context, id)
  await inBatches(ids, (batch) => db.deleteFrom('capacity_reservations').where('capacity_reservation_id', 'in', batch).execute())
}
