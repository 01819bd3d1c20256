import type {
  CreateDefaultSubnetRequest, CreateDefaultSubnetResult, CreateDefaultVpcRequest, CreateDefaultVpcResult,
} from '@aws-sdk/client-ec2'
import { sql } from 'kysely'
import { ApiError } from '../core/errors.ts'
import { usableAddresses } from '../model/address.ts'
import { createDefaultVpc as insertDefaultVpc, DEFAULT_VPC_CIDR, insertDefaultSubnet } from '../model/new-vpc.ts'
import { parseNetworkCidr } from '../model/vpc-cidr.ts'
import { subnetToWire } from '../model/subnet-wire.ts'
import { vpcToWire } from '../model/vpc-wire.ts'
import type { VpcTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { checkVpcCount } from './create-vpc.ts'
import { chosenZone } from './create-subnet.ts'
import { refuseParameters } from './parameters.ts'
import { wakeVpc } from './security-group-lookup.ts'

function defaultVpcOf({ db, account }: Context): Promise<VpcTable | undefined> {
  return db.selectFrom('vpcs').selectAll().where('account_id', '=', account).where('is_default', '=', sql.lit(1)).executeTakeFirst()
}

/** CreateDefaultVpc: the default VPC again, for who has deleted it; with subnets, internet gateway and route. */
export async function createDefaultVpc(
  context: Context,
  _input: CreateDefaultVpcRequest,
): Promise<CreateDefaultVpcResult> {
  const { account, zones } = context
  if (await defaultVpcOf(context)) {
    throw new ApiError('DefaultVpcAlreadyExists', 'A Default VPC already exists for this account in this region.')
  }
  await checkVpcCount(context)
  const vpc = await insertDefaultVpc(context, account, zones)
  return { Vpc: vpcToWire({ ...vpc, state: 'pending' }, [], []) }
}

/** CreateDefaultSubnet: the default subnet of a zone again, in the first /20 of the default VPC that is free. */
export async function createDefaultSubnet(
  context: Context,
  input: CreateDefaultSubnetRequest,
): Promise<CreateDefaultSubnetResult> {
  const { db, nowMs } = context
  refuseParameters(input, ['Ipv6Native'])
  const zone = chosenZone(context, input)
  if (zone === undefined) {
    throw new ApiError('MissingParameter', 'The request must contain either the parameter availabilityZone or availabilityZoneId')
  }
  const vpc = await defaultVpcOf(context)
  if (!vpc) throw new ApiError('DefaultVpcDoesNotExist', 'No default VPC exists for this account in this region.')
  const existing = await db
    .selectFrom('subnets').select('subnet_id')
    .where('vpc_id', '=', vpc.vpc_id).where('zone', '=', zone).where('default_for_az', '=', 1).executeTakeFirst()
  if (existing) {
    throw new ApiError(
      'DefaultSubnetAlreadyExistsInAvailabilityZone',
      `'${existing.subnet_id}' is already the default subnet in ${zone}.`,
    )
  }
  const subnet = await insertDefaultSubnet(context, vpc, zone)
  if (!subnet) {
    throw new ApiError('InvalidSubnet.Conflict', `There is no free block for a default subnet in ${DEFAULT_VPC_CIDR}.`)
  }
  await wakeVpc(db, vpc.vpc_id, nowMs)
  const available = usableAddresses(parseNetworkCidr(subnet.cidr, 'InvalidSubnet.Range'))
  return { Subnet: subnetToWire(subnet, available, []) }
}
