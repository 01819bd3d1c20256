import type { ApiError } from '../core/errors.ts'
import type { Pool } from './create-fleet-pools.ts'

/** How a fleet launches, and what it must keep to. */
export interface FleetMeans {
  request: {
    /** Units that it is to have. */
    target: { TotalTargetCapacity: number }
    /** In the unit of the pools' prices; null for as much as it takes. */
    maxTotalPrice: number | null
  }
  /** Over the pools of a tier in equal parts, or from as few of them as possible. */
  placement: 'spread' | 'pack'
  /** Launches up to so many instances of a pool; fewer come with the reason for that. */
  launch: (pool: Pool, count: number) => Promise<{ ids: string[]; error: ApiError | null }>
  /** How many instances of a pool capacity reservations have room for, where these are to be used first. */
  reserved?: (pool: Pool) => Promise<number>
}

/** What came of it. */
export interface FleetOutcome {
  /** Units. */
  fulfilled: number
  launched: Map<Pool, string[]>
  errors: { pool: Pool; error: ApiError }[]
}

/**
 * Launches a fleet from its pools, tier by tier, until it has what was asked for, nothing is left to launch from, or the
 * money would not do for one more. Within a tier each pool gets its part of what is missing; what one has no room for, the
 * others get.
 */
export async function fulfil(tiers: readonly (readonly Pool[])[], means: FleetMeans): Promise<FleetOutcome> {
  const outcome: FleetOutcome = { fulfilled: 0, launched: new Map(), errors: [] }
  const exhausted = new Set<Pool>()
  const left = () => means.request.target.TotalTargetCapacity - outcome.fulfilled
  const take = async (pool: Pool, units: number, most = Number.POSITIVE_INFINITY) => {
    const wanted = Math.min(Math.ceil(units / pool.weight), most)
    const count = Math.min(wanted, affordable(outcome, pool, means))
    const got = count > 0 ? await launchFrom(outcome, pool, count, means) : 0
    if (got < wanted) exhausted.add(pool)
  }
  if (means.reserved) {
    for (const pool of tiers.flat()) {
      const most = await means.reserved(pool)
      if (left() > 0 && most > 0) await take(pool, left(), most)
    }
  }
  for (const tier of tiers) {
    for (let open = willing(tier, exhausted); left() > 0 && open.length > 0; open = willing(tier, exhausted)) {
      for (const [index, pool] of open.entries()) {
        const share = means.placement === 'spread' ? left() / (open.length - index) : left()
        if (left() > 0) await take(pool, share)
      }
    }
  }
  return outcome
}

function willing(tier: readonly Pool[], exhausted: ReadonlySet<Pool>): Pool[] {
  return tier.filter((pool) => !exhausted.has(pool))
}

async function launchFrom(outcome: FleetOutcome, pool: Pool, count: number, { launch }: FleetMeans): Promise<number> {
  const { ids, error } = await launch(pool, count)
  if (ids.length > 0) outcome.launched.set(pool, [...(outcome.launched.get(pool) ?? []), ...ids])
  if (error) outcome.errors.push({ pool, error })
  outcome.fulfilled += ids.length * pool.weight
  return ids.length
}

/** How many more instances of a pool the fleet may cost; what has no known price cannot be afforded with a limit. */
function affordable({ launched }: FleetOutcome, { price }: Pool, { request: { maxTotalPrice } }: FleetMeans): number {
  if (maxTotalPrice === null) return Number.POSITIVE_INFINITY
  if (price === undefined) return 0
  let spent = 0
  for (const [pool, ids] of launched) spent += (pool.price ?? 0) * ids.length
  // Prices are sums of decimals; a limit of three times one price is for three instances.
  return Math.floor((maxTotalPrice - spent) / price + 1e-9)
}
