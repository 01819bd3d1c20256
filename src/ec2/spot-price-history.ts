import type { DescribeSpotPriceHistoryRequest, DescribeSpotPriceHistoryResult, SpotPrice, _InstanceType } from '@aws-sdk/client-ec2'
import { instanceType, instanceTypeNames, vcpusOf } from '../catalogue/instance-types.ts'
import { onDemandMicroUsd } from '../catalogue/on-demand-prices.ts'
import { ApiError } from '../core/errors.ts'
import { PRICE_HISTORY_MS } from '../model/spot-market.ts'
import { zoneIdOf } from '../model/zone.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, type FilterFields } from './filters.ts'
import { decodeToken, encodeToken, pageSize } from './pagination.ts'
import { invalidValue } from './parameters.ts'
import { loadSpotPrices } from './spot-prices.ts'

/** Of the prices here; EC2 takes the second name for the same in a VPC, and all instances are in one. */
const PRODUCTS = ['Linux/UNIX', 'Linux/UNIX (Amazon VPC)']

const OPERATION = 'DescribeSpotPriceHistory'
/** Of a page, where the call does not say: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html */
const DEFAULT_PAGE = 1000

interface Item {
  atMs: number
  zone: string
  type: string
  priceMicroUsd: number
}

/**
 * DescribeSpotPriceHistory: changes of prices, newest first, and the prices in force at StartTime, which is now unless given. Types of
 * other products than Linux are not had on spot here, and have no prices.
 *
 * @throws ApiError InvalidParameterValue, InvalidParameterCombination.
 */
export async function describeSpotPriceHistory(
  { db, region, zones, nowMs }: Context,
  input: DescribeSpotPriceHistoryRequest,
): Promise<DescribeSpotPriceHistoryResult> {
  const asked = { zones: requestedZones(zones, input), types: requestedTypes(input) }
  const size = pageSize({ maxResults: input.MaxResults, min: 1 }) ?? DEFAULT_PAGE
  const matches = compileFilters(input.Filters, FIELDS)
  const { fromMs, untilMs, after } = requestedTime(input, nowMs)
  if (!hasProduct(input.ProductDescriptions)) return { SpotPriceHistory: [], NextToken: '' }
  const prices = await loadSpotPrices(db, region, Math.max(nowMs, untilMs), fromMs)
  // All series have to be known for the newest changes of all of them; only those of the page are written out.
  const items = asked.zones.flatMap((zone) => asked.types.flatMap((type) =>
    prices.points(type, zone, fromMs, untilMs).map((point) => ({ ...point, zone, type })).filter(matches)))
  const keyed = items.map((item) => ({ item, key: keyOf(item) })).toSorted((a, b) => (a.key < b.key ? -1 : 1))
  const rest = after === undefined ? keyed : keyed.filter(({ key }) => key > after)
  const page = rest.slice(0, size)
  const last = page.at(-1)
  const nextToken = last && page.length < rest.length ? encodeToken(OPERATION, `${fromMs} ${untilMs} ${last.key}`) : ''
  return { SpotPriceHistory: page.map(({ item }) => toWire(item)), NextToken: nextToken }
}

/** Newest first; zones and types decide between equals. */
function keyOf({ atMs, zone, type }: Item): string {
  return `${String(Number.MAX_SAFE_INTEGER - atMs).padStart(16, '0')}/${zone}/${type}`
}

function toWire({ atMs, zone, type, priceMicroUsd }: Item): SpotPrice {
  return {
    AvailabilityZone: zone, AvailabilityZoneId: zoneIdOf(zone), InstanceType: type as _InstanceType, ProductDescription: 'Linux/UNIX',
    SpotPrice: priceText(priceMicroUsd), Timestamp: new Date(atMs),
  }
}

/** As EC2 writes prices: "0.043700". */
export function priceText(priceMicroUsd: number): string {
  return (priceMicroUsd / 1_000_000).toFixed(6)
}

const FIELDS: FilterFields<Item> = {
  'availability-zone': ({ zone }) => zone,
  'availability-zone-id': ({ zone }) => zoneIdOf(zone),
  'instance-type': ({ type }) => type,
  'product-description': () => PRODUCTS,
  'spot-price': ({ priceMicroUsd }) => priceText(priceMicroUsd),
  timestamp: ({ atMs }) => [wordsOf(new Date(atMs)), new Date(atMs).toISOString()],
}

/** "Thu Jan 01 00:00:00 UTC 2026", as the filter is documented. */
function wordsOf(time: Date): string {
  const [day, date, month, year, clock] = time.toUTCString().replace(',', '').split(' ')
  return `${day} ${month} ${date} ${clock} UTC ${year}`
}

function hasProduct(asked: readonly string[] | undefined): boolean {
  return !asked || asked.length === 0 || asked.some((each) => PRODUCTS.includes(each))
}

function requestedZones(zones: readonly string[], { AvailabilityZone: name, AvailabilityZoneId: id }: DescribeSpotPriceHistoryRequest): readonly string[] {
  if (name && id) {
    throw new ApiError('InvalidParameterCombination', 'The parameters AvailabilityZone and AvailabilityZoneId cannot be used together.')
  }
  const wanted = name || id
  if (!wanted) return zones
  const found = zones.filter((zone) => (name ? zone : zoneIdOf(zone)) === wanted)
  if (found.length === 0) throw new ApiError('InvalidParameterValue', `Invalid availability zone: [${wanted}]`)
  return found
}

/** The types asked for that are had on spot; of those that a filter names no others need to be looked at. */
function requestedTypes({ InstanceTypes: asked = [], Filters: filters }: DescribeSpotPriceHistoryRequest): string[] {
  for (const type of asked) {
    if (vcpusOf(type) === undefined) throw new ApiError('InvalidParameterValue', `Invalid instance type: [${type}]`)
  }
  const named = exactValues(filters, 'instance-type')
  const types = asked.length > 0 ? [...new Set<string>(asked)] : named ?? instanceTypeNames()
  return types.filter((type) => (named?.includes(type) ?? true) && isOnSpot(type))
}

const known = new Map<string, boolean>()

/** Whether a type is had on spot: EC2 offers it so, and its price on demand is known. */
export function isOnSpot(type: string): boolean {
  const isKnown = known.get(type)
  if (isKnown !== undefined) return isKnown
  const isOffered = onDemandMicroUsd(type) !== undefined && (instanceType(type)?.SupportedUsageClasses?.includes('spot') ?? false)
  // Names come from clients: only those that there are are kept.
  if (vcpusOf(type) !== undefined) known.set(type, isOffered)
  return isOffered
}

/** A token goes on with the times of the first call, which are those of that moment where it named none. */
function requestedTime(
  { StartTime: start, EndTime: end, NextToken: token }: DescribeSpotPriceHistoryRequest,
  nowMs: number,
): { fromMs: number; untilMs: number; after?: string } {
  if (token) {
    const [fromMs = '', untilMs = '', after = ''] = decodeToken(OPERATION, token).split(' ')
    return { fromMs: Number(fromMs), untilMs: Number(untilMs), after }
  }
  const untilMs = Math.min(end?.getTime() ?? nowMs, nowMs)
  const fromMs = Math.max(start?.getTime() ?? nowMs, nowMs - PRICE_HISTORY_MS)
  if (start && end && start > end) throw invalidValue('StartTime', start.toISOString(), 'StartTime must not be after EndTime.')
  return { fromMs: Math.min(fromMs, nowMs), untilMs }
}
