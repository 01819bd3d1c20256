import type {
  FleetLaunchTemplateConfig, FleetLaunchTemplateOverrides, FleetLaunchTemplateOverridesRequest, LaunchTemplateAndOverridesResponse,
  Placement, RequestLaunchTemplateData, RunInstancesRequest, TagSpecification,
} from '@aws-sdk/client-ec2'
import { onDemandPrice } from '../catalogue/on-demand-prices.ts'
import { ApiError } from '../core/errors.ts'
import { versionDoc } from '../model/launch-template.ts'
import type { Context } from './context.ts'
import { invalidFleet, type FleetRequest } from './create-fleet-input.ts'
import { launchZone } from './launch-network.ts'
import { requireTemplate, requireVersion } from './launch-template-rows.ts'
import { DEFAULT_INSTANCE_TYPE } from './run-instances-input.ts'
import { mergeTemplate, type UsedTemplate } from './run-instances-template.ts'

/** One place that a fleet may launch from: a template with an override, in one zone. */
export interface Pool {
  /** As the answer tells it. */
  source: LaunchTemplateAndOverridesResponse
  template: UsedTemplate
  /** What an instance of it is launched with, but for how many. */
  input: Omit<RunInstancesRequest, 'MinCount' | 'MaxCount'>
  typeName: string
  /** Null where nothing can be launched, since `problem` says why, or that a launch itself must find out. */
  zone: string | null
  /** Units that one instance makes. */
  weight: number
  /** The lower, the earlier; infinite for none. */
  priority: number
  /** Dollars per hour of one instance; undefined where that is not known. */
  price: number | undefined
  problem: ApiError | null
}

/** A template's version that a fleet uses. */
interface Source {
  template: UsedTemplate
  data: RequestLaunchTemplateData
  overrides: FleetLaunchTemplateOverridesRequest[]
}

/**
 * The pools of a fleet in the order in which they were named, and its configurations as DescribeFleets shows them: with
 * ids and numbers of versions. A pool that leaves its zone open becomes one for each zone with a default subnet.
 *
 * @throws ApiError for a template or a version that is not there; InvalidFleetConfig for a type that is twice in a zone.
 */
export async function poolsOf(
  context: Context,
  { configs }: FleetRequest,
  tags: TagSpecification[],
): Promise<{ pools: Pool[]; configs: FleetLaunchTemplateConfig[] }> {
  const sources: Source[] = []
  for (const { LaunchTemplateSpecification: named = {}, Overrides: overrides = [] } of configs) {
    const template = await requireTemplate(context, named)
    const row = await requireVersion(context, template, named.Version)
    sources.push({ template: { id: template.template_id, version: row.version }, data: versionDoc(row).data, overrides })
  }
  const zones = await defaultZones(context)
  const pools: Pool[] = []
  for (const source of sources) {
    for (const override of source.overrides.length > 0 ? source.overrides : [undefined]) {
      pools.push(...await poolsOfOverride(context, source, { override, tags, zones }))
    }
  }
  checkDistinct(pools)
  return {
    pools,
    configs: sources.map((source) => ({
      LaunchTemplateSpecification: specification(source.template), Overrides: source.overrides.map(overrideToWire),
    })),
  }
}

function specification({ id, version }: UsedTemplate) {
  return { LaunchTemplateId: id, Version: String(version) }
}

async function poolsOfOverride(
  context: Context,
  { template, data, overrides }: Source,
  { override, tags, zones }: { override: FleetLaunchTemplateOverridesRequest | undefined; tags: TagSpecification[]; zones: readonly string[] },
): Promise<Pool[]> {
  const input = poolInput(data, override, tags)
  const typeName = input.InstanceType || DEFAULT_INSTANCE_TYPE
  const pool: Omit<Pool, 'zone' | 'problem'> = {
    source: {
      LaunchTemplateSpecification: specification(template),
      ...(override && overrides.length > 0 ? { Overrides: overrideToWire(override) } : {}),
    },
    template, input, typeName, weight: override?.WeightedCapacity ?? 1, priority: override?.Priority ?? Number.POSITIVE_INFINITY,
    price: onDemandPrice(typeName),
  }
  try {
    const zone = await launchZone(context, { ...input, MaxCount: 1 })
    if (zone !== undefined || zones.length === 0) return [{ ...pool, zone: zone ?? null, problem: null }]
  } catch (error) {
    if (error instanceof ApiError) return [{ ...pool, zone: null, problem: error }]
    throw error
  }
  return zones.map((zone) => (
    { ...pool, input: { ...input, Placement: { ...input.Placement, AvailabilityZone: zone } }, zone, problem: null }))
}

/** Zones in which an instance can be without naming a subnet. */
async function defaultZones({ db, account }: Context): Promise<string[]> {
  const rows = await db
    .selectFrom('subnets').select('zone').where('account_id', '=', account).where('default_for_az', '=', 1).orderBy('zone').execute()
  return rows.map((row) => row.zone)
}

/** What a template says, and over it an override: its placement member by member, since it is mostly a zone alone. */
function poolInput(
  data: RequestLaunchTemplateData,
  override: FleetLaunchTemplateOverridesRequest = {},
  tags: TagSpecification[],
): Pool['input'] {
  const { InstanceRequirements: _, ...typed } = data
  const placement: Placement = {
    ...override.Placement,
    ...(override.AvailabilityZone ? { AvailabilityZone: override.AvailabilityZone } : {}),
    ...(override.AvailabilityZoneId ? { AvailabilityZoneId: override.AvailabilityZoneId } : {}),
  }
  const input = mergeTemplate(override.InstanceType ? typed : data, {
    MinCount: 1, MaxCount: 1, InstanceType: override.InstanceType, ImageId: override.ImageId, KeyName: override.KeyName,
    BlockDeviceMappings: override.BlockDeviceMappings, MetadataOptions: override.MetadataOptions,
    Placement: { ...placementBeside(data.Placement, placement), ...placement }, TagSpecifications: tags,
  })
  return override.SubnetId ? inSubnet(input, override.SubnetId) : input
}

/** What stays of a template's placement beside an override's: a zone named one way replaces one named the other way. */
function placementBeside(theirs: Placement = {}, own: Placement): Placement {
  if (!own.AvailabilityZone && !own.AvailabilityZoneId) return theirs
  const { AvailabilityZone: _zone, AvailabilityZoneId: _zoneId, ...rest } = theirs
  return rest
}

/** A template with interfaces has its subnet there. */
function inSubnet(input: Pool['input'], subnetId: string): Pool['input'] {
  const [first, ...others] = input.NetworkInterfaces ?? []
  if (!first) return { ...input, SubnetId: subnetId }
  return { ...input, NetworkInterfaces: [{ ...first, SubnetId: subnetId }, ...others] }
}

function checkDistinct(pools: readonly Pool[]): void {
  const seen = new Set<string>()
  for (const { typeName, zone, problem } of pools) {
    const key = `${typeName} ${zone}`
    if (seen.has(key) && !problem) throw invalidFleet('The fleet configuration contains duplicate instance pools.')
    seen.add(key)
  }
}

/** An override as answers show it, which is as it was asked for; what they do not show of it is not kept. */
function overrideToWire(override: FleetLaunchTemplateOverridesRequest): FleetLaunchTemplateOverrides {
  const { KeyName: _key, IamInstanceProfile: _profile, MetadataOptions: _metadata, InstanceRequirements: _, Placement: placement, ...rest } = override
  return { ...rest, ...(placement?.GroupName ? { Placement: { GroupName: placement.GroupName } } : {}) }
}

/**
 * The pools in tiers: all of the first go before all of the second. By their prices per unit, those without a known price
 * last; or by their priorities. Where every instance is more than the whole fleet, prices count per instance:
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_FleetLaunchTemplateOverridesRequest.html
 */
export function tiersOf(pools: readonly Pool[], { strategy, target }: Pick<FleetRequest, 'strategy' | 'target'>): Pool[][] {
  const perInstance = pools.every((pool) => pool.weight > target.TotalTargetCapacity)
  const rankOf = ({ priority, price = Number.POSITIVE_INFINITY, weight }: Pool) => {
    if (strategy === 'prioritized') return priority
    return perInstance ? price : price / weight
  }
  const byRank = new Map<number, Pool[]>()
  for (const pool of pools) byRank.set(rankOf(pool), [...(byRank.get(rankOf(pool)) ?? []), pool])
  return [...byRank].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, tier]) => tier)
}
