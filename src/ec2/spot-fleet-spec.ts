import type { FleetLaunchTemplateOverridesRequest, LaunchTemplateConfig, LaunchTemplateOverrides, SpotFleetRequestConfigData } from '@aws-sdk/client-ec2'
import { DEFAULT_ON_DEMAND, DEFAULT_SPOT, type FleetSource, type FleetSpec, type SpotStrategy } from '../model/fleet-spec.ts'
import type { SpotFleetAsked } from '../model/spot-fleet.ts'
import type { Context } from './context.ts'
import { poolsOf, sourcesOf } from './create-fleet-pools.ts'
import { ApiError } from '../core/errors.ts'
import { resolveImageId } from '../ssm/resolve-image.ts'
import { requireVisibleImage } from './image-rows.ts'
import { loadSpotPrices } from './spot-prices.ts'
import { invalidSpotFleet, type SpotFleetConfig } from './spot-fleet-input.ts'
import { specificationSource } from './spot-fleet-launch.ts'

/** The words of RequestSpotFleet for what CreateFleet calls otherwise. */
const STRATEGIES: Readonly<Record<SpotFleetConfig['strategy'], SpotStrategy>> = {
  lowestPrice: 'lowest-price', diversified: 'diversified', capacityOptimized: 'capacity-optimized',
  capacityOptimizedPrioritized: 'capacity-optimized-prioritized', priceCapacityOptimized: 'price-capacity-optimized',
}

const MS_PER_S = 1000

/**
 * What the fleet is to be, in the words that all fleets share.
 *
 * @throws ApiError for a template or a version that is not there.
 */
export async function spotFleetSpec(context: Context, config: SpotFleetConfig): Promise<FleetSpec> {
  const { rebalance } = config
  return {
    type: config.type,
    sources: config.templates.length > 0 ? await templateSources(context, config.templates) : config.specifications.map(specificationSource),
    target: { onDemand: config.onDemandTarget, spot: config.target - config.onDemandTarget, unitType: config.unitType },
    onDemand: {
      ...DEFAULT_ON_DEMAND, strategy: config.onDemandStrategy === 'prioritized' ? 'prioritized' : 'lowest-price',
      maxTotalMicroUsd: config.onDemandMaxTotalMicroUsd,
    },
    spot: {
      ...DEFAULT_SPOT, strategy: STRATEGIES[config.strategy], poolsToUse: config.poolsToUse, behavior: config.behavior,
      maxTotalMicroUsd: config.spotMaxTotalMicroUsd, maxUnitMicroUsd: config.maxUnitMicroUsd,
      rebalance: rebalance && { terminationDelayMs: rebalance.TerminationDelay === undefined ? null : rebalance.TerminationDelay * MS_PER_S },
    },
    terminatesExcess: config.terminatesExcess, terminatesWithExpiration: config.terminateAtEnd,
    replacesUnhealthy: config.replaceUnhealthy, validFromMs: config.validFromMs, validUntilMs: config.validUntilMs,
    launchTags: [],
  }
}

/** Templates with the numbers of the versions that they mean now. @throws ApiError for one that is not there. */
export async function templateSources(context: Context, templates: readonly LaunchTemplateConfig[]): Promise<FleetSource[]> {
  return sourcesOf(context, templates.map(({ LaunchTemplateSpecification: specification, Overrides: overrides = [] }) => ({
    LaunchTemplateSpecification: specification, Overrides: overrides.map(commonOverride),
  })))
}

/**
 * Checks that a fleet has places to launch from, and that each of them could be launched but for room and price.
 *
 * @throws ApiError InvalidSpotFleetRequestConfig for what is wrong with one; what `poolsOf` throws.
 */
export async function checkSpotFleetPools(context: Context, spec: FleetSpec): Promise<void> {
  try {
    const prices = spec.target.spot > 0 ? await loadSpotPrices(context.db, context.region, context.nowMs) : null
    const pools = await poolsOf(context, spec, prices)
    for (const { problem } of pools) if (problem) throw invalidSpotFleet(problem.message)
    for (const id of new Set(pools.map(({ input }) => input.ImageId ?? ''))) await requireImage(context, id)
  } catch (error) {
    if (error instanceof ApiError && error.code === 'InvalidFleetConfig') throw invalidSpotFleet(error.message)
    throw error
  }
}

async function requireImage(context: Context, imageId: string): Promise<void> {
  try {
    await requireVisibleImage(context, await resolveImageId(context, imageId))
  } catch (error) {
    if (error instanceof ApiError) throw invalidSpotFleet(error.message)
    throw error
  }
}

/** An override in the words of CreateFleet. */
function commonOverride({ SpotPrice: price, InstanceRequirements: requirements, ...rest }: LaunchTemplateOverrides): FleetLaunchTemplateOverridesRequest {
  return {
    ...rest, ...(price ? { MaxPrice: price } : {}),
    // The same members, of a type of its own.
    ...(requirements ? { InstanceRequirements: requirements as FleetLaunchTemplateOverridesRequest['InstanceRequirements'] } : {}),
  }
}

/** The configuration as it is shown: what was asked for, and EC2's defaults where nothing was. */
export function askedWithDefaults(input: SpotFleetRequestConfigData, config: SpotFleetConfig): SpotFleetAsked {
  const {
    FulfilledCapacity: _fulfilled, OnDemandFulfilledCapacity: _onDemandFulfilled, TargetCapacity: _target, OnDemandTargetCapacity: _onDemand,
    ValidFrom: _from, ValidUntil: _until, TagSpecifications: _tags, ...asked
  } = input
  return {
    ...asked, AllocationStrategy: config.strategy, OnDemandAllocationStrategy: config.onDemandStrategy, Type: config.type,
    ExcessCapacityTerminationPolicy: input.ExcessCapacityTerminationPolicy || 'default', InstanceInterruptionBehavior: config.behavior,
    ReplaceUnhealthyInstances: config.replaceUnhealthy, TerminateInstancesWithExpiration: config.terminateAtEnd,
  }
}
