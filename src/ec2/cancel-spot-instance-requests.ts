import type { CancelledSpotInstanceRequest, CancelSpotInstanceRequestsRequest, CancelSpotInstanceRequestsResult } from '@aws-sdk/client-ec2'
import { endInterruptedInstance } from '../model/spot-request-end.ts'
import { moveSpotRequest, toStatus, type SpotRequestMove } from '../model/spot-request.ts'
import type { SpotRequestTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { findSpotRequests, isShown } from './spot-request-rows.ts'

/**
 * CancelSpotInstanceRequests: they want no instance any more. One that runs goes on, as does one that its user has stopped; one that
 * was stopped by an interruption is terminated. What has ended stays as it is.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CancelSpotInstanceRequests.html
 *
 * @throws ApiError InvalidSpotInstanceRequestID.NotFound, with nothing cancelled, where one of them is not there.
 */
export async function cancelSpotInstanceRequests(
  context: Context,
  input: CancelSpotInstanceRequestsRequest,
): Promise<CancelSpotInstanceRequestsResult> {
  const ids = [...new Set(input.SpotInstanceRequestIds ?? [])]
  if (ids.length === 0) throw missingParameter('SpotInstanceRequestId')
  checkIds(RESOURCE_KINDS.spotRequest, ids)
  const rows = (await findSpotRequests(context, ids)).filter((row) => isShown(row, context.nowMs))
  requireAll(RESOURCE_KINDS.spotRequest, ids, new Set(rows.map((row) => row.request_id)))
  const byId = new Map(rows.map((row) => [row.request_id, row]))
  const cancelled: CancelledSpotInstanceRequest[] = []
  for (const id of ids) {
    const row = byId.get(id)
    if (row) cancelled.push({ SpotInstanceRequestId: id, State: await cancelSpotRequest(context, row) })
  }
  return { CancelledSpotInstanceRequests: cancelled }
}

/** Cancels one request, as its user or its fleet asks. @returns the state that it is in then. */
async function cancelSpotRequest({ db, nowMs }: Pick<Context, 'db' | 'nowMs'>, row: SpotRequestTable): Promise<'cancelled' | 'closed'> {
  const to = cancellationOf(row)
  if (!to) return row.state === 'cancelled' ? 'cancelled' : 'closed'
  await moveSpotRequest(db, row, to, nowMs, { doc: { isCancelled: true } })
  if (to.status === 'instance-terminated-by-service') await endInterruptedInstance(db, row, nowMs)
  return 'cancelled'
}

function cancellationOf(row: SpotRequestTable): SpotRequestMove | undefined {
  if (row.state === 'open') return toStatus('cancelled', 'canceled-before-fulfillment')
  if (row.state === 'active') return toStatus('cancelled', 'request-canceled-and-instance-running')
  if (row.state !== 'disabled') return undefined
  return row.status_code === 'instance-stopped-by-user'
    ? toStatus('cancelled', 'instance-stopped-by-user')
    : toStatus('cancelled', 'instance-terminated-by-service')
}
