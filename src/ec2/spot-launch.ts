import type { RunInstancesRequest, TagSpecification } from '@aws-sdk/client-ec2'
import { newId } from '../core/ids.ts'
import { emitEvent, instanceArn } from '../model/cloud-event.ts'
import { insertSpotRequest, toStatus, type SpotRequestDoc, type SpotRequestMove } from '../model/spot-request.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { DEFAULT_INSTANCE_TYPE } from './run-instances-input.ts'
import { launchInstances, type LaunchOrigin } from './run-instances.ts'
import type { SpotAsk, SpotLaunch } from './spot-offer.ts'
import { checkSpotLimit } from './spot-limit.ts'
import { insertTags, parseTagSpecifications, type TagInput } from './tags.ts'

/** Name of requests among the types of resources. */
export const REQUEST_TYPE = 'spot-instances-request'

/**
 * Launches instances on spot at once, as RunInstances and fleets of type `instant` do: each has a request of its own, which is
 * fulfilled from the beginning. Either all of that is written, or the caller rolls back.
 *
 * @throws ApiError SpotMaxPriceTooLow, InsufficientInstanceCapacity, and what `launchInstances` throws.
 */
export async function launchSpotInstances(context: Context, { input, ask }: SpotLaunch, origin: Omit<LaunchOrigin, 'spot'>): Promise<void> {
  const { db, random } = context
  const { launch, requestTags } = splitTags(input)
  await checkSpotLimit(context, input.MaxCount ?? 0)
  const requestIds = Array.from({ length: Math.max(0, input.MaxCount ?? 0) }, () => newId(random, 'sir'))
  const { behavior, maxPriceMicroUsd } = ask
  const { zones } = await launchInstances(context, launch, { ...origin, spot: { requestIds, behavior, maxPriceMicroUsd } })
  const instances = await db
    .selectFrom('instances').selectAll().where('reservation_id', '=', origin.reservationId).where('lifecycle', '=', 'spot').execute()
  for (const instance of instances) {
    await insertNewRequest(context, instance.spot_request_id ?? '', {
      ask, launch, zones, requestTags, ownTags: origin.tags, fleetId: origin.fleetId ?? null, instance, move: toStatus('active', 'fulfilled'),
    })
    await tellFulfilled(db, instance, context.nowMs)
  }
}

/** A request that is about to be. */
export interface NewRequest {
  ask: SpotAsk
  /** What is launched for it. */
  launch: RunInstancesRequest
  /** Zones that will do. */
  zones: readonly string[]
  requestTags: readonly TagInput[]
  /** Tags that EC2 itself gives to its instance. */
  ownTags?: readonly TagInput[]
  /** Of the call, for the first of its requests. */
  clientToken?: string | undefined
  fleetId?: string | null
  launchGroup?: string | null
  azGroup?: string | null
  validFromMs?: number | null
  /** That fulfils it already. */
  instance?: InstanceTable
  move: SpotRequestMove
}

/** Writes a request down, with its tags, and wakes the market. */
export async function insertNewRequest({ db, account, zones: all, nowMs }: Context, requestId: string, request: NewRequest): Promise<SpotRequestTable> {
  const { ask, launch, instance, move, ownTags = [] } = request
  const { MinCount: _min, MaxCount: _max, ClientToken: _token, TagSpecifications: launchTags, DryRun: _dryRun, InstanceMarketOptions: _market, ...rest } = launch
  const zones = all.filter((zone) => request.zones.includes(zone))
  const doc: SpotRequestDoc = {
    launch: rest, launchTags, ownTags: [...ownTags], spotPrice: ask.spotPrice, behavior: ask.behavior, statusMessage: move.message,
    productDescription: 'Linux/UNIX', launchedZone: instance?.zone ?? null, zones: zones.length === all.length || zones.length === 1 ? null : zones,
    fault: null, isCancelled: false, endedMs: null, ...(request.clientToken ? { clientToken: request.clientToken } : {}),
  }
  const row: SpotRequestTable = {
    request_id: requestId, account_id: account, state: move.state, status_code: move.status, type: ask.type,
    instance_type: launch.InstanceType || DEFAULT_INSTANCE_TYPE, zone: zones.length === 1 ? zones[0] ?? null : null,
    max_price_micro_usd: ask.maxPriceMicroUsd, bid_ppm: ask.bidPpm, instance_id: instance?.instance_id ?? null,
    launch_group: request.launchGroup ?? null, az_group: request.azGroup ?? null, fleet_id: request.fleetId ?? null,
    valid_from_ms: request.validFromMs ?? null, valid_until_ms: ask.validUntilMs, created_ms: nowMs, status_ms: nowMs, doc: JSON.stringify(doc),
  }
  await insertSpotRequest(db, row, nowMs)
  await insertTags(db, account, REQUEST_TYPE, requestId, request.requestTags)
  return row
}

/** Tags of requests are not tags of what is launched for them. @throws ApiError as `parseTagSpecifications` does. */
function splitTags(input: RunInstancesRequest): { launch: RunInstancesRequest; requestTags: TagInput[] } {
  const { TagSpecifications: specifications = [], ...launch } = input
  const isOfRequest = (each: TagSpecification) => each.ResourceType === REQUEST_TYPE
  const requestTags = parseTagSpecifications(specifications.filter(isOfRequest), [REQUEST_TYPE]).get(REQUEST_TYPE) ?? []
  const rest = specifications.filter((each) => !isOfRequest(each))
  return { launch: rest.length === 0 ? launch : { ...launch, TagSpecifications: rest }, requestTags }
}

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html#spot-request-fulfillment-event */
export async function tellFulfilled(db: Db, instance: InstanceTable, nowMs: number): Promise<void> {
  await emitEvent(db, {
    accountId: instance.account_id, detailType: 'EC2 Spot Instance Request Fulfillment', resources: [instanceArn(instance)],
    detail: { 'spot-instance-request-id': instance.spot_request_id, 'instance-id': instance.instance_id },
  }, nowMs)
}
