import type {
  DescribeVpcAttributeRequest, DescribeVpcAttributeResult, ModifyVpcAttributeRequest, ModifyVpcTenancyRequest,
  ModifyVpcTenancyResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { dnsAttributes, vpcDoc, type VpcDoc } from '../model/vpc-wire.ts'
import type { Context } from './context.ts'
import { checkEnum, missingParameter, unsupportedParameter } from './parameters.ts'
import { wakeVpc } from './security-group-lookup.ts'
import { requireVpc } from './vpc-lookup.ts'

/** DescribeVpcAttribute: whether names and the resolver work; address usage is not metered. */
export async function describeVpcAttribute(
  context: Context,
  input: DescribeVpcAttributeRequest,
): Promise<DescribeVpcAttributeResult> {
  const attribute = checkEnum('attribute', input.Attribute, [
    'enableDnsSupport', 'enableDnsHostnames', 'enableNetworkAddressUsageMetrics',
  ])
  if (attribute === undefined) throw missingParameter('attribute')
  const row = await requireVpc(context, input.VpcId)
  const { enableDnsSupport, enableDnsHostnames } = dnsAttributes(row)
  switch (attribute) {
    case 'enableDnsSupport':
      return { VpcId: row.vpc_id, EnableDnsSupport: { Value: enableDnsSupport } }
    case 'enableDnsHostnames':
      return { VpcId: row.vpc_id, EnableDnsHostnames: { Value: enableDnsHostnames } }
    case 'enableNetworkAddressUsageMetrics':
      return { VpcId: row.vpc_id, EnableNetworkAddressUsageMetrics: { Value: false } }
  }
}

/**
 * ModifyVpcAttribute: one attribute a call. Public names need the resolver: EC2 documents that they can
 * be switched on only while it is. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcAttribute.html
 */
export async function modifyVpcAttribute(
  context: Context,
  input: ModifyVpcAttributeRequest,
): Promise<Record<string, never>> {
  const { db, nowMs } = context
  const row = await requireVpc(context, input.VpcId)
  const support = input.EnableDnsSupport?.Value
  const hostnames = input.EnableDnsHostnames?.Value
  const metrics = input.EnableNetworkAddressUsageMetrics?.Value
  const given = [support, hostnames, metrics].filter((value) => value !== undefined).length
  if (given === 0) throw missingParameter('enableDnsSupport, enableDnsHostnames or enableNetworkAddressUsageMetrics')
  if (given > 1) {
    throw new ApiError('InvalidParameterCombination', 'Fields for multiple attribute types specified; modify one at a time.')
  }
  if (metrics === true) throw unsupportedParameter('EnableNetworkAddressUsageMetrics')
  if (hostnames === true && !dnsAttributes(row).enableDnsSupport) {
    throw new ApiError(
      'InvalidParameterValue',
      `DNS hostnames of ${row.vpc_id} can be enabled only while its DNS support (enableDnsSupport) is enabled.`,
    )
  }
  const doc: VpcDoc = {
    ...vpcDoc(row), ...dnsAttributes(row),
    ...(support === undefined ? {} : { enableDnsSupport: support }),
    ...(hostnames === undefined ? {} : { enableDnsHostnames: hostnames }),
  }
  await db.updateTable('vpcs').set({ doc: JSON.stringify(doc) }).where('vpc_id', '=', row.vpc_id).execute()
  await wakeVpc(db, row.vpc_id, nowMs)
  return {}
}

/** ModifyVpcTenancy: EC2 takes nothing but `default`; instances that are there keep theirs. */
export async function modifyVpcTenancy(
  context: Context,
  input: ModifyVpcTenancyRequest,
): Promise<ModifyVpcTenancyResult> {
  const row = await requireVpc(context, input.VpcId)
  if (checkEnum('instanceTenancy', input.InstanceTenancy, ['default']) === undefined) throw missingParameter('instanceTenancy')
  const { instanceTenancy: _before, ...doc } = vpcDoc(row)
  await context.db.updateTable('vpcs').set({ doc: JSON.stringify(doc) }).where('vpc_id', '=', row.vpc_id).execute()
  return { ReturnValue: true }
}
