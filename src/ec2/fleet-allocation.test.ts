import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { SpotStrategy } from '../model/fleet-spec.ts'
import { allocateSpot, type AllocationWish, type SpotPool } from './fleet-allocation.ts'

interface NamedPool extends SpotPool {
  name: string
}

const pool = (name: string, change: Partial<SpotPool> = {}): NamedPool => ({
  name, zone: name.split(' ')[1] ?? 'a', weight: 1, priority: Number.POSITIVE_INFINITY, priceMicroUsd: 10_000, zoneUnits: 10_000, heldUnits: 0,
  most: Number.POSITIVE_INFINITY, ...change,
})
const wish = (strategy: SpotStrategy, wanted: number, change: Partial<AllocationWish> = {}): AllocationWish => ({
  strategy, wanted, poolsToUse: 1, budgetMicroUsd: null, freeUnits: new Map([['a', 1_000_000], ['b', 1_000_000], ['c', 1_000_000]]), ...change,
})
const counts = (pools: NamedPool[], asked: AllocationWish) =>
  Object.fromEntries(allocateSpot(pools, asked).map(({ pool: { name }, count }) => [name, count]))

describe('a fleet by the lowest spot price', () => {
  const pools = [pool('dear a', { priceMicroUsd: 30_000 }), pool('cheap b', { most: 3 }), pool('middle c', { priceMicroUsd: 20_000 })]

  it('takes the cheapest pool, and the next where that has no room', () => {
    expect(counts(pools, wish('lowest-price', 2))).toEqual({ 'cheap b': 2 })
    expect(counts(pools, wish('lowest-price', 5))).toEqual({ 'cheap b': 3, 'middle c': 2 })
  })

  it('divides evenly among as many of the cheapest as it is told, and draws on the next when one runs out', () => {
    expect(counts(pools, wish('lowest-price', 4, { poolsToUse: 2 }))).toEqual({ 'cheap b': 2, 'middle c': 2 })
    expect(counts(pools, wish('lowest-price', 10, { poolsToUse: 2 }))).toEqual({ 'cheap b': 3, 'middle c': 4, 'dear a': 3 })
  })

  it('counts prices per unit', () => {
    expect(counts([pool('small a'), pool('large a', { priceMicroUsd: 30_000, weight: 4 })], wish('lowest-price', 8))).toEqual({ 'large a': 2 })
  })

  it('shares the supply of a zone among its types', () => {
    const same = [pool('small a'), pool('large a', { priceMicroUsd: 90_000, zoneUnits: 40_000 })]
    expect(counts(same, wish('lowest-price', 9, { freeUnits: new Map([['a', 50_000]]) }))).toEqual({ 'small a': 5 })
  })
})

describe('a diversified fleet', () => {
  it('is in all of its pools, and fills up the emptiest', () => {
    expect(counts(['x a', 'x b', 'x c'].map((name) => pool(name)), wish('diversified', 6))).toEqual({ 'x a': 2, 'x b': 2, 'x c': 2 })
    expect(counts([pool('x a', { heldUnits: 2 }), pool('x b')], wish('diversified', 2))).toEqual({ 'x b': 2 })
  })
})

describe('a fleet by capacity', () => {
  const freeUnits = new Map([['a', 100_000], ['b', 900_000]])
  const pools = [pool('cheap a', { priceMicroUsd: 1000, priority: 0 }), pool('dear b'), pool('dearer b', { priceMicroUsd: 20_000, priority: 1 })]

  it('takes from the deepest pool', () => {
    expect(counts(pools, wish('capacity-optimized', 4, { freeUnits }))).toEqual({ 'dear b': 4 })
  })

  it('goes by priority among pools that are as deep', () => {
    expect(counts(pools, wish('capacity-optimized-prioritized', 4, { freeUnits }))).toEqual({ 'dearer b': 4 })
  })

  it('goes by price among pools that have plenty of room', () => {
    expect(counts(pools, wish('price-capacity-optimized', 1, { freeUnits }))).toEqual({ 'cheap a': 1 })
    expect(counts(pools, wish('price-capacity-optimized', 4, { freeUnits }))).toEqual({ 'dear b': 4 })
  })
})

const STRATEGIES: SpotStrategy[] = ['lowest-price', 'diversified', 'capacity-optimized', 'capacity-optimized-prioritized', 'price-capacity-optimized']
const pools = fc.array(fc.record({
  zone: fc.constantFrom('a', 'b', 'c'), weight: fc.integer({ min: 1, max: 8 }), priority: fc.integer({ min: 0, max: 3 }),
  priceMicroUsd: fc.integer({ min: 1000, max: 1_000_000 }), zoneUnits: fc.integer({ min: 1000, max: 400_000 }), heldUnits: fc.constantFrom(0, 0, 3),
  most: fc.constantFrom(Number.POSITIVE_INFINITY, 0, 2, 7),
}), { minLength: 1, maxLength: 8 })
const wishes = fc.record({
  strategy: fc.constantFrom(...STRATEGIES), poolsToUse: fc.integer({ min: 1, max: 4 }), wanted: fc.integer({ min: 0, max: 60 }),
  budgetMicroUsd: fc.option(fc.integer({ min: 0, max: 5_000_000 })),
  freeUnits: fc.record({ a: fc.integer({ min: 0, max: 1_000_000 }), b: fc.integer({ min: 0, max: 1_000_000 }), c: fc.constant(0) })
    .map((each) => new Map(Object.entries(each))),
})

describe('whatever the strategy', () => {
  it('a fleet gets no more than it wants, but by weights, than there is room for and than it may cost', () => {
    fc.assert(fc.property(pools, wishes, (some, asked) => {
      const got = allocateSpot(some, asked)
      const units = got.reduce((sum, each) => sum + each.count * each.pool.weight, 0)
      const largest = Math.max(0, ...got.map((each) => each.pool.weight))
      if (got.length > 0) expect(units).toBeLessThan(asked.wanted + largest)
      for (const { pool: each, count } of got) expect(count).toBeLessThanOrEqual(each.most)
      for (const [zone, free] of asked.freeUnits) {
        expect(got.reduce((sum, each) => (each.pool.zone === zone ? sum + each.count * each.pool.zoneUnits : sum), 0)).toBeLessThanOrEqual(free)
      }
      const cost = got.reduce((sum, each) => sum + each.count * each.pool.priceMicroUsd, 0)
      expect(cost).toBeLessThanOrEqual(asked.budgetMicroUsd ?? Number.POSITIVE_INFINITY)
    }))
  })

  it('a fleet that gets less than it wants has left no pool that would have given one more', () => {
    fc.assert(fc.property(pools, wishes, (some, asked) => {
      const got = new Map(allocateSpot(some, asked).map(({ pool: each, count }) => [each, count]))
      const sum = (of: (each: (typeof some)[number]) => number) => [...got].reduce((total, [each, count]) => total + count * of(each), 0)
      if (sum((each) => each.weight) >= asked.wanted) return
      for (const each of some) {
        const used = [...got].reduce((total, [other, count]) => (other.zone === each.zone ? total + count * other.zoneUnits : total), 0)
        const hasRoom = (got.get(each) ?? 0) < each.most && used + each.zoneUnits <= (asked.freeUnits.get(each.zone) ?? 0)
        const hasMoney = asked.budgetMicroUsd === null || sum((other) => other.priceMicroUsd) + each.priceMicroUsd <= asked.budgetMicroUsd
        expect(hasRoom && hasMoney).toBe(false)
      }
    }))
  })
})

describe('by its strategy', () => {
  const plenty = new Map([['a', 1_000_000_000], ['b', 1_000_000_000], ['c', 1_000_000_000]])

  it('a diversified fleet is even: no two pools with room differ by more than one instance', () => {
    fc.assert(fc.property(pools, fc.integer({ min: 0, max: 60 }), (some, wanted) => {
      const open = some.map((each) => ({ ...each, weight: 1, heldUnits: 0, most: Number.POSITIVE_INFINITY }))
      const got = new Map(allocateSpot(open, { ...wish('diversified', wanted), freeUnits: plenty }).map(({ pool: each, count }) => [each, count]))
      const all = open.map((each) => got.get(each) ?? 0)
      expect(Math.max(...all) - Math.min(...all)).toBeLessThanOrEqual(1)
    }))
  })

  it('price-capacity-optimized takes no pool first to which another is better in both', () => {
    fc.assert(fc.property(pools, wishes, (some, asked) => {
      const [first] = allocateSpot(some, { ...asked, strategy: 'price-capacity-optimized', budgetMicroUsd: null })
      if (!first) return
      const roomOf = (each: (typeof some)[number]) => Math.min(each.most, Math.floor((asked.freeUnits.get(each.zone) ?? 0) / each.zoneUnits)) * each.weight
      const perInstance = some.every((each) => each.weight > asked.wanted)
      const priceOf = (each: (typeof some)[number]) => (perInstance ? each.priceMicroUsd : each.priceMicroUsd / each.weight)
      for (const each of some) {
        expect(roomOf(each) > roomOf(first.pool) && priceOf(each) < priceOf(first.pool)).toBe(false)
      }
    }))
  })
})
