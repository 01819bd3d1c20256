import type { FleetSpotCapacityRebalanceRequest, SpotOptionsRequest } from '@aws-sdk/client-ec2'
import type { FleetSpec, SpotStrategy } from '../model/fleet-spec.ts'
import { checkLeast, checkPrice, checkSingle, invalidFleet } from './create-fleet-checks.ts'
import { checkEnum, invalidValue, missingParameter } from './parameters.ts'

/** By both spellings that EC2 takes: that of CreateFleet, and that of CloudFormation and of DescribeFleets. */
const STRATEGIES: Readonly<Record<string, SpotStrategy>> = {
  'lowest-price': 'lowest-price', lowestPrice: 'lowest-price', diversified: 'diversified', 'capacity-optimized': 'capacity-optimized',
  capacityOptimized: 'capacity-optimized', 'capacity-optimized-prioritized': 'capacity-optimized-prioritized',
  capacityOptimizedPrioritized: 'capacity-optimized-prioritized', 'price-capacity-optimized': 'price-capacity-optimized',
  priceCapacityOptimized: 'price-capacity-optimized',
}

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_FleetSpotCapacityRebalanceRequest.html */
const TERMINATION_DELAY_S = { least: 120, most: 7200 }

/**
 * What a call says of spot.
 *
 * @throws ApiError InvalidParameterValue, MissingParameter; InvalidFleetConfig for what a fleet of its type cannot have.
 */
export function spotSpec(options: SpotOptionsRequest, { type, total }: { type: FleetSpec['type']; total: number }): FleetSpec['spot'] {
  const singleType = options.SingleInstanceType === true
  const singleZone = options.SingleAvailabilityZone === true
  const asked = checkEnum('SpotOptions.AllocationStrategy', options.AllocationStrategy, Object.keys(STRATEGIES))
  const strategy = STRATEGIES[asked ?? 'lowest-price'] ?? 'lowest-price'
  const behavior = checkEnum('SpotOptions.InstanceInterruptionBehavior', options.InstanceInterruptionBehavior, ['hibernate', 'stop', 'terminate'])
  if (behavior && behavior !== 'terminate' && type !== 'maintain') {
    throw invalidFleet(`The InstanceInterruptionBehavior ${behavior} is supported only for fleets of type maintain.`)
  }
  checkSingle('SpotOptions', { singleType, singleZone, MinTargetCapacity: options.MinTargetCapacity }, type)
  return {
    strategy, poolsToUse: checkPools(options.InstancePoolsToUseCount, strategy), behavior: behavior ?? 'terminate', singleType, singleZone,
    least: checkLeast('SpotOptions', options.MinTargetCapacity, { hasSingle: singleType || singleZone, total }),
    maxTotalMicroUsd: checkPrice('SpotOptions.MaxTotalPrice', options.MaxTotalPrice), maxUnitMicroUsd: null,
    rebalance: rebalanceSpec(options.MaintenanceStrategies?.CapacityRebalance, type),
  }
}

function checkPools(asked: number | undefined, strategy: SpotStrategy): number {
  if (asked === undefined) return 1
  const name = 'SpotOptions.InstancePoolsToUseCount'
  if (!Number.isSafeInteger(asked) || asked < 1) throw invalidValue(name, asked, 'It must be at least 1.')
  if (strategy !== 'lowest-price') throw invalidFleet(`The parameter ${name} is supported only with the allocation strategy lowest-price.`)
  return asked
}

function rebalanceSpec(asked: FleetSpotCapacityRebalanceRequest | undefined, type: FleetSpec['type']): FleetSpec['spot']['rebalance'] {
  const name = 'SpotOptions.MaintenanceStrategies.CapacityRebalance'
  const strategy = checkEnum(`${name}.ReplacementStrategy`, asked?.ReplacementStrategy, ['launch', 'launch-before-terminate'])
  const delayS = asked?.TerminationDelay
  if (strategy === undefined) {
    if (delayS !== undefined) throw missingParameter(`${name}.ReplacementStrategy`)
    return null
  }
  if (type !== 'maintain') throw invalidFleet(`The parameter ${name} is supported only for fleets of type maintain.`)
  if (strategy === 'launch') {
    if (delayS !== undefined) throw invalidFleet('The parameter TerminationDelay is not valid with the replacement strategy launch.')
    return { terminationDelayMs: null }
  }
  if (delayS === undefined) throw missingParameter(`${name}.TerminationDelay`)
  const { least, most } = TERMINATION_DELAY_S
  if (!(delayS >= least && delayS <= most)) throw invalidValue(`${name}.TerminationDelay`, delayS, `It must be between ${least} and ${most}.`)
  return { terminationDelayMs: delayS * 1000 }
}

/** A strategy as DescribeFleets shows it. */
export function shownStrategy(strategy: SpotStrategy): string {
  return strategy === 'lowest-price' ? 'lowestPrice' : strategy
}
