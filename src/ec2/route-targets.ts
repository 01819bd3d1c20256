import type { CreateRouteRequest, ReplaceRouteRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { isWellFormedId } from '../core/ids.ts'
import type { RouteTable, RouteTableTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { refuseParameters, unsupportedParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'
import { requirePeering } from './vpc-peering-lookup.ts'

export type Target = Pick<RouteTable, 'target_kind' | 'target_id'>

type TargetInput = Pick<CreateRouteRequest & ReplaceRouteRequest,
  'GatewayId' | 'NatGatewayId' | 'NetworkInterfaceId' | 'InstanceId' | 'VpcPeeringConnectionId' | 'VpcEndpointId' |
  'TransitGatewayId' | 'LocalGatewayId' | 'CarrierGatewayId' | 'CoreNetworkArn' | 'OdbNetworkArn' | 'EgressOnlyInternetGatewayId'>

const TARGETS = ['GatewayId', 'NatGatewayId', 'NetworkInterfaceId', 'InstanceId', 'VpcPeeringConnectionId'] as const

/**
 * The target that a call names, which must be there and belong to the VPC of the table.
 *
 * @throws ApiError MissingParameter, InvalidParameterCombination, InvalidParameterValue, and the NotFound of
 *   the target's kind.
 */
export async function requestedTarget(context: Context, table: RouteTableTable, input: TargetInput): Promise<Target> {
  refuseParameters(input, [
    'VpcEndpointId', 'TransitGatewayId', 'LocalGatewayId', 'CarrierGatewayId', 'CoreNetworkArn', 'OdbNetworkArn',
    'EgressOnlyInternetGatewayId',
  ])
  const given = TARGETS.flatMap((name) => (input[name] ? [{ name, id: input[name] }] : []))
  const [target, ...others] = given
  if (!target) {
    throw new ApiError(
      'MissingParameter',
      'The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId, instanceId, vpcPeeringConnectionId',
    )
  }
  if (others.length > 0) {
    throw new ApiError('InvalidParameterCombination', `A route has one target only: ${given.map(({ name }) => name).join(', ')}`)
  }
  switch (target.name) {
    case 'GatewayId':
      return internetGateway(context, table, target.id)
    case 'NatGatewayId':
      return natGateway(context, table, target.id)
    case 'NetworkInterfaceId':
      return networkInterface(context, table, target.id)
    case 'InstanceId':
      return instance(context, table, target.id)
    case 'VpcPeeringConnectionId':
      return peering(context, table, target.id)
  }
}

function differentNetworks(table: RouteTableTable, what: string, id: string): ApiError {
  return new ApiError('InvalidParameterValue', `route table ${table.route_table_id} and ${what} ${id} belong to different networks`)
}

async function internetGateway({ db, account }: Context, table: RouteTableTable, id: string): Promise<Target> {
  if (id.startsWith('vgw-') || id.startsWith('vpce-')) throw unsupportedParameter(`GatewayId=${id}`)
  if (!isWellFormedId('igw', id)) {
    throw new ApiError('InvalidGatewayID.NotFound', `The gateway ID '${id}' does not exist`)
  }
  const row = await db
    .selectFrom('internet_gateways').select('vpc_id')
    .where('account_id', '=', account).where('internet_gateway_id', '=', id).executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.internetGateway, [id])
  if (row.vpc_id !== table.vpc_id) throw differentNetworks(table, 'network gateway', id)
  return { target_kind: 'internet-gateway', target_id: id }
}

async function natGateway({ db, account }: Context, table: RouteTableTable, id: string): Promise<Target> {
  const row = await db
    .selectFrom('nat_gateways').select('vpc_id')
    .where('account_id', '=', account).where('nat_gateway_id', '=', id)
    .where('state', 'in', ['pending', 'available']).executeTakeFirst()
  if (!row) throw new ApiError('InvalidNatGatewayID.NotFound', `The natGateway ID '${id}' does not exist`)
  if (row.vpc_id !== table.vpc_id) throw differentNetworks(table, 'NAT gateway', id)
  return { target_kind: 'nat-gateway', target_id: id }
}

async function networkInterface({ db, account }: Context, table: RouteTableTable, id: string): Promise<Target> {
  checkIds(RESOURCE_KINDS.networkInterface, [id])
  const row = await db
    .selectFrom('interfaces').select('vpc_id')
    .where('account_id', '=', account).where('interface_id', '=', id).where('status', '<>', 'removing').executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.networkInterface, [id])
  if (row.vpc_id !== table.vpc_id) throw differentNetworks(table, 'interface', id)
  return { target_kind: 'interface', target_id: id }
}

/** An instance stands for its interface, which must be its only one. */
async function instance(context: Context, table: RouteTableTable, id: string): Promise<Target> {
  const { db, account } = context
  checkIds(RESOURCE_KINDS.instance, [id])
  const interfaces = await db
    .selectFrom('interfaces').select('interface_id').where('account_id', '=', account).where('instance_id', '=', id).execute()
  const [first, ...others] = interfaces
  if (!first) throw notFoundError(RESOURCE_KINDS.instance, [id])
  if (others.length > 0) {
    throw new ApiError(
      'InvalidInstanceID',
      `There are multiple interfaces attached to instance '${id}'. Please specify an interface ID for the operation instead.`,
    )
  }
  return networkInterface(context, table, first.interface_id)
}

/** A peering may be asked for still: the route works once it is active. */
async function peering(context: Context, table: RouteTableTable, id: string): Promise<Target> {
  const row = await requirePeering(context, id)
  if (row.status !== 'active' && row.status !== 'pending-acceptance') throw notFoundError(RESOURCE_KINDS.vpcPeering, [id])
  if (row.requester_vpc_id !== table.vpc_id && row.accepter_vpc_id !== table.vpc_id) {
    throw differentNetworks(table, 'VPC peering connection', id)
  }
  return { target_kind: 'peering', target_id: id }
}
