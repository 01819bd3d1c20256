import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { SpotPricing } from '../../src/model/spot-market.ts'
import { MarketZone, type ZoneTickResult } from '../../src/simulate/market-zone.ts'
import { type Bid, Book } from '../../src/spot/book.ts'
import { TYPICAL_PPM, WHOLE_PPM } from '../../src/spot/clearing.ts'
import { decideZone, zonePriceOf, type ZoneTick } from '../../src/spot/zone-market.ts'

const SIZES = {
  'm5.large': { vcpus: 2, memoryMib: 8_192 }, 'c5.xlarge': { vcpus: 4, memoryMib: 8_192 }, 'r5.2xlarge': { vcpus: 8, memoryMib: 65_536 },
  'm5.8xlarge': { vcpus: 32, memoryMib: 131_072 },
} as const
type Type = keyof typeof SIZES
const TYPES: readonly Type[] = ['m5.large', 'c5.xlarge', 'r5.2xlarge', 'm5.8xlarge']
const NOTICE_MS = 120_000
const MINUTE_MS = 60_000

const steps = fc.array(fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('request' as const), type: fc.constantFrom(...TYPES), bidPpm: fc.integer({ min: 1, max: 11 }).map((tenths) => tenths * 100_000) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('end' as const), which: fc.nat(40) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('start' as const), type: fc.constantFrom(...TYPES) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('stop' as const), which: fc.nat(10) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('background' as const), tenths: fc.integer({ min: 1, max: 10 }) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('wait' as const), minutes: fc.constantFrom(0, 1, 2, 5, 400) }) },
), { minLength: 5, maxLength: 60 })
type Step = typeof steps extends fc.Arbitrary<(infer Each)[]> ? Each : never

/** What the zone was before a tick, and what became of it. */
interface Seen extends ZoneTickResult {
  nowMs: number
  before: { prices: MarketZone['price']; running: Map<string, number | undefined>; heldUnits: number; keptUnits: number }
  zone: MarketZone
}

/** Runs a random market; `check` sees it after each tick. */
function run(pricing: SpotPricing, steps: readonly Step[], hosts: number, check: (seen: Seen) => void): void {
  let [nowMs, background, count] = [0, 300_000, 0]
  const ids: string[] = []
  const zone = new MarketZone({
    hosts: Array.from({ length: hosts }, () => ({ vcpus: 16, memoryMib: 65_536 })), pricing, noticeMs: NOTICE_MS, bufferUnits: 50_000, nowMs,
    sizeOf: (type) => SIZES[type as Type], backgroundPpm: (type) => background + (type === 'm5.large' ? 50_000 : 0),
  })
  for (const step of steps) {
    count++
    if (step.kind === 'request') {
      zone.request(`sir-${count}`, step.type, step.bidPpm, nowMs)
      ids.push(`sir-${count}`)
    } else if (step.kind === 'end') zone.end(ids[step.which % Math.max(1, ids.length)] ?? '')
    else if (step.kind === 'start') zone.startOnDemand(`i-${count % 10}`, SIZES[step.type])
    else if (step.kind === 'stop') zone.stopOnDemand(`i-${step.which}`)
    else if (step.kind === 'background') background = step.tenths * 100_000
    else nowMs += step.minutes * MINUTE_MS
    const running = new Map([...zone.spot].map(([id, each]) => [id, each.endsMs]))
    const before = { prices: zone.price, running, ...zone.held }
    check({ ...zone.tick(nowMs), nowMs, before, zone })
  }
}

const PRICINGS: readonly SpotPricing[] = ['smoothed', 'auction']
const always = (check: (seen: Seen, pricing: SpotPricing) => void, pricings = PRICINGS) =>
  fc.assert(fc.property(fc.constantFrom(...pricings), steps, fc.integer({ min: 1, max: 4 }), (pricing, steps, hosts) =>
    run(pricing, steps, hosts, (seen) => check(seen, pricing))), { numRuns: 300 })

const price = ({ zone, nowMs }: Seen, bid: Bid) => zone.pricePpm(bid.instanceType, nowMs)

describe('a random market, after each tick', () => {
  it('has no instance without notice whose offer is below its price', () => always((seen) => {
    for (const { bid, endsMs } of seen.zone.spot.values()) if (endsMs === undefined) expect(bid.bidPpm).toBeGreaterThanOrEqual(price(seen, bid))
  }))

  it('ends what has had notice when that is over, and not before', () => always(({ nowMs, zone, ended, before }) => {
    for (const each of zone.spot.values()) if (each.endsMs !== undefined) expect(each.endsMs).toBeGreaterThan(nowMs)
    for (const { id } of ended) expect(before.running.get(id)).toBeLessThanOrEqual(nowMs)
  }))

  it('keeps no more than the supply, and launches only into it', () => always(({ zone, supplyUnits, launched, before }) => {
    const { heldUnits, keptUnits } = zone.held
    expect(keptUnits).toBeLessThanOrEqual(supplyUnits)
    if (launched.length > 0) expect(heldUnits).toBeLessThanOrEqual(supplyUnits)
    else expect(heldUnits).toBeLessThanOrEqual(before.heldUnits)
  }))

  it('promises no more of a host than it has', () => always(({ zone }) => {
    for (const free of zone.free) expect(free.vcpus >= 0 && free.memoryMib >= 0).toBe(true)
  }))

  it('gives notice for capacity only as far as that is short', () => always(({ decision, supplyUnits, before, ended }) => {
    const forCapacity = decision.notices.filter(({ cause }) => cause === 'no-capacity').map(({ bid }) => bid)
    const keptUnits = before.keptUnits
    expect(ended.every((bid) => before.running.get(bid.id) !== undefined)).toBe(true)
    const withoutLast = forCapacity.slice(0, -1).filter((bid) => bid.units <= supplyUnits).reduce((sum, bid) => sum + bid.units, 0)
    if (forCapacity.length > 0) expect(keptUnits - supplyUnits).toBeGreaterThan(withoutLast)
  }))

  it('gives notice by price only to those who offer no more than it', () => always((seen, pricing) => {
    for (const { bid, cause } of seen.decision.notices) {
      if (cause !== 'by-price') continue
      if (pricing === 'smoothed') expect(bid.bidPpm).toBeLessThan(price(seen, bid))
      else expect(bid.bidPpm).toBeLessThanOrEqual(price(seen, bid))
    }
  }))

  it('recommends to leave only to those who stay', () => always(({ decision, zone }) => {
    for (const { id } of decision.rebalance) expect(zone.spot.get(id)?.endsMs).toBeUndefined()
  }))

  it('smoothed, has gone no more than three thousandths of on demand at once', () => always(({ decision, before }) => {
    const [from, to] = [before.prices.clearingPpm, decision.price.clearingPpm].map((ppm) => Math.max(ppm, TYPICAL_PPM))
    expect(Math.abs((to ?? 0) - (from ?? 0))).toBeLessThanOrEqual(3_000)
  }, ['smoothed']))

  it('is the same again from the same beginning', () => {
    fc.assert(fc.property(fc.constantFrom(...PRICINGS), steps, (pricing, steps) => {
      const told = () => {
        const all: string[] = []
        run(pricing, steps, 3, ({ decision, launched }) => all.push(JSON.stringify([decision.price, decision.notices, decision.rebalance, launched])))
        return all
      }
      expect(told()).toEqual(told())
    }))
  })
})

const bids = fc.uniqueArray(fc.record({
  id: fc.nat(1_000).map((id) => `sir-${id}`), instanceType: fc.constantFrom('a', 'b', 'c'), bidPpm: fc.integer({ min: 1, max: 10 }).map((tenths) => tenths * 100_000),
  isIncumbent: fc.boolean(), arrivedMs: fc.nat(5),
}), { selector: (bid) => bid.id, maxLength: 25 }).map((all) => all.map((bid) => ({ ...bid, units: { a: 100_000, b: 200_000, c: 300_000 }[bid.instanceType] ?? 0 })))

interface Tick {
  pricing: SpotPricing
  bids: readonly Bid[]
  supplyUnits: number
  clearingPpm?: number
}

function decide({ pricing, bids, supplyUnits, clearingPpm = 0 }: Tick): ReturnType<typeof decideZone> {
  const book = new Book()
  for (const bid of bids) book.put(bid)
  const keptUnits = book.incumbentUnits
  const tick: ZoneTick = {
    book, pricing, supplyUnits, keptUnits, heldUnits: keptUnits, nowMs: 10 * 3_600_000, price: zonePriceOf(clearingPpm, 0),
    pricePpm: (type, clearing) => Math.min(WHOLE_PPM, Math.max(type === 'a' ? 350_000 : 250_000, clearing)),
  }
  return decideZone(tick)
}

function ordersOf({ price, notices, rebalance, launches }: ReturnType<typeof decide>): unknown {
  const launched: Bid[] = []
  for (let bid = launches.next(); bid; bid = launches.next()) {
    launches.took(bid)
    launched.push(bid)
  }
  return { price, notices, rebalance, launched }
}

const pricings = fc.constantFrom(...PRICINGS)
const prices = fc.constantFrom(0, 350_000, 500_000, 1_000_000)
// Every bid has room in it by itself, or nothing has.
const supplies = fc.oneof(fc.constant(0), fc.integer({ min: 300_000, max: 1_000_000 }))

describe('the price', () => {
  it('does not rise with supply', () => {
    fc.assert(fc.property(pricings, bids, prices, supplies, supplies, (pricing, bids, clearingPpm, one, other) => {
      const [less, more] = [Math.min(one, other), Math.max(one, other)].map((supplyUnits) => decide({ pricing, bids, supplyUnits, clearingPpm }).price.clearingPpm)
      expect(more).toBeLessThanOrEqual(less ?? 0)
    }), { numRuns: 500 })
  })

  it('does not fall with demand', () => {
    fc.assert(fc.property(pricings, bids, prices, fc.nat(1_000_000), (pricing, bids, clearingPpm, supplyUnits) => {
      const fewer = decide({ pricing, bids: bids.slice(1), supplyUnits, clearingPpm }).price.clearingPpm
      expect(decide({ pricing, bids, supplyUnits, clearingPpm }).price.clearingPpm).toBeGreaterThanOrEqual(fewer)
    }), { numRuns: 500 })
  })

  it('is at most that on demand, and in an auction at most what any winner pays', () => {
    fc.assert(fc.property(bids, fc.nat(1_000_000), (bids, supplyUnits) => {
      const { price, launches } = decide({ pricing: 'auction', bids, supplyUnits })
      expect(price.clearingPpm).toBeLessThanOrEqual(WHOLE_PPM)
      for (let bid = launches.next(); bid; bid = launches.next()) expect(bid.bidPpm).toBeGreaterThanOrEqual(price.clearingPpm)
    }), { numRuns: 300 })
  })
})

describe('a bid that never has room', () => {
  it('changes nothing for others, whatever it offers', () => {
    fc.assert(fc.property(pricings, bids, prices, fc.integer({ min: 1, max: 1_000_000 }), (pricing, bids, clearingPpm, supplyUnits) => {
      const giant: Bid = { id: 'sir-giant', instanceType: 'giant', bidPpm: 1_000_000, units: supplyUnits + 1, isIncumbent: false, arrivedMs: 0 }
      const without = ordersOf(decide({ pricing, bids, supplyUnits, clearingPpm }))
      expect(ordersOf(decide({ pricing, bids: [...bids, giant], supplyUnits, clearingPpm }))).toEqual(without)
    }))
  })

  it('that offers less than its type costs changes nothing for others either', () => {
    fc.assert(fc.property(pricings, bids, prices, fc.nat(1_000_000), (pricing, bids, clearingPpm, supplyUnits) => {
      const poor: Bid = { id: 'sir-poor', instanceType: 'a', bidPpm: 340_000, units: 100_000, isIncumbent: false, arrivedMs: 0 }
      const without = ordersOf(decide({ pricing, bids, supplyUnits, clearingPpm }))
      expect(ordersOf(decide({ pricing, bids: [...bids, poor], supplyUnits, clearingPpm }))).toEqual(without)
    }))
  })
})

describe('waiting bids', () => {
  it('are all launched that have room, where no host is in the way: none is left that would fit', () => {
    fc.assert(fc.property(bids, fc.nat(1_000_000), (all, supplyUnits) => {
      const waiting = all.map((bid) => ({ ...bid, isIncumbent: false }))
      const { price, launches } = decide({ pricing: 'smoothed', bids: waiting, supplyUnits })
      const launched = new Set<string>()
      let freeUnits = supplyUnits
      for (let bid = launches.next(); bid; bid = launches.next()) {
        launches.took(bid)
        launched.add(bid.id)
        freeUnits -= bid.units
      }
      expect(freeUnits).toBeGreaterThanOrEqual(0)
      const priceOf = (bid: Bid) => Math.max(bid.instanceType === 'a' ? 350_000 : 250_000, price.clearingPpm)
      for (const bid of waiting) if (!launched.has(bid.id) && bid.bidPpm >= priceOf(bid)) expect(bid.units).toBeGreaterThan(freeUnits)
    }))
  })

  it('of other types have their turn where no host takes one', () => {
    const bids = ['a', 'a', 'b'].map((instanceType, at) => ({ id: `sir-${at}`, instanceType, bidPpm: 900_000 - at, units: 100_000, isIncumbent: false, arrivedMs: at }))
    const { launches } = decide({ pricing: 'smoothed', bids, supplyUnits: 1_000_000 })
    const first = launches.next()
    if (first) launches.noHost(first)
    expect([first?.id, launches.next()?.id, launches.next()]).toEqual(['sir-0', 'sir-2', undefined])
  })

  it('that have lost an auction have no turn, though no host takes those that won', () => {
    const bids = ['c', 'c', 'c', 'a'].map((instanceType, at) => ({ id: `sir-${at}`, instanceType, bidPpm: 500_000, units: instanceType === 'c' ? 300_000 : 100_000, isIncumbent: false, arrivedMs: at }))
    const { launches } = decide({ pricing: 'auction', bids, supplyUnits: 900_000 })
    const first = launches.next()
    if (first) launches.noHost(first)
    expect([first?.id, launches.next()]).toEqual(['sir-0', undefined])
  })
})
