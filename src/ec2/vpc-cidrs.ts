import type {
  AssociateVpcCidrBlockRequest, AssociateVpcCidrBlockResult, DisassociateVpcCidrBlockRequest, DisassociateVpcCidrBlockResult,
} from '@aws-sdk/client-ec2'
import { contains, formatCidr, overlaps, parseCidr, type Cidr } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { checkSecondaryCidr, parseNetworkCidr } from '../model/vpc-cidr.ts'
import { primaryCidrAssociationId, vpcCidrToWire } from '../model/vpc-wire.ts'
import type { VpcCidrTable, VpcTable } from '../store/schema.ts'
import { cidrsOf } from '../vpc/load-routing.ts'
import type { Context } from './context.ts'
import { missingParameter, refuseParameters } from './parameters.ts'
import { wakeVpc } from './security-group-lookup.ts'
import { requireVpc, secondaryCidrsOf, wakeVpcEverywhere } from './vpc-lookup.ts'
import { activePeersOf } from './vpc-peering-lookup.ts'

/** Blocks of a VPC, the primary one included: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html */
const MAX_CIDRS = 5

/** AssociateVpcCidrBlock: a further block, for subnets to come. */
export async function associateVpcCidrBlock(
  context: Context,
  input: AssociateVpcCidrBlockRequest,
): Promise<AssociateVpcCidrBlockResult> {
  const { db, account, random, nowMs } = context
  refuseParameters(input, [
    'Ipv6CidrBlockNetworkBorderGroup', 'Ipv6Pool', 'Ipv6CidrBlock', 'Ipv4IpamPoolId', 'Ipv4NetmaskLength', 'Ipv6IpamPoolId',
    'Ipv6NetmaskLength', 'AmazonProvidedIpv6CidrBlock',
  ])
  const vpc = await requireVpc(context, input.VpcId)
  if (!input.CidrBlock) throw missingParameter('cidrBlock')
  const cidr = parseNetworkCidr(input.CidrBlock, 'InvalidVpc.Range')
  const more = await secondaryCidrsOf(db, vpc.vpc_id)
  if (more.length + 1 >= MAX_CIDRS) {
    throw new ApiError('CidrLimitExceeded', `This network '${vpc.vpc_id}' has met its maximum number of allowed CIDRs: ${MAX_CIDRS}`)
  }
  checkSecondaryCidr(cidr, [vpc, ...more].flatMap((each) => parseCidr(each.cidr) ?? []))
  await checkRoutes(context, vpc, cidr)
  await checkPeers(context, vpc, cidr)
  const row: VpcCidrTable = {
    association_id: newId(random, 'vpc-cidr-assoc'), account_id: account, vpc_id: vpc.vpc_id, cidr: formatCidr(cidr),
    state: 'associated', created_ms: nowMs,
  }
  await db.insertInto('vpc_cidrs').values(row).execute()
  await wakeWithPeers(context, vpc)
  return { VpcId: vpc.vpc_id, CidrBlockAssociation: vpcCidrToWire(row, 'associating') }
}

/** What a table routes elsewhere cannot become local: a block that is as large as a route's destination, or larger. */
async function checkRoutes({ db }: Context, vpc: VpcTable, cidr: Cidr): Promise<void> {
  const routes = await db
    .selectFrom('routes').innerJoin('route_tables', 'route_tables.route_table_id', 'routes.route_table_id')
    .select('destination').where('vpc_id', '=', vpc.vpc_id).execute()
  const inside = routes.find((route) => {
    const destination = parseCidr(route.destination)
    return destination !== undefined && destination.prefix >= cidr.prefix && contains(cidr, destination.base)
  })
  if (!inside) return
  throw new ApiError(
    'CidrConflict',
    `The CIDR '${formatCidr(cidr)}' conflicts with the route to ${inside.destination} in a route table of the VPC`,
  )
}

async function checkPeers({ db }: Context, vpc: VpcTable, cidr: Cidr): Promise<void> {
  for (const peerVpcId of await activePeersOf(db, vpc.vpc_id)) {
    const blocks = (await cidrsOf(db, peerVpcId)).flatMap((each) => parseCidr(each) ?? [])
    if (blocks.some((each) => overlaps(each, cidr))) {
      throw new ApiError('CidrConflict', `The CIDR '${formatCidr(cidr)}' conflicts with a CIDR of the peered VPC ${peerVpcId}`)
    }
  }
}

/** Peers are told apart by all their blocks. */
async function wakeWithPeers({ db, nowMs }: Context, vpc: VpcTable): Promise<void> {
  await wakeVpc(db, vpc.vpc_id, nowMs)
  for (const peerVpcId of await activePeersOf(db, vpc.vpc_id)) await wakeVpcEverywhere(db, peerVpcId, nowMs)
}

/** DisassociateVpcCidrBlock: unless it is the primary block, or a subnet is in it. */
export async function disassociateVpcCidrBlock(
  context: Context,
  input: DisassociateVpcCidrBlockRequest,
): Promise<DisassociateVpcCidrBlockResult> {
  const { db, account } = context
  const id = input.AssociationId
  if (!id) throw missingParameter('associationId')
  const row = await db
    .selectFrom('vpc_cidrs').selectAll().where('account_id', '=', account).where('association_id', '=', id).executeTakeFirst()
  if (!row) throw await noSuchAssociation(context, id)
  const vpc = await requireVpc(context, row.vpc_id)
  const cidr = parseNetworkCidr(row.cidr, 'InvalidVpc.Range')
  const subnets = await db.selectFrom('subnets').select('cidr').where('vpc_id', '=', row.vpc_id).execute()
  if (subnets.some((subnet) => contains(cidr, parseCidr(subnet.cidr)?.base ?? -1))) {
    throw new ApiError(
      'DependencyViolation',
      `The vpc CIDR block with association ID ${id} has dependencies and cannot be disassociated.`,
    )
  }
  await db.deleteFrom('vpc_cidrs').where('association_id', '=', id).execute()
  await wakeWithPeers(context, vpc)
  return { VpcId: row.vpc_id, CidrBlockAssociation: vpcCidrToWire(row, 'disassociating') }
}

async function noSuchAssociation({ db, account }: Context, id: string): Promise<ApiError> {
  const vpcs = await db.selectFrom('vpcs').select('vpc_id').where('account_id', '=', account).execute()
  if (vpcs.some((vpc) => primaryCidrAssociationId(vpc.vpc_id) === id)) {
    return new ApiError(
      'OperationNotPermitted',
      `The vpc CIDR block with association ID ${id} may not be disassociated. It is the primary IPv4 CIDR block of the VPC`,
    )
  }
  return new ApiError('InvalidVpcCidrBlockAssociationIdError.NotFound', `The vpc CIDR block association ID '${id}' does not exist`)
}
