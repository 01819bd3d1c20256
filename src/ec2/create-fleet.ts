import type { CreateFleetError, CreateFleetInstance, CreateFleetRequest, CreateFleetResult, _InstanceType } from '@aws-sdk/client-ec2'
import { newId } from '../core/ids.ts'
import { fleetDoc, wakeFleet, type FleetDoc } from '../model/fleet.ts'
import { noteFleetEvent } from '../model/fleet-history.ts'
import { NO_PROGRESS, type FleetSpec } from '../model/fleet-spec.ts'
import { zoneIdOf } from '../model/zone.ts'
import type { FleetTable } from '../store/schema.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import type { FleetOutcome } from './create-fleet-fulfil.ts'
import { checkFleet, shownOptions, shownSpotOptions } from './create-fleet-input.ts'
import { poolsOf, shownConfigs, sourcesOf } from './create-fleet-pools.ts'
import { launchOnDemand } from './fleet-launch.ts'
import { launchSpot } from './fleet-launch-spot.ts'
import { forgetFleets } from './forget-fleets.ts'
import { loadSpotPrices } from './spot-prices.ts'
import { insertTags, parseTagSpecifications } from './tags.ts'

/** What a fleet of type instant may tag; the others leave it to their launch templates. */
const TAGGED_AT_ONCE = ['fleet', 'instance', 'volume', 'network-interface', 'spot-instances-request'] as const

/**
 * CreateFleet. Of type `instant`: launches by the allocation strategies what there is room for, and answers what it launched and
 * why the rest was not. All of that is one transaction, so that of a call that fails, or is a DryRun, nothing is left. A fleet
 * that could launch nothing is a fleet all the same. Of type `request` and `maintain`: the reconciler of fleets launches.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-request-type.html
 *
 * @throws ApiError what `checkFleet`, `poolsOf` and `claimToken` throw; errors of pools are answered.
 */
export async function createFleet(context: Context, input: CreateFleetRequest): Promise<CreateFleetResult> {
  const { db, account, random, nowMs } = context
  const request = checkFleet(input, nowMs)
  const { type } = request.spec
  const tags = parseTagSpecifications(input.TagSpecifications, type === 'instant' ? [...TAGGED_AT_ONCE] : ['fleet'])
  await forgetFleets(context, 'fleet')
  const fleetId = newId(random, 'fleet')
  const earlier = await claimToken(context, 'CreateFleet', input, fleetId)
  if (earlier !== undefined) return answer(context, earlier)
  const launchTags = (input.TagSpecifications ?? []).filter((each) => each.ResourceType !== 'fleet')
  const spec: FleetSpec = { ...request.spec, sources: await sourcesOf(context, request.configs), launchTags }
  const launched = type === 'instant' ? await launchInstant(context, fleetId, spec) : await checkPools(context, spec)
  const doc: FleetDoc = {
    configs: shownConfigs(spec.sources), target: request.target, onDemand: shownOptions(input, request), spot: shownSpotOptions(input, request),
    terminateInstancesWithExpiration: spec.terminatesWithExpiration, context: input.Context || null, spec, deletedMs: null, ...launched,
  }
  const row: FleetTable = {
    fleet_id: fleetId, kind: 'fleet', account_id: account, state: type === 'instant' ? 'active' : 'submitted', type,
    client_token: input.ClientToken || null, created_ms: nowMs, doc: JSON.stringify(doc),
  }
  await db.insertInto('fleets').values(row).execute()
  await insertTags(db, account, 'fleet', fleetId, tags.get('fleet') ?? [])
  if (type !== 'instant') {
    await noteFleetEvent(db, row, context.region, { type: 'fleetRequestChange', subType: 'submitted' }, nowMs)
    await wakeFleet(db, fleetId, Math.max(nowMs, spec.validFromMs ?? 0))
  }
  return answer(context, fleetId)
}

async function answer({ db, account }: Context, fleetId: string): Promise<CreateFleetResult> {
  const row = await db
    .selectFrom('fleets').select(['type', 'doc']).where('account_id', '=', account).where('fleet_id', '=', fleetId).executeTakeFirstOrThrow()
  const { instances, errors } = fleetDoc(row)
  return { FleetId: fleetId, ...(row.type === 'instant' ? { Instances: instances, Errors: errors } : {}) }
}

type Launched = Pick<FleetDoc, 'fulfilled' | 'progress' | 'instances' | 'errors'>

/** Launches all that a fleet of type instant ever will: first on demand. */
async function launchInstant(context: Context, fleetId: string, spec: FleetSpec): Promise<Launched> {
  const { db, region, nowMs } = context
  const { target } = spec
  const prices = target.spot > 0 ? await loadSpotPrices(db, region, nowMs) : null
  const fleet = { fleetId, kind: 'fleet', spec, pools: await poolsOf(context, spec, prices) } as const
  const ofDemand = target.onDemand > 0 || !prices
    ? await launchOnDemand(context, fleet, { wanted: target.onDemand, spentMicroUsd: 0 }) : null
  const ofSpot = prices ? await launchSpot(context, fleet, { wanted: target.spot, spentMicroUsd: 0, prices, heldUnits: () => 0 }) : null
  const [onDemand, spot] = [ofDemand?.fulfilled ?? 0, ofSpot?.fulfilled ?? 0]
  return {
    fulfilled: onDemand + spot,
    progress: {
      ...NO_PROGRESS, activity: 'fulfilled', fulfilledOnDemand: onDemand, fulfilledSpot: spot, launchedOnDemand: onDemand, launchedSpot: spot,
    },
    instances: [
      ...(ofDemand ? await instancesToWire(context, ofDemand, 'on-demand') : []), ...(ofSpot ? await instancesToWire(context, ofSpot, 'spot') : []),
    ],
    errors: [...(ofDemand ? errorsToWire(ofDemand, 'on-demand') : []), ...(ofSpot ? errorsToWire(ofSpot, 'spot') : [])],
  }
}

/** Of one that launches later: its configurations make pools. @throws ApiError as `poolsOf`. */
async function checkPools(context: Context, spec: FleetSpec): Promise<Launched> {
  await poolsOf(context, spec, spec.target.spot > 0 ? await loadSpotPrices(context.db, context.region, context.nowMs) : null)
  return { fulfilled: 0, progress: NO_PROGRESS, instances: [], errors: [] }
}

type Lifecycle = 'on-demand' | 'spot'

async function instancesToWire({ db }: Context, { launched }: FleetOutcome, lifecycle: Lifecycle): Promise<CreateFleetInstance[]> {
  const found: CreateFleetInstance[] = []
  for (const [{ source, typeName, zone }, ids] of launched) {
    const { zone: actual, subnet_id: subnetId } = await db
      .selectFrom('instances').select(['zone', 'subnet_id']).where('instance_id', '=', ids[0] ?? '').executeTakeFirstOrThrow()
    found.push({
      LaunchTemplateAndOverrides: source, Lifecycle: lifecycle as CreateFleetInstance['Lifecycle'], InstanceIds: ids,
      InstanceType: typeName as _InstanceType, AvailabilityZone: zone ?? actual, AvailabilityZoneId: zoneIdOf(zone ?? actual),
      SubnetId: subnetId ?? undefined,
    })
  }
  return found
}

/** Each reason once for each pool. */
function errorsToWire({ errors }: FleetOutcome, lifecycle: Lifecycle): CreateFleetError[] {
  const seen = new Map<string, CreateFleetError>()
  for (const { pool: { source }, error } of errors) {
    const wire: CreateFleetError = {
      LaunchTemplateAndOverrides: source, Lifecycle: lifecycle as CreateFleetError['Lifecycle'], ErrorCode: error.code, ErrorMessage: error.message,
    }
    seen.set(JSON.stringify(wire), wire)
  }
  return [...seen.values()]
}
