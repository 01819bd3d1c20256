import { BackgroundSeries } from './background-series.ts'

/** What the market of everybody else is for one type in one zone. */
export interface BackgroundKey {
  /** The market's seed: the same one gives the same prices. */
  seed: number
  /** When its series begin. */
  originMs: number
  zone: string
  instanceType: string
  /** Of spot-advisor.json: typical saving over on demand in per cent, and how often it interrupts, 0 to 4. */
  savingPercent: number
  band: number
}

/** A price from then on, parts per million of the price on demand. */
export interface PricePoint {
  atMs: number
  ppm: number
}

/** More than all types in nine zones, of a region or of several: about 40 MB where all are asked for. A series of 90 days has about 140 points. */
const SERIES_KEPT = 13_000

/** The series that were asked for last, the latest at the end. */
const kept = new Map<string, BackgroundSeries>()

/**
 * The prices that a simulated market of others makes, in order, from its beginning (or the one in force at `fromMs`) until `untilMs`:
 * a series that reverts to on demand x (1 - saving), see docs/spot-prices.md. A price that stays is told again each day, as EC2 does.
 * Later calls go on where earlier ones ended, and never change what was told.
 */
export function backgroundPoints(key: BackgroundKey, untilMs: number, fromMs = key.originMs): readonly PricePoint[] {
  if (untilMs < key.originMs) return []
  const { atMs, ppm } = seriesUntil(key, untilMs)
  const first = Math.max(0, countUntil(atMs, fromMs) - 1)
  return atMs.slice(first, countUntil(atMs, untilMs)).map((atMs, index) => ({ atMs, ppm: ppm[first + index] ?? 0 }))
}

/** The price at one time, without a list of all before it; undefined before the series begins. */
export function backgroundPpmAt(key: BackgroundKey, atMs: number): number | undefined {
  if (atMs < key.originMs) return undefined
  const series = seriesUntil(key, atMs)
  return series.ppm[countUntil(series.atMs, atMs) - 1]
}

/** Since when the price at one time has been told; undefined before the series begins. */
export function backgroundSinceMs(key: BackgroundKey, atMs: number): number | undefined {
  if (atMs < key.originMs) return undefined
  const series = seriesUntil(key, atMs)
  return series.atMs[countUntil(series.atMs, atMs) - 1]
}

/** What a series reverts to: on demand x (1 - saving), a little more or less in each zone. */
export function backgroundMeanPpm(key: BackgroundKey): number {
  return seriesUntil(key, key.originMs).meanPpm
}

function seriesUntil(key: BackgroundKey, untilMs: number): BackgroundSeries {
  const name = `${key.seed} ${key.originMs} ${key.zone} ${key.instanceType} ${key.savingPercent} ${key.band}`
  const series = kept.get(name) ?? new BackgroundSeries(key)
  // Back to the end: the first one is the one not asked for for longest.
  kept.delete(name)
  kept.set(name, series)
  const [oldest] = kept.keys()
  if (kept.size > SERIES_KEPT && oldest !== undefined) kept.delete(oldest)
  series.extend(untilMs)
  return series
}

/** How many of the times, which ascend, are not after `untilMs`. */
function countUntil(atMs: readonly number[], untilMs: number): number {
  let [low, high] = [0, atMs.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((atMs[middle] ?? Infinity) <= untilMs) low = middle + 1
    else high = middle
  }
  return low
}
