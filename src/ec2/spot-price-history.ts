import type { DescribeSpotPriceHistoryRequest, DescribeSpotPriceHistoryResult, SpotPrice, _InstanceType } from '@aws-sdk/client-ec2'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { instanceType, instanceTypeNames, vcpusOf } from '../catalogue/instance-types.ts'
import { onDemandMicroUsd } from '../catalogue/on-demand-prices.ts'
import { ApiError } from '../core/errors.ts'
import { PRICE_HISTORY_MS } from '../model/spot-market.ts'
import { zoneIdOf } from '../model/zone.ts'
import { Heap } from '../core/heap.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, type FilterFields } from './filters.ts'
import type { ReadContext } from './operation.ts'
import { decodeToken, encodeToken, pageSize } from './pagination.ts'
import { invalidValue } from './parameters.ts'
import { loadSpotPricesBetween, type SpotPrices } from './spot-prices.ts'

/** Of the prices here; EC2 takes the second name for the same in a VPC, and all instances are in one. */
const PRODUCTS = ['Linux/UNIX', 'Linux/UNIX (Amazon VPC)']

const OPERATION = 'DescribeSpotPriceHistory'
/** Of a page, where the call does not say: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html */
const DEFAULT_PAGE = 1000

/** A price from then on. */
interface Item {
  atMs: number
  zone: string
  type: string
  priceMicroUsd: number
}

/** How many series, or prices, are looked at before others have a turn. */
const TURN = 200
/** Prices that are looked at for one page; where few of them match the page ends sooner than it might. */
const MOST_LOOKED_AT = 10_000
/** Changes by own demand that are read for one page; it ends where these begin. */
const MOST_CLEARINGS = 5_000

/** DescribeSpotPriceHistory, from one snapshot. */
export function describeSpotPriceHistory(context: Context, input: DescribeSpotPriceHistoryRequest): Promise<DescribeSpotPriceHistoryResult> {
  return readSpotPriceHistory({ ...context, read: (body) => body(context.db) }, input)
}

/**
 * DescribeSpotPriceHistory: changes of prices of the last 90 days, newest first, and at the end those in force at StartTime. Types of
 * other products than Linux are not had on spot here, and have no prices.
 *
 * A page costs what is on it, and a look at each series; between parts of that others have their turn. As at EC2 a page may have
 * fewer prices than asked for, even none, and be followed by others.
 *
 * @throws ApiError InvalidParameterValue, InvalidParameterCombination.
 */
export async function readSpotPriceHistory(
  { read, region, zones, nowMs }: ReadContext,
  input: DescribeSpotPriceHistoryRequest,
): Promise<DescribeSpotPriceHistoryResult> {
  const asked = requestedSeries(requestedZones(zones, input), input)
  const size = pageSize({ maxResults: input.MaxResults, min: 1 }) ?? DEFAULT_PAGE
  const matches = compileFilters(input.Filters, FIELDS)
  const time = requestedTime(input, nowMs)
  const { fromMs, untilMs, after } = time
  if (!hasProduct(input.ProductDescriptions) || untilMs < fromMs) return { SpotPriceHistory: [], NextToken: '' }
  const { prices, knownFromMs } = await read((db) => loadSources(db, region, fromMs, after?.atMs ?? untilMs))
  const page: Item[] = []
  let looked = 0
  let last: Position | undefined
  for await (const item of newestFirst(prices, asked, { ...time, knownFromMs })) {
    if (page.length === size || looked === MOST_LOOKED_AT || item.kind === 'unknown') {
      // Of what was not read nothing can be told: it begins with the next page.
      const position = item.kind === 'unknown' ? { atMs: knownFromMs, name: '' } : last
      return { SpotPriceHistory: page.map(toWire), NextToken: position ? tokenOf(time, position) : '' }
    }
    looked += 1
    last = { atMs: item.atMs, name: item.name }
    if (item.kind === 'price' && matches(item)) page.push(item)
  }
  return { SpotPriceHistory: page.map(toWire), NextToken: '' }
}

/** Prices until `untilMs`, from `fromMs` or from where so many changes by own demand are known. */
async function loadSources(db: Db, region: string, fromMs: number, untilMs: number): Promise<{ prices: SpotPrices; knownFromMs: number }> {
  const beyond = await db
    .selectFrom('spot_clearings').select('at_ms').where('at_ms', '<=', untilMs).where('at_ms', '>', fromMs)
    .orderBy('at_ms', 'desc').offset(MOST_CLEARINGS).limit(1).executeTakeFirst()
  const knownFromMs = beyond?.at_ms ?? fromMs
  return { prices: await loadSpotPricesBetween(db, region, knownFromMs, untilMs), knownFromMs }
}

/** Where among all prices one is: newest first; zones and types decide between equals. */
interface Position {
  atMs: number
  name: string
}

/** All prices of a type in a zone. */
interface Series {
  zone: string
  type: string
  name: string
}

/** The next moment of a series at which its price may have changed. */
type Head = Series & Position

type Found =
  | (Item & Position & { kind: 'price' })
  /** Nothing has changed then. */
  | (Position & { kind: 'same' })
  /** Nothing is known of then. */
  | (Position & { kind: 'unknown' })

/** All moments at which prices may have changed, newest first, until that of each series that was in force at `fromMs`. */
async function* newestFirst(
  prices: SpotPrices,
  series: readonly Series[],
  { fromMs, untilMs, after, knownFromMs }: Times & { knownFromMs: number },
): AsyncGenerator<Found> {
  const heads = new Heap<Head>(comparePositions)
  let done = 0
  const turn = async () => {
    if (++done % TURN === 0) await nextTurn()
  }
  for (const { zone, type, name } of series) {
    // What is as old as the end of the page before is on it, or comes after it by its name.
    const beforeMs = after === undefined ? untilMs : after.name < name ? after.atMs : after.atMs - 1
    // The last of a series may be older than all that is asked for: once told it is not told again.
    const atMs = after !== undefined && after.atMs <= fromMs && (prices.sinceMs(type, zone, fromMs) ?? 0) > beforeMs
      ? undefined : prices.sinceMs(type, zone, beforeMs)
    if (atMs !== undefined) heads.push({ atMs, zone, type, name })
    await turn()
  }
  for (let head = heads.pop(); head; head = heads.pop()) {
    const { atMs, zone, type, name } = head
    if (atMs <= knownFromMs && knownFromMs > fromMs) {
      yield { kind: 'unknown', atMs, name }
      return
    }
    const priceMicroUsd = prices.priceMicroUsd(type, zone, atMs)
    const beforeMs = atMs <= fromMs ? undefined : prices.sinceMs(type, zone, atMs - 1)
    const before = beforeMs === undefined ? undefined : prices.priceMicroUsd(type, zone, beforeMs)
    if (priceMicroUsd === undefined || priceMicroUsd === before) yield { kind: 'same', atMs, name }
    else yield { kind: 'price', atMs, zone, type, name, priceMicroUsd }
    if (beforeMs !== undefined) heads.push({ atMs: beforeMs, zone, type, name })
    await turn()
  }
}

function comparePositions(a: Position, b: Position): number {
  return b.atMs - a.atMs || (a.name < b.name ? -1 : Number(a.name > b.name))
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

/** Filters that may match some prices of a series and not others. */
const OF_PRICES: readonly (string | undefined)[] = ['spot-price', 'timestamp']

/** The series asked for: those that no filter leaves out whatever their prices. */
function requestedSeries(zones: readonly string[], input: DescribeSpotPriceHistoryRequest): Series[] {
  const types = requestedTypes(input)
  const matches = compileFilters(input.Filters?.filter(({ Name }) => !OF_PRICES.includes(Name)), FIELDS)
  return zones.flatMap((zone) => types.map((type) => ({ zone, type, name: `${zone}/${type}` })))
    .filter(({ zone, type }) => matches({ zone, type, atMs: 0, priceMicroUsd: 0 }))
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

/** Of what times a call is, and after which price the page before ended. */
interface Times {
  fromMs: number
  untilMs: number
  after?: Position
}

/** A token goes on with the times of the first call, which are those of that moment where it named none. */
function requestedTime({ StartTime: start, EndTime: end, NextToken: token }: DescribeSpotPriceHistoryRequest, nowMs: number): Times {
  if (token) {
    const [fromMs = '', untilMs = '', atMs = '', name = ''] = decodeToken(OPERATION, token).split(' ')
    return { fromMs: Number(fromMs), untilMs: Number(untilMs), after: { atMs: Number(atMs), name } }
  }
  const untilMs = Math.min(end?.getTime() ?? nowMs, nowMs)
  const fromMs = Math.max(start?.getTime() ?? 0, nowMs - PRICE_HISTORY_MS)
  if (start && end && start > end) throw invalidValue('StartTime', start.toISOString(), 'StartTime must not be after EndTime.')
  return { fromMs: Math.min(fromMs, nowMs), untilMs }
}

function tokenOf({ fromMs, untilMs }: Times, { atMs, name }: Position): string {
  return encodeToken(OPERATION, `${fromMs} ${untilMs} ${atMs} ${name}`)
}
