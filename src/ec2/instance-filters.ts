import type { Instance, InstanceNetworkInterface } from '@aws-sdk/client-ec2'
import type { InstanceAssociation } from '../model/interface-wire.ts'
import type { InstanceTable } from '../store/schema.ts'
import { filterText as text, withoutValue, type FilterFields } from './filters.ts'
import type { TagInput } from './tags.ts'

/** An instance with what its wire form does not carry. */
export interface InstanceItem {
  row: InstanceTable
  instance: Instance
  /** Tags of its interfaces; only loaded when a filter asks for them. */
  interfaceTags: TagInput[]
}

/** The filters of DescribeInstances, without the tags of the instance itself. */
export const INSTANCE_FIELDS: FilterFields<InstanceItem> = {
  ...placementFields(),
  ...launchFields(),
  ...platformFields(),
  ...optionFields(),
  ...blockDeviceFields(),
  ...interfaceFields(),
  ...withoutValue(
    'capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn',
    'iam-instance-profile.arn', 'iam-instance-profile.id', 'ipv6-address', 'kernel-id',
    'network-interface.addresses.association.carrier-ip', 'network-interface.addresses.association.customer-owned-ip',
    'network-interface.association.carrier-ip', 'network-interface.association.customer-owned-ip',
    'network-interface.deny-all-igw-traffic', 'network-interface.ipv4-prefixes.ipv4-prefix',
    'network-interface.ipv6-address', 'network-interface.ipv6-addresses.ipv6-address',
    'network-interface.ipv6-addresses.is-primary-ipv6', 'network-interface.ipv6-native',
    'network-interface.ipv6-prefixes.ipv6-prefix', 'network-interface.operator.principal',
    'network-interface.outpost-arn', 'network-interface.requester-id', 'operator.principal', 'outpost-arn',
    'platform', 'product-code', 'product-code.type', 'ramdisk-id',
    'requester-id', 'tpm-support',
  ),
}

function placementFields(): FilterFields<InstanceItem> {
  return {
    affinity: ({ instance }) => instance.Placement?.Affinity,
    'host-id': ({ instance }) => instance.Placement?.HostId,
    'placement-group-name': ({ instance }) => text(instance.Placement?.GroupName),
    'placement-partition-number': ({ instance }) => text(instance.Placement?.PartitionNumber),
    'availability-zone': ({ instance }) => instance.Placement?.AvailabilityZone,
    'availability-zone-id': ({ instance }) => instance.Placement?.AvailabilityZoneId,
    'dns-name': ({ instance }) => text(instance.PublicDnsName),
    'instance.group-id': ({ instance }) => instance.SecurityGroups?.map((group) => group.GroupId),
    'instance.group-name': ({ instance }) => instance.SecurityGroups?.map((group) => group.GroupName),
    'ip-address': ({ instance }) => instance.PublicIpAddress,
    'private-dns-name': ({ instance }) => text(instance.PrivateDnsName),
    'private-ip-address': ({ instance }) => instance.PrivateIpAddress,
    'source-dest-check': ({ instance }) => text(instance.SourceDestCheck),
    'subnet-id': ({ instance }) => instance.SubnetId,
    tenancy: ({ instance }) => instance.Placement?.Tenancy,
    'vpc-id': ({ instance }) => instance.VpcId,
  }
}

function launchFields(): FilterFields<InstanceItem> {
  return {
    'client-token': ({ instance }) => text(instance.ClientToken),
    'image-id': ({ instance }) => instance.ImageId,
    'instance-id': ({ instance }) => instance.InstanceId,
    'instance-lifecycle': ({ instance }) => instance.InstanceLifecycle,
    'instance-state-code': ({ instance }) => text(instance.State?.Code),
    'instance-state-name': ({ instance }) => instance.State?.Name,
    'instance-type': ({ instance }) => instance.InstanceType,
    'key-name': ({ instance }) => instance.KeyName,
    'launch-index': ({ instance }) => text(instance.AmiLaunchIndex),
    'launch-time': ({ instance }) => text(instance.LaunchTime),
    'owner-id': ({ row }) => row.account_id,
    reason: ({ instance }) => text(instance.StateTransitionReason),
    'reservation-id': ({ row }) => row.reservation_id,
    'spot-instance-request-id': ({ instance }) => instance.SpotInstanceRequestId,
    'state-reason-code': ({ instance }) => instance.StateReason?.Code,
    'state-reason-message': ({ instance }) => instance.StateReason?.Message,
    'usage-operation': ({ instance }) => instance.UsageOperation,
    'usage-operation-update-time': ({ instance }) => text(instance.UsageOperationUpdateTime),
  }
}

function platformFields(): FilterFields<InstanceItem> {
  return {
    architecture: ({ instance }) => instance.Architecture,
    'boot-mode': ({ instance }) => instance.BootMode,
    'current-instance-boot-mode': ({ instance }) => instance.CurrentInstanceBootMode,
    'ebs-optimized': ({ instance }) => text(instance.EbsOptimized),
    'ena-support': ({ instance }) => text(instance.EnaSupport),
    hypervisor: ({ instance }) => instance.Hypervisor,
    'platform-details': ({ instance }) => instance.PlatformDetails,
    'root-device-name': ({ instance }) => instance.RootDeviceName,
    'root-device-type': ({ instance }) => instance.RootDeviceType,
    'virtualization-type': ({ instance }) => instance.VirtualizationType,
  }
}

function optionFields(): FilterFields<InstanceItem> {
  return {
    'capacity-reservation-id': ({ instance }) => instance.CapacityReservationId,
    'capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id': ({ instance }) =>
      instance.CapacityReservationSpecification?.CapacityReservationTarget?.CapacityReservationId,
    'capacity-reservation-specification.capacity-reservation-preference': ({ instance }) =>
      instance.CapacityReservationSpecification?.CapacityReservationPreference,
    'enclave-options.enabled': ({ instance }) => text(instance.EnclaveOptions?.Enabled),
    'hibernation-options.configured': ({ instance }) => text(instance.HibernationOptions?.Configured),
    'maintenance-options.auto-recovery': ({ instance }) => instance.MaintenanceOptions?.AutoRecovery,
    'metadata-options.http-endpoint': ({ instance }) => instance.MetadataOptions?.HttpEndpoint,
    // The endpoint speaks IPv4 whenever it is on; the wire has no field of its own for that.
    'metadata-options.http-protocol-ipv4': ({ instance }) => instance.MetadataOptions?.HttpEndpoint,
    'metadata-options.http-protocol-ipv6': ({ instance }) => instance.MetadataOptions?.HttpProtocolIpv6,
    'metadata-options.http-put-response-hop-limit': ({ instance }) =>
      text(instance.MetadataOptions?.HttpPutResponseHopLimit),
    'metadata-options.http-tokens': ({ instance }) => instance.MetadataOptions?.HttpTokens,
    'metadata-options.instance-metadata-tags': ({ instance }) => instance.MetadataOptions?.InstanceMetadataTags,
    'metadata-options.state': ({ instance }) => instance.MetadataOptions?.State,
    'monitoring-state': ({ instance }) => instance.Monitoring?.State,
    'network-performance-options.bandwidth-weighting': ({ instance }) =>
      instance.NetworkPerformanceOptions?.BandwidthWeighting,
    'operator.managed': ({ instance }) => text(instance.Operator?.Managed),
    'private-dns-name-options.enable-resource-name-dns-a-record': ({ instance }) =>
      text(instance.PrivateDnsNameOptions?.EnableResourceNameDnsARecord),
    'private-dns-name-options.enable-resource-name-dns-aaaa-record': ({ instance }) =>
      text(instance.PrivateDnsNameOptions?.EnableResourceNameDnsAAAARecord),
    'private-dns-name-options.hostname-type': ({ instance }) => instance.PrivateDnsNameOptions?.HostnameType,
  }
}

function blockDeviceFields(): FilterFields<InstanceItem> {
  const each = (read: (mapping: NonNullable<Instance['BlockDeviceMappings']>[number]) => string | undefined) =>
    ({ instance }: InstanceItem) => instance.BlockDeviceMappings?.map(read)
  return {
    'block-device-mapping.attach-time': each((mapping) => text(mapping.Ebs?.AttachTime)),
    'block-device-mapping.delete-on-termination': each((mapping) => text(mapping.Ebs?.DeleteOnTermination)),
    'block-device-mapping.device-name': each((mapping) => mapping.DeviceName),
    'block-device-mapping.status': each((mapping) => mapping.Ebs?.Status),
    'block-device-mapping.volume-id': each((mapping) => mapping.Ebs?.VolumeId),
  }
}

/** The ids of an Elastic IP's association, which the wire form has beyond what its type shows. */
function idsOf(association: InstanceAssociation | undefined): InstanceAssociation {
  return association ?? {}
}

function interfaceFields(): FilterFields<InstanceItem> {
  const each = (read: (one: InstanceNetworkInterface, item: InstanceItem) => string | undefined) =>
    (item: InstanceItem) => item.instance.NetworkInterfaces?.map((one) => read(one, item))
  const all = (read: (one: InstanceNetworkInterface) => (string | undefined)[] | undefined) =>
    ({ instance }: InstanceItem) => instance.NetworkInterfaces?.flatMap((one) => read(one) ?? [])
  const prefix = 'network-interface'
  return {
    [`${prefix}.addresses.association.allocation-id`]: all((one) =>
      one.PrivateIpAddresses?.map((address) => idsOf(address.Association).AllocationId)),
    [`${prefix}.addresses.association.association-id`]: all((one) =>
      one.PrivateIpAddresses?.map((address) => idsOf(address.Association).AssociationId)),
    [`${prefix}.addresses.association.ip-owner-id`]: all((one) =>
      one.PrivateIpAddresses?.map((address) => address.Association?.IpOwnerId)),
    [`${prefix}.addresses.association.public-dns-name`]: all((one) =>
      one.PrivateIpAddresses?.map((address) => address.Association?.PublicDnsName)),
    [`${prefix}.addresses.association.public-ip`]: all((one) =>
      one.PrivateIpAddresses?.map((address) => address.Association?.PublicIp)),
    [`${prefix}.addresses.primary`]: all((one) => one.PrivateIpAddresses?.map((address) => text(address.Primary))),
    [`${prefix}.addresses.private-dns-name`]: all((one) =>
      one.PrivateIpAddresses?.map((address) => address.PrivateDnsName)),
    [`${prefix}.addresses.private-ip-address`]: all((one) =>
      one.PrivateIpAddresses?.map((address) => address.PrivateIpAddress)),
    [`${prefix}.association.allocation-id`]: each((one) => idsOf(one.Association).AllocationId),
    [`${prefix}.association.association-id`]: each((one) => idsOf(one.Association).AssociationId),
    [`${prefix}.association.ip-owner-id`]: each((one) => one.Association?.IpOwnerId),
    [`${prefix}.association.public-dns-name`]: each((one) => one.Association?.PublicDnsName),
    [`${prefix}.association.public-ip`]: each((one) => one.Association?.PublicIp),
    [`${prefix}.attachment.attach-time`]: each((one) => text(one.Attachment?.AttachTime)),
    [`${prefix}.attachment.attachment-id`]: each((one) => one.Attachment?.AttachmentId),
    [`${prefix}.attachment.delete-on-termination`]: each((one) => text(one.Attachment?.DeleteOnTermination)),
    [`${prefix}.attachment.device-index`]: each((one) => text(one.Attachment?.DeviceIndex)),
    [`${prefix}.attachment.instance-id`]: each((_one, { row }) => row.instance_id),
    [`${prefix}.attachment.instance-owner-id`]: each((_one, { row }) => row.account_id),
    [`${prefix}.attachment.network-card-index`]: each((one) => text(one.Attachment?.NetworkCardIndex)),
    [`${prefix}.attachment.status`]: each((one) => one.Attachment?.Status),
    [`${prefix}.availability-zone`]: each((_one, { row }) => row.zone),
    [`${prefix}.description`]: each((one) => one.Description),
    [`${prefix}.group-id`]: all((one) => one.Groups?.map((group) => group.GroupId)),
    [`${prefix}.group-name`]: all((one) => one.Groups?.map((group) => group.GroupName)),
    [`${prefix}.mac-address`]: each((one) => one.MacAddress),
    [`${prefix}.network-interface-id`]: each((one) => one.NetworkInterfaceId),
    [`${prefix}.operator.managed`]: each((one) => text(one.Operator?.Managed)),
    [`${prefix}.owner-id`]: each((one) => one.OwnerId),
    [`${prefix}.private-dns-name`]: each((one) => one.PrivateDnsName),
    [`${prefix}.private-ip-address`]: each((one) => one.PrivateIpAddress),
    [`${prefix}.public-dns-name`]: each((one) => one.Association?.PublicDnsName),
    [`${prefix}.requester-managed`]: each(() => 'false'),
    [`${prefix}.source-dest-check`]: each((one) => text(one.SourceDestCheck)),
    [`${prefix}.status`]: each((one) => one.Status),
    [`${prefix}.subnet-id`]: each((one) => one.SubnetId),
    [`${prefix}.tag-key`]: ({ interfaceTags }) => interfaceTags.map((tag) => tag.key),
    [`${prefix}.tag-value`]: ({ interfaceTags }) => interfaceTags.map((tag) => tag.value),
    [`${prefix}.vpc-id`]: each((one) => one.VpcId),
  }
}
