import type { CreateSubnetRequest, CreateSubnetResult } from '@aws-sdk/client-ec2'
import { contains, formatCidr, overlaps, parseCidr, type Cidr } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import { usableAddresses } from '../model/address.ts'
import { insertSubnet } from '../model/new-vpc.ts'
import { subnetToWire } from '../model/subnet-wire.ts'
import { invalidRange, parseNetworkCidr } from '../model/vpc-cidr.ts'
import { zoneIdOf } from '../model/zone.ts'
import type { VpcTable } from '../store/schema.ts'
import { cidrsOf } from '../vpc/load-routing.ts'
import type { Context } from './context.ts'
import { missingParameter, refuseParameters } from './parameters.ts'
import { wakeVpc } from './security-group-lookup.ts'
import { insertTags, parseTagSpecifications, toWireTags } from './tags.ts'
import { checkQuota, requireVpc } from './vpc-lookup.ts'

/** https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html */
const MAX_SUBNETS = 200

/** CreateSubnet: a part of the VPC in one zone, the first one unless another is named. */
export async function createSubnet(context: Context, input: CreateSubnetRequest): Promise<CreateSubnetResult> {
  const { db, account, zones, nowMs } = context
  refuseParameters(input, [
    'Ipv6CidrBlock', 'OutpostArn', 'Ipv6Native', 'Ipv4IpamPoolId', 'Ipv4NetmaskLength', 'Ipv6IpamPoolId', 'Ipv6NetmaskLength',
  ])
  const tags = parseTagSpecifications(input.TagSpecifications, ['subnet']).get('subnet') ?? []
  const vpc = await requireVpc(context, input.VpcId)
  if (!input.CidrBlock) throw missingParameter('cidrBlock')
  const cidr = parseNetworkCidr(input.CidrBlock, 'InvalidSubnet.Range')
  const [firstZone = ''] = zones
  const zone = chosenZone(context, input) ?? firstZone
  await checkPlace(context, vpc, cidr)
  const row = await insertSubnet(context, {
    vpcId: vpc.vpc_id, accountId: account, zone, cidr: formatCidr(cidr), isDefault: false,
  })
  await insertTags(db, account, 'subnet', row.subnet_id, tags)
  await wakeVpc(db, vpc.vpc_id, nowMs)
  return { Subnet: subnetToWire(row, usableAddresses(cidr), toWireTags(tags)) }
}

/**
 * The zone that a call names, by name or by id; undefined when it names none.
 *
 * @throws ApiError InvalidParameterCombination, InvalidParameterValue.
 */
export function chosenZone(
  { zones }: Context,
  input: { AvailabilityZone?: string | undefined; AvailabilityZoneId?: string | undefined },
  what = 'Subnets',
): string | undefined {
  const { AvailabilityZone: name, AvailabilityZoneId: id } = input
  if (name && id) {
    throw new ApiError('InvalidParameterCombination', 'AvailabilityZone and AvailabilityZoneId cannot both be specified.')
  }
  if (!name && !id) return undefined
  const found = zones.find((zone) => (name ? zone === name : zoneIdOf(zone) === id))
  if (found !== undefined) return found
  const known = zones.map((zone) => (name ? zone : zoneIdOf(zone))).join(', ')
  throw new ApiError(
    'InvalidParameterValue',
    `Value (${name || id}) for parameter ${name ? 'availabilityZone' : 'availabilityZoneId'} is invalid. ` +
      `${what} can currently only be created in the following availability zones: ${known}.`,
  )
}

/** Checks that the block lies in one of the VPC's and apart from all other subnets. */
async function checkPlace({ db }: Context, vpc: VpcTable, cidr: Cidr): Promise<void> {
  const blocks = (await cidrsOf(db, vpc.vpc_id)).flatMap((each) => parseCidr(each) ?? [])
  const text = formatCidr(cidr)
  if (!blocks.some((block) => block.prefix <= cidr.prefix && contains(block, cidr.base))) {
    throw invalidRange('InvalidSubnet.Range', text)
  }
  const subnets = await db.selectFrom('subnets').select('cidr').where('vpc_id', '=', vpc.vpc_id).execute()
  if (subnets.flatMap((each) => parseCidr(each.cidr) ?? []).some((each) => overlaps(each, cidr))) {
    throw new ApiError('InvalidSubnet.Conflict', `The CIDR '${text}' conflicts with another subnet`)
  }
  checkQuota(subnets.length, MAX_SUBNETS, 'SubnetLimitExceeded', `The maximum number of subnets has been reached for ${vpc.vpc_id}.`)
}
