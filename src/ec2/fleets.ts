import type {
  DeleteFleetErrorItem, DeleteFleetsRequest, DeleteFleetsResult, DeleteFleetSuccessItem, DescribeFleetHistoryRequest,
  DescribeFleetHistoryResult, DescribeFleetInstancesRequest, DescribeFleetInstancesResult, DescribeFleetsRequest, DescribeFleetsResult,
  FleetData, ModifyFleetRequest, ModifyFleetResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { isWellFormedId } from '../core/ids.ts'
import { endOfShowingFleets, fleetDoc, fleetInstanceIds, moveFleet, shownState, type FleetState } from '../model/fleet.ts'
import { fleetToWire } from '../model/fleet-wire.ts'
import { inBatches } from '../store/batch.ts'
import { attempt } from '../store/savepoint.ts'
import type { FleetTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { compileFilters, flag, type FilterFields } from './filters.ts'
import { terminateInstances } from './instance-lifecycle.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkEnum, missingParameter } from './parameters.ts'
import { checkIds, notFoundError, requireAll, RESOURCE_KINDS } from './resources.ts'
import { deleteTagsOf, fromWireTags, tagsOf, toWireTags } from './tags.ts'

/** Of type instant, in one call: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteFleets.html */
const MAX_DELETED = 25

/**
 * DescribeFleets. Fleets of type `instant` are shown only to who names them:
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeFleets.html
 */
export async function describeFleets({ db, account, nowMs }: Context, input: DescribeFleetsRequest): Promise<DescribeFleetsResult> {
  const ids = input.FleetIds ?? []
  checkIds(RESOURCE_KINDS.fleet, ids)
  const all = (await db.selectFrom('fleets').selectAll().where('account_id', '=', account).execute())
    .filter((row) => (fleetDoc(row).deletedMs ?? nowMs) > endOfShowingFleets(nowMs))
  requireAll(RESOURCE_KINDS.fleet, ids, new Set(all.map((row) => row.fleet_id)))
  const wanted = all.filter((row) => (ids.length > 0 ? ids.includes(row.fleet_id) : row.type !== 'instant'))
  const tags = await tagsOf(db, wanted.map((row) => row.fleet_id))
  const living = await livingInstances(db, wanted)
  const fleets = wanted.map((row) => fleetToWire(row, stateOf(row, living), toWireTags(tags.get(row.fleet_id))))
  const matches = compileFilters(input.Filters, FIELDS, (fleet) => fromWireTags(fleet.Tags))
  const { page, nextToken } = paginate(fleets.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, operation: 'DescribeFleets',
    keyOf: (fleet) => timeKey(fleet.CreateTime?.getTime() ?? 0, fleet.FleetId ?? ''),
  })
  return { Fleets: page, NextToken: nextToken }
}

const FIELDS: FilterFields<FleetData> = {
  'activity-status': (fleet) => fleet.ActivityStatus,
  'excess-capacity-termination-policy': (fleet) => fleet.ExcessCapacityTerminationPolicy,
  'fleet-state': (fleet) => fleet.FleetState,
  'replace-unhealthy-instances': (fleet) => flag(fleet.ReplaceUnhealthyInstances === true),
  type: (fleet) => fleet.Type,
}

/** Which of the instances of deleted fleets are not terminated yet. */
async function livingInstances(db: Db, rows: readonly FleetTable[]): Promise<Set<string>> {
  const ids = rows.filter((row) => row.state === 'deleted_terminating').flatMap(fleetInstanceIds)
  const found = await inBatches(ids, (batch) =>
    db.selectFrom('instances').select('instance_id').where('instance_id', 'in', batch).where('state', '<>', 'terminated').execute())
  return new Set(found.map((row) => row.instance_id))
}

function stateOf(row: FleetTable, living: ReadonlySet<string>): FleetState {
  return shownState(row, fleetInstanceIds(row).some((id) => living.has(id)))
}

/** DescribeFleetInstances: not of fleets of type `instant`, whose instances DescribeFleets tells. */
export async function describeFleetInstances(
  context: Context,
  { FleetId: id, Filters: filters }: DescribeFleetInstancesRequest,
): Promise<DescribeFleetInstancesResult> {
  const row = await requireFleet(context, id)
  compileFilters(filters, { 'instance-type': () => undefined })
  throw new ApiError(
    'Unsupported', `Fleet ${row.fleet_id} is instant fleet. Describe fleet instances is not supported by this type of fleet`)
}

/** DescribeFleetHistory: fleets of type `instant` have none, since all that happens to them is told by CreateFleet. */
export async function describeFleetHistory(
  context: Context,
  { FleetId: id, EventType: eventType }: DescribeFleetHistoryRequest,
): Promise<DescribeFleetHistoryResult> {
  checkEnum('EventType', eventType, ['instance-change', 'fleet-change', 'service-error'])
  const row = await requireFleet(context, id)
  throw new ApiError(
    'Unsupported', `Fleet ${row.fleet_id} is instant fleet. Describe fleet history is not supported by this type of fleet`)
}

/** ModifyFleet: only fleets of type `maintain` can be modified. */
export async function modifyFleet(context: Context, { FleetId: id }: ModifyFleetRequest): Promise<ModifyFleetResult> {
  const row = await requireFleet(context, id)
  throw new ApiError('FleetNotInModifiableState', `Fleet Request: ${row.fleet_id} is not a modifiable fleet request type.`)
}

/** One fleet of the account. @throws ApiError InvalidFleetId.Malformed and .NotFound. */
async function requireFleet({ db, account }: Context, id: string | undefined): Promise<FleetTable> {
  checkIds(RESOURCE_KINDS.fleet, [id ?? ''])
  const row = await db
    .selectFrom('fleets').selectAll().where('account_id', '=', account).where('fleet_id', '=', id ?? '').executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.fleet, [id ?? ''])
  return row
}

/**
 * DeleteFleets: each by itself, with all of its instances, which fleets of type `instant` cannot leave behind. Too many: none.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/delete-fleet.html
 */
export async function deleteFleets(context: Context, input: DeleteFleetsRequest): Promise<DeleteFleetsResult> {
  const done: DeleteFleetSuccessItem[] = []
  const failed: DeleteFleetErrorItem[] = []
  const ids = [...new Set(input.FleetIds)]
  if (ids.length === 0) throw missingParameter('FleetId')
  if (input.TerminateInstances === undefined) throw missingParameter('TerminateInstances')
  const how = { terminates: input.TerminateInstances, isOneTooMany: ids.length > MAX_DELETED }
  for (const id of ids) {
    const deleted = await attempt(context.db, () => deleteFleet(context, id, how))
    if (!(deleted instanceof ApiError)) done.push({ FleetId: id, PreviousFleetState: deleted, CurrentFleetState: 'deleted_terminating' })
    else failed.push({ FleetId: id, Error: { Code: deleted.code as 'unexpectedError', Message: deleted.message } })
  }
  return { SuccessfulFleetDeletions: done, UnsuccessfulFleetDeletions: failed }
}

/** Deletes one. @returns the state that it was in. @throws ApiError with one of the codes of this call. */
async function deleteFleet(
  context: Context,
  id: string,
  { terminates, isOneTooMany }: { terminates: boolean; isOneTooMany: boolean },
): Promise<FleetState> {
  const { db, account, nowMs } = context
  if (!isWellFormedId('fleet', id)) throw new ApiError('fleetIdMalformed', `The fleet ID '${id}' is malformed`)
  const row = await db
    .selectFrom('fleets').selectAll().where('account_id', '=', account).where('fleet_id', '=', id).executeTakeFirst()
  if (!row) throw new ApiError('fleetIdDoesNotExist', RESOURCE_KINDS.fleet.notFound(id, true))
  if (isOneTooMany) {
    throw new ApiError('ExceededInstantFleetNumForDeletion', `Can’t delete more than ${MAX_DELETED} instant fleets in a single request.`)
  }
  if (!terminates) {
    throw new ApiError('NoTerminateInstancesNotSupported', 'NoTerminateInstances option is not supported for instant fleet')
  }
  if (!(await moveFleet(db, row, 'deleted_terminating', { deletedMs: nowMs }))) {
    throw new ApiError('fleetNotInDeletableState', `The fleet '${id}' is in the state ${row.state} and cannot be deleted`)
  }
  await terminateThem(context, fleetInstanceIds(row))
  return row.state as FleetState
}

/** Terminates those that are still there. @throws ApiError unexpectedError for one that is protected from that. */
async function terminateThem(context: Context, ids: readonly string[]): Promise<void> {
  const there = await inBatches(ids, (batch) =>
    context.db.selectFrom('instances').select('instance_id').where('instance_id', 'in', batch).where('state', '<>', 'terminated').execute())
  if (there.length === 0) return
  const result = await terminateInstances(context, { InstanceIds: there.map((row) => row.instance_id) })
  if (result instanceof ApiError) throw new ApiError('unexpectedError', result.message)
}

/** Forgets fleets that were deleted so long ago that nobody is shown them any more. */
export async function forgetDeletedFleets(context: Context): Promise<void> {
  const { db, account, nowMs } = context
  const rows = await db
    .selectFrom('fleets').selectAll().where('account_id', '=', account).where('state', '=', 'deleted_terminating').execute()
  const ids = rows.filter((row) => (fleetDoc(row).deletedMs ?? nowMs) <= endOfShowingFleets(nowMs)).map((row) => row.fleet_id)
  await deleteTagsOf(db, ids)
  for (const id of ids) await forgetTokensOf(context, id)
  await inBatches(ids, (batch) => db.deleteFrom('fleets').where('fleet_id', 'in', batch).execute())
}
