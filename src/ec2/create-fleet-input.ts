import type {
  CreateFleetRequest, FleetLaunchTemplateConfigRequest, FleetLaunchTemplateOverridesRequest, FleetOnDemandAllocationStrategy,
  OnDemandOptions, SpotAllocationStrategy, SpotOptions, TargetCapacitySpecification, TargetCapacitySpecificationRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { FleetSpec } from '../model/fleet-spec.ts'
import { checkInstantOnly, checkLeast, checkPrice, checkSingle, invalidFleet } from './create-fleet-checks.ts'
import { shownStrategy, spotSpec } from './create-fleet-spot-input.ts'
import { checkEnum, invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { requestedUserData } from './run-instances-input.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/fleet-quotas.html */
const MAX_CONFIGS = 50
const MAX_POOLS = 300
const MAX_REQUIREMENTS = 4
const MAX_TARGET = 10_000

/** What a call asks for, checked as far as that goes without the database: templates are still to be found. */
export interface FleetRequest {
  configs: FleetLaunchTemplateConfigRequest[]
  target: FleetTarget
  spec: Omit<FleetSpec, 'sources' | 'launchTags'>
}

/** A target as DescribeFleets shows it: all of it is one or the other. */
export type FleetTarget =
  TargetCapacitySpecification & Required<Pick<TargetCapacitySpecification, 'TotalTargetCapacity' | 'OnDemandTargetCapacity' | 'SpotTargetCapacity'>>

/**
 * Checks a call of CreateFleet.
 *
 * @throws ApiError InvalidParameterValue, InvalidParameterCombination, MissingParameter; InvalidFleetConfig for what a fleet
 *   of its type cannot have.
 */
export function checkFleet(input: CreateFleetRequest, nowMs: number): FleetRequest {
  const type = checkEnum('Type', input.Type, ['request', 'maintain', 'instant']) ?? 'maintain'
  checkType(input, type)
  refuseParameters(input, ['ReservedCapacityOptions'])
  const { LaunchTemplateConfigs: configs = [], TargetCapacitySpecification: asked } = input
  if (!asked) throw missingParameter('TargetCapacitySpecification')
  checkConfigs(configs, type)
  const target = checkTarget(asked)
  return {
    configs, target,
    spec: {
      type, target: { onDemand: target.OnDemandTargetCapacity, spot: target.SpotTargetCapacity, unitType: target.TargetCapacityUnitType ?? 'units' },
      onDemand: onDemandSpec(input, { type, total: target.TotalTargetCapacity }),
      spot: spotSpec(input.SpotOptions ?? {}, { type, total: target.TotalTargetCapacity }),
      terminatesExcess: input.ExcessCapacityTerminationPolicy !== 'no-termination',
      terminatesWithExpiration: input.TerminateInstancesWithExpiration === true,
      replacesUnhealthy: input.ReplaceUnhealthyInstances === true, ...validity(input, nowMs),
    },
  }
}

function onDemandSpec({ OnDemandOptions: options = {} }: CreateFleetRequest, { type, total }: { type: FleetSpec['type']; total: number }): FleetSpec['onDemand'] {
  const singleType = options.SingleInstanceType === true
  const singleZone = options.SingleAvailabilityZone === true
  const strategy = checkEnum('OnDemandOptions.AllocationStrategy', options.AllocationStrategy, STRATEGIES)
  const usage = checkEnum(
    'CapacityReservationOptions.UsageStrategy', options.CapacityReservationOptions?.UsageStrategy, ['use-capacity-reservations-first'])
  if (usage) checkInstantOnly('CapacityReservationOptions', type)
  checkSingle('OnDemandOptions', { singleType, singleZone, MinTargetCapacity: options.MinTargetCapacity }, type)
  return {
    strategy: strategy === 'prioritized' ? 'prioritized' : 'lowest-price', singleType, singleZone,
    least: checkLeast('OnDemandOptions', options.MinTargetCapacity, { hasSingle: singleType || singleZone, total }),
    maxTotalMicroUsd: checkPrice('OnDemandOptions.MaxTotalPrice', options.MaxTotalPrice), reservationsFirst: usage !== undefined,
  }
}

/** EC2 takes both spellings of the first. */
const STRATEGIES = ['lowest-price', 'lowestPrice', 'prioritized'] as const

/** The on-demand options as DescribeFleets shows them: with the other spelling. */
export function shownOptions({ OnDemandOptions: asked }: CreateFleetRequest, { spec }: FleetRequest): OnDemandOptions {
  const { strategy } = spec.onDemand
  return {
    ...asked, AllocationStrategy: (strategy === 'prioritized' ? strategy : 'lowestPrice') as FleetOnDemandAllocationStrategy,
  }
}

/** The spot options as DescribeFleets shows them, with what EC2 takes where nothing is said. */
export function shownSpotOptions({ SpotOptions: asked }: CreateFleetRequest, { spec: { spot } }: FleetRequest): SpotOptions {
  return {
    ...asked, AllocationStrategy: shownStrategy(spot.strategy) as SpotAllocationStrategy, InstanceInterruptionBehavior: spot.behavior,
    // Terraform takes it for 1 where EC2 leaves it out, which it does for this strategy alone.
    ...(spot.strategy === 'diversified' ? {} : { InstancePoolsToUseCount: spot.poolsToUse }),
  }
}

/** Which parameters are of which types of fleets. */
function checkType(input: CreateFleetRequest, type: FleetSpec['type']): void {
  for (const name of ['ValidFrom', 'ValidUntil'] as const) {
    if (input[name] && type === 'instant') throw invalidFleet(`The parameter ${name} cannot be specified for fleets of type instant.`)
  }
  const excess = checkExcess(input.ExcessCapacityTerminationPolicy)
  if (type === 'maintain') return
  if (excess) throw invalidFleet('The parameter ExcessCapacityTerminationPolicy is supported only for fleets of type maintain.')
  if (input.ReplaceUnhealthyInstances) {
    throw invalidFleet('The parameter ReplaceUnhealthyInstances is supported only for fleets of type maintain.')
  }
}

/** @throws ApiError InvalidParameterValue. */
export function checkExcess(asked: string | undefined): 'no-termination' | 'termination' | undefined {
  return checkEnum('ExcessCapacityTerminationPolicy', asked, ['no-termination', 'termination'])
}

function validity({ ValidFrom: from, ValidUntil: until }: CreateFleetRequest, nowMs: number): Pick<FleetSpec, 'validFromMs' | 'validUntilMs'> {
  if (until && until.getTime() <= nowMs) throw invalidValue('ValidUntil', until.toISOString(), 'It must be in the future.')
  if (from && until && until.getTime() <= from.getTime()) throw invalidValue('ValidUntil', until.toISOString(), 'It must be later than ValidFrom.')
  return { validFromMs: from?.getTime() ?? null, validUntilMs: until?.getTime() ?? null }
}

/** The units to launch, on demand and on spot. */
export function checkTarget(asked: TargetCapacitySpecificationRequest): FleetTarget {
  const defaultType = checkEnum(
    'DefaultTargetCapacityType', asked.DefaultTargetCapacityType, ['spot', 'on-demand', 'capacity-block', 'reserved-capacity'])
  const unitType = checkEnum('TargetCapacityUnitType', asked.TargetCapacityUnitType, ['vcpu', 'memory-mib', 'units'])
  if (asked.TotalTargetCapacity === undefined) throw missingParameter('TargetCapacitySpecification.TotalTargetCapacity')
  const { TotalTargetCapacity: total, OnDemandTargetCapacity: onDemand = 0, SpotTargetCapacity: spot = 0 } = asked
  for (const [name, value] of Object.entries({ TotalTargetCapacity: total, OnDemandTargetCapacity: onDemand, SpotTargetCapacity: spot })) {
    // As instances, or as virtual processors or MiB of very many of them.
    const most = unitType === undefined || unitType === 'units' ? MAX_TARGET : Number.MAX_SAFE_INTEGER
    if (!Number.isSafeInteger(value) || value < 0 || value > most) {
      throw invalidValue(`TargetCapacitySpecification.${name}`, value, `It must be between 0 and ${most}.`)
    }
  }
  if (onDemand + spot > total) {
    throw invalidFleet('The sum of OnDemandTargetCapacity and SpotTargetCapacity cannot be greater than TotalTargetCapacity.')
  }
  const rest = total - onDemand - spot
  if (rest > 0 && defaultType === undefined) throw missingParameter('TargetCapacitySpecification.DefaultTargetCapacityType')
  if (rest > 0 && (defaultType === 'capacity-block' || defaultType === 'reserved-capacity')) {
    throw unsupportedParameter(`TargetCapacitySpecification.DefaultTargetCapacityType=${defaultType}`)
  }
  const onSpot = defaultType === 'spot' ? total - onDemand : spot
  return {
    TotalTargetCapacity: total, OnDemandTargetCapacity: total - onSpot, SpotTargetCapacity: onSpot,
    DefaultTargetCapacityType: defaultType ?? (spot > 0 && onDemand === 0 ? 'spot' : 'on-demand'),
    ...(unitType ? { TargetCapacityUnitType: unitType } : {}),
  }
}

/** @throws ApiError for configurations that a fleet of that type cannot have. */
export function checkConfigs(configs: readonly FleetLaunchTemplateConfigRequest[], type: FleetSpec['type']): void {
  if (configs.length === 0) throw missingParameter('LaunchTemplateConfigs')
  if (configs.length > MAX_CONFIGS) throw invalidFleet(`A fleet can have at most ${MAX_CONFIGS} launch template configurations.`)
  const pools = configs.reduce((sum, each) => sum + Math.max(1, each.Overrides?.length ?? 0), 0)
  if (pools > MAX_POOLS) throw invalidFleet(`A fleet can have at most ${MAX_POOLS} launch template overrides.`)
  for (const config of configs) checkConfig(config, type)
  const byAttributes = configs.flatMap((each) => each.Overrides?.filter((override) => override.InstanceRequirements) ?? []).length
  if (byAttributes > MAX_REQUIREMENTS) {
    throw new ApiError(
      'InvalidParameterValue', `Your request contains more than the maximum allowed number of InstanceRequirements (${MAX_REQUIREMENTS})`)
  }
}

function checkConfig({ LaunchTemplateSpecification: template, Overrides: overrides = [] }: FleetLaunchTemplateConfigRequest, type: FleetSpec['type']): void {
  if (!template) throw missingParameter('LaunchTemplateSpecification')
  if (!template.Version) throw missingParameter('LaunchTemplateSpecification.Version')
  const { LaunchTemplateSpecificationUserData: userData } = template
  if (userData) checkInstantOnly('LaunchTemplateSpecificationUserData', type)
  requestedUserData({ UserData: userData })
  for (const each of overrides) checkOverride(each, type)
}

function checkOverride(override: FleetLaunchTemplateOverridesRequest, type: FleetSpec['type']): void {
  refuseParameters(override, ['IamInstanceProfile'])
  if (override.InstanceRequirements && override.InstanceType) {
    throw new ApiError('InvalidParameterCombination', 'InstanceType and InstanceRequirements cannot be specified together.')
  }
  if (type === 'instant' && override.SubnetId?.includes(',')) {
    throw invalidFleet('A fleet of type instant can have only one subnet ID in each launch template override.')
  }
  if (override.AvailabilityZone && override.AvailabilityZoneId) {
    throw new ApiError(
      'InvalidParameterCombination', 'You may specify an Availability Zone or an Availability Zone ID, but not both.',
    )
  }
  const { WeightedCapacity: weight = 1, Priority: priority = 0 } = override
  if (!(weight > 0 && Number.isFinite(weight))) throw invalidValue('WeightedCapacity', weight, 'It must be greater than 0.')
  if (!Number.isFinite(priority) || priority < 0) throw invalidValue('Priority', priority, 'It must be at least 0.')
  // EC2 keeps it with a pool on demand all the same.
  checkPrice('MaxPrice', override.MaxPrice)
}
