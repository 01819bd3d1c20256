import type { FleetData, Tag } from '@aws-sdk/client-ec2'
import type { FleetTable } from '../store/schema.ts'
import { fleetDoc, type FleetState } from './fleet.ts'

/** A fleet as DescribeFleets shows it; `state` is the one of `shownState`. */
export function fleetToWire(row: FleetTable, state: FleetState, tags: Tag[]): FleetData {
  const doc = fleetDoc(row)
  const isOver = state === 'deleted' || state === 'deleted_terminating'
  const fulfilled = isOver ? 0 : doc.fulfilled
  return {
    // Whatever came of it: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_FleetData.html
    ActivityStatus: 'fulfilled', CreateTime: new Date(row.created_ms), FleetId: row.fleet_id, FleetState: state,
    ClientToken: row.client_token ?? undefined, FulfilledCapacity: fulfilled, FulfilledOnDemandCapacity: fulfilled,
    LaunchTemplateConfigs: doc.configs, TargetCapacitySpecification: doc.target, Type: row.type,
    TerminateInstancesWithExpiration: doc.terminateInstancesWithExpiration, ReplaceUnhealthyInstances: false,
    OnDemandOptions: doc.onDemand, SpotOptions: doc.spot ?? undefined, Context: doc.context ?? undefined, Tags: tags,
    Errors: doc.errors,
    Instances: doc.instances.map(({ AvailabilityZone: _zone, AvailabilityZoneId: _zoneId, SubnetId: _subnet, ...rest }) => rest),
  }
}
