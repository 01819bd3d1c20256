import { unitsOf } from '../spot/clearing.ts'
import { ApiError } from '../core/errors.ts'
import { moveSpotRequest } from '../model/spot-request.ts'
import { prepared } from '../store/prepared.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { loadSpotPrices } from './spot-prices.ts'
import { FULFILLED } from './spot-status.ts'
import { loadSpotSupplies } from './spot-supply.ts'

const requestOf = prepared((db, requestId: string) => db.selectFrom('spot_requests').selectAll().where('request_id', '=', requestId))

/** The request that a spot instance belongs to; undefined on demand. */
export async function spotRequestOf({ db }: Pick<Context, 'db'>, row: Pick<InstanceTable, 'spot_request_id'>): Promise<SpotRequestTable | undefined> {
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
  const message = 'Your Spot instance is marked for stopping due to user-initiated stop.'
  await moveSpotRequest(context.db, request, { state: 'active', status: 'marked-for-stop', message }, context.nowMs)
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
  if (request?.state !== 'disabled' || request.status_code !== 'instance-stopped-by-user') throw wrongRequestState('start', row)
  const prices = await loadSpotPrices(context.db, context.region, context.nowMs)
  const price = prices.priceMicroUsd(row.instance_type, row.zone)
  if (price === undefined || price > request.max_price_micro_usd) {
    throw new ApiError(
      'SpotMaxPriceTooLow',
      `Your Spot request price of ${usd(request.max_price_micro_usd)} is lower than the minimum required Spot request fulfillment ` +
        `price of ${price === undefined ? 'its type' : usd(price)}.`,
    )
  }
  return request
}

/** The request of a spot instance that its user has started is fulfilled again. */
export async function noteSpotStart({ db, nowMs }: Context, request: SpotRequestTable): Promise<void> {
  await moveSpotRequest(db, request, { state: 'active', ...FULFILLED }, nowMs)
}

/**
 * Checks that the zone's supply has room for one more spot instance, in the transaction that takes it.
 *
 * @throws ApiError InsufficientInstanceCapacity.
 */
export async function requireSpotSupply(context: Context, row: Pick<InstanceTable, 'zone' | 'instance_type' | 'vcpus' | 'memory_mib'>): Promise<void> {
  const supply = (await loadSpotSupplies(context.db, context.region, context.nowMs)).get(row.zone)
  const units = supply && supply.vcpus > 0 ? unitsOf({ vcpus: row.vcpus, memoryMib: row.memory_mib }, supply) : Infinity
  if (supply && supply.heldUnits + units <= supply.supplyUnits) return
  throw new ApiError('InsufficientInstanceCapacity', 'There is no Spot capacity available that matches your request.')
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

function usd(microUsd: number): string {
  return String(microUsd / 1_000_000)
}
