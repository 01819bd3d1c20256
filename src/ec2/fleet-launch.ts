import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import type { FleetMemberDoc, FleetSpec } from '../model/fleet-spec.ts'
import { attempt, tentatively } from '../store/savepoint.ts'
import type { Context } from './context.ts'
import { fulfil, type FleetMeans, type FleetOutcome } from './create-fleet-fulfil.ts'
import { tiersOf, type Pool } from './create-fleet-pools.ts'
import { countReserved, launchInstances, templateTags, type LaunchOrigin } from './run-instances.ts'
import type { TagInput } from './tags.ts'

/** As many instances as one launch may be for. */
const MOST_AT_ONCE = 1000
/** What a launch of too many for the subnet, or for the region's public addresses, is refused with, as a whole. */
export const OF_ADDRESSES: ReadonlySet<string> = new Set(['InsufficientFreeAddressesInSubnet', 'InsufficientAddressCapacity'])

/** A fleet that launches, from pools that are known. */
export interface LaunchingFleet {
  fleetId: string
  kind: 'fleet' | 'spot-fleet'
  spec: FleetSpec
  pools: readonly Pool[]
}

/** How much of it is to be launched. */
export interface Share {
  /** Units. */
  wanted: number
  /** What the instances cost in an hour that it has already, micro-dollars. */
  spentMicroUsd: number
}

/** One launch of so many instances; what it writes is undone where it fails. */
export type LaunchOnce = (pool: Pool, count: number, origin: LaunchOrigin) => Promise<unknown>

/**
 * Launches a fleet's share on demand, from the cheapest pool on or by priority: from all pools, or from those of one type or zone.
 * Errors of pools are answered.
 */
export async function launchOnDemand(context: Context, fleet: LaunchingFleet, { wanted, spentMicroUsd }: Share): Promise<FleetOutcome> {
  const { maxTotalMicroUsd, strategy, reservationsFirst, ...rules } = fleet.spec.onDemand
  const target = { TotalTargetCapacity: wanted }
  const once: LaunchOnce = (pool, count, origin) => launchInstances(context, { ...pool.input, MinCount: 1, MaxCount: count }, origin)
  const means: FleetMeans = {
    request: { target, maxTotalPrice: maxTotalMicroUsd === null ? null : Math.max(0, maxTotalMicroUsd - spentMicroUsd) },
    placement: context.placement, launch: (pool, count) => launchFrom(context, fleet, { pool, count, once }),
    ...(reservationsFirst ? { reserved: (pool: Pool) => reservedFor(context, pool) } : {}),
  }
  const tiers = (some: readonly Pool[]) => tiersOf(some, { strategy, target })
  const ordered = tiers(fleet.pools.filter((pool) => pool.serves.onDemand)).flat()
  return launchGroups(context, groupsOf(ordered, rules), { wanted, least: rules.least, launch: (some) => fulfil(tiers(some), means) })
}

/** Launches from all pools, or from the first group that has enough for all, or else from the one with the most. */
export async function launchGroups(
  { db }: Context,
  groups: readonly Pool[][],
  { wanted, least, launch }: { wanted: number; least: number; launch: (pools: readonly Pool[]) => Promise<FleetOutcome> },
): Promise<FleetOutcome> {
  const failed: FleetOutcome['errors'] = []
  let best: { group: Pool[]; fulfilled: number } | null = null
  for (const group of groups.length > 1 ? groups : []) {
    const outcome = await tentatively(db, () => launch(group), ({ fulfilled }) => fulfilled >= wanted)
    if (outcome.fulfilled >= wanted) return { ...outcome, errors: [...failed, ...outcome.errors] }
    failed.push(...outcome.errors)
    if (best === null || outcome.fulfilled > best.fulfilled) best = { group, fulfilled: outcome.fulfilled }
  }
  const group = best?.group ?? groups[0] ?? []
  const outcome = await tentatively(db, () => launch(group), ({ fulfilled }) => fulfilled >= least)
  const errors = best === null ? outcome.errors : failed
  if (outcome.fulfilled > 0 && outcome.fulfilled >= least) return { ...outcome, errors }
  return { fulfilled: 0, launched: new Map(), errors: errors.length > 0 ? errors : withoutReason(group, wanted) }
}

/** Pools that may be used together: of one type or zone, where that is asked for. */
export function groupsOf(pools: readonly Pool[], { singleType, singleZone }: { singleType: boolean; singleZone: boolean }): Pool[][] {
  const groups = new Map<string, Pool[]>()
  for (const pool of pools) {
    const key = `${singleType ? pool.typeName : ''} ${singleZone ? pool.zone : ''}`
    groups.set(key, [...(groups.get(key) ?? []), pool])
  }
  return [...groups.values()]
}

/** A fleet that launched nothing though no launch failed: the money did not do. */
function withoutReason([pool]: readonly Pool[], wanted: number): FleetOutcome['errors'] {
  if (!pool || wanted <= 0) return []
  const message = 'Unable to fulfill capacity due to your request configuration. Please adjust your request and try again.'
  return [{ pool, error: new ApiError('UnfulfillableCapacity', message) }]
}

/** Launches from one pool what there is room for; a launch that fails leaves nothing behind. */
export async function launchFrom(
  context: Context,
  fleet: LaunchingFleet,
  { pool, count, once }: { pool: Pool; count: number; once: LaunchOnce },
): Promise<{ ids: string[]; error: ApiError | null }> {
  const ids: string[] = []
  if (pool.problem) return { ids, error: pool.problem }
  const member: FleetMemberDoc = { weight: pool.weight }
  const tags = [fleetTag(fleet), ...templateTags(pool.template)]
  let most = MOST_AT_ONCE
  while (ids.length < count) {
    const reservationId = newId(context.random, 'r')
    const wanted = Math.min(count - ids.length, most)
    const error = await attempt(context.db, async () => {
      await once(pool, wanted, { reservationId, tags, fleetId: fleet.fleetId, fleet: member })
    })
    if (!(error instanceof ApiError)) ids.push(...await idsOf(context, reservationId))
    // There are no addresses for all of them: perhaps for half.
    else if (OF_ADDRESSES.has(error.code) && wanted > 1) most = Math.floor(wanted / 2)
    else return { ids, error }
  }
  return { ids, error: null }
}

/** By this tag an instance knows its fleet. */
function fleetTag({ fleetId, kind }: LaunchingFleet): TagInput {
  return { key: kind === 'spot-fleet' ? 'aws:ec2spot:fleet-request-id' : 'aws:ec2:fleet-id', value: fleetId }
}

async function idsOf({ db }: Context, reservationId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('instances').select('instance_id').where('reservation_id', '=', reservationId).orderBy('launch_index').execute()
  return rows.map((row) => row.instance_id)
}

/** Instances of a pool that the account's capacity reservations have room for; of one that cannot be launched none. */
async function reservedFor(context: Context, pool: Pool): Promise<number> {
  if (pool.problem) return 0
  const found = await attempt(context.db, () => countReserved(context, { ...pool.input, MinCount: 1, MaxCount: 1 }))
  return found instanceof ApiError ? 0 : found
}
