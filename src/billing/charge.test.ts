import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chargesOf, DAY_MS, forgottenBeforeMs, sealOf, type Metered } from './charge.ts'

const T0 = Date.UTC(2026, 0, 1, 10)
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DOLLAR = 1_000_000

const onDemand = (change: Partial<Metered> = {}): Metered => ({
  instanceType: 'm5.large', zone: 'us-east-1a', lifecycle: 'on-demand', fromMs: T0, untilMs: T0 + HOUR_MS, onDemandMicroUsd: DOLLAR,
  maxPriceMicroUsd: null, isInterrupted: false, sealed: [], ...change,
})
const spot = (change: Partial<Metered> = {}) => onDemand({ lifecycle: 'spot', maxPriceMicroUsd: DOLLAR, ...change })
const flat = () => 300_000
const costOf = (run: Metered, nowMs = T0 + 1000 * DAY_MS, price: (type: string, zone: string, atMs: number) => number | undefined = flat) =>
  chargesOf(run, nowMs, price).reduce((sum, { costMicroUsd }) => sum + costMicroUsd, 0)

describe('a run on demand', () => {
  it('is charged by the second, a begun one counting', () => {
    expect(costOf(onDemand())).toBe(DOLLAR)
    expect(costOf(onDemand({ untilMs: T0 + 30 * MINUTE_MS }))).toBe(DOLLAR / 2)
    expect(costOf(onDemand({ untilMs: T0 + 35_999_001 }))).toBe(10 * DOLLAR)
  })

  it('is charged for a minute at least', () => {
    for (const lengthMs of [0, 1, 59_999, 60_000]) expect(costOf(onDemand({ untilMs: T0 + lengthMs, onDemandMicroUsd: 60 }))).toBe(1)
    expect(chargesOf(onDemand({ untilMs: T0 }), T0, flat)).toMatchObject([{ billedMs: 60_000 }])
  })

  it('is charged until now while it goes on', () => {
    expect(costOf(onDemand({ untilMs: null }), T0 + 2 * HOUR_MS)).toBe(2 * DOLLAR)
    expect(costOf(onDemand({ untilMs: null }), T0)).toBe(Math.round(DOLLAR / 60))
  })

  it('is divided at midnight, UTC', () => {
    const charges = chargesOf(onDemand({ untilMs: T0 + 24 * HOUR_MS }), T0 + 9 * DAY_MS, flat)
    expect(charges).toEqual([
      { day: '2026-01-01', billedMs: 14 * HOUR_MS, costMicroUsd: 14 * DOLLAR, onDemandMicroUsd: 14 * DOLLAR },
      { day: '2026-01-02', billedMs: 10 * HOUR_MS, costMicroUsd: 10 * DOLLAR, onDemandMicroUsd: 10 * DOLLAR },
    ])
  })

  it('of a type without a known price costs nothing, and its time is told', () => {
    expect(chargesOf(onDemand({ onDemandMicroUsd: null }), T0, flat)).toMatchObject([{ billedMs: HOUR_MS, costMicroUsd: 0, onDemandMicroUsd: 0 }])
  })
})

describe('a run on spot', () => {
  it('pays in each hour the price in force at its beginning', () => {
    const rising = (_type: string, _zone: string, atMs: number) => (atMs < T0 + 20 * MINUTE_MS ? 100_000 : 200_000)
    expect(costOf(spot(), undefined, rising)).toBe(100_000)
    expect(costOf(spot({ untilMs: T0 + 2 * HOUR_MS }), undefined, rising)).toBe(300_000)
    expect(costOf(spot({ untilMs: T0 + 90 * MINUTE_MS }), undefined, rising)).toBe(200_000)
  })

  it('counts its hours from its start, over midnight too', () => {
    const fromMs = Date.UTC(2026, 0, 1, 23, 30)
    const run = spot({ fromMs, untilMs: fromMs + HOUR_MS })
    const dearer = (_type: string, _zone: string, atMs: number) => (atMs > fromMs ? DOLLAR : 100_000)
    expect(chargesOf(run, fromMs + DAY_MS, dearer).map(({ costMicroUsd }) => costMicroUsd)).toEqual([50_000, 50_000])
  })

  it('never pays more than was offered', () => {
    expect(costOf(spot({ maxPriceMicroUsd: 250_000 }))).toBe(250_000)
  })

  it('is free where the market ended it in its first hour, and not where its user did', () => {
    const short = { untilMs: T0 + HOUR_MS - 1 }
    expect(costOf(spot({ ...short, isInterrupted: true }))).toBe(0)
    expect(chargesOf(spot({ ...short, isInterrupted: true }), T0 + DAY_MS, flat)).toMatchObject([{ onDemandMicroUsd: DOLLAR }])
    expect(costOf(spot(short))).toBe(300_000)
    expect(costOf(spot({ untilMs: T0 + HOUR_MS, isInterrupted: true }))).toBe(300_000)
  })

  it('pays as on demand where no price is known of it', () => {
    expect(costOf(spot(), undefined, () => undefined)).toBe(DOLLAR)
  })
})

describe('what is sealed', () => {
  it('of an ended run is all of it', () => {
    const seal = sealOf(spot(), T0 + DAY_MS, flat)
    expect(seal).toMatchObject({ sealed: [{ day: '2026-01-01', costMicroUsd: 300_000 }], unsealedFromMs: null })
  })

  it('of one that goes on are the days that are over, at the prices of then', () => {
    const run = spot({ untilMs: null })
    const { sealed, unsealedFromMs } = sealOf(run, T0 + DAY_MS, flat)
    expect({ days: sealed.map(({ day }) => day), unsealedFromMs }).toEqual({ days: ['2026-01-01'], unsealedFromMs: Date.UTC(2026, 0, 2) })
    const later = chargesOf({ ...run, sealed }, T0 + DAY_MS, () => 500_000)
    expect(later.map(({ costMicroUsd }) => costMicroUsd)).toEqual([14 * 300_000, 10 * 500_000])
  })

  it('is nothing while a run may still turn out to be free', () => {
    const fromMs = Date.UTC(2026, 0, 1, 23, 30)
    expect(sealOf(spot({ fromMs, untilMs: null }), fromMs + 40 * MINUTE_MS, flat)).toEqual({ sealed: [], unsealedFromMs: fromMs })
  })

  it('is kept for 13 months', () => {
    expect(new Date(forgottenBeforeMs(Date.UTC(2026, 10, 26))).toISOString()).toBe('2025-10-01T00:00:00.000Z')
    const run = onDemand({ untilMs: null })
    const nowMs = T0 + 800 * DAY_MS
    const { sealed } = sealOf(run, nowMs, flat)
    expect(Date.parse(sealed[0]?.day ?? '')).toBe(forgottenBeforeMs(nowMs))
  })
})

const anyRun = fc.record({
  lifecycle: fc.constantFrom('on-demand' as const, 'spot' as const), startMs: fc.integer({ min: 0, max: 3 * DAY_MS }),
  lengthMs: fc.integer({ min: 0, max: 5 * DAY_MS }), price: fc.integer({ min: 1, max: 500 * DOLLAR }), isInterrupted: fc.boolean(),
}).map(({ lifecycle, startMs, lengthMs, price, isInterrupted }) => onDemand({
  lifecycle, fromMs: T0 + startMs, untilMs: T0 + startMs + lengthMs, onDemandMicroUsd: price, isInterrupted,
  maxPriceMicroUsd: lifecycle === 'spot' ? price : null,
}))
/** Changes every 17 minutes. */
const wild = (_type: string, _zone: string, atMs: number) => (Math.floor(atMs / (17 * MINUTE_MS)) * 7919) % 900_000

describe('of any run', () => {
  it('the days together have its length and its cost, as far as each is rounded once', () => {
    fc.assert(fc.property(anyRun, (run) => {
      const charges = chargesOf(run, T0, wild)
      const billedMs = charges.reduce((sum, each) => sum + each.billedMs, 0)
      expect(billedMs).toBeGreaterThanOrEqual(60_000)
      expect(billedMs % 1000).toBe(0)
      expect(billedMs).toBeLessThan(Math.max(60_001, (run.untilMs ?? 0) - run.fromMs + 1000))
      const exact = ((run.onDemandMicroUsd ?? 0) * billedMs) / HOUR_MS
      const onDemandSum = charges.reduce((sum, each) => sum + each.onDemandMicroUsd, 0)
      expect(Math.abs(onDemandSum - exact)).toBeLessThanOrEqual(charges.length / 2 + exact * 1e-12)
      for (const each of charges) {
        expect(Number.isSafeInteger(each.costMicroUsd)).toBe(true)
        expect(each.costMicroUsd).toBeLessThanOrEqual(each.onDemandMicroUsd)
      }
    }))
  })

  it('it does not matter whether, and when, days were sealed', () => {
    fc.assert(fc.property(anyRun, fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }), (run, looks) => {
      const untilMs = run.untilMs ?? T0
      let sealed: Metered['sealed'] = []
      for (const part of looks.toSorted((a, b) => a - b)) {
        const nowMs = Math.floor(run.fromMs + part * (untilMs - run.fromMs))
        sealed = sealOf({ ...run, untilMs: null, isInterrupted: false, sealed }, nowMs, wild).sealed
      }
      const done = sealOf({ ...run, sealed }, untilMs, wild)
      expect(done).toEqual(sealOf(run, untilMs, wild))
      expect(sealOf({ ...run, sealed: done.sealed }, untilMs + DAY_MS, () => 1)).toEqual(done)
    }))
  })
})
