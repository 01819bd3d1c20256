import { onDemandMicroUsd } from '../catalogue/on-demand-prices.ts'
import { spotAdvice } from '../catalogue/spot-advisor.ts'
import { loadMarket, type SpotMarketDoc } from '../model/spot-market.ts'
import { marketTime, realTime } from '../model/spot-market-time.ts'
import { backgroundPoints, backgroundPpmAt, backgroundSinceMs, type BackgroundKey, type PricePoint } from '../spot/background.ts'
import { WHOLE_PPM } from '../spot/clearing.ts'
import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'

/** A price of a type in a zone from then on, micro-dollars per hour. */
export interface SpotPricePoint {
  atMs: number
  priceMicroUsd: number
}

/** What spot costs and has cost in a region, as it stands in the database. */
export interface SpotPrices {
  /**
   * Micro-dollars per hour of a type in a zone, now or at a time of the last 90 days; undefined for a type that is not had on
   * spot. What `hearth market set-price` said, else the higher of what the market of others and own demand make of it.
   */
  priceMicroUsd(instanceType: string, zone: string, atMs?: number): number | undefined
  /** The changes of a price, oldest first: the one that was in force at `fromMs`, and those after it until `untilMs`. */
  points(instanceType: string, zone: string, fromMs: number, untilMs: number): SpotPricePoint[]
  /** The last time, not after `atMs`, at which what makes the price was told or changed, even if the price did not; undefined before all. */
  sinceMs(instanceType: string, zone: string, atMs: number): number | undefined
  /**
   * The same price now as parts per million of the price on demand, which bids are compared with; or what it were if own demand made
   * `clearingPpm` of it.
   */
  pricePpm(instanceType: string, zone: string, clearingPpm?: number): number | undefined
  /** What the market of others alone makes of it: the floor of own demand, parts per million. */
  backgroundPpm(instanceType: string, zone: string, atMs?: number): number | undefined
  /** The next time after `atMs` at which the market of others changes the price of a type in a zone, as far as `untilMs`. */
  nextBackgroundMs(instanceType: string, zone: string, atMs: number, untilMs: number): number | undefined
}

/** A value from then on. */
interface Step<T> {
  atMs: number
  value: T
}

/** What prices are made of. */
interface Sources {
  region: string
  market: SpotMarketDoc | undefined
  nowMs: number
  /** By zone, oldest first: what own demand made of the price. */
  clearings: Map<string, Step<number>[]>
  /** By zone and type, oldest first; null where the type follows the market. */
  pins: Map<string, Step<number | null>[]>
}

const clearingsNow = prepared((db) => db.selectFrom('spot_zones').select(['zone', 'updated_ms as at_ms', 'clearing_ppm']))
const everyPin = prepared((db) => db.selectFrom('spot_pins').selectAll().orderBy('at_ms'))

/** Reads what prices are made of; `fromMs` is the earliest time that anything will be asked of, now unless given. */
export async function loadSpotPrices(db: Db, region: string, nowMs: number, fromMs = nowMs): Promise<SpotPrices> {
  return pricesOf(db, region, nowMs, fromMs < nowMs ? await clearingsBetween(db, fromMs, nowMs) : await clearingsNow(db))
}

/** The same for times that may all be over; nothing will be asked of after `untilMs`. */
export async function loadSpotPricesBetween(db: Db, region: string, fromMs: number, untilMs: number): Promise<SpotPrices> {
  return pricesOf(db, region, untilMs, await clearingsBetween(db, fromMs, untilMs))
}

async function pricesOf(db: Db, region: string, nowMs: number, rows: readonly { zone: string; at_ms: number; clearing_ppm: number }[]): Promise<SpotPrices> {
  const clearings = new Map<string, Step<number>[]>()
  for (const row of rows) stepsOf(clearings, row.zone).push({ atMs: row.at_ms, value: row.clearing_ppm })
  const pins = new Map<string, Step<number | null>[]>()
  for (const row of await everyPin(db)) {
    stepsOf(pins, `${row.zone} ${row.instance_type}`).push({ atMs: row.at_ms, value: row.price_micro_usd })
  }
  return createSpotPrices({ region, market: await loadMarket(db, region), nowMs, clearings, pins })
}

/** Changes in between, and in each zone the one before, which is in force at `fromMs`. */
async function clearingsBetween(db: Db, fromMs: number, untilMs: number) {
  const before = await db
    .selectFrom('spot_clearings as at').select(['zone', 'at_ms', 'clearing_ppm'])
    .where('at_ms', '=', (eb) => eb.selectFrom('spot_clearings as last').select((each) => each.fn.max('last.at_ms').as('at_ms'))
      .whereRef('last.zone', '=', 'at.zone').where('last.at_ms', '<=', fromMs))
    .execute()
  const since = await db
    .selectFrom('spot_clearings').select(['zone', 'at_ms', 'clearing_ppm']).where('at_ms', '>', fromMs).where('at_ms', '<=', untilMs)
    .orderBy('at_ms').execute()
  return [...before, ...since]
}

function stepsOf<T>(steps: Map<string, Step<T>[]>, key: string): Step<T>[] {
  const known = steps.get(key) ?? []
  steps.set(key, known)
  return known
}

/** The value in force at a time; undefined before the first. */
function inForce<T>(steps: readonly Step<T>[], atMs: number): T | undefined {
  return steps[countUntil(steps, atMs) - 1]?.value
}

/** When the value began that is in force at a time. */
function lastOf(steps: readonly { atMs: number }[] = [], atMs: number): number | undefined {
  return steps[countUntil(steps, atMs) - 1]?.atMs
}

/** How many of what is in order of time is not after `atMs`. */
function countUntil(steps: readonly { atMs: number }[], atMs: number): number {
  let low = 0
  let high = steps.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((steps[middle]?.atMs ?? 0) <= atMs) low = middle + 1
    else high = middle
  }
  return low
}

function createSpotPrices({ region, market, nowMs, clearings, pins }: Sources): SpotPrices {
  /** Without a market of others a type costs what it typically does. */
  const typicalPpm = (instanceType: string) => Math.round(WHOLE_PPM * (1 - spotAdvice(region, instanceType).savingPercent / 100))
  const keyOf = ({ seed, originMs }: SpotMarketDoc, instanceType: string, zone: string): BackgroundKey =>
    ({ seed, originMs, zone, instanceType, ...spotAdvice(region, instanceType) })
  /** In market time, which comes to no moment before that of `fromMs`. */
  const background = (instanceType: string, zone: string, fromMs: number, untilMs: number): readonly PricePoint[] =>
    (market?.background
      ? backgroundPoints(keyOf(market, instanceType, zone), marketTime(market.freezes, untilMs), marketTime(market.freezes, fromMs))
      : [{ atMs: market?.originMs ?? 0, ppm: typicalPpm(instanceType) }])
  const backgroundPpm = (instanceType: string, zone: string, atMs = nowMs) => {
    if (onDemandMicroUsd(instanceType) === undefined) return undefined
    if (!market?.background) return typicalPpm(instanceType)
    // Before its beginning the market was as at its beginning.
    return backgroundPpmAt(keyOf(market, instanceType, zone), Math.max(market.originMs, marketTime(market.freezes, atMs)))
  }
  const pinOf = (instanceType: string, zone: string, atMs: number) => inForce(pins.get(`${zone} ${instanceType}`) ?? [], atMs) ?? undefined
  const ppmAt = (instanceType: string, zone: string, atMs: number, clearingPpm: number) => {
    const onDemand = onDemandMicroUsd(instanceType)
    const floorPpm = backgroundPpm(instanceType, zone, atMs)
    if (onDemand === undefined || floorPpm === undefined) return undefined
    const pinned = pinOf(instanceType, zone, atMs)
    return pinned === undefined ? Math.min(WHOLE_PPM, Math.max(floorPpm, clearingPpm)) : pinnedPpm(Math.min(pinned, onDemand), onDemand)
  }
  const clearingAt = (zone: string, atMs: number) => inForce(clearings.get(zone) ?? [], atMs) ?? 0
  const pricePpm = (instanceType: string, zone: string, clearingPpm = clearingAt(zone, nowMs)) => ppmAt(instanceType, zone, nowMs, clearingPpm)
  const priceMicroUsd = (instanceType: string, zone: string, atMs = nowMs) => {
    const onDemand = onDemandMicroUsd(instanceType)
    if (onDemand === undefined) return undefined
    const pinned = pinOf(instanceType, zone, atMs)
    if (pinned !== undefined) return Math.min(pinned, onDemand)
    const ppm = ppmAt(instanceType, zone, atMs, clearingAt(zone, atMs))
    return ppm === undefined ? undefined : Math.max(1, Math.round((onDemand * ppm) / WHOLE_PPM))
  }
  const points = (instanceType: string, zone: string, fromMs: number, untilMs: number): SpotPricePoint[] => {
    const onDemand = onDemandMicroUsd(instanceType)
    if (onDemand === undefined) return []
    const within = <T>(steps: readonly Step<T>[]) => steps.slice(Math.max(0, countUntil(steps, fromMs) - 1), countUntil(steps, untilMs))
    const own = within(clearings.get(zone) ?? [])
    const pinned = within(pins.get(`${zone} ${instanceType}`) ?? [])
    const others = background(instanceType, zone, fromMs, untilMs).map(({ atMs, ppm }) => ({ atMs: market ? realTime(market.freezes, atMs) : atMs, value: ppm }))
    const all = [...new Set([...others, ...own, ...pinned].map(({ atMs }) => atMs))].filter((atMs) => atMs <= untilMs)
    const times = all.toSorted((a, b) => a - b)
    const found: SpotPricePoint[] = []
    for (const atMs of times.slice(Math.max(0, times.findLastIndex((each) => each <= fromMs)))) {
      const ppm = Math.min(WHOLE_PPM, Math.max(inForce(others, atMs) ?? others[0]?.value ?? 0, inForce(own, atMs) ?? 0))
      const pin = inForce(pinned, atMs)
      const price = pin ? Math.min(pin, onDemand) : Math.max(1, Math.round((onDemand * ppm) / WHOLE_PPM))
      if (price !== found.at(-1)?.priceMicroUsd) found.push({ atMs, priceMicroUsd: price })
    }
    return found
  }
  const nextBackgroundMs = (instanceType: string, zone: string, atMs: number, untilMs: number) => {
    if (!market?.background) return undefined
    const all = background(instanceType, zone, atMs, untilMs)
    const next = all[countUntil(all, marketTime(market.freezes, atMs))]
    const nextMs = next && realTime(market.freezes, next.atMs)
    return nextMs !== undefined && nextMs <= untilMs ? nextMs : undefined
  }
  const sinceMs = (instanceType: string, zone: string, atMs: number) => {
    const others = market?.background ? backgroundSinceMs(keyOf(market, instanceType, zone), marketTime(market.freezes, atMs)) : market?.originMs ?? 0
    const all = [
      others === undefined ? undefined : realTime(market?.freezes ?? [], others),
      lastOf(clearings.get(zone), atMs), lastOf(pins.get(`${zone} ${instanceType}`), atMs),
    ]
    const last = Math.max(...all.map((each) => (each === undefined || each > atMs ? -Infinity : each)))
    return last === -Infinity ? undefined : last
  }
  return { priceMicroUsd, pricePpm, backgroundPpm, points, sinceMs, nextBackgroundMs }
}

/** The least parts per million that come to that price, rounded to micro-dollars: whoever offers exactly that is not below it. */
function pinnedPpm(priceMicroUsd: number, onDemand: number): number {
  return Math.ceil(((priceMicroUsd - 0.5) * WHOLE_PPM) / onDemand)
}
