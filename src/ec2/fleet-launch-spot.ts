import { vcpusOf, memoryMibOf } from '../catalogue/instance-types.ts'
import { onDemandMicroUsd } from '../catalogue/on-demand-prices.ts'
import { ApiError } from '../core/errors.ts'
import { unitsOf } from '../spot/clearing.ts'
import type { Context } from './context.ts'
import type { FleetOutcome } from './create-fleet-fulfil.ts'
import type { Pool } from './create-fleet-pools.ts'
import { allocateSpot, type SpotPool } from './fleet-allocation.ts'
import { groupsOf, launchFrom, launchGroups, OF_ADDRESSES, type LaunchingFleet, type LaunchOnce, type Share } from './fleet-launch.ts'
import { launchSpotInstances } from './spot-launch.ts'
import { notOnSpot, requestedOffer } from './spot-offer.ts'
import { dollars, noSpotCapacity } from './spot-places.ts'
import type { SpotPrices } from './spot-prices.ts'
import { loadSpotSupplies, type ZoneSupply } from './spot-supply.ts'
import { priceTooLow } from '../model/spot-request.ts'

/** What spot is like at the moment, and what the fleet has of it. */
export interface SpotShare extends Share {
  prices: SpotPrices
  /** Units that the fleet has of a type in a zone. */
  heldUnits: (typeName: string, zone: string) => number
}

/** A pool as a strategy sees it, and itself. */
export interface PricedPool extends SpotPool {
  pool: Pool
}

/**
 * Launches a fleet's share on spot: divided among its pools by its strategy, inside what spot may have of each zone, for what each
 * pool may cost. What a pool has no room for after all, the others get. Errors of pools are answered.
 */
export async function launchSpot(context: Context, fleet: LaunchingFleet, share: SpotShare): Promise<FleetOutcome> {
  const { singleType, singleZone, least } = fleet.spec.spot
  const pools = fleet.pools.filter((pool) => pool.serves.spot)
  const groups = groupsOf(pools, { singleType, singleZone })
  const ordered = groups.length > 1 ? await bestFirst(context, fleet, { groups, share }) : groups
  return launchGroups(context, ordered, { wanted: share.wanted, least, launch: (some) => launchFromAll(context, fleet, { pools: some, share }) })
}

/** Groups in the order in which they are tried: who has the most of what is wanted, and then who is cheapest. */
async function bestFirst(
  context: Context,
  { spec }: LaunchingFleet,
  { groups, share }: { groups: Pool[][]; share: SpotShare },
): Promise<Pool[][]> {
  const supplies = await loadSpotSupplies(context.db, context.region)
  const ranked = groups.map((group) => {
    const { open } = pricedPools(group, { supplies, share })
    const found = allocateSpot(open, wishOf(spec, { wanted: share.wanted, supplies, spentMicroUsd: share.spentMicroUsd }))
    const units = found.reduce((sum, { pool, count }) => sum + count * pool.weight, 0)
    const cost = found.reduce((sum, { pool, count }) => sum + count * pool.priceMicroUsd, 0)
    return { group, units: Math.min(units, share.wanted), cost: units === 0 ? 0 : cost / units }
  })
  return ranked.toSorted((a, b) => b.units - a.units || a.cost - b.cost).map(({ group }) => group)
}

async function launchFromAll(
  context: Context,
  fleet: LaunchingFleet,
  { pools, share }: { pools: readonly Pool[]; share: SpotShare },
): Promise<FleetOutcome> {
  const outcome: FleetOutcome = { fulfilled: 0, launched: new Map(), errors: [] }
  const most = new Map<Pool, number>()
  const once = onSpot(context, fleet)
  let spentMicroUsd = share.spentMicroUsd
  for (;;) {
    const wanted = share.wanted - outcome.fulfilled
    const supplies = await loadSpotSupplies(context.db, context.region)
    const { open, refused } = pricedPools(pools, { supplies, share, outcome, most })
    const allocations = wanted > 0 ? allocateSpot(open, wishOf(fleet.spec, { wanted, supplies, spentMicroUsd })) : []
    if (allocations.length === 0) {
      if (wanted > 0) outcome.errors.push(...refused, ...withoutRoom(open, { supplies, outcome }))
      return outcome
    }
    for (const { pool: { pool, priceMicroUsd }, count } of allocations) {
      if (most.has(pool)) continue
      const { ids, error } = await launchFrom(context, fleet, { pool, count, once })
      if (ids.length > 0) outcome.launched.set(pool, [...(outcome.launched.get(pool) ?? []), ...ids])
      if (ids.length < count) most.set(pool, 0)
      if (error) outcome.errors.push({ pool, error })
      for (const { pool: other } of error ? open : []) {
        if (!error || most.has(other) || !failsAlike(error, pool, other)) continue
        most.set(other, 0)
        outcome.errors.push({ pool: other, error })
      }
      outcome.fulfilled += ids.length * pool.weight
      spentMicroUsd += ids.length * priceMicroUsd
    }
  }
}

/** Whether a launch from another pool would fail for the same reason: not each of hundreds has to find out by itself that there is no address left. */
function failsAlike({ code }: ApiError, { zone, input }: Pool, other: Pool): boolean {
  return OF_ADDRESSES.has(code) && zone === other.zone && input.SubnetId === other.input.SubnetId
    && JSON.stringify(input.NetworkInterfaces) === JSON.stringify(other.input.NetworkInterfaces)
}

/** Each instance has a request of its own, which its pool's maximum is the offer of. */
function onSpot(context: Context, { spec: { spot: { behavior } } }: LaunchingFleet): LaunchOnce {
  return async (pool, count, origin) => {
    const price = pool.maxSpotMicroUsd === null ? undefined : dollars(pool.maxSpotMicroUsd)
    const offer = requestedOffer(pool.typeName, price, 'MaxPrice')
    const type = behavior === 'terminate' ? 'one-time' : 'persistent'
    const launch = { input: { ...pool.input, MinCount: 1, MaxCount: count }, ask: { ...offer, type, behavior, validUntilMs: null } } as const
    await launchSpotInstances(context, launch, origin)
  }
}

function wishOf(
  { spot }: LaunchingFleet['spec'],
  { wanted, supplies, spentMicroUsd }: { wanted: number; supplies: ReadonlyMap<string, ZoneSupply>; spentMicroUsd: number },
) {
  const { strategy, poolsToUse, maxTotalMicroUsd } = spot
  return {
    strategy, poolsToUse, wanted, freeUnits: freeUnitsOf(supplies),
    budgetMicroUsd: maxTotalMicroUsd === null ? null : Math.max(0, maxTotalMicroUsd - spentMicroUsd),
  }
}

/** What spot may still have of each zone. */
export function freeUnitsOf(supplies: ReadonlyMap<string, ZoneSupply>): Map<string, number> {
  return new Map([...supplies].map(([zone, { supplyUnits, heldUnits }]) => [zone, Math.max(0, supplyUnits - heldUnits)]))
}

interface Circumstances {
  supplies: ReadonlyMap<string, ZoneSupply>
  share: SpotShare
  outcome?: FleetOutcome
  /** Pools that gave less than they should: how many more they give. */
  most?: ReadonlyMap<Pool, number>
}

/** Pools that may be launched from at their prices, and why others may not. */
function pricedPools(
  pools: readonly Pool[],
  { supplies, share, outcome, most }: Circumstances,
): { open: PricedPool[]; refused: { pool: Pool; error: ApiError }[] } {
  const open: PricedPool[] = []
  const refused: { pool: Pool; error: ApiError }[] = []
  for (const pool of pools) {
    const { zone, typeName, weight, priority } = pool
    const price = zone === null ? undefined : share.prices.priceMicroUsd(typeName, zone)
    const error = pool.problem ?? refusal(pool, price)
    if (error) refused.push({ pool, error })
    if (error || zone === null || price === undefined) continue
    const heldUnits = share.heldUnits(typeName, zone) + (outcome?.launched.get(pool)?.length ?? 0) * weight
    open.push({
      pool, zone, weight, priority, priceMicroUsd: price, heldUnits, zoneUnits: zoneUnitsOf(pool, supplies.get(zone)),
      most: most?.get(pool) ?? Number.POSITIVE_INFINITY,
    })
  }
  return { open, refused }
}

/** Prices and supplies, as they are together. */
export interface SpotGround {
  supplies: ReadonlyMap<string, ZoneSupply>
  prices: SpotPrices
}

/** Whether an instance of a pool could be had on spot: for its price, and for the room of its zone. */
export function isOpenOnSpot(pool: Pool, { supplies, prices }: SpotGround): boolean {
  const { zone, typeName, problem } = pool
  if (zone === null || problem !== null) return false
  const supply = supplies.get(zone)
  const free = supply ? supply.supplyUnits - supply.heldUnits : 0
  return zoneUnitsOf(pool, supply) <= free && refusal(pool, prices.priceMicroUsd(typeName, zone)) === undefined
}

/** What an instance of a pool takes of its zone; of one without hosts, more than there is. */
function zoneUnitsOf({ typeName, input }: Pool, supply: ZoneSupply | undefined): number {
  const cpu = input.CpuOptions
  const vcpus = cpu?.CoreCount !== undefined ? cpu.CoreCount * (cpu.ThreadsPerCore ?? 1) : vcpusOf(typeName) ?? 1
  if (!supply || supply.vcpus <= 0 || supply.memoryMib <= 0) return Number.POSITIVE_INFINITY
  return unitsOf({ vcpus, memoryMib: memoryMibOf(typeName) ?? 1 }, supply)
}

/** Why a pool is not had at this price. */
function refusal({ typeName, maxSpotMicroUsd }: Pool, price: number | undefined): ApiError | undefined {
  if (price === undefined) return notOnSpot()
  const most = maxSpotMicroUsd ?? onDemandMicroUsd(typeName) ?? 0
  return price > most ? new ApiError('SpotMaxPriceTooLow', priceTooLow(dollars(most), dollars(price))) : undefined
}

/** Pools of which nothing was tried, since their zones have no room for one instance. */
function withoutRoom(open: readonly PricedPool[], { supplies, outcome }: { supplies: ReadonlyMap<string, ZoneSupply>; outcome: FleetOutcome }) {
  const free = freeUnitsOf(supplies)
  const told = new Set(outcome.errors.map(({ pool }) => pool))
  return open
    .filter(({ pool, zone, zoneUnits }) => !told.has(pool) && zoneUnits > (free.get(zone) ?? 0))
    .map(({ pool }) => ({ pool, error: noSpotCapacity() }))
}
