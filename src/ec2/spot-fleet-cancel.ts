import type {
  CancelBatchErrorCode, CancelSpotFleetRequestsErrorItem, CancelSpotFleetRequestsRequest, CancelSpotFleetRequestsResponse,
  CancelSpotFleetRequestsSuccessItem,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { isWellFormedId } from '../core/ids.ts'
import { moveFleet, wakeFleet, type FleetState } from '../model/fleet.ts'
import { noteFleetEvent } from '../model/fleet-history.ts'
import { batchState } from '../model/spot-fleet.ts'
import { attempt } from '../store/savepoint.ts'
import type { Context } from './context.ts'
import { invalidValue, missingParameter } from './parameters.ts'
import { RESOURCE_KINDS } from './resources.ts'
import { findSpotFleet } from './spot-fleet-rows.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CancelSpotFleetRequests.html */
const MAX_CANCELLED = 100

/**
 * CancelSpotFleetRequests: each by itself, with its instances or without them; one that was cancelled without them may be cancelled
 * once more with them. The reconciler of fleets ends what is to end. Too many: none.
 */
export async function cancelSpotFleetRequests(
  context: Context,
  input: CancelSpotFleetRequestsRequest,
): Promise<CancelSpotFleetRequestsResponse> {
  const ids = [...new Set(input.SpotFleetRequestIds)]
  const { TerminateInstances: terminates } = input
  if (ids.length === 0) throw missingParameter('SpotFleetRequestId')
  if (terminates === undefined) throw missingParameter('TerminateInstances')
  if (ids.length > MAX_CANCELLED) {
    throw invalidValue('SpotFleetRequestId', ids.length, `At most ${MAX_CANCELLED} Spot Fleet requests can be cancelled in one call.`)
  }
  const to: FleetState = terminates ? 'deleted_terminating' : 'deleted_running'
  const done: CancelSpotFleetRequestsSuccessItem[] = []
  const failed: CancelSpotFleetRequestsErrorItem[] = []
  for (const id of ids) {
    const before = await attempt(context.db, () => cancel(context, id, to))
    if (before instanceof ApiError) {
      failed.push({ SpotFleetRequestId: id, Error: { Code: before.code as CancelBatchErrorCode, Message: before.message } })
    } else {
      done.push({
        SpotFleetRequestId: id, PreviousSpotFleetRequestState: batchState(before), CurrentSpotFleetRequestState: batchState(to),
      })
    }
  }
  return { SuccessfulFleetRequests: done, UnsuccessfulFleetRequests: failed }
}

/** Cancels one. @returns the state that it was in. @throws ApiError with one of the codes of this call. */
async function cancel(context: Context, id: string, to: FleetState): Promise<FleetState> {
  const { db, nowMs, region } = context
  if (!isWellFormedId('sfr', id)) throw new ApiError('fleetRequestIdMalformed', `The spot fleet request ID '${id}' is malformed`)
  const row = await findSpotFleet(context, id)
  if (!row) throw new ApiError('fleetRequestIdDoesNotExist', RESOURCE_KINDS.spotFleet.notFound(id, true))
  if (!(await moveFleet(db, row, to, { deletedMs: nowMs }))) {
    throw new ApiError(
      'fleetRequestNotInCancellableState', `The spot fleet request '${id}' is in the state ${batchState(row.state as FleetState)} and cannot be cancelled`)
  }
  await noteFleetEvent(db, row, region, { type: 'fleetRequestChange', subType: to }, nowMs)
  await wakeFleet(db, id, nowMs)
  return row.state as FleetState
}
