import type {
  RequestSpotInstancesRequest, RequestSpotInstancesResult, RequestSpotLaunchSpecification, RunInstancesRequest,
} from '@aws-sdk/client-ec2'
import { newId } from '../core/ids.ts'
import { notScheduledYet, toStatus } from '../model/spot-request.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { checkEnum, invalidValue, missingParameter, unsupportedParameter } from './parameters.ts'
import { DEFAULT_INSTANCE_TYPE } from './run-instances-input.ts'
import { checkLaunch } from './run-instances.ts'
import { insertNewRequest, REQUEST_TYPE } from './spot-launch.ts'
import { checkOneTime, checkValidUntil, launchOnSpot, refuseBlocks, requestedOffer, type SpotAsk } from './spot-offer.ts'
import { checkSpotLimit, tooManySpotRequests } from './spot-limit.ts'
import { loadSpotRequests } from './spot-request-rows.ts'
import { parseTagSpecifications } from './tags.ts'

/** How long a one-time request is open unless it says so: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RequestSpotInstances.html */
const DEFAULT_VALID_MS = 7 * 24 * 60 * 60 * 1000
/** Of one call, as RunInstances has it. */
const MOST_IN_CALL = 1000

/**
 * RequestSpotInstances: one request for each instance, which the market fulfils when its price and its supply allow. What is launched is checked
 * as far as it can be now; what fails later makes a request `failed` with `bad-parameters`.
 *
 * @throws ApiError MaxSpotInstanceCountExceeded, InvalidParameterValue, and whatever RunInstances would say of the launch.
 */
export async function requestSpotInstances(context: Context, input: RequestSpotInstancesRequest): Promise<RequestSpotInstancesResult> {
  const { random, nowMs } = context
  const { LaunchSpecification: specification } = input
  if (!specification) throw missingParameter('LaunchSpecification')
  const ask = requestedAsk(input, specification, nowMs)
  const count = checkCount(input.InstanceCount)
  const requestTags = parseTagSpecifications(input.TagSpecifications, [REQUEST_TYPE]).get(REQUEST_TYPE) ?? []
  const launch = launchOnSpot(launchOf(specification), ask.behavior)
  // Ids of one call are found by their token, which knows one of them.
  const ids = Array.from({ length: count }, () => newId(random, 'sir'))
  const earlier = await claimToken(context, 'RequestSpotInstances', input, ids.join(','))
  if (earlier !== undefined) return { SpotInstanceRequests: await loadSpotRequests(context, earlier.split(',')) }
  await checkSpotLimit(context, count)
  const { zones } = await checkLaunch(context, { ...launch, MinCount: 1, MaxCount: count })
  const validFromMs = input.ValidFrom?.getTime() ?? null
  for (const [index, id] of ids.entries()) {
    await insertNewRequest(context, id, {
      ask, launch, zones, requestTags, validFromMs, clientToken: index === 0 ? input.ClientToken : undefined, launchGroup: input.LaunchGroup || null, azGroup: input.AvailabilityZoneGroup || null,
      move: validFromMs === null ? toStatus('open', 'pending-evaluation') : notScheduledYet(validFromMs),
    })
  }
  return { SpotInstanceRequests: await loadSpotRequests(context, ids) }
}

function requestedAsk(input: RequestSpotInstancesRequest, { InstanceType: typeName }: RequestSpotLaunchSpecification, nowMs: number): SpotAsk {
  refuseBlocks(input.BlockDurationMinutes)
  const offer = requestedOffer(typeName || DEFAULT_INSTANCE_TYPE, input.SpotPrice, 'SpotPrice')
  const type = checkEnum('Type', input.Type, ['one-time', 'persistent']) ?? 'one-time'
  const behavior = checkEnum('InstanceInterruptionBehavior', input.InstanceInterruptionBehavior, ['hibernate', 'stop', 'terminate']) ?? 'terminate'
  checkOneTime(type, behavior)
  const { ValidFrom: from, ValidUntil: until } = input
  if (from && from.getTime() <= nowMs) throw invalidValue('ValidFrom', from.toISOString(), 'It must be in the future.')
  checkValidUntil(until, nowMs)
  if (from && until && until <= from) throw invalidValue('ValidUntil', until.toISOString(), 'It must be later than ValidFrom.')
  for (const name of ['LaunchGroup', 'AvailabilityZoneGroup'] as const) {
    if ((input[name]?.length ?? 0) > 255) throw invalidValue(name, input[name], 'It may have up to 255 characters.')
  }
  const lastMs = type === 'one-time' ? Math.max(nowMs, from?.getTime() ?? 0) + DEFAULT_VALID_MS : null
  return { ...offer, type, behavior, validUntilMs: until?.getTime() ?? lastMs }
}

function checkCount(count = 1): number {
  if (count < 1) throw invalidValue('InstanceCount', count, 'It must be at least 1.')
  if (count > MOST_IN_CALL) throw tooManySpotRequests()
  return count
}

/** The launch that a specification stands for. */
function launchOf(specification: RequestSpotLaunchSpecification): RunInstancesRequest {
  const { AddressingType: addressing, Placement: placement, ...launch } = specification
  // Of EC2-Classic: how addresses were given out before there were VPCs.
  if (addressing) throw unsupportedParameter('LaunchSpecification.AddressingType')
  return { ...launch, ...(placement ? { Placement: placement } : {}), MinCount: 1, MaxCount: 1 }
}
