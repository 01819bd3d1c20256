import type {
  LaunchTemplateConfig, LaunchTemplateOverrides, SpotCapacityRebalance, SpotFleetLaunchSpecification, SpotFleetRequestConfigData,
  SpotMaintenanceStrategies,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { checkEnum, missingParameter, refuseParameters } from './parameters.ts'
import { checkLaunchSpecification } from './spot-fleet-launch.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/fleet-quotas.html */
const MAX_CONFIGS = 50
const MAX_POOLS = 300
const MAX_REQUIREMENTS = 4
const MAX_TARGET = 10_000

/** Per hour. */
const MIN_PRICE_MICRO_USD = 1000

/** Seconds: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotCapacityRebalance.html */
const MIN_TERMINATION_DELAY_S = 120
const MAX_TERMINATION_DELAY_S = 7200

/** The form of a role's ARN; whether there is such a role nobody is asked. */
const ROLE_ARN = /^arn:aws(-cn|-us-gov)?:iam::\d{12}:role\/[\w+=,.@/-]{1,512}$/

const STRATEGIES = ['lowestPrice', 'diversified', 'capacityOptimized', 'capacityOptimizedPrioritized', 'priceCapacityOptimized'] as const
const ON_DEMAND_STRATEGIES = ['lowestPrice', 'prioritized'] as const
/** EC2 takes both spellings of each: Terraform says `Default`. */
const EXCESS_POLICIES = ['default', 'noTermination', 'Default', 'NoTermination'] as const
const BEHAVIORS = ['terminate', 'stop', 'hibernate'] as const
const UNIT_TYPES = ['units', 'vcpu', 'memory-mib'] as const

/** A configuration of a Spot Fleet with EC2's defaults, checked as far as that goes without the database. */
export interface SpotFleetConfig {
  type: 'request' | 'maintain'
  /** Units, those on demand included. */
  target: number
  onDemandTarget: number
  unitType: (typeof UNIT_TYPES)[number]
  strategy: (typeof STRATEGIES)[number]
  onDemandStrategy: (typeof ON_DEMAND_STRATEGIES)[number]
  /** Over how many of the cheapest pools, for lowestPrice. */
  poolsToUse: number
  terminatesExcess: boolean
  behavior: (typeof BEHAVIORS)[number]
  replaceUnhealthy: boolean
  terminateAtEnd: boolean
  /** The most for one unit and hour; null for the price on demand. */
  maxUnitMicroUsd: number | null
  /** Per hour; null for as much as it takes. */
  spotMaxTotalMicroUsd: number | null
  onDemandMaxTotalMicroUsd: number | null
  rebalance: SpotCapacityRebalance | null
  validFromMs: number | null
  validUntilMs: number | null
  /** One of the two has members. */
  specifications: SpotFleetLaunchSpecification[]
  templates: LaunchTemplateConfig[]
}

/**
 * Checks the configuration of RequestSpotFleet.
 *
 * @throws ApiError InvalidSpotFleetRequestConfig, MissingParameter; UnsupportedOperation for what Hearth does not honour.
 */
export function checkSpotFleet(input: SpotFleetRequestConfigData, nowMs: number): SpotFleetConfig {
  refuseParameters(input, ['LoadBalancersConfig'])
  for (const name of ['FulfilledCapacity', 'OnDemandFulfilledCapacity'] as const) if (input[name] !== undefined) throw invalidMember(name)
  if (!input.IamFleetRole) throw missingParameter('SpotFleetRequestConfig.IamFleetRole')
  if (!ROLE_ARN.test(input.IamFleetRole)) throw invalidMember('IamFleetRole')
  const type = enumOf(input, 'Type', ['request', 'maintain', 'instant']) ?? 'maintain'
  if (type === 'instant') throw invalidMember('Type')
  const unitType = enumOf(input, 'TargetCapacityUnitType', UNIT_TYPES) ?? 'units'
  const places = checkPlaces(input)
  const target = checkTargets(input, { type, unitType, hasTemplates: places.templates.length > 0 })
  const strategy = enumOf(input, 'AllocationStrategy', STRATEGIES) ?? 'lowestPrice'
  if (strategy === 'capacityOptimizedPrioritized' && places.templates.length === 0) {
    throw invalidSpotFleet('The capacityOptimizedPrioritized allocation strategy is supported only with LaunchTemplateConfigs.')
  }
  const terminatesExcess = checkExcess(input) ?? true
  const replaceUnhealthy = input.ReplaceUnhealthyInstances === true
  if (type === 'request' && !terminatesExcess) throw onlyMaintained('ExcessCapacityTerminationPolicy')
  if (type === 'request' && replaceUnhealthy) throw onlyMaintained('ReplaceUnhealthyInstances')
  return {
    type, ...target, unitType, strategy, terminatesExcess, replaceUnhealthy,
    onDemandStrategy: enumOf(input, 'OnDemandAllocationStrategy', ON_DEMAND_STRATEGIES) ?? 'lowestPrice',
    poolsToUse: checkPoolsToUse(input.InstancePoolsToUseCount, strategy),
    behavior: enumOf(input, 'InstanceInterruptionBehavior', BEHAVIORS) ?? 'terminate',
    terminateAtEnd: input.TerminateInstancesWithExpiration === true, maxUnitMicroUsd: checkPrice('SpotPrice', input.SpotPrice),
    spotMaxTotalMicroUsd: checkPrice('SpotMaxTotalPrice', input.SpotMaxTotalPrice),
    onDemandMaxTotalMicroUsd: checkPrice('OnDemandMaxTotalPrice', input.OnDemandMaxTotalPrice),
    rebalance: checkRebalance(input.SpotMaintenanceStrategies, type), ...checkTimes(input, nowMs), ...places,
  }
}

/** Whether instances above the target are terminated; undefined where nothing is said. */
export function checkExcess({ ExcessCapacityTerminationPolicy: policy }: Pick<SpotFleetRequestConfigData, 'ExcessCapacityTerminationPolicy'>): boolean | undefined {
  const found = checkEnum('ExcessCapacityTerminationPolicy', policy, EXCESS_POLICIES)
  return found === undefined ? undefined : found.toLowerCase() === 'default'
}

/** EC2's code for what a Spot Fleet cannot be made of. */
export function invalidSpotFleet(message: string): ApiError {
  return new ApiError('InvalidSpotFleetRequestConfig', message)
}

/** As recorded for IamFleetRole: "Parameter: SpotFleetRequestConfig.IamFleetRole is invalid." */
function invalidMember(name: string, hint = ''): ApiError {
  return invalidSpotFleet(`Parameter: SpotFleetRequestConfig.${name} is invalid.${hint === '' ? '' : ` ${hint}`}`)
}

function onlyMaintained(name: string): ApiError {
  return invalidSpotFleet(`The parameter ${name} is supported only for fleets of type maintain.`)
}

type EnumMember = { [Name in keyof SpotFleetRequestConfigData]: SpotFleetRequestConfigData[Name] extends string | undefined ? Name : never }

function enumOf<T extends string>(
  input: SpotFleetRequestConfigData,
  name: EnumMember[keyof EnumMember] & string,
  allowed: readonly T[],
): T | undefined {
  return checkEnum(`SpotFleetRequestConfig.${name}`, input[name], allowed)
}

/** What it may launch from: either launch specifications or templates. */
function checkPlaces({
  LaunchSpecifications: specifications = [], LaunchTemplateConfigs: templates = [], TargetCapacityUnitType: unitType,
}: SpotFleetRequestConfigData): Pick<SpotFleetConfig, 'specifications' | 'templates'> {
  if (specifications.length > 0 && templates.length > 0) {
    throw invalidSpotFleet('LaunchSpecifications and LaunchTemplateConfigs cannot be specified together.')
  }
  if (specifications.length + templates.length === 0) {
    throw invalidSpotFleet('Either LaunchSpecifications or LaunchTemplateConfigs must be specified.')
  }
  if (specifications.length + templates.length > MAX_CONFIGS) {
    throw invalidSpotFleet(`A fleet can have at most ${MAX_CONFIGS} launch specifications or launch template configurations.`)
  }
  for (const each of specifications) {
    checkLaunchSpecification(each)
    checkWeightAndPrice(each)
  }
  checkTemplates(templates)
  const byAttributes = [...specifications, ...templates.flatMap((each) => each.Overrides ?? [])].filter((each) => each.InstanceRequirements)
  if (byAttributes.length > MAX_REQUIREMENTS) {
    throw new ApiError(
      'InvalidParameterValue', `Your request contains more than the maximum allowed number of InstanceRequirements (${MAX_REQUIREMENTS})`)
  }
  if (unitType && unitType !== 'units' && specifications.some((each) => !each.InstanceRequirements)) {
    throw invalidSpotFleet('TargetCapacityUnitType can be specified only with attribute-based instance type selection.')
  }
  return { specifications, templates }
}

/**
 * Checks the templates of a fleet, of a new one or of one that is changed.
 *
 * @throws ApiError InvalidSpotFleetRequestConfig, InvalidParameterCombination, MissingParameter.
 */
export function checkTemplates(templates: readonly LaunchTemplateConfig[]): void {
  const pools = templates.reduce((sum, each) => sum + Math.max(1, each.Overrides?.length ?? 0), 0)
  if (pools > MAX_POOLS) throw invalidSpotFleet(`A fleet can have at most ${MAX_POOLS} launch template overrides.`)
  for (const { LaunchTemplateSpecification: template, Overrides: overrides = [] } of templates) {
    if (!template) throw missingParameter('LaunchTemplateSpecification')
    if (!template.Version) throw missingParameter('LaunchTemplateSpecification.Version')
    for (const each of overrides) checkOverride(each)
  }
}

function checkOverride(override: LaunchTemplateOverrides): void {
  if (override.InstanceRequirements && override.InstanceType) {
    throw new ApiError('InvalidParameterCombination', 'InstanceType and InstanceRequirements cannot be specified together.')
  }
  if (override.AvailabilityZone && override.AvailabilityZoneId) {
    throw new ApiError(
      'InvalidParameterCombination', 'You may specify an Availability Zone or an Availability Zone ID, but not both.',
    )
  }
  const { Priority: priority = 0 } = override
  if (!Number.isFinite(priority) || priority < 0) throw invalidMember('Priority', 'It must be at least 0.')
  checkWeightAndPrice(override)
}

function checkWeightAndPrice(place: Pick<LaunchTemplateOverrides, 'WeightedCapacity' | 'SpotPrice'>): void {
  const { WeightedCapacity: weight = 1 } = place
  if (!(weight > 0 && Number.isFinite(weight))) throw invalidMember('WeightedCapacity', 'It must be greater than 0.')
  checkPrice('SpotPrice', place.SpotPrice)
}

type Targets = Pick<SpotFleetConfig, 'target' | 'onDemandTarget'>

function checkTargets(
  { TargetCapacity: target, OnDemandTargetCapacity: onDemandTarget = 0 }: SpotFleetRequestConfigData,
  { type, unitType, hasTemplates }: Pick<SpotFleetConfig, 'type' | 'unitType'> & { hasTemplates: boolean },
): Targets {
  if (target === undefined) throw missingParameter('SpotFleetRequestConfig.TargetCapacity')
  checkTargetNumbers({ target, onDemandTarget }, { unitType, hasTemplates })
  if (type === 'request' && target === 0) throw invalidMember('TargetCapacity', 'Only a fleet of type maintain can have a target capacity of 0.')
  return { target, onDemandTarget }
}

/** Checks the units of a fleet, of a new one or of one that is changed. @throws ApiError InvalidSpotFleetRequestConfig. */
export function checkTargetNumbers(
  { target, onDemandTarget }: Targets,
  { unitType, hasTemplates }: Pick<SpotFleetConfig, 'unitType'> & { hasTemplates: boolean },
): void {
  // As instances, or as virtual processors or MiB of very many of them.
  const most = unitType === 'units' ? MAX_TARGET : Number.MAX_SAFE_INTEGER
  for (const [name, value] of Object.entries({ TargetCapacity: target, OnDemandTargetCapacity: onDemandTarget })) {
    if (!Number.isSafeInteger(value) || value < 0 || value > most) throw invalidMember(name, `It must be between 0 and ${most}.`)
  }
  if (onDemandTarget > target) throw invalidSpotFleet('OnDemandTargetCapacity cannot be greater than TargetCapacity.')
  if (onDemandTarget > 0 && !hasTemplates) {
    throw invalidSpotFleet('To include On-Demand capacity in the request, LaunchTemplateConfigs must be used.')
  }
}

function checkPoolsToUse(asked: number | undefined, strategy: SpotFleetConfig['strategy']): number {
  if (asked === undefined) return 1
  if (strategy !== 'lowestPrice') throw invalidSpotFleet('InstancePoolsToUseCount is valid only with the lowestPrice allocation strategy.')
  if (!Number.isSafeInteger(asked) || asked < 1) throw invalidMember('InstancePoolsToUseCount', 'It must be at least 1.')
  return asked
}

/** Micro-dollars of a text in dollars per hour; null for none. EC2 takes nothing below a tenth of a cent. */
function checkPrice(name: string, text: string | undefined): number | null {
  if (!text) return null
  const price = /^(\d+(\.\d*)?|\.\d+)$/.test(text) ? Math.round(Number(text) * 1_000_000) : Number.NaN
  if (!(price >= MIN_PRICE_MICRO_USD && Number.isSafeInteger(price))) throw invalidMember(name, 'It must be at least 0.001.')
  return price
}

function checkRebalance(asked: SpotMaintenanceStrategies | undefined, type: SpotFleetConfig['type']): SpotFleetConfig['rebalance'] {
  const rebalance = asked?.CapacityRebalance
  if (!rebalance) return null
  if (type !== 'maintain') {
    // As recorded, with a code of its own.
    throw new ApiError('InvalidSpotFleetConfig', 'SpotMaintenanceStrategies option is only available with the spot fleet type maintain.')
  }
  const name = 'SpotMaintenanceStrategies.CapacityRebalance'
  const strategy = checkEnum(`${name}.ReplacementStrategy`, rebalance.ReplacementStrategy, ['launch', 'launch-before-terminate'])
  if (!strategy) throw missingParameter(`${name}.ReplacementStrategy`)
  const delayS = rebalance.TerminationDelay
  if (strategy === 'launch' && delayS !== undefined) {
    throw invalidMember(`${name}.TerminationDelay`, 'It is valid only with the replacement strategy launch-before-terminate.')
  }
  if (strategy === 'launch-before-terminate') {
    if (delayS === undefined) throw missingParameter(`${name}.TerminationDelay`)
    if (!Number.isSafeInteger(delayS) || delayS < MIN_TERMINATION_DELAY_S || delayS > MAX_TERMINATION_DELAY_S) {
      throw invalidMember(`${name}.TerminationDelay`, `It must be between ${MIN_TERMINATION_DELAY_S} and ${MAX_TERMINATION_DELAY_S}.`)
    }
  }
  return rebalance
}

function checkTimes(
  { ValidFrom: from, ValidUntil: until }: SpotFleetRequestConfigData,
  nowMs: number,
): Pick<SpotFleetConfig, 'validFromMs' | 'validUntilMs'> {
  if (until && until.getTime() <= nowMs) throw invalidMember('ValidUntil', 'It must be in the future.')
  if (from && until && from >= until) throw invalidMember('ValidUntil', 'It must be after ValidFrom.')
  return { validFromMs: from?.getTime() ?? null, validUntilMs: until?.getTime() ?? null }
}
