import type {
  CpuOptions, Instance, InstanceMetadataOptionsResponse, InstanceNetworkInterface, InstanceTypeInfo, Reservation, Tag,
  _InstanceType,
} from '@aws-sdk/client-ec2'
import type { InstanceTable, VolumeTable } from '../store/schema.ts'
import { instanceDoc, STATE_CODES, type InstanceDoc } from './instance.ts'
import { isAttached, volumeToInstanceWire } from './volume-wire.ts'
import { zoneIdOf } from './zone.ts'

/** What the wire shows of an instance beside its own row. */
export interface InstanceRelated {
  /** In the order of their device indexes. */
  interfaces: InstanceNetworkInterface[]
  volumes: VolumeTable[]
  tags: Tag[]
  /** Boot mode of the image; undefined when the image is gone. */
  bootMode: 'legacy-bios' | 'uefi' | undefined
  /** The type's entry in the catalogue. */
  type: InstanceTypeInfo | undefined
}

/** An instance as DescribeInstances and RunInstances show it: EBS, HVM, Linux. */
export function instanceToWire(row: InstanceTable, related: InstanceRelated): Instance {
  const doc = instanceDoc(row)
  return {
    ...identityToWire(row, doc),
    ...networkToWire(row, related),
    ...platformToWire(doc, related),
    BlockDeviceMappings: row.state === 'terminated' ? [] : related.volumes.filter(isAttached).map(volumeToInstanceWire),
    CpuOptions: cpuOptions(row, related.type),
    MetadataOptions: metadataToWire(row, doc),
    Tags: related.tags.length > 0 ? related.tags : undefined,
    CapacityReservationSpecification: { CapacityReservationPreference: 'open' },
    EnclaveOptions: { Enabled: false },
    HibernationOptions: { Configured: false },
    MaintenanceOptions: { AutoRecovery: 'default', RebootMigration: 'default' },
    Monitoring: { State: 'disabled' },
    Operator: { Managed: false },
    ProductCodes: [],
  }
}

function identityToWire(row: InstanceTable, doc: InstanceDoc): Instance {
  return {
    AmiLaunchIndex: row.launch_index,
    ClientToken: row.client_token ?? '',
    ImageId: row.image_id,
    InstanceId: row.instance_id,
    InstanceType: row.instance_type as _InstanceType,
    KeyName: row.key_name ?? undefined,
    LaunchTime: new Date(row.launch_ms),
    Placement: {
      AvailabilityZone: row.zone, AvailabilityZoneId: zoneIdOf(row.zone), GroupName: '', Tenancy: 'default',
    },
    State: { Code: STATE_CODES[row.state], Name: row.state },
    StateReason: doc.stateReason ? { Code: doc.stateReason.code, Message: doc.stateReason.message } : undefined,
    StateTransitionReason: doc.stateTransitionReason,
  }
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
    SubnetId: row.subnet_id,
    VpcId: row.vpc_id,
  }
}

function platformToWire(doc: InstanceDoc, { bootMode }: InstanceRelated): Instance {
  return {
    Architecture: doc.architecture,
    BootMode: bootMode,
    CurrentInstanceBootMode: bootMode ?? 'legacy-bios',
    EbsOptimized: false,
    EnaSupport: true,
    Hypervisor: 'xen',
    PlatformDetails: 'Linux/UNIX',
    RootDeviceName: doc.rootDeviceName,
    RootDeviceType: 'ebs',
    UsageOperation: 'RunInstances',
    UsageOperationUpdateTime: new Date(doc.usageOperationUpdateMs),
    VirtualizationType: 'hvm',
  }
}

function cpuOptions(row: InstanceTable, type: InstanceTypeInfo | undefined): CpuOptions {
  const { DefaultCores: cores, DefaultThreadsPerCore: threads } = type?.VCpuInfo ?? {}
  return cores === undefined || threads === undefined
    ? { CoreCount: row.vcpus, ThreadsPerCore: 1 }
    : { CoreCount: cores, ThreadsPerCore: threads }
}

function metadataToWire(row: InstanceTable, doc: InstanceDoc): InstanceMetadataOptionsResponse {
  const options = doc.metadataOptions
  return {
    State: row.state === 'pending' ? 'pending' : 'applied',
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
