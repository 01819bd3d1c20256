import type {
  CreateRouteRequest, CreateRouteResult, DeleteRouteRequest, ReplaceRouteRequest,
} from '@aws-sdk/client-ec2'
import { contains, formatCidr, parseCidr, type Cidr } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import type { RouteTableTable } from '../store/schema.ts'
import { cidrsOf, isPrefixList } from '../vpc/load-routing.ts'
import type { Context } from './context.ts'
import { refuseParameters, unsupportedParameter } from './parameters.ts'
import { requireRouteTable } from './route-table-lookup.ts'
import { requestedTarget, type Target } from './route-targets.ts'
import { wakeVpc } from './security-group-lookup.ts'
import { checkQuota } from './vpc-lookup.ts'

/**
 * Routes of a table beside the local ones; a prefix list counts as many as it may have entries.
 * https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
 */
export const MAX_ROUTES = 500

/** Where the services of every subnet are; EC2 takes no route for them or for a part of them. */
const LINK_LOCAL: Cidr = { base: 0xa9fea800, prefix: 22 }

type DestinationInput = Pick<CreateRouteRequest, 'DestinationCidrBlock' | 'DestinationIpv6CidrBlock' | 'DestinationPrefixListId'>

/** CreateRoute: packets for a block, or for the blocks of a prefix list, go to the target. */
export async function createRoute(context: Context, input: CreateRouteRequest): Promise<CreateRouteResult> {
  const { db, account, nowMs } = context
  const destination = requestedDestination(input)
  const table = await requireRouteTable(context, input.RouteTableId)
  const target = await requestedTarget(context, table, input)
  await checkBesideLocal(context, table, destination, target)
  const routes = await db
    .selectFrom('routes').select('destination').where('route_table_id', '=', table.route_table_id).execute()
  if (routes.some((route) => route.destination === destination)) throw alreadyExists(destination)
  const wanted = await weightsOf(context, [destination])
  const present = await weightsOf(context, routes.map((route) => route.destination))
  checkQuota(
    present + wanted - 1, MAX_ROUTES, 'RouteLimitExceeded', `The maximum number of routes has been reached for ${table.route_table_id}.`)
  await db.insertInto('routes').values({
    route_table_id: table.route_table_id, account_id: account, destination, ...target, created_ms: nowMs,
  }).execute()
  await wakeVpc(db, table.vpc_id, nowMs)
  return { Return: true }
}

/** ReplaceRoute: another target for a destination that the table has. */
export async function replaceRoute(context: Context, input: ReplaceRouteRequest): Promise<Record<string, never>> {
  const { db, nowMs } = context
  const destination = requestedDestination(input)
  const table = await requireRouteTable(context, input.RouteTableId)
  if (input.LocalTarget) return keepLocal(context, table, destination)
  const target = await requestedTarget(context, table, input)
  const isLocal = (await cidrsOf(db, table.vpc_id)).includes(destination)
  // The network reaches a VPC's own blocks before it looks at any route.
  if (isLocal) throw unsupportedParameter(`DestinationCidrBlock=${destination}, the local route`)
  const { numUpdatedRows } = await db
    .updateTable('routes').set(target)
    .where('route_table_id', '=', table.route_table_id).where('destination', '=', destination).executeTakeFirst()
  if (numUpdatedRows === 0n) {
    throw new ApiError(
      'InvalidParameterValue',
      `There is no route defined for '${destination}' in the route table. Use CreateRoute instead.`,
    )
  }
  await wakeVpc(db, table.vpc_id, nowMs)
  return {}
}

/** LocalTarget gives a local route its own target back, which it has here at all times. */
async function keepLocal({ db }: Context, table: RouteTableTable, destination: string): Promise<Record<string, never>> {
  if ((await cidrsOf(db, table.vpc_id)).includes(destination)) return {}
  throw new ApiError('InvalidParameterValue', `The destination '${destination}' is not a CIDR block of the VPC; LocalTarget cannot be used.`)
}

/** DeleteRoute. Local routes cannot be removed. */
export async function deleteRoute(context: Context, input: DeleteRouteRequest): Promise<Record<string, never>> {
  const { db, nowMs } = context
  const destination = requestedDestination(input)
  const { route_table_id: tableId, vpc_id: vpcId } = await requireRouteTable(context, input.RouteTableId)
  if ((await cidrsOf(db, vpcId)).includes(destination)) {
    throw new ApiError('InvalidParameterValue', `cannot remove local route ${destination} in route table ${tableId}`)
  }
  const { numDeletedRows } = await db
    .deleteFrom('routes').where('route_table_id', '=', tableId).where('destination', '=', destination).executeTakeFirst()
  if (numDeletedRows === 0n) {
    const kind = isPrefixList(destination) ? 'destination-prefix-list-id' : 'destination-cidr-block'
    throw new ApiError('InvalidRoute.NotFound', `no route with ${kind} ${destination} in route table ${tableId}`)
  }
  await wakeVpc(db, vpcId, nowMs)
  return {}
}

/** The destination that a call names: a block in canonical form, or the id of a prefix list. */
function requestedDestination(input: DestinationInput): string {
  refuseParameters(input, ['DestinationIpv6CidrBlock'])
  const { DestinationCidrBlock: block, DestinationPrefixListId: listId } = input
  if (block && listId) {
    throw new ApiError(
      'InvalidParameterCombination',
      'The parameter destinationCidrBlock cannot be used with the parameter destinationPrefixListId',
    )
  }
  if (listId) return listId
  if (!block) {
    throw new ApiError('MissingParameter', 'The request must contain the parameter destinationCidrBlock or destinationPrefixListId')
  }
  const cidr = parseCidr(block)
  if (!cidr) {
    throw new ApiError(
      'InvalidParameterValue',
      `Value (${block}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block.`,
    )
  }
  return formatCidr(cidr)
}

/** Checks a new destination against what every table reaches by itself. */
async function checkBesideLocal(
  { db }: Context,
  table: RouteTableTable,
  destination: string,
  target: Target,
): Promise<void> {
  const cidr = parseCidr(destination)
  if (!cidr) return
  const isWithin = (block: Cidr) => block.prefix <= cidr.prefix && contains(block, cidr.base)
  if (isWithin(LINK_LOCAL)) {
    throw new ApiError('InvalidParameterValue', `The destination CIDR block ${destination} is reserved: routes into ${formatCidr(LINK_LOCAL)} cannot be made.`)
  }
  const local = (await cidrsOf(db, table.vpc_id)).find((text) => {
    const block = parseCidr(text)
    return block !== undefined && isWithin(block)
  })
  if (local === undefined) return
  if (target.target_kind !== 'interface') {
    throw new ApiError(
      'InvalidParameterValue',
      `The destination CIDR block ${destination} is equal to or more specific than one of this VPC's CIDR blocks. ` +
        'This route can target only an interface or an instance.',
    )
  }
  if (local === destination) throw alreadyExists(destination)
  // The network reaches a VPC's own blocks before it looks at any route.
  throw unsupportedParameter(`DestinationCidrBlock=${destination}, more specific than the local route`)
}

function alreadyExists(destination: string): ApiError {
  return new ApiError('RouteAlreadyExists', `The route identified by ${destination} already exists.`)
}

/**
 * How many routes the destinations count for.
 *
 * @throws ApiError InvalidPrefixListID.NotFound; UnsupportedOperation for a list of IPv6 blocks.
 */
async function weightsOf({ db, account }: Context, destinations: readonly string[]): Promise<number> {
  let weight = 0
  for (const destination of destinations) {
    if (!isPrefixList(destination)) {
      weight += 1
      continue
    }
    const list = await db
      .selectFrom('prefix_lists').select(['max_entries', 'address_family'])
      .where('account_id', '=', account).where('prefix_list_id', '=', destination).executeTakeFirst()
    if (!list) throw new ApiError('InvalidPrefixListID.NotFound', `The prefix list ID '${destination}' does not exist`)
    if (list.address_family !== 'IPv4') throw unsupportedParameter(`DestinationPrefixListId=${destination}, a list of IPv6 blocks`)
    weight += list.max_entries
  }
  return weight
}
