import type {
  BatchState, HistoryRecord, SpotFleetLaunchSpecification, SpotFleetRequestConfig, SpotFleetRequestConfigData, Tag,
} from '@aws-sdk/client-ec2'
import type { FleetHistoryTable, FleetTable } from '../store/schema.ts'
import type { FleetState } from './fleet.ts'
import type { FleetHistoryDoc } from './fleet-history.ts'
import type { EngineDoc } from './fleet-spec.ts'

/** What was asked for with EC2's defaults, as it is shown; targets, times and policy are in the spec. */
export type SpotFleetAsked = Omit<
  SpotFleetRequestConfigData,
  'FulfilledCapacity' | 'OnDemandFulfilledCapacity' | 'TargetCapacity' | 'OnDemandTargetCapacity' | 'ValidFrom' | 'ValidUntil' | 'TagSpecifications'
>

/** The doc of a fleet's row of kind `spot-fleet`. */
export interface SpotFleetDoc extends EngineDoc {
  asked: SpotFleetAsked
}

export function spotFleetDoc(row: Pick<FleetTable, 'doc'>): SpotFleetDoc {
  return JSON.parse(row.doc) as SpotFleetDoc
}

/** Rows have the states of EC2 Fleet: to a Spot Fleet `deleted…` is `cancelled…`. */
export function batchState(state: FleetState): BatchState {
  return state.replace(/^deleted/, 'cancelled') as BatchState
}

/** A Spot Fleet as DescribeSpotFleetRequests shows it. */
export function spotFleetToWire(row: FleetTable, state: FleetState, tags: Tag[]): SpotFleetRequestConfig {
  const { asked, spec, progress } = spotFleetDoc(row)
  const { validFromMs, validUntilMs } = spec
  return {
    SpotFleetRequestId: row.fleet_id, SpotFleetRequestState: batchState(state), ActivityStatus: progress.activity,
    CreateTime: new Date(row.created_ms), Tags: tags,
    SpotFleetRequestConfig: {
      ...asked,
      ...(asked.LaunchSpecifications ? { LaunchSpecifications: asked.LaunchSpecifications.map(withPrice) } : {}),
      TargetCapacity: spec.target.onDemand + spec.target.spot, OnDemandTargetCapacity: spec.target.onDemand,
      FulfilledCapacity: progress.fulfilledOnDemand + progress.fulfilledSpot, OnDemandFulfilledCapacity: progress.fulfilledOnDemand,
      ...(validFromMs === null ? {} : { ValidFrom: new Date(validFromMs) }), ...(validUntilMs === null ? {} : { ValidUntil: new Date(validUntilMs) }),
    },
  }
}

/**
 * A specification with its price, "" where it names none: Terraform ends where one comes back without, and replaces the fleet for ever
 * where one comes back that it has not asked for.
 */
function withPrice(specification: SpotFleetLaunchSpecification): SpotFleetLaunchSpecification {
  return { ...specification, SpotPrice: specification.SpotPrice ?? '' }
}

/** A line of a fleet's history as DescribeSpotFleetRequestHistory shows it. */
export function spotFleetHistoryToWire(row: FleetHistoryTable): HistoryRecord {
  const { subType, description, instanceId } = JSON.parse(row.doc) as FleetHistoryDoc
  return {
    EventType: row.event_type, Timestamp: new Date(row.at_ms),
    EventInformation: { EventSubType: subType, EventDescription: description, InstanceId: instanceId },
  }
}
