import type { CreateFleetError, CreateFleetInstance, CreateFleetRequest, CreateFleetResult, _InstanceType } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { fleetDoc, type FleetDoc } from '../model/fleet.ts'
import { NO_PROGRESS } from '../model/fleet-spec.ts'
import { zoneIdOf } from '../model/zone.ts'
import { attempt, tentatively } from '../store/savepoint.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { fulfil, type FleetMeans, type FleetOutcome } from './create-fleet-fulfil.ts'
import { checkFleet, shownOptions, type FleetRequest } from './create-fleet-input.ts'
import { poolsOf, tiersOf, type Pool } from './create-fleet-pools.ts'
import { forgetDeletedFleets } from './fleets.ts'
import { countReserved, launchInstances, templateTags } from './run-instances.ts'
import { insertTags, parseTagSpecifications } from './tags.ts'

/** As many instances as one launch may be for. */
const MOST_AT_ONCE = 1000
/** What a launch of too many for the subnet, or for the region's public addresses, is refused with, as a whole. */
const OF_ADDRESSES: ReadonlySet<string> = new Set(['InsufficientFreeAddressesInSubnet', 'InsufficientAddressCapacity'])

/**
 * CreateFleet, of type `instant` and on demand: launches from the cheapest pool on, or by priority, what there is room for, and
 * answers what it launched and why the rest was not. All of that is one transaction, so that of a call that fails, or is a
 * DryRun, nothing is left. A fleet that could launch nothing is a fleet all the same.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instant-fleet.html
 *
 * @throws ApiError what `checkFleet`, `poolsOf` and `claimToken` throw; errors of pools are answered.
 */
export async function createFleet(context: Context, input: CreateFleetRequest): Promise<CreateFleetResult> {
  const { db, account, random, nowMs } = context
  const request = checkFleet(input)
  const tags = parseTagSpecifications(input.TagSpecifications, ['fleet', 'instance', 'volume', 'network-interface'])
  await forgetDeletedFleets(context)
  const fleetId = newId(random, 'fleet')
  const earlier = await claimToken(context, 'CreateFleet', input, fleetId)
  if (earlier !== undefined) return answer(context, earlier)
  const ofInstances = (input.TagSpecifications ?? []).filter((each) => each.ResourceType !== 'fleet')
  const { pools, configs } = await poolsOf(context, request, ofInstances)
  const outcome = await launchFleet(context, request, { fleetId, pools })
  const doc: FleetDoc = {
    configs, target: request.target, onDemand: shownOptions(input, request), spot: input.SpotOptions ?? null,
    terminateInstancesWithExpiration: input.TerminateInstancesWithExpiration ?? false, context: input.Context || null,
    spec: null, progress: { ...NO_PROGRESS, activity: 'fulfilled', fulfilledOnDemand: outcome.fulfilled, launchedOnDemand: outcome.fulfilled },
    fulfilled: outcome.fulfilled, instances: await instancesToWire(context, outcome), errors: errorsToWire(outcome), deletedMs: null,
  }
  await db
    .insertInto('fleets')
    .values({
      fleet_id: fleetId, kind: 'fleet', account_id: account, state: 'active', type: 'instant', client_token: input.ClientToken || null,
      created_ms: nowMs, doc: JSON.stringify(doc),
    })
    .execute()
  await insertTags(db, account, 'fleet', fleetId, tags.get('fleet') ?? [])
  return answer(context, fleetId)
}

async function answer({ db, account }: Context, fleetId: string): Promise<CreateFleetResult> {
  const row = await db
    .selectFrom('fleets').select('doc').where('account_id', '=', account).where('fleet_id', '=', fleetId).executeTakeFirstOrThrow()
  const { instances, errors } = fleetDoc(row)
  return { FleetId: fleetId, Instances: instances, Errors: errors }
}

/** Launches from all pools, or from the first type or zone that has enough for all, or else the one with the most. */
async function launchFleet(
  context: Context,
  request: FleetRequest,
  { fleetId, pools }: { fleetId: string; pools: Pool[] },
): Promise<FleetOutcome> {
  const { db } = context
  const means: FleetMeans = {
    request, placement: context.placement, launch: (pool, count) => launchFrom(context, fleetId, pool, count),
    ...(request.reservationsFirst ? { reserved: (pool: Pool) => reservedFor(context, pool) } : {}),
  }
  const launch = (some: readonly Pool[]) => fulfil(tiersOf(some, request), means)
  const groups = groupsOf(tiersOf(pools, request).flat(), request)
  const failed: FleetOutcome['errors'] = []
  let best: { group: Pool[]; fulfilled: number } | null = null
  for (const group of groups.length > 1 ? groups : []) {
    const outcome = await tentatively(db, () => launch(group), ({ fulfilled }) => fulfilled >= request.target.TotalTargetCapacity)
    if (outcome.fulfilled >= request.target.TotalTargetCapacity) return { ...outcome, errors: [...failed, ...outcome.errors] }
    failed.push(...outcome.errors)
    if (best === null || outcome.fulfilled > best.fulfilled) best = { group, fulfilled: outcome.fulfilled }
  }
  const group = best?.group ?? groups[0] ?? []
  const outcome = await tentatively(db, () => launch(group), ({ fulfilled }) => fulfilled >= request.least)
  const errors = best === null ? outcome.errors : failed
  if (outcome.fulfilled > 0 && outcome.fulfilled >= request.least) return { ...outcome, errors }
  return { fulfilled: 0, launched: new Map(), errors: errors.length > 0 ? errors : withoutReason(group, request) }
}

/** Pools that may be used together: of one type or zone, where that is asked for. */
function groupsOf(pools: readonly Pool[], { singleType, singleZone }: FleetRequest): Pool[][] {
  const groups = new Map<string, Pool[]>()
  for (const pool of pools) {
    const key = `${singleType ? pool.typeName : ''} ${singleZone ? pool.zone : ''}`
    groups.set(key, [...(groups.get(key) ?? []), pool])
  }
  return [...groups.values()]
}

/** A fleet that launched nothing though no launch failed: the money did not do. */
function withoutReason([pool]: readonly Pool[], { target }: FleetRequest): FleetOutcome['errors'] {
  if (!pool || target.TotalTargetCapacity === 0) return []
  const message = 'Unable to fulfill capacity due to your request configuration. Please adjust your request and try again.'
  return [{ pool, error: new ApiError('UnfulfillableCapacity', message) }]
}

/** Launches from one pool what there is room for; a launch that fails leaves nothing behind. */
async function launchFrom(context: Context, fleetId: string, pool: Pool, count: number): Promise<{ ids: string[]; error: ApiError | null }> {
  const ids: string[] = []
  if (pool.problem) return { ids, error: pool.problem }
  const tags = [{ key: 'aws:ec2:fleet-id', value: fleetId }, ...templateTags(pool.template)]
  let most = MOST_AT_ONCE
  while (ids.length < count) {
    const reservationId = newId(context.random, 'r')
    const wanted = Math.min(count - ids.length, most)
    const error = await attempt(context.db, () =>
      launchInstances(context, { ...pool.input, MinCount: 1, MaxCount: wanted }, { reservationId, tags, fleetId }))
    if (!(error instanceof ApiError)) ids.push(...await idsOf(context, reservationId))
    // There are no addresses for all of them: perhaps for half.
    else if (OF_ADDRESSES.has(error.code) && wanted > 1) most = Math.floor(wanted / 2)
    else return { ids, error }
  }
  return { ids, error: null }
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

async function instancesToWire({ db }: Context, { launched }: FleetOutcome): Promise<CreateFleetInstance[]> {
  const found: CreateFleetInstance[] = []
  for (const [{ source, typeName, zone }, ids] of launched) {
    const { zone: actual, subnet_id: subnetId } = await db
      .selectFrom('instances').select(['zone', 'subnet_id']).where('instance_id', '=', ids[0] ?? '').executeTakeFirstOrThrow()
    found.push({
      LaunchTemplateAndOverrides: source, Lifecycle: 'on-demand' as CreateFleetInstance['Lifecycle'], InstanceIds: ids,
      InstanceType: typeName as _InstanceType, AvailabilityZone: zone ?? actual, AvailabilityZoneId: zoneIdOf(zone ?? actual),
      SubnetId: subnetId ?? undefined,
    })
  }
  return found
}

/** Each reason once for each pool. */
function errorsToWire({ errors }: FleetOutcome): CreateFleetError[] {
  const seen = new Map<string, CreateFleetError>()
  for (const { pool: { source }, error } of errors) {
    const wire: CreateFleetError = {
      LaunchTemplateAndOverrides: source, Lifecycle: 'on-demand' as CreateFleetError['Lifecycle'], ErrorCode: error.code, ErrorMessage: error.message,
    }
    seen.set(JSON.stringify(wire), wire)
  }
  return [...seen.values()]
}
