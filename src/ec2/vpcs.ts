import type { DescribeVpcsRequest, DescribeVpcsResult } from '@aws-sdk/client-ec2'
import { primaryCidrAssociationId, vpcDoc, vpcToWire } from '../model/vpc-wire.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { VpcCidrTable, VpcTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, filterText, withoutValue, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { tagsOf, toWireTags } from './tags.ts'

/** A VPC with its blocks beside the primary one. */
type VpcItem = VpcTable & { more: readonly VpcCidrTable[] }

const FILTERS: FilterFields<VpcItem> = {
  cidr: (row) => row.cidr,
  // The same under names that EC2 takes too, and Ansible uses.
  'cidr-block': (row) => row.cidr,
  cidrBlock: (row) => row.cidr,
  'cidr-block-association.cidr-block': (row) => [row.cidr, ...row.more.map((each) => each.cidr)],
  'cidr-block-association.association-id': (row) =>
    [primaryCidrAssociationId(row.vpc_id), ...row.more.map((each) => each.association_id)],
  'cidr-block-association.state': (row) => ['associated', ...row.more.map((each) => each.state)],
  'dhcp-options-id': (row) => vpcDoc(row).dhcpOptionsId,
  dhcpOptionsId: (row) => vpcDoc(row).dhcpOptionsId,
  'is-default': (row) => filterText(row.is_default === 1),
  // The same under the name that Terraform and Ansible use.
  isDefault: (row) => filterText(row.is_default === 1),
  'owner-id': (row) => row.account_id,
  state: (row) => row.state,
  'vpc-id': (row) => row.vpc_id,
  ...withoutValue(
    'ipv6-cidr-block-association.ipv6-cidr-block', 'ipv6-cidr-block-association.ipv6-pool',
    'ipv6-cidr-block-association.association-id', 'ipv6-cidr-block-association.state',
  ),
}

/** DescribeVpcs: those named, or all of the account, oldest first. */
export async function describeVpcs(
  { db, account }: Context,
  input: DescribeVpcsRequest,
): Promise<DescribeVpcsResult> {
  const ids = input.VpcIds ?? []
  checkIds(RESOURCE_KINDS.vpc, ids)
  const query = db.selectFrom('vpcs').selectAll().where('account_id', '=', account)
  const rows = ids.length === 0
    ? await query.execute()
    : await inBatches(ids, (batch) => query.where('vpc_id', 'in', batch).execute())
  if (ids.length > 0) requireAll(RESOURCE_KINDS.vpc, ids, new Set(rows.map((row) => row.vpc_id)))
  const vpcIds = rows.map((row) => row.vpc_id)
  const more = groupBy(
    await inBatches(vpcIds, (batch) => db
      .selectFrom('vpc_cidrs').selectAll().where('vpc_id', 'in', batch)
      .orderBy('created_ms').orderBy('association_id').execute()),
    (row) => row.vpc_id,
  )
  const items = rows.map((row): VpcItem => ({ ...row, more: more.get(row.vpc_id) ?? [] }))
  const tags = await tagsOf(db, vpcIds)
  const matches = compileFilters(input.Filters, FILTERS, (row) => tags.get(row.vpc_id) ?? [])
  const { page, nextToken } = paginate(items.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 1000,
    keyOf: (row) => timeKey(row.created_ms, row.vpc_id),
    operation: 'DescribeVpcs',
  })
  return { Vpcs: page.map((row) => vpcToWire(row, row.more, toWireTags(tags.get(row.vpc_id)))), NextToken: nextToken }
}
