import type {
  FleetLaunchTemplateConfig, FleetLaunchTemplateConfigRequest, FleetLaunchTemplateOverrides, FleetLaunchTemplateOverridesRequest,
  InstanceRequirements, InstanceRequirementsRequest, LaunchTemplateAndOverridesResponse, Placement, RequestLaunchTemplateData,
  RunInstancesRequest, TagSpecification, TargetCapacityUnitType, _InstanceType,
} from '@aws-sdk/client-ec2'
import { memoryMibOf, vcpusOf } from '../catalogue/instance-types.ts'
import { onDemandMicroUsd } from '../catalogue/on-demand-prices.ts'
import { ApiError } from '../core/errors.ts'
import type { FleetSource, FleetSpec } from '../model/fleet-spec.ts'
import { versionDoc } from '../model/launch-template.ts'
import { resolveImageId } from '../ssm/resolve-image.ts'
import type { Context } from './context.ts'
import { invalidFleet } from './create-fleet-checks.ts'
import { marketPrice } from './fleet-market-options.ts'
import { requireVisibleImage } from './image-rows.ts'
import { checkRequirements, typesWith, withinPriceProtection, withinSpotPriceProtection } from './instance-requirements.ts'
import { launchZone } from './launch-network.ts'
import { requireTemplate, requireVersion } from './launch-template-rows.ts'
import { DEFAULT_INSTANCE_TYPE } from './run-instances-input.ts'
import { mergeTemplate, type UsedTemplate } from './run-instances-template.ts'
import type { SpotPrices } from './spot-prices.ts'

/** One place that a fleet may launch from: a template with an override, in one zone. */
export interface Pool {
  /** As the answer tells it. */
  source: LaunchTemplateAndOverridesResponse
  /** Null for a launch specification of the call's own. */
  template: UsedTemplate | null
  /** What an instance of it is launched with, but for how many. */
  input: Omit<RunInstancesRequest, 'MinCount' | 'MaxCount'>
  typeName: string
  /** Null where nothing can be launched, since `problem` says why, or that a launch itself must find out. */
  zone: string | null
  /** Units that one instance makes. */
  weight: number
  /** The lower, the earlier; infinite for none. */
  priority: number
  /** Micro-dollars per hour of one instance on demand; undefined where that is not known. */
  price: number | undefined
  /** The most that an instance of it may cost on spot, micro-dollars per hour; null for its price on demand. */
  maxSpotMicroUsd: number | null
  /** Which of the two may be launched from it: where types are chosen by attributes, dear ones are not. */
  serves: { onDemand: boolean; spot: boolean }
  problem: ApiError | null
}

/** A source of pools with what its template says. */
interface Source extends FleetSource {
  data: RequestLaunchTemplateData
}

/** What all pools of a fleet have in common. */
interface Common {
  spec: FleetSpec
  /** Those with a default subnet. */
  zones: readonly string[]
  /** Of a fleet that wants spot instances. */
  spotPrices: SpotPrices | null
}

/**
 * The templates of a call, by the ids and numbers of versions that it means.
 *
 * @throws ApiError for a template or a version that is not there.
 */
export async function sourcesOf(context: Context, configs: readonly FleetLaunchTemplateConfigRequest[]): Promise<FleetSource[]> {
  const sources: FleetSource[] = []
  for (const { LaunchTemplateSpecification: named = {}, Overrides: overrides = [] } of configs) {
    const template = await requireTemplate(context, named)
    const row = await requireVersion(context, template, named.Version)
    const { LaunchTemplateSpecificationUserData: userData } = named
    sources.push({ template: { id: template.template_id, version: row.version }, data: null, overrides, ...(userData ? { userData } : {}) })
  }
  return sources
}

/** The configurations of a fleet as DescribeFleets shows them: with ids and numbers of versions. */
export function shownConfigs(sources: readonly FleetSource[]): FleetLaunchTemplateConfig[] {
  return sources.map(({ template, overrides }) => ({
    ...(template ? { LaunchTemplateSpecification: specification(template) } : {}), Overrides: overrides.map(overrideToWire),
  }))
}

/**
 * The pools of a fleet in the order in which they were named. A pool that leaves its zone open becomes one for each zone with a
 * default subnet, one that names several zones or subnets one for each, and one that names attributes of types one for each type
 * that has them. What cannot be launched says why.
 *
 * @param spotPrices of now, for a fleet that wants spot instances.
 * @throws ApiError for a template or a version that is not there; InvalidFleetConfig for a type that is twice in a zone;
 *   what `checkRequirements` throws.
 */
export async function poolsOf(context: Context, spec: FleetSpec, spotPrices: SpotPrices | null): Promise<Pool[]> {
  const common: Common = { spec, zones: await defaultZones(context), spotPrices }
  const pools: Pool[] = []
  const seen = new Set<string>()
  for (const source of spec.sources) {
    const found = { ...source, data: await dataOf(context, source) }
    for (const override of source.overrides.length > 0 ? source.overrides.flatMap(eachPlace) : [undefined]) {
      const more = await poolsOfOverride(context, found, override, common)
      checkDistinct(more, seen, requirementsOf(found.data, override) !== undefined)
      pools.push(...more)
    }
  }
  return pools
}

async function dataOf(context: Context, { template, data, userData }: FleetSource): Promise<RequestLaunchTemplateData> {
  if (template === null) return data ?? {}
  const row = await requireVersion(context, await requireTemplate(context, { LaunchTemplateId: template.id }), String(template.version))
  return { ...versionDoc(row).data, ...(userData === undefined ? {} : { UserData: userData }) }
}

/** An override may name several zones or subnets, with commas between them. */
function eachPlace(override: FleetLaunchTemplateOverridesRequest): FleetLaunchTemplateOverridesRequest[] {
  const namesOf = (text: string | undefined) => (text ?? '').split(',').map((name) => name.trim()).filter((name) => name !== '')
  const { AvailabilityZone: zones, SubnetId: subnets } = override
  if (namesOf(subnets).length > 1) return namesOf(subnets).map((name) => ({ ...override, SubnetId: name }))
  if (namesOf(zones).length > 1) return namesOf(zones).map((name) => ({ ...override, AvailabilityZone: name }))
  return [override]
}

function specification({ id, version }: UsedTemplate) {
  return { LaunchTemplateId: id, Version: String(version) }
}

/** By which attributes an override, or its template, wants its types to be chosen; undefined where it names a type. */
function requirementsOf(
  data: RequestLaunchTemplateData,
  override: FleetLaunchTemplateOverridesRequest | undefined,
): InstanceRequirementsRequest | undefined {
  return override?.InstanceType ? undefined : override?.InstanceRequirements ?? data.InstanceRequirements
}

async function poolsOfOverride(
  context: Context,
  { template, data, overrides }: Source,
  override: FleetLaunchTemplateOverridesRequest | undefined,
  common: Common,
): Promise<Pool[]> {
  const { spec: { launchTags, target: { unitType } }, zones } = common
  const input = poolInput(data, override, launchTags)
  const requirements = requirementsOf(data, override)
  if (!requirements && unitType !== 'units') {
    throw invalidFleet('TargetCapacityUnitType can be specified only with attribute-based instance type selection.')
  }
  let ofTemplate: number | null = null
  const poolOf = (typeName: string, serves: Pool['serves'], isChosen: boolean): Omit<Pool, 'zone' | 'problem'> => {
    const weight = unitType === 'units' ? override?.WeightedCapacity ?? 1 : unitsOf(typeName, unitType)
    return {
      source: {
        ...(template ? { LaunchTemplateSpecification: specification(template) } : {}),
        ...(override && overrides.length > 0 || isChosen
          ? { Overrides: { ...overrideToWire(override ?? {}), ...(isChosen ? { InstanceType: typeName as _InstanceType } : {}) } } : {}),
      },
      template, input: { ...input, InstanceType: typeName as _InstanceType }, typeName, weight, serves,
      priority: override?.Priority ?? Number.POSITIVE_INFINITY, price: onDemandMicroUsd(typeName),
      maxSpotMicroUsd: mostOnSpot(override?.MaxPrice, weight, common.spec) ?? ofTemplate,
    }
  }
  if (requirements) checkRequirements(requirements)
  try {
    ofTemplate = marketPrice(data, common.spec)
    const named = await launchZone(context, { ...input, MaxCount: 1 })
    const types = requirements
      ? await typesFor(context, input, requirements, common)
      : [{ name: input.InstanceType || DEFAULT_INSTANCE_TYPE, serves: { onDemand: true, spot: true } }]
    const found = types.map(({ name, serves }) => poolOf(name, serves, requirements !== undefined))
    if (named !== undefined || zones.length === 0) return found.map((pool) => ({ ...pool, zone: named ?? null, problem: null }))
    return zones.flatMap((zone) => found.map((pool) => (
      { ...pool, input: { ...pool.input, Placement: { ...input.Placement, AvailabilityZone: zone } }, zone, problem: null })))
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return [{ ...poolOf(input.InstanceType || DEFAULT_INSTANCE_TYPE, { onDemand: true, spot: true }, false), zone: null, problem: error }]
  }
}

/** MaxPrice is dollars for one unit. */
function mostOnSpot(maxPrice: string | undefined, weight: number, { spot }: FleetSpec): number | null {
  const unitMicroUsd = maxPrice ? Number(maxPrice) * 1_000_000 : spot.maxUnitMicroUsd
  return unitMicroUsd === null ? null : Math.round(unitMicroUsd * weight)
}

/** The types with the attributes asked for that can boot the image, and are not much dearer than others; on spot other ones may be. */
async function typesFor(
  context: Context,
  { ImageId: imageId = '' }: Pool['input'],
  requirements: InstanceRequirementsRequest,
  { spec: { target }, zones, spotPrices }: Common,
): Promise<{ name: string; serves: Pool['serves'] }[]> {
  const { architecture } = await requireVisibleImage(context, await resolveImageId(context, imageId))
  const names = typesWith(requirements, { architectures: [architecture], virtualizations: ['hvm'] })
  const units = (name: string) => unitsOf(name, target.unitType)
  const onDemand = new Set(target.spot > 0 && target.onDemand === 0 ? [] : withinPriceProtection(names, requirements, units))
  const cheapest = (name: string) => Math.min(...zones.map((zone) => spotPrices?.priceMicroUsd(name, zone) ?? Number.POSITIVE_INFINITY))
  const spot = new Set(spotPrices ? withinSpotPriceProtection(names, requirements, units, cheapest) : [])
  const found = names.filter((name) => onDemand.has(name) || spot.has(name))
  if (found.length > 0) return found.map((name) => ({ name, serves: { onDemand: onDemand.has(name), spot: spot.has(name) } }))
  throw new ApiError('InvalidFleetConfiguration', 'No instance types match the attributes in InstanceRequirements.')
}

/** Units that an instance of a type makes where they are not instances. */
function unitsOf(typeName: string, unitType: TargetCapacityUnitType): number {
  if (unitType === 'vcpu') return vcpusOf(typeName) ?? 1
  return unitType === 'memory-mib' ? memoryMibOf(typeName) ?? 1 : 1
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
  // Of the market only the price is heeded, which is the pool's.
  const { InstanceMarketOptions: _market, ...rest } = data
  const placement: Placement = {
    ...override.Placement,
    ...(override.AvailabilityZone ? { AvailabilityZone: override.AvailabilityZone } : {}),
    ...(override.AvailabilityZoneId ? { AvailabilityZoneId: override.AvailabilityZoneId } : {}),
  }
  const input = mergeTemplate(rest, {
    MinCount: 1, MaxCount: 1, InstanceType: override.InstanceType, ImageId: override.ImageId, KeyName: override.KeyName,
    BlockDeviceMappings: override.BlockDeviceMappings, MetadataOptions: override.MetadataOptions,
    Placement: { ...placementBeside(data.Placement, placement, override.SubnetId), ...placement }, TagSpecifications: tags,
  })
  return override.SubnetId ? inSubnet(input, override.SubnetId) : input
}

/** What stays of a template's placement beside an override's: its zone does not where that says one, in either way, or a subnet. */
function placementBeside(theirs: Placement = {}, own: Placement, subnetId: string | undefined): Placement {
  if (!own.AvailabilityZone && !own.AvailabilityZoneId && !subnetId) return theirs
  const { AvailabilityZone: _zone, AvailabilityZoneId: _zoneId, ...rest } = theirs
  return rest
}

/** A template with interfaces has its subnet there. */
function inSubnet(input: Pool['input'], subnetId: string): Pool['input'] {
  const [first, ...others] = input.NetworkInterfaces ?? []
  if (!first) return { ...input, SubnetId: subnetId }
  return { ...input, NetworkInterfaces: [{ ...first, SubnetId: subnetId }, ...others] }
}

function checkDistinct(pools: readonly Pool[], seen: Set<string>, byAttributes: boolean): void {
  for (const { typeName, zone, problem } of pools) {
    const key = `${typeName} ${zone}`
    if (seen.has(key) && !problem && byAttributes) {
      throw new ApiError(
        'InvalidParameterValue',
        'Two or more of your InstanceRequirements structures include overlapping values. Ensure that there is no overlap, and try again.',
      )
    }
    if (seen.has(key) && !problem) throw invalidFleet('The fleet configuration contains duplicate instance pools.')
    seen.add(key)
  }
}

/** An override as answers show it, which is as it was asked for; what they do not show of it is not kept. */
function overrideToWire(override: FleetLaunchTemplateOverridesRequest): FleetLaunchTemplateOverrides {
  const { KeyName: _key, IamInstanceProfile: _profile, MetadataOptions: _metadata, InstanceRequirements: requirements, Placement: placement, ...rest } = override
  return {
    ...rest,
    // The same members, of a type of its own.
    ...(requirements ? { InstanceRequirements: requirements as InstanceRequirements } : {}),
    ...(placement?.GroupName ? { Placement: { GroupName: placement.GroupName } } : {}),
  }
}

/**
 * The pools in tiers: all of the first go before all of the second. By their prices per unit, those without a known price
 * last; or by their priorities. Where every instance is more than the whole fleet, prices count per instance:
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_FleetLaunchTemplateOverridesRequest.html
 */
export function tiersOf(
  pools: readonly Pool[],
  { strategy, target }: { strategy: FleetSpec['onDemand']['strategy']; target: { TotalTargetCapacity: number } },
): Pool[][] {
  const perInstance = pools.every((pool) => pool.weight > target.TotalTargetCapacity)
  const rankOf = ({ priority, price = Number.POSITIVE_INFINITY, weight }: Pool) => {
    if (strategy === 'prioritized') return priority
    return perInstance ? price : price / weight
  }
  const byRank = new Map<number, Pool[]>()
  for (const pool of pools) byRank.set(rankOf(pool), [...(byRank.get(rankOf(pool)) ?? []), pool])
  return [...byRank].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, tier]) => tier)
}
