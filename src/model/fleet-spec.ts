import type { FleetLaunchTemplateOverridesRequest, RequestLaunchTemplateData, TagSpecification, TargetCapacityUnitType } from '@aws-sdk/client-ec2'
import type { InterruptionBehavior } from './spot-request.ts'

/** How spot capacity is divided among pools: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-allocation-strategy.html */
export type SpotStrategy =
  | 'lowest-price' | 'diversified' | 'capacity-optimized' | 'capacity-optimized-prioritized' | 'price-capacity-optimized'

/** What instances of a fleet are launched with: a version of a launch template, or a specification of the call's own. */
export interface FleetSource {
  template: { id: string; version: number } | null
  /** What there is instead of a template: a launch specification of RequestSpotFleet. */
  data: RequestLaunchTemplateData | null
  /** Instead of the template's, base64; only of fleets of type instant. */
  userData?: string
  /**
   * Each makes pools; none is one without changes. `MaxPrice` is dollars per hour for one unit. AvailabilityZone and SubnetId may name
   * several, with commas between them.
   */
  overrides: FleetLaunchTemplateOverridesRequest[]
}

/** What a fleet is to be, whichever call asked for it: CreateFleet or RequestSpotFleet. All of it can be written as JSON. */
export interface FleetSpec {
  type: 'instant' | 'request' | 'maintain'
  sources: FleetSource[]
  /** In units; the total is their sum. */
  target: { onDemand: number; spot: number; unitType: TargetCapacityUnitType }
  onDemand: {
    strategy: 'lowest-price' | 'prioritized'
    singleType: boolean
    singleZone: boolean
    /** Units below which nothing is launched; 0 for none. */
    least: number
    /** Per hour; null for as much as it takes. */
    maxTotalMicroUsd: number | null
    reservationsFirst: boolean
  }
  spot: {
    strategy: SpotStrategy
    /** For the lowest price: over how many of the cheapest pools. */
    poolsToUse: number
    behavior: InterruptionBehavior
    singleType: boolean
    singleZone: boolean
    least: number
    maxTotalMicroUsd: number | null
    /** The most for one unit and hour, where an override says nothing else; null for the price on demand. */
    maxUnitMicroUsd: number | null
    /** Which instances are replaced when they are likely to be interrupted; null for none. The delay is null where old ones stay. */
    rebalance: { terminationDelayMs: number | null } | null
  }
  /** Whether instances above the target are terminated when the target is lowered. */
  terminatesExcess: boolean
  terminatesWithExpiration: boolean
  replacesUnhealthy: boolean
  validFromMs: number | null
  validUntilMs: number | null
  /** For what it launches: of instances, volumes, network interfaces, spot requests. */
  launchTags: TagSpecification[]
}

/** Defaults of RequestSpotFleet and CreateFleet, but for what each call must say. */
export const DEFAULT_ON_DEMAND: FleetSpec['onDemand'] = {
  strategy: 'lowest-price', singleType: false, singleZone: false, least: 0, maxTotalMicroUsd: null, reservationsFirst: false,
}
export const DEFAULT_SPOT: FleetSpec['spot'] = {
  strategy: 'lowest-price', poolsToUse: 1, behavior: 'terminate', singleType: false, singleZone: false, least: 0, maxTotalMicroUsd: null,
  maxUnitMicroUsd: null, rebalance: null,
}

/** How far a fleet has come, as its reconciler writes it down. */
export interface FleetProgress {
  activity: 'error' | 'pending_fulfillment' | 'pending_termination' | 'fulfilled'
  /** Units of the instances that it has. */
  fulfilledOnDemand: number
  fulfilledSpot: number
  /** Units that it has launched in all: one of type `request` does not launch them again. */
  launchedOnDemand: number
  launchedSpot: number
  /** Since its launches fail: how often in a row, until when none is tried, and the reasons that its history tells already. */
  backoff: { failures: number; untilMs: number; told: string[] } | null
  /** Instances that are likely to be interrupted and have been replaced: since when. */
  replacedMs: Record<string, number>
}

export const NO_PROGRESS: FleetProgress = {
  activity: 'pending_fulfillment', fulfilledOnDemand: 0, fulfilledSpot: 0, launchedOnDemand: 0, launchedSpot: 0, backoff: null, replacedMs: {},
}

/**
 * What the reconciler of fleets reads and writes of the doc of any fleet of type `request` or `maintain`; the rest of the doc is
 * its call's own. It moves the row's state by FLEET_TRANSITIONS, in the words of EC2 Fleet: to Spot Fleet `deleted…` is `cancelled…`.
 */
export interface EngineDoc {
  spec: FleetSpec
  progress: FleetProgress
  /** When it was deleted, or expired. */
  deletedMs: number | null
}

/** What the doc of an instance says of the fleet that launched it. */
export interface FleetMemberDoc {
  /** Units that it counts for. */
  weight: number
}
