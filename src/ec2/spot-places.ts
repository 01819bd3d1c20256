import { ApiError } from '../core/errors.ts'
import { priceTooLow } from '../model/spot-request.ts'
import { attempt } from '../store/savepoint.ts'
import type { Context } from './context.ts'
import { takePlaces, type PlaceRequest, type TakenPlace } from './launch-placement.ts'
import { notOnSpot } from './spot-offer.ts'
import { loadSpotPrices } from './spot-prices.ts'
import { loadSpotSupplies, spotRoom } from './spot-supply.ts'

/** Where spot instances may go, beside what their launch says. */
export interface SpotPlaces {
  /** The most that is paid, micro-dollars per hour; undefined for the price on demand, which is never exceeded. */
  maxPriceMicroUsd?: number | undefined
  /** Only to these zones; undefined for all that the launch may go to. */
  zones?: readonly string[] | undefined
}

/**
 * Takes places for spot instances: all in one zone whose price is within the offer, inside what spot may have of it. The cheapest
 * zone that has room for all of them, or else the cheapest that has room for the least.
 *
 * @throws ApiError SpotMaxPriceTooLow, InsufficientInstanceCapacity, and what `takePlaces` throws.
 */
export async function takeSpotPlaces(context: Context, request: PlaceRequest, { maxPriceMicroUsd, zones }: SpotPlaces): Promise<TakenPlace[]> {
  const within = request.zones.filter((zone) => zones === undefined || zones.includes(zone))
  const affordable = await affordableZones(context, request.instanceType, within, maxPriceMicroUsd)
  const supplies = await loadSpotSupplies(context.db, context.region)
  const rooms = affordable.map((zone) => ({ zone, room: Math.min(request.maxCount, spotRoom(supplies.get(zone), request)) }))
  const tries = [
    ...rooms.filter(({ room }) => room === request.maxCount).map(({ zone }) => ({ zone, minCount: request.maxCount, maxCount: request.maxCount })),
    ...rooms.filter(({ room }) => room >= request.minCount).map(({ zone, room }) => ({ zone, minCount: request.minCount, maxCount: room })),
  ]
  let failure: ApiError | undefined
  for (const { zone, minCount, maxCount } of tries) {
    const found = await attempt(context.db, () => takePlaces(context, { ...request, zones: [zone], isZoneFixed: true, minCount, maxCount }))
    if (!(found instanceof ApiError)) return found
    if (found.code !== 'InsufficientInstanceCapacity' || request.wish.placementGroupId !== null) failure ??= found
  }
  throw failure ?? noSpotCapacity()
}

/** Zones whose price is within an offer, the cheapest first. */
async function affordableZones(
  { db, region, nowMs }: Context,
  instanceType: string,
  zones: readonly string[],
  maxPriceMicroUsd: number | undefined,
): Promise<string[]> {
  const prices = await loadSpotPrices(db, region, nowMs)
  const priced = zones.flatMap((zone) => {
    const price = prices.priceMicroUsd(instanceType, zone)
    return price === undefined ? [] : [{ zone, price }]
  }).toSorted((a, b) => a.price - b.price || (a.zone < b.zone ? -1 : 1))
  const [cheapest] = priced
  if (!cheapest) throw zones.length === 0 ? noSpotCapacity() : notOnSpot()
  const affordable = priced.filter(({ price }) => maxPriceMicroUsd === undefined || price <= maxPriceMicroUsd)
  if (affordable.length > 0) return affordable.map(({ zone }) => zone)
  throw new ApiError('SpotMaxPriceTooLow', priceTooLow(dollars(maxPriceMicroUsd ?? 0), dollars(cheapest.price)))
}

/** EC2's sentence for spot, with what shows the supply here. */
export function noSpotCapacity(): ApiError {
  return new ApiError(
    'InsufficientInstanceCapacity',
    'There is no Spot capacity available that matches your request. [Hearth: "hearth market" shows what spot may have of each zone.]',
  )
}

/** Micro-dollars as EC2's sentences write dollars: "0.0634". */
export function dollars(microUsd: number): string {
  return String(microUsd / 1_000_000)
}
