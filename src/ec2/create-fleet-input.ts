import type {
  CreateFleetRequest, FleetLaunchTemplateConfigRequest, FleetLaunchTemplateOverridesRequest, FleetOnDemandAllocationStrategy,
  OnDemandOptions, TargetCapacitySpecification, TargetCapacitySpecificationRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { checkEnum, invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/fleet-quotas.html */
const MAX_CONFIGS = 50
const MAX_POOLS = 300
const MAX_REQUIREMENTS = 4
const MAX_TARGET = 10_000
const MAX_MIN_TARGET = 1000

/** What a call asks for, checked as far as that goes without the database. */
export interface FleetRequest {
  configs: FleetLaunchTemplateConfigRequest[]
  target: TargetCapacitySpecification & { TotalTargetCapacity: number }
  strategy: 'lowest-price' | 'prioritized'
  singleType: boolean
  singleZone: boolean
  /** Units below which nothing is launched; 0 for none. */
  least: number
  /** Dollars per hour; null for as much as it takes. */
  maxTotalPrice: number | null
  reservationsFirst: boolean
}

/**
 * Checks a call of CreateFleet.
 *
 * @throws ApiError InvalidParameterValue, InvalidParameterCombination, MissingParameter; InvalidFleetConfig for what a fleet
 *   of type `instant` cannot have; UnsupportedOperation for Spot Instances and the types `request` and `maintain`.
 */
export function checkFleet(input: CreateFleetRequest): FleetRequest {
  checkType(input)
  refuseParameters(input, ['ReservedCapacityOptions'])
  const { LaunchTemplateConfigs: configs = [], TargetCapacitySpecification: asked } = input
  if (!asked) throw missingParameter('TargetCapacitySpecification')
  if (configs.length === 0) throw missingParameter('LaunchTemplateConfigs')
  if (configs.length > MAX_CONFIGS) throw invalidFleet(`A fleet can have at most ${MAX_CONFIGS} launch template configurations.`)
  const pools = configs.reduce((sum, each) => sum + Math.max(1, each.Overrides?.length ?? 0), 0)
  if (pools > MAX_POOLS) throw invalidFleet(`A fleet can have at most ${MAX_POOLS} launch template overrides.`)
  for (const config of configs) checkConfig(config)
  const byAttributes = configs.flatMap((each) => each.Overrides?.filter((override) => override.InstanceRequirements) ?? []).length
  if (byAttributes > MAX_REQUIREMENTS) {
    throw new ApiError(
      'InvalidParameterValue', `Your request contains more than the maximum allowed number of InstanceRequirements (${MAX_REQUIREMENTS})`)
  }
  const target = checkTarget(asked)
  const options = input.OnDemandOptions ?? {}
  const singleType = options.SingleInstanceType === true
  const singleZone = options.SingleAvailabilityZone === true
  const strategy = checkEnum('OnDemandOptions.AllocationStrategy', options.AllocationStrategy, STRATEGIES)
  const usage = checkEnum(
    'CapacityReservationOptions.UsageStrategy', options.CapacityReservationOptions?.UsageStrategy, ['use-capacity-reservations-first'])
  return {
    configs, target, strategy: strategy === 'prioritized' ? 'prioritized' : 'lowest-price', singleType, singleZone,
    least: checkLeast(options.MinTargetCapacity, { hasSingle: singleType || singleZone, total: target.TotalTargetCapacity }),
    maxTotalPrice: checkPrice('OnDemandOptions.MaxTotalPrice', options.MaxTotalPrice),
    reservationsFirst: usage !== undefined,
  }
}

/** EC2 takes both spellings of the first. */
const STRATEGIES = ['lowest-price', 'lowestPrice', 'prioritized'] as const

/** The on-demand options as DescribeFleets shows them: with the other spelling. */
export function shownOptions({ OnDemandOptions: asked }: CreateFleetRequest, { strategy }: FleetRequest): OnDemandOptions {
  return {
    ...asked, AllocationStrategy: (strategy === 'prioritized' ? strategy : 'lowestPrice') as FleetOnDemandAllocationStrategy,
  }
}

/** Only fleets that launch once, and at once, are there. */
function checkType(input: CreateFleetRequest): void {
  const type = checkEnum('Type', input.Type, ['request', 'maintain', 'instant']) ?? 'maintain'
  if (type !== 'instant') {
    throw new ApiError(
      'UnsupportedOperation', `Fleets of type ${type} are not supported by Hearth yet: nothing launches for them later. Use type instant.`,
    )
  }
  for (const name of ['ValidFrom', 'ValidUntil'] as const) {
    if (input[name]) throw invalidFleet(`The parameter ${name} cannot be specified for fleets of type instant.`)
  }
  const excess = checkEnum(
    'ExcessCapacityTerminationPolicy', input.ExcessCapacityTerminationPolicy, ['no-termination', 'termination'])
  if (excess) throw invalidFleet('The parameter ExcessCapacityTerminationPolicy is supported only for fleets of type maintain.')
  if (input.ReplaceUnhealthyInstances) {
    throw invalidFleet('The parameter ReplaceUnhealthyInstances is supported only for fleets of type maintain.')
  }
}

/** The units to launch: all of them on demand. */
function checkTarget(asked: TargetCapacitySpecificationRequest): FleetRequest['target'] {
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
  if (spot > 0 || (rest > 0 && defaultType === 'spot')) {
    throw new ApiError(
      'UnsupportedOperation',
      'Spot Instances are not supported by Hearth yet: TargetCapacitySpecification must ask for on-demand capacity only.',
    )
  }
  return {
    TotalTargetCapacity: total, OnDemandTargetCapacity: total, SpotTargetCapacity: 0, DefaultTargetCapacityType: defaultType ?? 'on-demand',
    ...(unitType ? { TargetCapacityUnitType: unitType } : {}),
  }
}

function checkConfig({ LaunchTemplateSpecification: template, Overrides: overrides = [] }: FleetLaunchTemplateConfigRequest): void {
  if (!template) throw missingParameter('LaunchTemplateSpecification')
  if (!template.Version) throw missingParameter('LaunchTemplateSpecification.Version')
  refuseParameters(template, ['LaunchTemplateSpecificationUserData'])
  for (const each of overrides) checkOverride(each)
}

function checkOverride(override: FleetLaunchTemplateOverridesRequest): void {
  refuseParameters(override, ['IamInstanceProfile'])
  if (override.InstanceRequirements && override.InstanceType) {
    throw new ApiError('InvalidParameterCombination', 'InstanceType and InstanceRequirements cannot be specified together.')
  }
  if (override.SubnetId?.includes(',')) {
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
  // Of Spot Instances; EC2 keeps it with a pool on demand all the same.
  checkPrice('MaxPrice', override.MaxPrice)
}

function checkLeast(asked: number | undefined, { hasSingle, total }: { hasSingle: boolean; total: number }): number {
  if (asked === undefined) return 0
  if (!Number.isSafeInteger(asked) || asked < 0 || asked > MAX_MIN_TARGET) {
    throw invalidValue('OnDemandOptions.MinTargetCapacity', asked, `It must be between 0 and ${MAX_MIN_TARGET}.`)
  }
  if (asked > total) throw invalidFleet('MinTargetCapacity cannot be greater than the target capacity.')
  if (asked > 0 && !hasSingle) {
    throw invalidFleet('MinTargetCapacity needs SingleInstanceType or SingleAvailabilityZone.')
  }
  return asked
}

function checkPrice(name: string, text: string | undefined): number | null {
  if (!text) return null
  const price = Number(text)
  if (!(price >= 0.001 && Number.isFinite(price))) throw invalidValue(name, text, 'It must be at least 0.001.')
  return price
}

/** EC2's code for what a fleet cannot be made of. */
export function invalidFleet(message: string): ApiError {
  return new ApiError('InvalidFleetConfig', message)
}
