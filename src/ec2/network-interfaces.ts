import type {
  DescribeNetworkInterfacesRequest, DescribeNetworkInterfacesResult, GroupIdentifier, NetworkInterface,
} from '@aws-sdk/client-ec2'
import { interfaceToWire, type InterfaceRelated } from '../model/interface-wire.ts'
import { namesAddresses } from '../model/vpc-names.ts'
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

const secondaryOf = preparedIn((db, ids) =>
  db.selectFrom('interface_addresses').selectAll()
    .where('interface_id', 'in', ids).orderBy('interface_id').orderBy('created_ms').orderBy('private_ip'))

const elasticOf = preparedIn((db, ids) =>
  db.selectFrom('addresses').select(['public_ip', 'allocation_id', 'association_id']).where('interface_id', 'in', ids))

const vpcsOf = preparedIn((db, ids) =>
  db.selectFrom('vpcs').select(['vpc_id', 'is_default', 'doc']).where('vpc_id', 'in', ids))

/** What the wire shows of interfaces beside their rows: groups, further addresses, Elastic IPs. */
export async function loadRelated(
  db: Db,
  region: string,
  rows: readonly InterfaceTable[],
): Promise<(row: InterfaceTable) => InterfaceRelated> {
  const ids = rows.map((row) => row.interface_id)
  const groups = await loadGroups(db, ids)
  const secondary = groupBy(await secondaryOf(db, ids), (each) => each.interface_id)
  const publicOnes = rows.filter((row) => row.public_ip !== null || secondary.has(row.interface_id))
  const elastic = new Map(
    (await elasticOf(db, publicOnes.map((row) => row.interface_id))).map((each) => [each.public_ip, each]))
  const vpcs = await vpcsOf(db, publicOnes.map((row) => row.vpc_id))
  const named = new Set(vpcs.filter(namesAddresses).map((vpc) => vpc.vpc_id))
  return (row) => ({
    region, elastic, hasNames: named.has(row.vpc_id), groups: groups.get(row.interface_id) ?? [], secondary: secondary.get(row.interface_id) ?? [],
  })
}

/** The wire form of interfaces, in the order given. */
export async function loadNetworkInterfaces(
  db: Db,
  region: string,
  rows: readonly InterfaceTable[],
): Promise<NetworkInterface[]> {
  const related = await loadRelated(db, region, rows)
  const tags = await tagsOf(db, rows.map((row) => row.interface_id))
  return rows.map((row) => interfaceToWire(row, { ...related(row), tags: toWireTags(tags.get(row.interface_id)) }))
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
  // What was deleted is not shown any more, though its row stays until its port is gone.
  const query = db
    .selectFrom('interfaces').selectAll().where('account_id', '=', account)
    .where((eb) => eb.or([eb('status', '<>', 'removing'), eb('instance_id', 'is not', null), eb('requester_id', 'is not', null)]))
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
  const privateIps = exactValues(input.Filters, 'private-ip-address')
  if (privateIps) {
    narrowed = narrowed.where((eb) => eb.or([
      eb('private_ip', 'in', privateIps),
      eb('interface_id', 'in', eb
        .selectFrom('interface_addresses').select('interface_addresses.interface_id')
        .where('interface_addresses.private_ip', 'in', privateIps)),
    ]))
  }
  return narrowed.execute()
}

/** Filters that are columns. */
const COLUMNS = [
  ['network-interface-id', 'interface_id'],
  ['attachment.instance-id', 'instance_id'],
  ['subnet-id', 'subnet_id'],
  ['vpc-id', 'vpc_id'],
] as const

const addresses = (each: NetworkInterface) => each.PrivateIpAddresses ?? []
const associations = (each: NetworkInterface) => addresses(each).flatMap((address) => address.Association ?? [])

const FIELDS: FilterFields<NetworkInterface> = {
  'addresses.association.owner-id': (each) => associations(each).map((one) => one.IpOwnerId),
  'addresses.association.public-ip': (each) => associations(each).map((one) => one.PublicIp),
  'addresses.primary': (each) => addresses(each).map((address) => text(address.Primary)),
  'addresses.private-ip-address': (each) => addresses(each).map((address) => address.PrivateIpAddress),
  'association.allocation-id': (each) => associations(each).map((one) => one.AllocationId),
  'association.association-id': (each) => associations(each).map((one) => one.AssociationId),
  'association.ip-owner-id': (each) => associations(each).map((one) => one.IpOwnerId),
  'association.public-dns-name': (each) => associations(each).map((one) => one.PublicDnsName),
  'association.public-ip': (each) => associations(each).map((one) => one.PublicIp),
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
  'private-ip-address': (each) => addresses(each).map((address) => address.PrivateIpAddress),
  'requester-id': (each) => each.RequesterId,
  'requester-managed': (each) => text(each.RequesterManaged),
  'source-dest-check': (each) => text(each.SourceDestCheck),
  status: (each) => each.Status,
  'subnet-id': (each) => each.SubnetId,
  'vpc-id': (each) => each.VpcId,
  ...withoutValue('ipv6-addresses.ipv6-address', 'operator.principal'),
}
