import type {
  DescribeNetworkInterfacesRequest, DescribeNetworkInterfacesResult, GroupIdentifier, NetworkInterface,
} from '@aws-sdk/client-ec2'
import { interfaceToWire } from '../model/interface-wire.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import { preparedIn } from '../store/prepared.ts'
import type { InterfaceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { paginate, refuseIdsWithMaxResults } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { fromWireTags, tagsOf, toWireTags } from './tags.ts'

const MAX_RESULTS = 1000

/** Security groups of the interfaces, by interface id, each in the order given at launch. */
export async function loadGroups(db: Db, interfaceIds: Iterable<string>): Promise<Map<string, GroupIdentifier[]>> {
  const rows = await groupsOf(db, interfaceIds)
  const groups = new Map<string, GroupIdentifier[]>()
  for (const [id, members] of groupBy(rows, (row) => row.interface_id)) {
    groups.set(id, members.map((row) => ({ GroupId: row.group_id, GroupName: row.name })))
  }
  return groups
}

const groupsOf = preparedIn((db, ids) =>
  db
    .selectFrom('interface_groups')
    .innerJoin('security_groups', 'security_groups.group_id', 'interface_groups.group_id')
    .select(['interface_groups.interface_id', 'security_groups.group_id', 'security_groups.name'])
    .where('interface_groups.interface_id', 'in', ids)
    .orderBy('interface_groups.interface_id').orderBy('interface_groups.position'))

/** The wire form of interfaces, in the order given. */
export async function loadNetworkInterfaces(
  db: Db,
  region: string,
  rows: readonly InterfaceTable[],
): Promise<NetworkInterface[]> {
  const ids = rows.map((row) => row.interface_id)
  const groups = await loadGroups(db, ids)
  const tags = await tagsOf(db, ids)
  return rows.map((row) =>
    interfaceToWire(row, {
      region, groups: groups.get(row.interface_id) ?? [], tags: toWireTags(tags.get(row.interface_id)),
    }),
  )
}

/** DescribeNetworkInterfaces, in the order of their ids. */
export async function describeNetworkInterfaces(
  context: Context,
  input: DescribeNetworkInterfacesRequest,
): Promise<DescribeNetworkInterfacesResult> {
  refuseIdsWithMaxResults(input.NetworkInterfaceIds, input.MaxResults, 'networkInterfaceIdSet')
  const matches = compileFilters(input.Filters, FIELDS, (item: NetworkInterface) => fromWireTags(item.TagSet))
  const rows = await selectRows(context, input)
  const interfaces = await loadNetworkInterfaces(context.db, context.region, rows)
  const { page, nextToken } = paginate(interfaces.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, max: MAX_RESULTS,
    keyOf: (each) => each.NetworkInterfaceId ?? '', operation: 'DescribeNetworkInterfaces',
  })
  return { NetworkInterfaces: page, NextToken: nextToken }
}

async function selectRows(
  { db, account }: Context,
  input: DescribeNetworkInterfacesRequest,
): Promise<InterfaceTable[]> {
  const query = db.selectFrom('interfaces').selectAll().where('account_id', '=', account)
  const ids = input.NetworkInterfaceIds ?? []
  if (ids.length > 0) {
    checkIds(RESOURCE_KINDS.networkInterface, ids)
    const rows = await inBatches(ids, (batch) => query.where('interface_id', 'in', batch).execute())
    requireAll(RESOURCE_KINDS.networkInterface, ids, new Set(rows.map((row) => row.interface_id)))
    return rows
  }
  let narrowed = query
  for (const [name, column] of COLUMNS) {
    const values = exactValues(input.Filters, name)
    if (values) narrowed = narrowed.where(column, 'in', values)
  }
  return narrowed.execute()
}

/** Filters that are columns. */
const COLUMNS = [
  ['network-interface-id', 'interface_id'],
  ['attachment.instance-id', 'instance_id'],
  ['subnet-id', 'subnet_id'],
  ['vpc-id', 'vpc_id'],
  ['private-ip-address', 'private_ip'],
] as const

const FIELDS: FilterFields<NetworkInterface> = {
  'addresses.association.owner-id': (each) => each.Association?.IpOwnerId,
  'addresses.association.public-ip': (each) => each.Association?.PublicIp,
  'addresses.primary': (each) => each.PrivateIpAddresses?.map((address) => text(address.Primary)),
  'addresses.private-ip-address': (each) => each.PrivateIpAddresses?.map((address) => address.PrivateIpAddress),
  'association.ip-owner-id': (each) => each.Association?.IpOwnerId,
  'association.public-dns-name': (each) => each.Association?.PublicDnsName,
  'association.public-ip': (each) => each.Association?.PublicIp,
  'attachment.attach-time': (each) => text(each.Attachment?.AttachTime),
  'attachment.attachment-id': (each) => each.Attachment?.AttachmentId,
  'attachment.delete-on-termination': (each) => text(each.Attachment?.DeleteOnTermination),
  'attachment.device-index': (each) => text(each.Attachment?.DeviceIndex),
  'attachment.instance-id': (each) => each.Attachment?.InstanceId,
  'attachment.instance-owner-id': (each) => each.Attachment?.InstanceOwnerId,
  'attachment.status': (each) => each.Attachment?.Status,
  'availability-zone': (each) => each.AvailabilityZone,
  'availability-zone-id': (each) => each.AvailabilityZoneId,
  description: (each) => each.Description,
  'group-id': (each) => each.Groups?.map((group) => group.GroupId),
  'group-name': (each) => each.Groups?.map((group) => group.GroupName),
  'interface-type': (each) => each.InterfaceType,
  'mac-address': (each) => each.MacAddress,
  'network-interface-id': (each) => each.NetworkInterfaceId,
  'operator.managed': (each) => text(each.Operator?.Managed),
  'owner-id': (each) => each.OwnerId,
  'private-dns-name': (each) => each.PrivateDnsName,
  'private-ip-address': (each) => each.PrivateIpAddresses?.map((address) => address.PrivateIpAddress),
  'requester-managed': (each) => text(each.RequesterManaged),
  'source-dest-check': (each) => text(each.SourceDestCheck),
  status: (each) => each.Status,
  'subnet-id': (each) => each.SubnetId,
  'vpc-id': (each) => each.VpcId,
  ...withoutValue(
    'association.allocation-id', 'association.association-id', 'ipv6-addresses.ipv6-address', 'operator.principal',
    'requester-id',
  ),
}
