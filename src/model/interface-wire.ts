import type {
  AttachmentStatus, GroupIdentifier, InstanceNetworkInterface, InstanceNetworkInterfaceAssociation, NetworkInterface,
  NetworkInterfaceStatus, Tag,
} from '@aws-sdk/client-ec2'
import type { InterfaceTable } from '../store/schema.ts'
import { interfaceDoc, privateDnsName, publicDnsName } from './interface.ts'
import { zoneIdOf } from './zone.ts'

/** What the wire shows of an interface beside its own row. */
export interface InterfaceRelated {
  region: string
  /** In the order in which they were given. */
  groups: GroupIdentifier[]
}

const ATTACHMENT_STATUS: Record<InterfaceTable['status'], AttachmentStatus> = {
  pending: 'attaching',
  'in-use': 'attached',
  detaching: 'detaching',
  available: 'detached',
  removing: 'detaching',
}

/** EC2 calls an interface in-use from the moment it belongs to an instance; its attachment tells more. */
const INTERFACE_STATUS: Record<InterfaceTable['status'], NetworkInterfaceStatus> = {
  pending: 'in-use',
  'in-use': 'in-use',
  detaching: 'detaching',
  available: 'available',
  removing: 'detaching',
}

/** An interface as DescribeInstances and RunInstances show it within its instance. */
export function interfaceToInstanceWire(row: InterfaceTable, related: InterfaceRelated): InstanceNetworkInterface {
  const association = toAssociation(row, related.region)
  return {
    ...commonToWire(row, related),
    Association: association,
    Attachment: attachmentToWire(row),
    PrivateIpAddresses: [toPrivateAddress(row, related.region)],
    InterfaceType: 'interface',
    Operator: { Managed: false },
  }
}

/** An interface as DescribeNetworkInterfaces shows it. */
export function interfaceToWire(row: InterfaceTable, related: InterfaceRelated & { tags: Tag[] }): NetworkInterface {
  const association = toAssociation(row, related.region)
  return {
    ...commonToWire(row, related),
    Association: association,
    Attachment: row.instance_id === null ? undefined : {
      ...attachmentToWire(row), InstanceId: row.instance_id, InstanceOwnerId: row.account_id,
    },
    AvailabilityZone: row.zone,
    AvailabilityZoneId: zoneIdOf(row.zone),
    PublicDnsName: association?.PublicDnsName,
    PrivateIpAddresses: [toPrivateAddress(row, related.region)],
    InterfaceType: 'interface',
    RequesterManaged: false,
    TagSet: related.tags,
    Operator: { Managed: false },
  }
}

function commonToWire(row: InterfaceTable, { region, groups }: InterfaceRelated) {
  return {
    Description: interfaceDoc(row).description,
    Groups: groups,
    Ipv6Addresses: [],
    MacAddress: row.mac,
    NetworkInterfaceId: row.interface_id,
    OwnerId: row.account_id,
    PrivateDnsName: privateDnsName(row.private_ip, region),
    PrivateIpAddress: row.private_ip,
    SourceDestCheck: true,
    Status: INTERFACE_STATUS[row.status],
    SubnetId: row.subnet_id,
    VpcId: row.vpc_id,
  }
}

function attachmentToWire(row: InterfaceTable) {
  const doc = interfaceDoc(row)
  return {
    AttachTime: new Date(doc.attachMs),
    AttachmentId: doc.attachmentId,
    DeleteOnTermination: row.delete_on_termination === 1,
    DeviceIndex: row.device_index,
    NetworkCardIndex: 0,
    Status: ATTACHMENT_STATUS[row.status],
  }
}

function toPrivateAddress(row: InterfaceTable, region: string) {
  return {
    Association: toAssociation(row, region),
    Primary: true,
    PrivateDnsName: privateDnsName(row.private_ip, region),
    PrivateIpAddress: row.private_ip,
  }
}

/** An automatic public address belongs to "amazon" and has neither allocation nor association id. */
function toAssociation(row: InterfaceTable, region: string): InstanceNetworkInterfaceAssociation | undefined {
  if (row.public_ip === null) return undefined
  return { IpOwnerId: 'amazon', PublicDnsName: publicDnsName(row.public_ip, region), PublicIp: row.public_ip }
}
