import type {
  CpuOptions, Instance, InstanceBlockDeviceMapping, InstanceMetadataOptionsResponse, InstanceMetadataOptionsState, InstanceNetworkInterface,
  InstanceTypeInfo, Placement, Reservation, Tag, _InstanceType,
} from '@aws-sdk/client-ec2'
import type { InstanceTable, VolumeTable } from '../store/schema.ts'
import { currentBootMode, instanceDoc, placementWish, STATE_CODES, type InstanceDoc, type MetadataOptions } from './instance.ts'
import { inDiskOrder } from './volume.ts'
import { isAttached, volumeToInstanceWire } from './volume-wire.ts'
import { zoneIdOf } from './zone.ts'

/** What the wire shows of an instance beside its own row. */
export interface InstanceRelated {
  /** In the order of their device indexes. */
  interfaces: InstanceNetworkInterface[]
  volumes: VolumeTable[]
  tags: Tag[]
  /** Of its placement group; undefined for none, or for one that is gone. */
  groupName?: string | undefined
  /** The type's entry in the catalogue. */
  type: InstanceTypeInfo | undefined
}

/** An instance as DescribeInstances and RunInstances show it: EBS, HVM, Linux. */
export function instanceToWire(row: InstanceTable, related: InstanceRelated): Instance {
  const doc = instanceDoc(row)
  // Not by spreading: V8 takes thirty times as long for several spreads in one literal.
  return Object.assign(identityToWire(row, doc, related), networkToWire(row, related), platformToWire(doc), optionsToWire(row, doc), {
    BlockDeviceMappings: row.state === 'terminated' ? [] : blockDevicesToWire(doc, related),
    CpuOptions: cpuOptions(row, doc, related.type),
    MetadataOptions: metadataOptionsToWire(doc.metadataOptions, row.state === 'pending' ? 'pending' : 'applied'),
    Tags: related.tags.length > 0 ? related.tags : undefined,
    EnclaveOptions: { Enabled: false },
    HibernationOptions: { Configured: doc.hibernation ?? false },
    Operator: { Managed: false },
    ProductCodes: [],
  } satisfies Instance)
}

function blockDevicesToWire(doc: InstanceDoc, { volumes }: InstanceRelated): InstanceBlockDeviceMapping[] {
  return inDiskOrder(volumes.filter(isAttached), doc.rootDeviceName).map(volumeToInstanceWire)
}

function identityToWire(row: InstanceTable, doc: InstanceDoc, { groupName }: InstanceRelated): Instance {
  return {
    AmiLaunchIndex: row.launch_index,
    ClientToken: row.client_token ?? '',
    ImageId: row.image_id,
    InstanceId: row.instance_id,
    InstanceLifecycle: row.lifecycle === 'spot' ? 'spot' : undefined,
    InstanceType: row.instance_type as _InstanceType,
    KeyName: row.key_name ?? undefined,
    LaunchTime: new Date(row.launch_ms),
    Placement: placementToWire(row, doc, groupName),
    State: { Code: STATE_CODES[row.state], Name: row.state },
    StateReason: doc.stateReason ? { Code: doc.stateReason.code, Message: doc.stateReason.message } : undefined,
    StateTransitionReason: doc.stateTransitionReason,
    SpotInstanceRequestId: row.spot_request_id ?? undefined,
  }
}

/** Where it is, as far as its owner asked for anything but a zone. */
function placementToWire(row: InstanceTable, { placement }: InstanceDoc, groupName: string | undefined): Placement {
  const wire: Placement = {
    AvailabilityZone: row.zone, AvailabilityZoneId: zoneIdOf(row.zone), GroupName: groupName ?? '', Tenancy: row.tenancy,
  }
  if (row.placement_group_id !== null && groupName !== undefined) wire.GroupId = row.placement_group_id
  if (row.partition_number !== null) wire.PartitionNumber = row.partition_number
  if (row.tenancy !== 'host') return wire
  const hostId = row.dedicated_host_id ?? (placement?.affinity === 'host' ? placement.dedicatedHostId : null)
  if (hostId !== null) wire.HostId = hostId
  wire.Affinity = placement?.affinity ?? 'default'
  return wire
}

/** EC2 forgets where a terminated instance was: no interfaces, addresses, groups, subnet or VPC. */
function networkToWire(row: InstanceTable, related: InstanceRelated): Instance {
  if (row.state === 'terminated') {
    return { NetworkInterfaces: [], PrivateDnsName: '', PublicDnsName: '', SecurityGroups: [] }
  }
  const primary = related.interfaces[0]
  return {
    NetworkInterfaces: related.interfaces,
    NetworkPerformanceOptions: { BandwidthWeighting: 'default' },
    PrivateDnsName: primary?.PrivateDnsName ?? '',
    PrivateDnsNameOptions: {
      HostnameType: 'ip-name', EnableResourceNameDnsARecord: false, EnableResourceNameDnsAAAARecord: false,
    },
    PrivateIpAddress: primary?.PrivateIpAddress,
    PublicDnsName: primary?.Association?.PublicDnsName ?? '',
    PublicIpAddress: primary?.Association?.PublicIp,
    SecurityGroups: primary?.Groups ?? [],
    SourceDestCheck: primary?.SourceDestCheck,
    SubnetId: row.subnet_id ?? undefined,
    VpcId: row.vpc_id ?? undefined,
  }
}

function platformToWire(doc: InstanceDoc): Instance {
  return {
    Architecture: doc.architecture,
    BootMode: doc.bootMode === undefined ? 'legacy-bios' : (doc.bootMode ?? undefined),
    CurrentInstanceBootMode: currentBootMode(doc),
    EbsOptimized: doc.options.ebsOptimized,
    EnaSupport: doc.enaSupport ?? true,
    Hypervisor: 'xen',
    PlatformDetails: 'Linux/UNIX',
    RootDeviceName: doc.rootDeviceName,
    RootDeviceType: 'ebs',
    SriovNetSupport: doc.options.sriovNetSupport ?? undefined,
    UsageOperation: 'RunInstances',
    UsageOperationUpdateTime: new Date(doc.usageOperationUpdateMs),
    VirtualizationType: 'hvm',
  }
}

function optionsToWire(row: InstanceTable, doc: InstanceDoc): Instance {
  const { options } = doc
  const { preference, targetId } = placementWish(doc).reservation
  const monitored = row.state === 'pending' ? 'pending' : 'enabled'
  return {
    CapacityReservationId: row.capacity_reservation_id ?? undefined,
    CapacityReservationSpecification: {
      // A target says enough, unless the call said more.
      ...(targetId === null || preference !== 'open' ? { CapacityReservationPreference: preference } : {}),
      ...(targetId === null ? {} : { CapacityReservationTarget: { CapacityReservationId: targetId } }),
    },
    MaintenanceOptions: { AutoRecovery: options.autoRecovery, RebootMigration: options.rebootMigration },
    Monitoring: { State: options.monitoring === 'enabled' ? monitored : 'disabled' },
  }
}

function cpuOptions(row: InstanceTable, { options }: InstanceDoc, type: InstanceTypeInfo | undefined): CpuOptions {
  if (options.cpu) return { CoreCount: options.cpu.coreCount, ThreadsPerCore: options.cpu.threadsPerCore }
  const { DefaultCores: cores, DefaultThreadsPerCore: threads } = type?.VCpuInfo ?? {}
  return cores === undefined || threads === undefined
    ? { CoreCount: row.vcpus, ThreadsPerCore: 1 }
    : { CoreCount: cores, ThreadsPerCore: threads }
}

/** The metadata options; `pending` until they are in force: while it launches, and in the answer to a change. */
export function metadataOptionsToWire(
  options: MetadataOptions,
  state: InstanceMetadataOptionsState,
): InstanceMetadataOptionsResponse {
  return {
    State: state,
    HttpTokens: options.httpTokens,
    HttpPutResponseHopLimit: options.httpPutResponseHopLimit,
    HttpEndpoint: options.httpEndpoint,
    HttpProtocolIpv6: 'disabled',
    InstanceMetadataTags: options.instanceMetadataTags,
  }
}

/** Groups instances by the call that launched them, in the order given; `instances` run parallel to `rows`. */
export function toReservations(rows: readonly InstanceTable[], instances: readonly Instance[]): Reservation[] {
  const reservations = new Map<string, Reservation & { Instances: Instance[] }>()
  for (const [index, row] of rows.entries()) {
    const instance = instances[index]
    if (!instance) throw new Error(`${row.instance_id}: its wire form is missing`)
    const reservation = reservations.get(row.reservation_id)
    if (reservation) reservation.Instances.push(instance)
    else {
      reservations.set(row.reservation_id, {
        ReservationId: row.reservation_id, OwnerId: row.account_id, Groups: [], Instances: [instance],
      })
    }
  }
  return [...reservations.values()]
}
