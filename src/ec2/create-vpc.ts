import type { CreateVpcRequest, CreateVpcResult } from '@aws-sdk/client-ec2'
import { formatCidr } from '../core/cidr.ts'
import { insertVpc } from '../model/new-vpc.ts'
import { parseNetworkCidr } from '../model/vpc-cidr.ts'
import { vpcToWire } from '../model/vpc-wire.ts'
import type { Context } from './context.ts'
import { checkEnum, missingParameter, refuseParameters } from './parameters.ts'
import { insertTags, parseTagSpecifications, toWireTags } from './tags.ts'
import { checkQuota } from './vpc-lookup.ts'

/** VPCs of an account in a region: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html */
const MAX_VPCS = 5

/** CreateVpc: with its main route table, default network ACL and default security group. */
export async function createVpc(context: Context, input: CreateVpcRequest): Promise<CreateVpcResult> {
  const { db, account } = context
  refuseParameters(input, [
    'Ipv6Pool', 'Ipv6CidrBlock', 'Ipv4IpamPoolId', 'Ipv4NetmaskLength', 'Ipv6IpamPoolId', 'Ipv6NetmaskLength',
    'Ipv6CidrBlockNetworkBorderGroup', 'VpcEncryptionControl', 'AmazonProvidedIpv6CidrBlock',
  ])
  const isDedicated = checkEnum('instanceTenancy', input.InstanceTenancy, ['default', 'dedicated']) === 'dedicated'
  const tags = parseTagSpecifications(input.TagSpecifications, ['vpc']).get('vpc') ?? []
  if (!input.CidrBlock) throw missingParameter('cidrBlock')
  const cidr = formatCidr(parseNetworkCidr(input.CidrBlock, 'InvalidVpc.Range'))
  await checkVpcCount(context)
  const row = await insertVpc(context, { accountId: account, cidr, isDefault: false, instanceTenancy: isDedicated ? 'dedicated' : undefined })
  await insertTags(db, account, 'vpc', row.vpc_id, tags)
  // EC2 answers before the VPC is available, which it is a moment later.
  return { Vpc: vpcToWire({ ...row, state: 'pending' }, [], toWireTags(tags)) }
}

/** @throws ApiError VpcLimitExceeded. */
export async function checkVpcCount({ db, account }: Context): Promise<void> {
  const vpcs = await db.selectFrom('vpcs').select('vpc_id').where('account_id', '=', account).execute()
  checkQuota(vpcs.length, MAX_VPCS, 'VpcLimitExceeded', 'The maximum number of VPCs has been reached.')
}
