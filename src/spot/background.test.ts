import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareWithTrace, crossedShare } from '../simulate/compare-prices.ts'
import { type BackgroundKey, backgroundMeanPpm, backgroundPoints, backgroundPpmAt } from './background.ts'
import { FLOOR_PPM } from './background-series.ts'
import { WHOLE_PPM } from './clearing.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const KEY: BackgroundKey = { seed: 1, originMs: 1_000_000, zone: 'us-east-1a', instanceType: 'm5.large', savingPercent: 66, band: 3 }

const keys = fc.record({
  seed: fc.nat(2 ** 31), originMs: fc.nat(2_000_000_000_000), zone: fc.constantFrom('us-east-1a', 'us-east-1b'),
  instanceType: fc.constantFrom('m5.large', 'c5.large'), savingPercent: fc.integer({ min: 0, max: 95 }), band: fc.integer({ min: 0, max: 4 }),
})

describe('the market of others', () => {
  it('makes whole prices from the floor to on demand, in order of time, one a day at least', () => {
    fc.assert(fc.property(keys, fc.nat(400), (key, days) => {
      const points = backgroundPoints(key, key.originMs + days * DAY_MS)
      expect(points[0]?.atMs).toBe(key.originMs)
      for (const [index, { atMs, ppm }] of points.entries()) {
        expect(Number.isInteger(ppm) && ppm >= FLOOR_PPM && ppm <= WHOLE_PPM).toBe(true)
        const nextMs = points[index + 1]?.atMs ?? key.originMs + days * DAY_MS
        expect(Number.isInteger(atMs) && nextMs - atMs >= 0 && nextMs - atMs <= DAY_MS).toBe(true)
      }
    }), { numRuns: 100 })
  })

  it('never changes what it told, however it is asked', () => {
    fc.assert(fc.property(keys, fc.array(fc.nat(100), { maxLength: 5 }), (key, days) => {
      for (const each of days) backgroundPoints(key, key.originMs + each * DAY_MS)
      const asked = backgroundPoints(key, key.originMs + 100 * DAY_MS)
      // The same series, made at once: nothing of it is kept under another origin, and it is the same but for that.
      const moved = backgroundPoints({ ...key, originMs: key.originMs + 1 }, key.originMs + 1 + 100 * DAY_MS)
      expect(moved.map((point) => ({ ...point, atMs: point.atMs - 1 }))).toEqual(asked)
      for (const each of days) {
        const atMs = key.originMs + each * DAY_MS
        const upTo = asked.filter((point) => point.atMs <= atMs)
        expect(backgroundPoints(key, atMs)).toEqual(upTo)
        expect(backgroundPpmAt(key, atMs)).toBe(upTo.at(-1)?.ppm)
      }
    }), { numRuns: 50 })
  })

  it('has no price before it begins', () => {
    expect(backgroundPoints(KEY, KEY.originMs - 1)).toEqual([])
    expect(backgroundPpmAt(KEY, KEY.originMs - 1)).toBeUndefined()
  })

  it('is another one for each seed, zone and type', () => {
    const told = [KEY, { ...KEY, seed: 2 }, { ...KEY, zone: 'us-east-1b' }, { ...KEY, instanceType: 'm5.xlarge' }]
      .map((key) => JSON.stringify(backgroundPoints(key, key.originMs + 30 * DAY_MS).map((point) => point.ppm)))
    expect(new Set(told).size).toBe(4)
  })

  it('goes back to what the type saves', () => {
    const means = Array.from({ length: 200 }, (_, seed) => backgroundMeanPpm({ ...KEY, seed }))
    expect(average(means)).toBeCloseTo(340_000, -4)
    const prices = Array.from({ length: 200 }, (_, seed) => backgroundPpmAt({ ...KEY, seed, band: 0 }, KEY.originMs + 400 * DAY_MS) ?? 0)
    expect(average(prices) / average(means)).toBeGreaterThan(0.95)
    expect(average(prices) / average(means)).toBeLessThan(1.05)
  })

  it('is on demand for a type that saves nothing', () => {
    expect(new Set(backgroundPoints({ ...KEY, savingPercent: 0 }, KEY.originMs + 90 * DAY_MS).map((point) => point.ppm))).toEqual(new Set([WHOLE_PPM]))
  })

  it('makes prices such as EC2 had in a month', () => {
    const { trace, series } = compareWithTrace(300)
    const within = (of: (each: typeof trace) => number, by: number) => expect(Math.abs(of(series) - of(trace)), String(of)).toBeLessThanOrEqual(by)
    within((each) => each.intervalHours.p10, 0.5)
    within((each) => each.intervalHours.median, 4)
    within((each) => each.intervalHours.p90, 0.1)
    within((each) => each.intervalHours.mean, 2)
    within((each) => each.repeatedShare, 0.1)
    within((each) => each.step.meanPpm, 150)
    within((each) => each.step.mostPpm, 5)
    within((each) => each.step.unchangedShare, 0.12)
    within((each) => each.trendShare, 0.15)
    within((each) => each.stepCorrelation, 0.25)
    within((each) => each.correlation.lag1, 0.05)
    within((each) => each.correlation.lag5, 0.15)
    within((each) => each.correlation.lag10, 0.1)
    within((each) => each.rangePpm, 4_000)
  })

  it.each([[0, 0, 5], [1, 5, 10], [2, 10, 15], [3, 15, 20], [4, 20, 30]])('of band %i passes an offer near its mean in %i to %i %% of months', (band, low, high) => {
    for (const saving of [20, 58, 85]) {
      const percent = 100 * crossedShare(2_000, saving, band)
      expect(percent).toBeGreaterThan(low)
      expect(percent).toBeLessThan(high)
    }
  })
})

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
