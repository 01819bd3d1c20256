import type {
  DescribeVpcAttributeRequest, DescribeVpcAttributeResult, DescribeVpcsRequest, DescribeVpcsResult,
} from '@aws-sdk/client-ec2'
import { primaryCidrAssociationId, vpcDoc, vpcToWire } from '../model/vpc-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { VpcTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, filterText, withoutValue, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkEnum, missingParameter } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { tagsOf, toWireTags } from './tags.ts'

const FILTERS: FilterFields<VpcTable> = {
  cidr: (row) => row.cidr,
  'cidr-block-association.cidr-block': (row) => row.cidr,
  'cidr-block-association.association-id': (row) => primaryCidrAssociationId(row.vpc_id),
  'cidr-block-association.state': () => 'associated',
  'dhcp-options-id': (row) => vpcDoc(row).dhcpOptionsId,
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

/**
 * DescribeVpcAttribute: names and the resolver work in every VPC; nobody can switch them off yet, and
 * address usage is not metered.
 */
export async function describeVpcAttribute(
  { db, account }: Context,
  input: DescribeVpcAttributeRequest,
): Promise<DescribeVpcAttributeResult> {
  const attribute = checkEnum('attribute', input.Attribute, [
    'enableDnsSupport', 'enableDnsHostnames', 'enableNetworkAddressUsageMetrics',
  ])
  if (attribute === undefined) throw missingParameter('attribute')
  if (!input.VpcId) throw missingParameter('vpcId')
  checkIds(RESOURCE_KINDS.vpc, [input.VpcId])
  const row = await db
    .selectFrom('vpcs').select('vpc_id').where('account_id', '=', account).where('vpc_id', '=', input.VpcId).executeTakeFirst()
  requireAll(RESOURCE_KINDS.vpc, [input.VpcId], new Set(row ? [row.vpc_id] : []))
  switch (attribute) {
    case 'enableDnsSupport':
      return { VpcId: input.VpcId, EnableDnsSupport: { Value: true } }
    case 'enableDnsHostnames':
      return { VpcId: input.VpcId, EnableDnsHostnames: { Value: true } }
    case 'enableNetworkAddressUsageMetrics':
      return { VpcId: input.VpcId, EnableNetworkAddressUsageMetrics: { Value: false } }
  }
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
  const tags = await tagsOf(db, rows.map((row) => row.vpc_id))
  const matches = compileFilters(input.Filters, FILTERS, (row) => tags.get(row.vpc_id) ?? [])
  const { page, nextToken } = paginate(rows.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 1000,
    keyOf: (row) => timeKey(row.created_ms, row.vpc_id),
    operation: 'DescribeVpcs',
  })
  return { Vpcs: page.map((row) => vpcToWire(row, toWireTags(tags.get(row.vpc_id)))), NextToken: nextToken }
}
