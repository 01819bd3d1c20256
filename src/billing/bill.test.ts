import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { billItems, GROUPINGS, makeBill, readPeriod, type BilledRun, type Grouping } from './bill.ts'
import { DAY_MS } from './charge.ts'

const T0 = Date.UTC(2026, 0, 31, 20)
const HOUR_MS = 3_600_000
const ALL = { fromMs: 0, untilMs: T0 + 1000 * DAY_MS }

const run = (change: Partial<BilledRun> = {}): BilledRun => ({
  instanceId: 'i-1', accountId: '000000000000', imageId: 'ami-1', tags: {}, instanceType: 'm5.large', zone: 'us-east-1a',
  lifecycle: 'on-demand', fromMs: T0, untilMs: T0 + HOUR_MS, onDemandMicroUsd: 96_000, maxPriceMicroUsd: null, isInterrupted: false,
  sealed: [], ...change,
})
const third = () => 32_000
const bill = (runs: BilledRun[], by: Grouping, period = ALL) => makeBill(billItems(runs, period, T0 + 2 * DAY_MS, third), by)

describe('a bill', () => {
  it('tells by instance what it is, what it has cost, and what it would have cost on demand', () => {
    const { lines, total, byLifecycle } = bill([
      run({ tags: { Name: 'old' } }), run({ fromMs: T0 + 2 * HOUR_MS, untilMs: T0 + 3 * HOUR_MS, tags: { Name: 'web' } }),
      run({ instanceId: 'i-2', lifecycle: 'spot', maxPriceMicroUsd: 96_000, zone: 'us-east-1b' }),
    ], 'instance')
    expect(lines).toEqual([
      {
        key: 'i-1', instance: { name: 'web', type: 'm5.large', zone: 'us-east-1a', lifecycle: 'on-demand' }, isRunning: false,
        billedMs: 2 * HOUR_MS, costMicroUsd: 192_000, onDemandMicroUsd: 192_000, savedMicroUsd: 0,
      },
      {
        key: 'i-2', instance: { name: null, type: 'm5.large', zone: 'us-east-1b', lifecycle: 'spot' }, isRunning: false,
        billedMs: HOUR_MS, costMicroUsd: 32_000, onDemandMicroUsd: 96_000, savedMicroUsd: 64_000,
      },
    ])
    expect(total).toMatchObject({ costMicroUsd: 224_000, savedMicroUsd: 64_000 })
    expect(byLifecycle.spot).toMatchObject({ costMicroUsd: 32_000 })
  })

  it('is by tag, day, zone and so on, what does not have the tag being last', () => {
    const runs = [run({ tags: { team: 'b' } }), run({ instanceId: 'i-2', tags: { team: 'a' }, untilMs: T0 + 6 * HOUR_MS }), run({ instanceId: 'i-3', zone: 'us-east-1c' })]
    const keys = (by: Grouping) => bill(runs, by).lines.map(({ key }) => key)
    expect(keys('tag:team')).toEqual(['a', 'b', null])
    expect(keys('tag:constructor')).toEqual([null])
    expect(keys('day')).toEqual(['2026-01-31', '2026-02-01'])
    expect(keys('zone')).toEqual(['us-east-1a', 'us-east-1c'])
    expect(keys('lifecycle')).toEqual(['on-demand'])
  })

  it('has the days of its period only, and running instances until now', () => {
    const period = readPeriod({ from: '2026-02-01', to: '2026-02-01' }, T0)
    expect(bill([run({ untilMs: null })], 'instance', period)).toMatchObject({
      lines: [{ isRunning: true, billedMs: DAY_MS }], total: { costMicroUsd: 24 * 96_000 },
    })
  })

  it('says what was free, and whose price is not known', () => {
    const { freeRuns, unpricedTypes } = bill([
      run({ lifecycle: 'spot', isInterrupted: true, untilMs: T0 + 60_000 }), run({ instanceType: 'p9.huge', onDemandMicroUsd: null }),
    ], 'type')
    expect({ freeRuns, unpricedTypes }).toEqual({ freeRuns: 1, unpricedTypes: ['p9.huge'] })
  })

  it('comes to the same sum however it is made up', () => {
    const anyRun = fc.record({
      id: fc.constantFrom('i-1', 'i-2', 'i-3'), zone: fc.constantFrom('us-east-1a', 'us-east-1b'), type: fc.constantFrom('m5.large', 'c5.large'),
      isSpot: fc.boolean(), isInterrupted: fc.boolean(), startMs: fc.integer({ min: 0, max: 40 * DAY_MS }),
      lengthMs: fc.option(fc.integer({ min: 0, max: 3 * DAY_MS })), price: fc.integer({ min: 0, max: 10_000_000 }), team: fc.option(fc.constantFrom('a', 'b')),
    })
    fc.assert(fc.property(fc.array(anyRun, { maxLength: 12 }), (made) => {
      const runs = made.map((each) => run({
        instanceId: each.id, zone: each.zone, instanceType: each.type, lifecycle: each.isSpot ? 'spot' : 'on-demand', fromMs: T0 + each.startMs,
        untilMs: each.lengthMs === null ? null : T0 + each.startMs + each.lengthMs, onDemandMicroUsd: each.price,
        isInterrupted: each.isInterrupted, tags: each.team === null ? {} : { team: each.team },
      }))
      const items = billItems(runs, ALL, T0 + 50 * DAY_MS, third)
      const whole = makeBill(items, 'instance').total
      for (const by of [...GROUPINGS, 'tag:team'] as Grouping[]) {
        const { lines, total, byLifecycle } = makeBill(items, by)
        expect(total).toEqual(whole)
        for (const sum of ['billedMs', 'costMicroUsd', 'onDemandMicroUsd', 'savedMicroUsd'] as const) {
          expect(lines.reduce((so, line) => so + line[sum], 0)).toBe(whole[sum])
          expect(byLifecycle.spot[sum] + byLifecycle['on-demand'][sum]).toBe(whole[sum])
        }
      }
      // Two periods that meet have together what both have as one.
      const middleMs = Date.UTC(2026, 1, 10)
      const halves = [{ ...ALL, untilMs: middleMs }, { ...ALL, fromMs: middleMs }]
      const sum = halves.reduce((so, half) => so + makeBill(billItems(runs, half, T0 + 50 * DAY_MS, third), 'day').total.costMicroUsd, 0)
      expect(sum).toBe(whole.costMicroUsd)
    }), { numRuns: 60 })
  })
})

describe('the period of a bill', () => {
  const nowMs = Date.UTC(2026, 1, 14, 12)
  const days = (asked: { from?: string; to?: string }) => {
    const { fromMs, untilMs } = readPeriod(asked, nowMs)
    return [new Date(fromMs).toISOString().slice(0, 10), new Date(untilMs - 1).toISOString().slice(0, 10)]
  }

  it('is this month unless asked for', () => expect(days({})).toEqual(['2026-02-01', '2026-02-14']))
  it('is made of whole days, both named ones included', () => expect(days({ from: '2026-01-30', to: '2026-02-02' })).toEqual(['2026-01-30', '2026-02-02']))
  it('can be months, or so many days ago', () => {
    expect(days({ from: '2025-12', to: '2026-01' })).toEqual(['2025-12-01', '2026-01-31'])
    expect(days({ from: '7d' })).toEqual(['2026-02-07', '2026-02-14'])
  })

  it.each([[{ from: 'monday' }, /"monday" is not a day/], [{ from: '2026-02-31' }, /is not a day/], [{ from: '2026-03-01' }, /is before the first/]])(
    'is refused: %o', (asked, message) => expect(() => readPeriod(asked, nowMs)).toThrow(message))
})
