import type {
  AttachmentStatus, GroupIdentifier, InstanceNetworkInterface, InstanceNetworkInterfaceAssociation, NetworkInterface,
  NetworkInterfaceAssociation, NetworkInterfaceAttachment, NetworkInterfaceStatus, NetworkInterfaceType, Tag,
} from '@aws-sdk/client-ec2'
import type { AddressTable, InterfaceAddressTable, InterfaceTable } from '../store/schema.ts'
import { PROVIDER_ACCOUNT } from './account.ts'
import { interfaceDoc, privateDnsName, publicDnsName } from './interface.ts'
import { zoneIdOf } from './zone.ts'

/** What the wire shows of an interface beside its own row. */
export interface InterfaceRelated {
  region: string
  /** In the order in which they were given. */
  groups: GroupIdentifier[]
  /** Its secondary private addresses. */
  secondary: Pick<InterfaceAddressTable, 'private_ip' | 'public_ip'>[]
  /** Its Elastic IPs, by the public address. */
  elastic: ReadonlyMap<string, Pick<AddressTable, 'allocation_id' | 'association_id'>>
  /** Whether addresses have names in its VPC: else there is no public one to show. */
  hasNames: boolean
}

/** An association with the ids that DescribeInstances does not show but filters by. */
export type InstanceAssociation = InstanceNetworkInterfaceAssociation &
  Pick<NetworkInterfaceAssociation, 'AllocationId' | 'AssociationId'>

const ATTACHMENT_STATUS: Record<InterfaceTable['status'], AttachmentStatus> = {
  pending: 'attaching',
  'in-use': 'attached',
  detaching: 'detaching',
  available: 'detached',
  removing: 'detaching',
}

/** EC2 calls an interface in-use from the moment it belongs to an instance; its attachment tells more. */
function statusToWire(row: InterfaceTable): NetworkInterfaceStatus {
  if (row.status === 'pending' || row.status === 'in-use') return 'in-use'
  // Until its port is gone it cannot be attached again.
  return row.status === 'available' && row.host_id === null ? 'available' : 'detaching'
}

/** What EC2 calls the interface of a NAT gateway, though its own list of types has another name. */
const NAT_GATEWAY_TYPE = 'nat_gateway' as NetworkInterfaceType

/** Whether the interface belongs to a NAT gateway, which alone may change it. */
function isManaged(row: InterfaceTable): boolean {
  return row.requester_id !== null
}

/** An interface as DescribeInstances and RunInstances show it within its instance. */
export function interfaceToInstanceWire(row: InterfaceTable, related: InterfaceRelated): InstanceNetworkInterface {
  return {
    ...commonToWire(row, related),
    Association: toAssociation(row, row.public_ip, related),
    Attachment: attachmentToWire(row),
    InterfaceType: 'interface',
    Operator: { Managed: false },
  }
}

/** An interface as DescribeNetworkInterfaces shows it. */
export function interfaceToWire(row: InterfaceTable, related: InterfaceRelated & { tags: Tag[] }): NetworkInterface {
  const association = toAssociation(row, row.public_ip, related)
  return {
    ...commonToWire(row, related),
    Association: association,
    Attachment: isManaged(row) ? managedAttachmentToWire(row) : instanceAttachmentToWire(row),
    AvailabilityZone: row.zone,
    AvailabilityZoneId: zoneIdOf(row.zone),
    PublicDnsName: association?.PublicDnsName,
    InterfaceType: isManaged(row) ? NAT_GATEWAY_TYPE : 'interface',
    RequesterId: isManaged(row) ? PROVIDER_ACCOUNT : undefined,
    RequesterManaged: isManaged(row),
    TagSet: related.tags,
    Operator: { Managed: false },
  }
}

function commonToWire(row: InterfaceTable, related: InterfaceRelated) {
  const addresses = [row, ...related.secondary]
  return {
    Description: interfaceDoc(row).description,
    Groups: related.groups,
    Ipv6Addresses: [],
    MacAddress: row.mac,
    NetworkInterfaceId: row.interface_id,
    OwnerId: row.account_id,
    PrivateDnsName: privateDnsName(row.private_ip, related.region),
    PrivateIpAddress: row.private_ip,
    PrivateIpAddresses: addresses.map((each) => ({
      Association: toAssociation(row, each.public_ip, related),
      Primary: each === row,
      PrivateDnsName: privateDnsName(each.private_ip, related.region),
      PrivateIpAddress: each.private_ip,
    })),
    SourceDestCheck: row.source_dest_check === 1,
    Status: statusToWire(row),
    SubnetId: row.subnet_id,
    VpcId: row.vpc_id,
  }
}

/** The attachment of an interface to its instance, without the instance. */
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

/** The attachment of an interface; undefined for one that is not attached. */
export function instanceAttachmentToWire(row: InterfaceTable): NetworkInterfaceAttachment | undefined {
  if (row.instance_id === null) return undefined
  return { ...attachmentToWire(row), InstanceId: row.instance_id, InstanceOwnerId: row.account_id }
}

/** EC2 shows a NAT gateway's interface as attached to something of its own, whose id nobody may use. */
function managedAttachmentToWire(row: InterfaceTable): NetworkInterfaceAttachment {
  return {
    AttachmentId: row.interface_id.replace(/^eni/, 'ela-attach'),
    DeleteOnTermination: false,
    DeviceIndex: 1,
    InstanceOwnerId: 'amazon-aws',
    Status: ATTACHMENT_STATUS[row.status],
  }
}

/** An automatic public address belongs to "amazon" and has neither allocation nor association id. */
function toAssociation(
  row: InterfaceTable,
  publicIp: string | null,
  { region, elastic, hasNames }: InterfaceRelated,
): InstanceAssociation | undefined {
  if (publicIp === null) return undefined
  const common = { PublicDnsName: hasNames ? publicDnsName(publicIp, region) : '', PublicIp: publicIp }
  const address = elastic.get(publicIp)
  if (!address) return { IpOwnerId: 'amazon', ...common }
  return {
    ...common, IpOwnerId: row.account_id, AllocationId: address.allocation_id,
    AssociationId: address.association_id ?? undefined,
  }
}
