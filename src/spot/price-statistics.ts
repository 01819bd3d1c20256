import type { PricePoint } from './background.ts'

/** What a price does, over several series of it. */
export interface PriceStatistics {
  series: number
  points: number
  /** From point to point, hours: quantiles and the mean; and the part of them that are a day, after which a price that stays is told again. */
  intervalHours: { p10: number; median: number; p90: number; mean: number }
  repeatedShare: number
  /** From point to point, parts per million of the price on demand. */
  step: { meanPpm: number; mostPpm: number; unchangedShare: number }
  /** Of those steps that change a price, the part that goes the way of most of them in its series; the mean of all series. */
  trendShare: number
  /** Of a series' steps and of its prices, with those so many points before; means of all series. */
  stepCorrelation: number
  correlation: { lag1: number; lag5: number; lag10: number }
  /** Highest less lowest of a series; mean of all. */
  rangePpm: number
}

const HOUR_MS = 3_600_000

/** @throws RangeError where a series is too short to say anything of. */
export function priceStatistics(all: readonly (readonly PricePoint[])[]): PriceStatistics {
  if (all.length === 0 || all.some((series) => series.length < 12)) throw new RangeError('a series of fewer than 12 points')
  const prices = all.map((series) => series.map((point) => point.ppm))
  const steps = prices.map(differences)
  const intervals = all.flatMap((series) => differences(series.map((point) => point.atMs))).map((ms) => ms / HOUR_MS).toSorted((a, b) => a - b)
  const sizes = steps.flat().map(Math.abs)
  const quantile = (part: number) => intervals[Math.floor(part * (intervals.length - 1))] ?? Number.NaN
  return {
    series: all.length,
    points: prices.flat().length,
    intervalHours: { p10: quantile(0.1), median: quantile(0.5), p90: quantile(0.9), mean: mean(intervals) },
    repeatedShare: mean(intervals.map((hours) => Number(Math.abs(hours - 24) < 0.1))),
    step: { meanPpm: mean(sizes), mostPpm: Math.max(...sizes), unchangedShare: mean(sizes.map((size) => Number(size === 0))) },
    trendShare: mean(steps.map(trendShare)),
    stepCorrelation: mean(steps.map((each) => correlation(each, 1))),
    correlation: {
      lag1: mean(prices.map((each) => correlation(each, 1))),
      lag5: mean(prices.map((each) => correlation(each, 5))),
      lag10: mean(prices.map((each) => correlation(each, 10))),
    },
    rangePpm: mean(prices.map((each) => Math.max(...each) - Math.min(...each))),
  }
}

function differences(values: readonly number[]): number[] {
  return values.slice(1).map((value, index) => value - (values[index] ?? value))
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

function trendShare(steps: readonly number[]): number {
  const up = steps.filter((step) => step > 0).length
  const down = steps.filter((step) => step < 0).length
  return up + down === 0 ? 0.5 : Math.max(up, down) / (up + down)
}

/** 1 where all values are equal. */
function correlation(values: readonly number[], lag: number): number {
  const middle = mean(values)
  const variance = values.reduce((sum, value) => sum + (value - middle) ** 2, 0)
  if (variance === 0) return 1
  return values.slice(lag).reduce((sum, value, index) => sum + (value - middle) * ((values[index] ?? middle) - middle), 0) / variance
}
