import type {
  DeleteFleetErrorItem, DeleteFleetsRequest, DeleteFleetsResult, DeleteFleetSuccessItem, DescribeFleetsRequest, DescribeFleetsResult, FleetData,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { isWellFormedId } from '../core/ids.ts'
import { fleetInstanceIds, isForgotten, moveFleet, shownState, wakeFleet, type FleetState } from '../model/fleet.ts'
import { noteFleetEvent } from '../model/fleet-history.ts'
import { fleetToWire } from '../model/fleet-wire.ts'
import { inBatches } from '../store/batch.ts'
import { attempt } from '../store/savepoint.ts'
import type { FleetTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { compileFilters, flag, type FilterFields } from './filters.ts'
import { terminateInstances } from './instance-lifecycle.ts'
import { paginate, timeKey } from './pagination.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { fromWireTags, tagsOf, toWireTags } from './tags.ts'

/** In one call, of type instant and of the others: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteFleets.html */
const MAX_DELETED = { instant: 25, others: 100 }

/**
 * DescribeFleets. Fleets of type `instant` are shown only to who names them:
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeFleets.html
 */
export async function describeFleets({ db, account, nowMs }: Context, input: DescribeFleetsRequest): Promise<DescribeFleetsResult> {
  const ids = input.FleetIds ?? []
  checkIds(RESOURCE_KINDS.fleet, ids)
  const ofAccount = db.selectFrom('fleets').selectAll().where('account_id', '=', account).where('kind', '=', 'fleet')
  // There may be very many of type instant, which are not asked for here.
  const found = ids.length > 0 ? await inBatches(ids, (batch) => ofAccount.where('fleet_id', 'in', batch).execute()) : await ofAccount.where('type', '<>', 'instant').execute()
  const wanted = found.filter((row) => !isForgotten(row, nowMs))
  requireAll(RESOURCE_KINDS.fleet, ids, new Set(wanted.map((row) => row.fleet_id)))
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

/** Which of the instances of deleted fleets of type instant are not terminated yet: of those, nobody writes that down. */
async function livingInstances(db: Db, rows: readonly FleetTable[]): Promise<Set<string>> {
  const ids = rows.filter((row) => row.state === 'deleted_terminating' && row.type === 'instant').flatMap(fleetInstanceIds)
  const found = await inBatches(ids, (batch) =>
    db.selectFrom('instances').select('instance_id').where('instance_id', 'in', batch).where('state', '<>', 'terminated').execute())
  return new Set(found.map((row) => row.instance_id))
}

function stateOf(row: FleetTable, living: ReadonlySet<string>): FleetState {
  return row.type === 'instant' ? shownState(row, fleetInstanceIds(row).some((id) => living.has(id))) : row.state as FleetState
}

/**
 * DeleteFleets: each by itself. With all of its instances, or without them, which fleets of type `instant` cannot leave behind; those
 * of the other types are the reconciler's to terminate. Too many: none.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/delete-fleet.html
 */
export async function deleteFleets(context: Context, input: DeleteFleetsRequest): Promise<DeleteFleetsResult> {
  const done: DeleteFleetSuccessItem[] = []
  const failed: DeleteFleetErrorItem[] = []
  const ids = [...new Set(input.FleetIds)]
  if (ids.length === 0) throw missingParameter('FleetId')
  if (input.TerminateInstances === undefined) throw missingParameter('TerminateInstances')
  const instants = await countInstants(context, ids)
  const how = {
    terminates: input.TerminateInstances, isOneTooMany: instants > MAX_DELETED.instant || ids.length - instants > MAX_DELETED.others,
  }
  for (const id of ids) {
    const deleted = await attempt(context.db, () => deleteFleet(context, id, how))
    if (!(deleted instanceof ApiError)) done.push({ FleetId: id, PreviousFleetState: deleted.before, CurrentFleetState: deleted.after })
    else failed.push({ FleetId: id, Error: { Code: deleted.code as 'unexpectedError', Message: deleted.message } })
  }
  return { SuccessfulFleetDeletions: done, UnsuccessfulFleetDeletions: failed }
}

async function countInstants({ db, account }: Context, ids: readonly string[]): Promise<number> {
  const rows = await inBatches(ids, (batch) =>
    db.selectFrom('fleets').select('type').where('account_id', '=', account).where('kind', '=', 'fleet').where('fleet_id', 'in', batch).execute())
  return rows.filter((row) => row.type === 'instant').length
}

/** Deletes one. @returns the states that it was in, and is in. @throws ApiError with one of the codes of this call. */
async function deleteFleet(
  context: Context,
  id: string,
  { terminates, isOneTooMany }: { terminates: boolean; isOneTooMany: boolean },
): Promise<{ before: FleetState; after: FleetState }> {
  const { db, account, region, nowMs } = context
  if (!isWellFormedId('fleet', id)) throw new ApiError('fleetIdMalformed', `The fleet ID '${id}' is malformed`)
  const row = await db
    .selectFrom('fleets').selectAll().where('account_id', '=', account).where('kind', '=', 'fleet').where('fleet_id', '=', id).executeTakeFirst()
  if (!row) throw new ApiError('fleetIdDoesNotExist', RESOURCE_KINDS.fleet.notFound(id, true))
  const isInstant = row.type === 'instant'
  if (isOneTooMany) {
    throw isInstant
      ? new ApiError('ExceededInstantFleetNumForDeletion', `Can’t delete more than ${MAX_DELETED.instant} instant fleets in a single request.`)
      : new ApiError('unexpectedError', `Can’t delete more than ${MAX_DELETED.others} fleets in a single request.`)
  }
  if (!terminates && isInstant) {
    throw new ApiError('NoTerminateInstancesNotSupported', 'NoTerminateInstances option is not supported for instant fleet')
  }
  const before = row.state as FleetState
  const after = terminates ? 'deleted_terminating' : 'deleted_running'
  if (!(await moveFleet(db, row, after, { deletedMs: nowMs }))) {
    throw new ApiError('fleetNotInDeletableState', `The fleet '${id}' is in the state ${row.state} and cannot be deleted`)
  }
  if (isInstant) await terminateThem(context, fleetInstanceIds(row))
  else {
    await noteFleetEvent(db, row, region, { type: 'fleetRequestChange', subType: after }, nowMs)
    await wakeFleet(db, id, nowMs)
  }
  return { before, after }
}

/** Terminates those that are still there. @throws ApiError unexpectedError for one that is protected from that. */
async function terminateThem(context: Context, ids: readonly string[]): Promise<void> {
  const there = await inBatches(ids, (batch) =>
    context.db.selectFrom('instances').select('instance_id').where('instance_id', 'in', batch).where('state', '<>', 'terminated').execute())
  if (there.length === 0) return
  const result = await terminateInstances(context, { InstanceIds: there.map((row) => row.instance_id) })
  if (result instanceof ApiError) throw new ApiError('unexpectedError', result.message)
}
