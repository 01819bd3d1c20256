import { ApiError } from '../core/errors.ts'
import { moveSpotRequest, priceTooLow, toStatus } from '../model/spot-request.ts'
import { prepared } from '../store/prepared.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { notOnSpot } from './spot-offer.ts'
import { dollars, noSpotCapacity } from './spot-places.ts'
import { loadSpotPrices } from './spot-prices.ts'
import { loadSpotSupplies, spotRoom } from './spot-supply.ts'

const requestOf = prepared((db, requestId: string) => db.selectFrom('spot_requests').selectAll().where('request_id', '=', requestId))

/** The request that a spot instance belongs to; undefined on demand. */
async function spotRequestOf({ db }: Pick<Context, 'db'>, row: Pick<InstanceTable, 'spot_request_id'>): Promise<SpotRequestTable | undefined> {
  if (row.spot_request_id === null) return undefined
  const [request] = await requestOf(db, row.spot_request_id)
  return request
}

/**
 * Checks that a running instance may be stopped by its user: on demand any, on spot one of a persistent request that stands alone.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances-request.html
 *
 * @throws ApiError UnsupportedOperation, IncorrectSpotRequestState.
 */
export async function checkSpotStop(context: Context, row: InstanceTable, { hibernate }: { hibernate: boolean }): Promise<void> {
  const request = await spotRequestOf(context, row)
  if (!request) return
  const refuse = (why: string) =>
    new ApiError('UnsupportedOperation', `You can't stop the Spot Instance '${row.instance_id}' because it is ${why}`)
  if (request.type === 'one-time') {
    throw refuse('associated with a one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.')
  }
  if (request.fleet_id !== null) throw refuse('part of a fleet.')
  if (request.launch_group !== null) throw refuse('part of a launch group.')
  if (request.az_group !== null) throw refuse('part of an Availability Zone group.')
  // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StopInstances.html
  if (hibernate) {
    throw new ApiError('UnsupportedOperation', `You can't hibernate the Spot Instance '${row.instance_id}'. Only Amazon EC2 can, when it interrupts it.`)
  }
  if (request.state !== 'active') throw wrongRequestState('stop', row)
}

/** The user stops the instance: its request says so until the instance is stopped. */
export async function noteSpotStop(context: Context, row: InstanceTable): Promise<void> {
  const request = await spotRequestOf(context, row)
  if (request?.state !== 'active') return
  await moveSpotRequest(context.db, request, toStatus('active', 'marked-for-stop'), context.nowMs)
}

/**
 * Checks that a stopped spot instance may be started by its user, who must have stopped it: one that was interrupted is EC2's own
 * to start.
 *
 * @returns its request.
 * @throws ApiError IncorrectSpotRequestState; SpotMaxPriceTooLow; InsufficientInstanceCapacity.
 */
export async function checkSpotStart(context: Context, row: InstanceTable): Promise<SpotRequestTable> {
  const request = await spotRequestOf(context, row)
  if (!request || !mayBeStarted(request)) throw wrongRequestState('start', row)
  const prices = await loadSpotPrices(context.db, context.region, context.nowMs)
  const price = prices.priceMicroUsd(row.instance_type, row.zone)
  if (price === undefined) throw notOnSpot()
  if (price > request.max_price_micro_usd) throw new ApiError('SpotMaxPriceTooLow', priceTooLow(dollars(request.max_price_micro_usd), dollars(price)))
  return request
}

/**
 * Whether the instance of a request is its user's to start. Also where the request was cancelled, or was over, while the instance ran,
 * or where it is of a one-time request: then `hearth down` has stopped it, which EC2 has not, or its guest, and nobody else would start it.
 */
function mayBeStarted({ state, status_code: status, type }: SpotRequestTable): boolean {
  if (status === 'instance-stopped-by-user') return state === 'disabled' || type === 'one-time'
  return status === 'request-canceled-and-instance-running'
}

/** The request of a spot instance that its user has started is fulfilled again; one that is cancelled stays so. */
export async function noteSpotStart({ db, nowMs }: Context, request: SpotRequestTable): Promise<void> {
  const to = request.state === 'disabled' ? toStatus('active', 'fulfilled') : toStatus('cancelled', 'request-canceled-and-instance-running')
  await moveSpotRequest(db, request, to, nowMs)
}

/**
 * Checks that the zone's supply has room for one more spot instance, in the transaction that takes it.
 *
 * @throws ApiError InsufficientInstanceCapacity.
 */
export async function requireSpotSupply(context: Context, row: Pick<InstanceTable, 'zone' | 'vcpus' | 'memory_mib'>): Promise<void> {
  const supply = (await loadSpotSupplies(context.db, context.region)).get(row.zone)
  if (spotRoom(supply, { vcpus: row.vcpus, memoryMib: row.memory_mib }) < 1) throw noSpotCapacity()
}

/**
 * Refuses a change of an attribute that spot instances have not.
 *
 * @throws ApiError UnsupportedOperation, with EC2's own sentence (https://github.com/cloud-custodian/cloud-custodian/issues/2083).
 */
export function refuseOnSpot(row: Pick<InstanceTable, 'lifecycle'>, attribute: string): void {
  if (row.lifecycle !== 'spot') return
  throw new ApiError('UnsupportedOperation', `Modifying '${attribute}' is not supported for spot instances.`)
}

function wrongRequestState(verb: 'start' | 'stop', row: InstanceTable): ApiError {
  return new ApiError(
    'IncorrectSpotRequestState',
    `You can't ${verb} the Spot Instance '${row.instance_id}' because the associated Spot Instance request is not in an appropriate ` +
      `state to support ${verb}.`,
  )
}
