import type { BlockDeviceMapping, DescribeSpotInstanceRequestsRequest, DescribeSpotInstanceRequestsResult, InstanceNetworkInterfaceSpecification, SpotInstanceRequest } from '@aws-sdk/client-ec2'
import type { Context } from './context.ts'
import { compileFilters, exactValues, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { findSpotRequests, isShown, toWire } from './spot-request-rows.ts'
import { fromWireTags } from './tags.ts'

/**
 * DescribeSpotInstanceRequests: those named, or all of the account, oldest first; ended ones for four hours. What an open request
 * waits for is told by price and supply as they are now.
 */
export async function describeSpotInstanceRequests(
  context: Context,
  input: DescribeSpotInstanceRequestsRequest,
): Promise<DescribeSpotInstanceRequestsResult> {
  const ids = input.SpotInstanceRequestIds ?? []
  checkIds(RESOURCE_KINDS.spotRequest, ids)
  const rows = (await (ids.length > 0 ? findSpotRequests(context, ids) : rowsOfAccount(context, input))).filter((row) => isShown(row, context.nowMs))
  if (ids.length > 0) requireAll(RESOURCE_KINDS.spotRequest, ids, new Set(rows.map((row) => row.request_id)))
  const matches = compileFilters(input.Filters, FIELDS, (request) => fromWireTags(request.Tags))
  const { page, nextToken } = paginate((await toWire(context, rows)).filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeSpotInstanceRequests',
    keyOf: (request) => timeKey(request.CreateTime?.getTime() ?? 0, request.SpotInstanceRequestId ?? ''),
  })
  return { SpotInstanceRequests: page, NextToken: nextToken }
}

/** What columns tell is left to the database. */
function rowsOfAccount({ db, account }: Context, { Filters: filters }: DescribeSpotInstanceRequestsRequest) {
  let query = db.selectFrom('spot_requests').selectAll().where('account_id', '=', account)
  for (const [name, column] of [['spot-instance-request-id', 'request_id'], ['instance-id', 'instance_id'], ['type', 'type']] as const) {
    const values = exactValues(filters, name)
    if (values) query = query.where(column, 'in', values)
  }
  const states = exactValues(filters, 'state')
  if (states) query = query.where('state', 'in', states as SpotInstanceRequest['State'][] as ('open')[])
  return query.execute()
}

const launch = (request: SpotInstanceRequest) => request.LaunchSpecification ?? {}
const disks = (read: (mapping: BlockDeviceMapping) => string | undefined) => (request: SpotInstanceRequest) =>
  launch(request).BlockDeviceMappings?.map(read)
const nics = (read: (nic: InstanceNetworkInterfaceSpecification) => string | undefined) => (request: SpotInstanceRequest) =>
  launch(request).NetworkInterfaces?.map(read)

const FIELDS: FilterFields<SpotInstanceRequest> = {
  'availability-zone-group': (request) => request.AvailabilityZoneGroup,
  'create-time': (request) => text(request.CreateTime),
  'fault-code': (request) => request.Fault?.Code,
  'fault-message': (request) => request.Fault?.Message,
  'instance-id': (request) => request.InstanceId,
  'launch-group': (request) => request.LaunchGroup,
  'launch.block-device-mapping.delete-on-termination': disks((mapping) => text(mapping.Ebs?.DeleteOnTermination)),
  'launch.block-device-mapping.device-name': disks((mapping) => mapping.DeviceName),
  'launch.block-device-mapping.snapshot-id': disks((mapping) => mapping.Ebs?.SnapshotId),
  'launch.block-device-mapping.volume-size': disks((mapping) => text(mapping.Ebs?.VolumeSize)),
  'launch.block-device-mapping.volume-type': disks((mapping) => mapping.Ebs?.VolumeType),
  'launch.group-id': (request) => launch(request).SecurityGroups?.map((group) => group.GroupId),
  'launch.group-name': (request) => launch(request).SecurityGroups?.map((group) => group.GroupName),
  'launch.image-id': (request) => launch(request).ImageId,
  'launch.instance-type': (request) => launch(request).InstanceType,
  'launch.key-name': (request) => launch(request).KeyName,
  'launch.monitoring-enabled': (request) => text(launch(request).Monitoring?.Enabled),
  'launched-availability-zone': (request) => request.LaunchedAvailabilityZone,
  'launched-availability-zone-id': (request) => request.LaunchedAvailabilityZoneId,
  'network-interface.addresses.primary': (request) => launch(request).NetworkInterfaces?.flatMap((nic) =>
    nic.PrivateIpAddresses?.map((address) => text(address.Primary))),
  'network-interface.delete-on-termination': nics((nic) => text(nic.DeleteOnTermination)),
  'network-interface.description': nics((nic) => nic.Description),
  'network-interface.device-index': nics((nic) => text(nic.DeviceIndex)),
  'network-interface.group-id': (request) => launch(request).NetworkInterfaces?.flatMap((nic) => nic.Groups ?? []),
  'network-interface.network-interface-id': nics((nic) => nic.NetworkInterfaceId),
  'network-interface.private-ip-address': (request) => launch(request).NetworkInterfaces?.flatMap((nic) =>
    [nic.PrivateIpAddress, ...(nic.PrivateIpAddresses ?? []).map((address) => address.PrivateIpAddress)]),
  'network-interface.subnet-id': nics((nic) => nic.SubnetId),
  'product-description': (request) => request.ProductDescription,
  'spot-instance-request-id': (request) => request.SpotInstanceRequestId,
  'spot-price': (request) => [request.SpotPrice, text(Number(request.SpotPrice))],
  state: (request) => request.State,
  'status-code': (request) => request.Status?.Code,
  'status-message': (request) => request.Status?.Message,
  type: (request) => request.Type,
  'valid-from': (request) => text(request.ValidFrom),
  'valid-until': (request) => text(request.ValidUntil),
  ...withoutValue('launch.kernel-id', 'launch.ramdisk-id'),
}
