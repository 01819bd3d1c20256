import type { SpotStrategy } from '../model/fleet-spec.ts'

/** What a strategy has to know of a pool that a fleet may take spot instances from. */
export interface SpotPool {
  zone: string
  /** Units of the fleet that one instance makes. */
  weight: number
  /** The lower, the earlier; infinite for none. */
  priority: number
  /** What an instance costs now, micro-dollars per hour. */
  priceMicroUsd: number
  /** What an instance takes of its zone's supply, as `unitsOf` of spot/clearing.ts says. */
  zoneUnits: number
  /** Units of the fleet that it has there already. */
  heldUnits: number
  /** The most instances that it gives, as far as that is known. */
  most: number
}

/** So many instances of a pool. */
export interface Allocation<P> {
  pool: P
  count: number
}

/** What is to be allocated, and within which limits. */
export interface AllocationWish {
  strategy: SpotStrategy
  /** For the lowest price. */
  poolsToUse: number
  /** Units of the fleet. */
  wanted: number
  /** What all of it may cost in an hour, micro-dollars; null for as much as it takes. */
  budgetMicroUsd: number | null
  /** What spot may still have of each zone. */
  freeUnits: ReadonlyMap<string, number>
}

/** How many times what is wanted counts as plenty of room: beyond that, more is not better. */
const PLENTY_LOG2 = 3

/** What is left while instances are given out one by one. */
class Ledger<P extends SpotPool> {
  readonly counts = new Map<P, number>()
  readonly #free: Map<string, number>
  #budget: number

  constructor({ freeUnits, budgetMicroUsd }: AllocationWish) {
    this.#free = new Map(freeUnits)
    this.#budget = budgetMicroUsd ?? Number.POSITIVE_INFINITY
  }

  freeIn(zone: string): number {
    return this.#free.get(zone) ?? 0
  }

  /** How many more instances a pool gives. */
  roomOf({ most, zone, zoneUnits, priceMicroUsd }: P, taken: number): number {
    const affordable = this.#budget === Number.POSITIVE_INFINITY ? this.#budget : Math.floor(this.#budget / priceMicroUsd)
    return Math.max(0, Math.min(most - taken, Math.floor(this.freeIn(zone) / zoneUnits), affordable))
  }

  room(pool: P): number {
    return this.roomOf(pool, this.counts.get(pool) ?? 0)
  }

  take(pool: P, count: number): void {
    this.counts.set(pool, (this.counts.get(pool) ?? 0) + count)
    this.#free.set(pool.zone, this.freeIn(pool.zone) - count * pool.zoneUnits)
    this.#budget -= count * pool.priceMicroUsd
  }

  held(pool: P): number {
    return pool.heldUnits + (this.counts.get(pool) ?? 0) * pool.weight
  }
}

/**
 * Divides what a fleet wants on spot among pools: as much as there is room and money for, and no instance more than it takes to
 * reach what is wanted. Types of a zone share its supply. Equal pools go in the order in which they are given.
 */
export function allocateSpot<P extends SpotPool>(pools: readonly P[], wish: AllocationWish): Allocation<P>[] {
  const ledger = new Ledger<P>(wish)
  const choice = choiceOf(pools, wish, ledger)
  for (let left = wish.wanted; left > 0;) {
    const chosen = choice()
    if (!chosen) break
    const count = Math.min(chosen.most, ledger.room(chosen.pool), Math.ceil(left / chosen.pool.weight))
    ledger.take(chosen.pool, count)
    left -= count * chosen.pool.weight
  }
  return [...ledger.counts].map(([pool, count]) => ({ pool, count }))
}

/** The pool that comes next, and how many may be taken of it before the question is asked again. */
type Choice<P> = () => { pool: P; most: number } | undefined

function choiceOf<P extends SpotPool>(pools: readonly P[], wish: AllocationWish, ledger: Ledger<P>): Choice<P> {
  const perUnit = priceOrder(pools, wish.wanted)
  const byPrice = pools.toSorted((a, b) => perUnit(a) - perUnit(b))
  if (wish.strategy === 'lowest-price') return evenly(byPrice, Math.max(1, wish.poolsToUse), ledger)
  if (wish.strategy === 'diversified') return evenly(byPrice, pools.length, ledger)
  const depth = (pool: P) => depthOf(ledger.room(pool) * pool.weight, wish.wanted)
  const free = (pool: P) => ledger.freeIn(pool.zone)
  const order: Record<typeof wish.strategy, (pool: P) => readonly number[]> = {
    'capacity-optimized': (pool) => [-depth(pool), -free(pool), perUnit(pool)],
    'capacity-optimized-prioritized': (pool) => [-depth(pool), pool.priority, -free(pool), perUnit(pool)],
    'price-capacity-optimized': (pool) => [-depth(pool), perUnit(pool), -free(pool)],
  }
  const keyOf = order[wish.strategy]
  // In steps, since what is taken of a zone makes it less deep.
  const step = Math.max(1, Math.ceil(wish.wanted / 32))
  return () => {
    let best: { pool: P; key: readonly number[] } | undefined
    for (const pool of byPrice) {
      if (ledger.room(pool) === 0) continue
      const key = keyOf(pool)
      if (!best || compareKeys(key, best.key) < 0) best = { pool, key }
    }
    return best && { pool: best.pool, most: Math.max(1, Math.floor(step / best.pool.weight)) }
  }
}

/** In equal parts from the first so many pools that have room: each time from the one that the fleet has least of. */
function evenly<P extends SpotPool>(pools: readonly P[], width: number, ledger: Ledger<P>): Choice<P> {
  let open = [...pools]
  return () => {
    open = open.filter((pool) => ledger.room(pool) > 0)
    const [first, ...others] = open.slice(0, width)
    if (!first) return undefined
    if (others.length === 0) return { pool: first, most: Number.POSITIVE_INFINITY }
    return { pool: others.reduce((least, pool) => (ledger.held(pool) < ledger.held(least) ? pool : least), first), most: 1 }
  }
}

/** Per unit; per instance where every one of them is more than all that is wanted, as EC2 compares on demand. */
function priceOrder<P extends SpotPool>(pools: readonly P[], wanted: number): (pool: P) => number {
  if (pools.every((pool) => pool.weight > wanted)) return (pool) => pool.priceMicroUsd
  return (pool) => pool.priceMicroUsd / pool.weight
}

/**
 * How deep a pool is for what is wanted of it, in classes: twice as much room is one more, and what has plenty of it is as good as
 * what has more.
 */
function depthOf(roomUnits: number, wanted: number): number {
  return Math.min(PLENTY_LOG2, Math.floor(Math.log2(roomUnits / Math.max(wanted, Number.MIN_VALUE))))
}

function compareKeys(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    const other = b[index] ?? 0
    // Priorities may be infinite on both sides.
    if (value !== other) return value < other ? -1 : 1
  }
  return 0
}
