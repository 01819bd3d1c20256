import type { FleetData, Tag } from '@aws-sdk/client-ec2'
import type { FleetTable } from '../store/schema.ts'
import { fleetDoc, type FleetState } from './fleet.ts'
import type { FleetSpec } from './fleet-spec.ts'

/** A fleet as DescribeFleets shows it; `state` is the one of `shownState`. */
export function fleetToWire(row: FleetTable, state: FleetState, tags: Tag[]): FleetData {
  const doc = fleetDoc(row)
  const { activity, fulfilledOnDemand, fulfilledSpot } = doc.progress
  const isInstant = row.type === 'instant'
  const isOver = isInstant && (state === 'deleted' || state === 'deleted_terminating')
  const onDemand = isOver ? 0 : fulfilledOnDemand
  return {
    // Of type instant it is fulfilled whatever came of it: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_FleetData.html
    ActivityStatus: isInstant ? 'fulfilled' : activity, CreateTime: new Date(row.created_ms), FleetId: row.fleet_id, FleetState: state,
    ClientToken: row.client_token ?? undefined, FulfilledCapacity: isOver ? 0 : fulfilledOnDemand + fulfilledSpot, FulfilledOnDemandCapacity: onDemand,
    LaunchTemplateConfigs: doc.configs, TargetCapacitySpecification: doc.target, Type: row.type,
    TerminateInstancesWithExpiration: doc.terminateInstancesWithExpiration, ReplaceUnhealthyInstances: doc.spec?.replacesUnhealthy ?? false,
    ...(row.type === 'maintain' && doc.spec ? { ExcessCapacityTerminationPolicy: doc.spec.terminatesExcess ? 'termination' : 'no-termination' } : {}),
    ...validity(doc.spec),
    OnDemandOptions: doc.onDemand, SpotOptions: doc.spot ?? undefined, Context: doc.context ?? undefined, Tags: tags,
    Errors: doc.errors,
    Instances: doc.instances.map(({ AvailabilityZone: _zone, AvailabilityZoneId: _zoneId, SubnetId: _subnet, ...rest }) => rest),
  }
}

function validity(spec: FleetSpec | null): Pick<FleetData, 'ValidFrom' | 'ValidUntil'> {
  return {
    ...(spec?.validFromMs ? { ValidFrom: new Date(spec.validFromMs) } : {}), ...(spec?.validUntilMs ? { ValidUntil: new Date(spec.validUntilMs) } : {}),
  }
}
