import type {
  CreateNetworkAclRequest, CreateNetworkAclResult, DeleteNetworkAclRequest, DescribeNetworkAclsRequest,
  DescribeNetworkAclsResult, NetworkAcl, NetworkAclEntry, ReplaceNetworkAclAssociationRequest,
  ReplaceNetworkAclAssociationResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { networkAclToWire } from '../model/network-acl-wire.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { NetworkAclTable } from '../store/schema.ts'
import { claimToken, forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, filterText as text, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, requireAll, RESOURCE_KINDS } from './resources.ts'
import { wakeVpc } from './security-group-lookup.ts'
import { deleteTagsOf, fromWireTags, insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'
import { checkQuota, requireVpc } from './vpc-lookup.ts'

/** https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html */
const MAX_ACLS_PER_VPC = 200

/** CreateNetworkAcl: one without entries of its own, which denies everything; no subnet uses it yet. */
export async function createNetworkAcl(context: Context, input: CreateNetworkAclRequest): Promise<CreateNetworkAclResult> {
  const { db, account, random, nowMs } = context
  const tags = parseTagSpecifications(input.TagSpecifications, ['network-acl']).get('network-acl') ?? []
  const { vpc_id: vpcId } = await requireVpc(context, input.VpcId)
  const networkAclId = newId(random, 'acl')
  const earlier = await claimToken(context, 'CreateNetworkAcl', input, networkAclId)
  if (!earlier) {
    await checkAclCount(context, vpcId)
    await db.insertInto('network_acls').values({
      network_acl_id: networkAclId, account_id: account, vpc_id: vpcId, is_default: 0, created_ms: nowMs,
    }).execute()
    await insertTags(db, account, 'network-acl', networkAclId, tags)
  }
  const [acl] = await loadAcls(context, [await findNetworkAcl(context, earlier ?? networkAclId)])
  return { NetworkAcl: acl, ClientToken: input.ClientToken }
}

async function checkAclCount({ db }: Context, vpcId: string): Promise<void> {
  const { count } = await db
    .selectFrom('network_acls').select((eb) => eb.fn.countAll<number>().as('count'))
    .where('vpc_id', '=', vpcId).executeTakeFirstOrThrow()
  checkQuota(Number(count), MAX_ACLS_PER_VPC, 'NetworkAclLimitExceeded', 'The maximum number of network ACLs has been reached.')
}

/** @throws ApiError InvalidNetworkAclId.Malformed, InvalidNetworkAclID.NotFound. */
export async function findNetworkAcl({ db, account }: Context, id: string | undefined): Promise<NetworkAclTable> {
  if (!id) throw missingParameter('networkAclId')
  checkIds(RESOURCE_KINDS.networkAcl, [id])
  const row = await db
    .selectFrom('network_acls').selectAll().where('account_id', '=', account).where('network_acl_id', '=', id).executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.networkAcl, [id])
  return row
}

/** Has the network know of a change to the ACL; one that no subnet uses decides about nothing. */
export async function wakeAcl({ db, nowMs }: Context, acl: NetworkAclTable): Promise<void> {
  const user = await db
    .selectFrom('network_acl_associations').select('subnet_id')
    .where('network_acl_id', '=', acl.network_acl_id).limit(1).executeTakeFirst()
  if (user) await wakeVpc(db, acl.vpc_id, nowMs)
}

/** DeleteNetworkAcl: with its entries. The default one goes with its VPC only, one that subnets use not at all. */
export async function deleteNetworkAcl(context: Context, input: DeleteNetworkAclRequest): Promise<Record<string, never>> {
  const { db } = context
  const { network_acl_id: id, is_default: isDefault } = await findNetworkAcl(context, input.NetworkAclId)
  if (isDefault === 1) throw new ApiError('InvalidParameterValue', `cannot delete default network ACL ${id}`)
  const user = await db
    .selectFrom('network_acl_associations').select('subnet_id').where('network_acl_id', '=', id).limit(1).executeTakeFirst()
  if (user) throw new ApiError('DependencyViolation', `The networkAcl '${id}' has dependencies and cannot be deleted.`)
  await deleteTagsOf(db, [id])
  await forgetTokensOf(context, id)
  await db.deleteFrom('network_acl_entries').where('network_acl_id', '=', id).execute()
  await db.deleteFrom('network_acls').where('network_acl_id', '=', id).execute()
  return {}
}

/** ReplaceNetworkAclAssociation: has a subnet use another ACL of its VPC; the association gets a new id. */
export async function replaceNetworkAclAssociation(
  context: Context,
  input: ReplaceNetworkAclAssociationRequest,
): Promise<ReplaceNetworkAclAssociationResult> {
  const { db, account, random, nowMs } = context
  if (!input.AssociationId) throw missingParameter('associationId')
  const old = await db
    .selectFrom('network_acl_associations').innerJoin('subnets', 'subnets.subnet_id', 'network_acl_associations.subnet_id')
    .select(['network_acl_associations.subnet_id', 'vpc_id'])
    .where('network_acl_associations.account_id', '=', account).where('association_id', '=', input.AssociationId)
    .executeTakeFirst()
  if (!old) {
    throw new ApiError('InvalidAssociationID.NotFound', `The association ID '${input.AssociationId}' does not exist`)
  }
  const acl = await findNetworkAcl(context, input.NetworkAclId)
  if (acl.vpc_id !== old.vpc_id) {
    throw new ApiError(
      'InvalidParameterValue',
      `Network ACL ${acl.network_acl_id} and subnet ${old.subnet_id} belong to different networks`,
    )
  }
  const associationId = newId(random, 'aclassoc')
  await db
    .updateTable('network_acl_associations')
    .set({ association_id: associationId, network_acl_id: acl.network_acl_id, created_ms: nowMs })
    .where('association_id', '=', input.AssociationId).execute()
  await wakeVpc(db, acl.vpc_id, nowMs)
  return { NewAssociationId: associationId }
}

type EntryValue = string | number | boolean | undefined

/** Filters on entries: each matches when any entry has the value, the last one included. */
const anyEntry = (read: (entry: NetworkAclEntry) => EntryValue) => (acl: NetworkAcl) =>
  (acl.Entries ?? []).map((entry) => text(read(entry)))

/** Protocols that the filter knows by name as well. */
const PROTOCOL_NAMES: Record<string, string> = { '6': 'tcp', '17': 'udp', '1': 'icmp' }

const FILTERS: FilterFields<NetworkAcl> = {
  'association.association-id': (acl) => acl.Associations?.map((each) => each.NetworkAclAssociationId),
  'association.network-acl-id': (acl) => acl.Associations?.map((each) => each.NetworkAclId),
  'association.subnet-id': (acl) => acl.Associations?.map((each) => each.SubnetId),
  default: (acl) => text(acl.IsDefault),
  'entry.cidr': anyEntry((entry) => entry.CidrBlock),
  'entry.egress': anyEntry((entry) => entry.Egress),
  'entry.icmp.code': anyEntry((entry) => entry.IcmpTypeCode?.Code),
  'entry.icmp.type': anyEntry((entry) => entry.IcmpTypeCode?.Type),
  'entry.ipv6-cidr': anyEntry((entry) => entry.Ipv6CidrBlock),
  'entry.port-range.from': anyEntry((entry) => entry.PortRange?.From),
  'entry.port-range.to': anyEntry((entry) => entry.PortRange?.To),
  'entry.protocol': (acl) => (acl.Entries ?? []).flatMap(({ Protocol = '' }) => [Protocol, PROTOCOL_NAMES[Protocol]]),
  'entry.rule-action': anyEntry((entry) => entry.RuleAction),
  'entry.rule-number': anyEntry((entry) => entry.RuleNumber),
  'network-acl-id': (acl) => acl.NetworkAclId,
  'owner-id': (acl) => acl.OwnerId,
  'vpc-id': (acl) => acl.VpcId,
}

/** DescribeNetworkAcls: those named, or all of the account, oldest first. */
export async function describeNetworkAcls(
  context: Context,
  input: DescribeNetworkAclsRequest,
): Promise<DescribeNetworkAclsResult> {
  const matches = compileFilters(input.Filters, FILTERS, (acl) => fromWireTags(acl.Tags))
  const rows = await chosenAcls(context, input)
  const createdMs = new Map(rows.map((row) => [row.network_acl_id, row.created_ms]))
  const acls = await loadAcls(context, rows)
  const { page, nextToken } = paginate(acls.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 1000,
    keyOf: ({ NetworkAclId: id = '' }) => timeKey(createdMs.get(id) ?? 0, id),
    operation: 'DescribeNetworkAcls',
  })
  return { NetworkAcls: page, NextToken: nextToken }
}

async function chosenAcls({ db, account }: Context, input: DescribeNetworkAclsRequest): Promise<NetworkAclTable[]> {
  const ids = input.NetworkAclIds ?? []
  checkIds(RESOURCE_KINDS.networkAcl, ids)
  const query = db.selectFrom('network_acls').selectAll().where('account_id', '=', account)
  if (ids.length === 0) {
    const vpcIds = exactValues(input.Filters, 'vpc-id')
    return vpcIds ? inBatches(vpcIds, (batch) => query.where('vpc_id', 'in', batch).execute()) : query.execute()
  }
  const rows = await inBatches(ids, (batch) => query.where('network_acl_id', 'in', batch).execute())
  requireAll(RESOURCE_KINDS.networkAcl, ids, new Set(rows.map((row) => row.network_acl_id)))
  return rows
}

/** The wire form of network ACLs, in the order given. */
async function loadAcls({ db }: Context, rows: readonly NetworkAclTable[]): Promise<NetworkAcl[]> {
  const ids = rows.map((row) => row.network_acl_id)
  const entries = groupBy(
    await inBatches(ids, (batch) => db.selectFrom('network_acl_entries').selectAll().where('network_acl_id', 'in', batch).execute()),
    (entry) => entry.network_acl_id,
  )
  const associations = groupBy(
    await inBatches(ids, (batch) => db
      .selectFrom('network_acl_associations').selectAll().where('network_acl_id', 'in', batch).orderBy('association_id').execute()),
    (each) => each.network_acl_id,
  )
  const tags = await tagsOf(db, ids)
  return rows.map((row) => networkAclToWire(
    row, entries.get(row.network_acl_id) ?? [], associations.get(row.network_acl_id) ?? [], toWireTags(tags.get(row.network_acl_id)),
  ))
}
