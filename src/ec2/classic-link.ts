import type {
  ClassicLinkDnsSupport, DescribeVpcClassicLinkDnsSupportRequest, DescribeVpcClassicLinkDnsSupportResult,
  DescribeVpcClassicLinkRequest, DescribeVpcClassicLinkResult, VpcClassicLink,
} from '@aws-sdk/client-ec2'
import type { Context } from './context.ts'
import { compileFilters, filterText, type FilterFields } from './filters.ts'
import { paginate } from './pagination.ts'
import { describeVpcs } from './vpcs.ts'

const FILTERS: FilterFields<VpcClassicLink> = { 'is-classic-link-enabled': (vpc) => filterText(vpc.ClassicLinkEnabled) }

/**
 * DescribeVpcClassicLink: that no VPC is linked to EC2-Classic, which is no more. Ansible's ec2_vpc_net asks after
 * each VPC that it makes.
 */
export async function describeVpcClassicLink(
  context: Context,
  input: DescribeVpcClassicLinkRequest,
): Promise<DescribeVpcClassicLinkResult> {
  const matches = compileFilters(input.Filters, FILTERS, (vpc: VpcClassicLink) =>
    (vpc.Tags ?? []).map(({ Key: key = '', Value: value = '' }) => ({ key, value })))
  const { Vpcs: vpcs = [] } = await describeVpcs(context, input.VpcIds ? { VpcIds: input.VpcIds } : {})
  return {
    Vpcs: vpcs.map((vpc): VpcClassicLink => ({ VpcId: vpc.VpcId, ClassicLinkEnabled: false, Tags: vpc.Tags })).filter(matches),
  }
}

/** DescribeVpcClassicLinkDnsSupport: the same of its names. */
export async function describeVpcClassicLinkDnsSupport(
  context: Context,
  input: DescribeVpcClassicLinkDnsSupportRequest,
): Promise<DescribeVpcClassicLinkDnsSupportResult> {
  const { Vpcs: vpcs = [] } = await describeVpcs(context, input.VpcIds ? { VpcIds: input.VpcIds } : {})
  const { page, nextToken } = paginate(vpcs, {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 255,
    keyOf: (vpc) => vpc.VpcId ?? '',
    operation: 'DescribeVpcClassicLinkDnsSupport',
  })
  return {
    Vpcs: page.map((vpc): ClassicLinkDnsSupport => ({ VpcId: vpc.VpcId, ClassicLinkDnsSupported: false })),
    NextToken: nextToken,
  }
}
