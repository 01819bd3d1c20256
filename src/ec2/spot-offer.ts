import type { RequestSpotInstancesRequest, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { instanceType } from '../catalogue/instance-types.ts'
import { onDemandMicroUsd } from '../catalogue/on-demand-prices.ts'
import { ApiError } from '../core/errors.ts'
import type { InterruptionBehavior } from '../model/spot-request.ts'
import { WHOLE_PPM } from '../spot/clearing.ts'
import { checkEnum, invalidValue, missingParameter, unsupportedParameter } from './parameters.ts'
import { DEFAULT_INSTANCE_TYPE } from './run-instances-input.ts'

/** What somebody would pay for an hour of one instance. */
export interface SpotOffer {
  /** As it was asked for; "" for the default, the price on demand. */
  spotPrice: string
  maxPriceMicroUsd: number
  /** The same as parts per million of the price on demand. */
  bidPpm: number
}

/** What a spot request is beside its launch. */
export interface SpotAsk extends SpotOffer {
  type: 'one-time' | 'persistent'
  behavior: InterruptionBehavior
  validUntilMs: number | null
}

/** A bid counts up to this multiple of the price on demand: as far as EC2 took bids while it was an auction. */
const MOST_BID = 10
/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotMarketOptions.html */
const LEAST_PRICE_MICRO_USD = 1000
const MOST_PRICE_USD = 1_000_000

/**
 * An offer for instances of a type. `parameter` is its name in the call.
 *
 * @throws ApiError InvalidParameterValue for what is no price, or less than $0.001; Unsupported for a type that is not had on spot.
 */
export function requestedOffer(typeName: string, price: string | undefined, parameter: string): SpotOffer {
  const onDemand = onDemandMicroUsd(typeName)
  const isOnSpot = instanceType(typeName)?.SupportedUsageClasses?.includes('spot') ?? true
  if (onDemand === undefined || !isOnSpot) throw notOnSpot()
  if (price === undefined || price === '') return { spotPrice: '', maxPriceMicroUsd: onDemand, bidPpm: WHOLE_PPM }
  if (!/^\d+(\.\d*)?$/.test(price) || Number(price) > MOST_PRICE_USD) throw invalidValue(parameter, price, 'Expecting a price in US dollars per hour.')
  // Decimals of dollars are not exact in binary: 0.0104 dollars are to be 10,400 micro-dollars.
  const maxPriceMicroUsd = Math.floor(Number(price) * 1_000_000 + 1e-3)
  if (maxPriceMicroUsd < LEAST_PRICE_MICRO_USD) throw invalidValue(parameter, price, 'The maximum price must be more than USD $0.001.')
  return { spotPrice: price, maxPriceMicroUsd, bidPpm: bidPpmOf(maxPriceMicroUsd, onDemand) }
}

/**
 * An offer as parts per million of the price on demand: the most of them whose price, rounded to micro-dollars, is still within
 * it, so that who offers exactly what is shown as the price is not below it.
 */
function bidPpmOf(maxPriceMicroUsd: number, onDemandMicroUsdPerHour: number): number {
  const offered = Math.min(maxPriceMicroUsd, MOST_BID * onDemandMicroUsdPerHour)
  const exact = (offered * WHOLE_PPM) / onDemandMicroUsdPerHour
  return Math.max(Math.ceil(exact), Math.ceil(exact + WHOLE_PPM / (2 * onDemandMicroUsdPerHour)) - 1)
}

/** EC2's error for a configuration that cannot be had, here for a type without a price. */
export function notOnSpot(): ApiError {
  return new ApiError(
    'Unsupported', 'The requested configuration is currently not supported. Please check the documentation for supported configurations.',
  )
}

/** The market of a launch, with what is left of it for `launchInstances`; null where it is on demand. */
export interface SpotLaunch {
  input: RunInstancesRequest
  ask: SpotAsk
}

/**
 * What RunInstances, or a launch template, says of spot.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotMarketOptions.html
 *
 * @throws ApiError InvalidParameterCombination, InvalidParameterValue, UnsupportedOperation for other markets.
 */
export function requestedMarket(input: RunInstancesRequest, nowMs: number): SpotLaunch | null {
  const { InstanceMarketOptions: { MarketType: market, SpotOptions: options = {} } = {}, ...launch } = input
  const name = 'InstanceMarketOptions.MarketType'
  const asked = checkEnum(name, market, ['spot', 'capacity-block', 'interruptible-capacity-reservation'])
  if (asked === undefined) {
    if (Object.values(options).some((value) => value !== undefined && value !== '')) throw missingParameter(name)
    return null
  }
  if (asked !== 'spot') throw unsupportedParameter(`${name}=${asked}`)
  refuseBlocks(options.BlockDurationMinutes)
  const offer = requestedOffer(input.InstanceType || DEFAULT_INSTANCE_TYPE, options.MaxPrice, 'InstanceMarketOptions.SpotOptions.MaxPrice')
  const type = checkEnum('InstanceMarketOptions.SpotOptions.SpotInstanceType', options.SpotInstanceType, ['one-time', 'persistent']) ?? 'one-time'
  const behavior = behaviorOf(launch, options.InstanceInterruptionBehavior)
  if (type === 'persistent' && behavior === 'terminate') {
    throw badCombination('The terminate InstanceInterruptionBehavior is not supported when requestType is set to persistent.')
  }
  checkOneTime(type, behavior)
  if (type === 'one-time' && options.ValidUntil) {
    throw badCombination("The parameter validUntil cannot be specified when the SpotRequestType is set to 'one-time'.")
  }
  checkValidUntil(options.ValidUntil, nowMs)
  return { input: launchOnSpot(launch, behavior), ask: { ...offer, type, behavior, validUntilMs: options.ValidUntil?.getTime() ?? null } }
}

/** One that was set up to be hibernated is hibernated. */
function behaviorOf({ HibernationOptions: hibernation }: RunInstancesRequest, asked: string | undefined): InterruptionBehavior {
  const behavior = checkEnum('InstanceInterruptionBehavior', asked, ['hibernate', 'stop', 'terminate'])
  if (hibernation?.Configured !== true) return behavior ?? 'terminate'
  if (behavior === undefined || behavior === 'hibernate') return 'hibernate'
  throw badCombination(`The InstanceInterruptionBehavior '${behavior}' is not supported when HibernationOptions.Configured is true.`)
}

/** Only a request that stays can bring its instance back. */
export function checkOneTime(type: SpotAsk['type'], behavior: InterruptionBehavior): void {
  if (type === 'persistent' || behavior === 'terminate') return
  throw badCombination(`The request with type 'one-time' is not supported when instanceInterruptionBehavior is set to '${behavior}'.`)
}

/** @throws ApiError InvalidParameterValue for an end that is past. */
export function checkValidUntil(validUntil: Date | undefined, nowMs: number): void {
  if (validUntil && validUntil.getTime() <= nowMs) throw invalidValue('ValidUntil', validUntil.toISOString(), 'It must be in the future.')
}

/** Blocks of hours have not been sold since 2022, as EC2 says to who asks for one. */
export function refuseBlocks(minutes: RequestSpotInstancesRequest['BlockDurationMinutes']): void {
  if (minutes !== undefined) throw new ApiError('InvalidParameter', 'BlockDurationMinutes is not a valid parameter.')
}

/**
 * A launch as spot instances are launched: never in a reservation, set up for hibernation where that is what an interruption does.
 *
 * @throws ApiError for what spot instances cannot have.
 */
export function launchOnSpot(input: RunInstancesRequest, behavior: InterruptionBehavior): RunInstancesRequest {
  for (const name of ['DisableApiTermination', 'DisableApiStop'] as const) {
    if (input[name]) throw badCombination(`The parameter ${name} is not supported for Spot Instances.`)
  }
  const { Placement: placement = {}, CapacityReservationSpecification: reservation = {} } = input
  if (placement.Tenancy === 'host' || placement.HostId || placement.Affinity) {
    throw notOnDedicatedHost()
  }
  const preference = reservation.CapacityReservationPreference
  if (preference === 'capacity-reservations-only' || Object.values(reservation.CapacityReservationTarget ?? {}).some(Boolean)) {
    throw notInReservation()
  }
  return {
    ...input, CapacityReservationSpecification: { ...reservation, CapacityReservationPreference: 'none' },
    ...(behavior === 'hibernate' ? { HibernationOptions: { Configured: true } } : {}),
  }
}

/** What a spot instance says to who wants it on a dedicated host. */
export function notOnDedicatedHost(): ApiError {
  return badCombination('Spot Instances cannot be launched on a Dedicated Host.')
}

/** And in a capacity reservation. */
export function notInReservation(): ApiError {
  return badCombination('Spot Instances cannot be launched in a Capacity Reservation.')
}

function badCombination(message: string): ApiError {
  return new ApiError('InvalidParameterCombination', message)
}
