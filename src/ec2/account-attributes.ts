import type { DescribeAccountAttributesRequest, DescribeAccountAttributesResult } from '@aws-sdk/client-ec2'
import { ELASTIC_IP_LIMIT } from '../model/elastic-ip.ts'
import { GROUP_LIMIT } from './launch-network.ts'
import type { Context } from './context.ts'
import { checkEnum } from './parameters.ts'

/** What EC2 still answers, though it counts processors instead of instances now. */
const MAX_INSTANCES = 20

const NAMES = [
  'supported-platforms', 'vpc-max-security-groups-per-interface', 'max-elastic-ips', 'max-instances',
  'vpc-max-elastic-ips', 'default-vpc',
] as const

/** DescribeAccountAttributes: those named, or all. */
export async function describeAccountAttributes(
  { db, account }: Context,
  input: DescribeAccountAttributesRequest,
): Promise<DescribeAccountAttributesResult> {
  const asked = (input.AttributeNames ?? []).map((name) => checkEnum('attributeName', name, NAMES))
  const vpc = await db
    .selectFrom('vpcs').select('vpc_id').where('account_id', '=', account).where('is_default', '=', 1)
    .executeTakeFirst()
  const values: Record<(typeof NAMES)[number], string> = {
    'supported-platforms': 'VPC',
    'vpc-max-security-groups-per-interface': String(GROUP_LIMIT),
    'max-elastic-ips': String(ELASTIC_IP_LIMIT),
    'max-instances': String(MAX_INSTANCES),
    'vpc-max-elastic-ips': String(ELASTIC_IP_LIMIT),
    'default-vpc': vpc?.vpc_id ?? 'none',
  }
  const names = NAMES.filter((name) => asked.length === 0 || asked.includes(name))
  return {
    AccountAttributes: names.map((name) => ({
      AttributeName: name, AttributeValues: [{ AttributeValue: values[name] }],
    })),
  }
}
