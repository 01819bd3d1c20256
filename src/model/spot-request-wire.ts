import type { InstanceInterruptionBehavior, LaunchSpecification, SpotInstanceRequest, SpotInstanceType, Tag } from '@aws-sdk/client-ec2'
import type { SpotRequestTable } from '../store/schema.ts'
import { spotRequestDoc, type SpotRequestDoc, type SpotRequestMove } from './spot-request.ts'
import { zoneIdOf } from './zone.ts'

/** What the wire shows of a request beside its own row. */
export interface SpotRequestRelated {
  tags: Tag[]
  /** Names of security groups, by id. */
  groupNames: ReadonlyMap<string, string>
}

/** A request as DescribeSpotInstanceRequests shows it; `now` is its status as it is at this moment. */
export function spotRequestToWire(row: SpotRequestTable, now: SpotRequestMove, { tags, groupNames }: SpotRequestRelated): SpotInstanceRequest {
  const doc = spotRequestDoc(row)
  const time = (ms: number | null) => (ms === null ? undefined : new Date(ms))
  return {
    SpotInstanceRequestId: row.request_id, State: row.state, Type: row.type as SpotInstanceType,
    Status: { Code: now.status, Message: now.message, UpdateTime: new Date(row.status_ms) },
    SpotPrice: (row.max_price_micro_usd / 1_000_000).toFixed(6), CreateTime: new Date(row.created_ms),
    ValidFrom: time(row.valid_from_ms), ValidUntil: time(row.valid_until_ms),
    InstanceId: row.instance_id ?? undefined, InstanceInterruptionBehavior: doc.behavior as InstanceInterruptionBehavior,
    LaunchGroup: row.launch_group ?? undefined, AvailabilityZoneGroup: row.az_group ?? undefined,
    LaunchedAvailabilityZone: doc.launchedZone ?? undefined, LaunchedAvailabilityZoneId: doc.launchedZone === null ? undefined : zoneIdOf(doc.launchedZone),
    ProductDescription: doc.productDescription as 'Linux/UNIX', LaunchSpecification: launchToWire(row, doc, groupNames),
    Fault: doc.fault ? { Code: doc.fault.code, Message: doc.fault.message } : undefined, Tags: tags.length > 0 ? tags : undefined,
  }
}

/** What is launched, as it was asked for: not its user data, which may hold secrets. */
function launchToWire(row: SpotRequestTable, { launch }: SpotRequestDoc, groupNames: ReadonlyMap<string, string>): LaunchSpecification {
  const byId = (launch.SecurityGroupIds ?? []).map((id) => ({ GroupId: id, GroupName: groupNames.get(id) }))
  const byName = (launch.SecurityGroups ?? []).map((name) => ({ GroupName: name }))
  const { AvailabilityZone: zone, AvailabilityZoneId: zoneId, GroupName: groupName, Tenancy: tenancy } = launch.Placement ?? {}
  return {
    ImageId: launch.ImageId, InstanceType: row.instance_type as LaunchSpecification['InstanceType'], KeyName: launch.KeyName,
    SecurityGroups: [...byId, ...byName], BlockDeviceMappings: launch.BlockDeviceMappings, EbsOptimized: launch.EbsOptimized,
    IamInstanceProfile: launch.IamInstanceProfile, NetworkInterfaces: launch.NetworkInterfaces, SubnetId: launch.SubnetId,
    Monitoring: { Enabled: launch.Monitoring?.Enabled === true },
    Placement: launch.Placement && { AvailabilityZone: zone, AvailabilityZoneId: zoneId, GroupName: groupName, Tenancy: tenancy },
  }
}
