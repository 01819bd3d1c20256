import type {
  CreateRouteTableRequest, CreateRouteTableResult, DeleteRouteTableRequest, DescribeRouteTablesRequest,
  DescribeRouteTablesResult, Route, RouteTable,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { routeTableToWire } from '../model/route-table-wire.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { RouteTableTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { cidrsOf } from '../vpc/load-routing.ts'
import { claimToken, forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, filterText, withoutValue, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { loadRouteItems, requireRouteTable } from './route-table-lookup.ts'
import { wakeVpc } from './security-group-lookup.ts'
import { deleteTagsOf, fromWireTags, insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'
import { checkQuota, requireVpc } from './vpc-lookup.ts'

/** https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html */
const MAX_ROUTE_TABLES = 200

/** CreateRouteTable: one that reaches the VPC alone and that no subnet uses yet. */
export async function createRouteTable(
  context: Context,
  input: CreateRouteTableRequest,
): Promise<CreateRouteTableResult> {
  const { db, account, random, nowMs } = context
  const type = RESOURCE_KINDS.routeTable.type
  const tags = parseTagSpecifications(input.TagSpecifications, [type]).get(type) ?? []
  const id = newId(random, 'rtb')
  const earlier = await claimToken(context, 'CreateRouteTable', input, id)
  if (earlier !== undefined) {
    return { RouteTable: await wireOf(db, await requireRouteTable(context, earlier)), ClientToken: input.ClientToken }
  }
  const vpc = await requireVpc(context, input.VpcId)
  const present = await db.selectFrom('route_tables').select('route_table_id').where('vpc_id', '=', vpc.vpc_id).execute()
  checkQuota(
    present.length, MAX_ROUTE_TABLES, 'RouteTableLimitExceeded', `The maximum number of route tables has been reached for ${vpc.vpc_id}.`)
  const row: RouteTableTable = { route_table_id: id, account_id: account, vpc_id: vpc.vpc_id, is_main: 0, created_ms: nowMs }
  await db.insertInto('route_tables').values(row).execute()
  await insertTags(db, account, type, id, tags)
  await wakeVpc(db, vpc.vpc_id, nowMs)
  return { RouteTable: await wireOf(db, row), ClientToken: input.ClientToken }
}

async function wireOf(db: Db, row: RouteTableTable): Promise<RouteTable | undefined> {
  return (await loadRouteTables(db, [row]))[0]
}

/** DeleteRouteTable: with its routes, unless a subnet uses it or it is the main one. */
export async function deleteRouteTable(context: Context, input: DeleteRouteTableRequest): Promise<Record<string, never>> {
  const { db, nowMs } = context
  const { route_table_id: id, vpc_id: vpcId } = await requireRouteTable(context, input.RouteTableId)
  const association = await db
    .selectFrom('route_table_associations').select('association_id').where('route_table_id', '=', id).executeTakeFirst()
  if (association) {
    throw new ApiError('DependencyViolation', `The routeTable '${id}' has dependencies and cannot be deleted.`)
  }
  await deleteTagsOf(db, [id])
  await forgetTokensOf(context, id)
  await db.deleteFrom('routes').where('route_table_id', '=', id).execute()
  await db.deleteFrom('route_tables').where('route_table_id', '=', id).execute()
  await wakeVpc(db, vpcId, nowMs)
  return {}
}

type RouteTableItem = { row: RouteTableTable; wire: RouteTable }

const anyRoute = (read: (route: Route) => string | undefined) => ({ wire }: RouteTableItem) => wire.Routes?.map(read)

const FILTERS: FilterFields<RouteTableItem> = {
  'association.main': ({ wire }) => wire.Associations?.map((each) => filterText(each.Main)),
  'association.route-table-association-id': ({ wire }) => wire.Associations?.map((each) => each.RouteTableAssociationId),
  'association.route-table-id': ({ wire }) => wire.Associations?.map((each) => each.RouteTableId),
  'association.subnet-id': ({ wire }) => wire.Associations?.map((each) => each.SubnetId),
  'owner-id': ({ row }) => row.account_id,
  'route-table-id': ({ row }) => row.route_table_id,
  'route.destination-cidr-block': anyRoute((route) => route.DestinationCidrBlock),
  'route.destination-prefix-list-id': anyRoute((route) => route.DestinationPrefixListId),
  'route.gateway-id': anyRoute((route) => route.GatewayId),
  'route.instance-id': anyRoute((route) => route.InstanceId),
  'route.nat-gateway-id': anyRoute((route) => route.NatGatewayId),
  'route.origin': anyRoute((route) => route.Origin),
  'route.state': anyRoute((route) => route.State),
  'route.vpc-peering-connection-id': anyRoute((route) => route.VpcPeeringConnectionId),
  'vpc-id': ({ row }) => row.vpc_id,
  ...withoutValue(
    'association.gateway-id', 'route.destination-ipv6-cidr-block', 'route.egress-only-internet-gateway-id',
    'route.transit-gateway-id',
  ),
}

/** DescribeRouteTables: those named, or all of the account, oldest first. */
export async function describeRouteTables(
  { db, account }: Context,
  input: DescribeRouteTablesRequest,
): Promise<DescribeRouteTablesResult> {
  const ids = input.RouteTableIds ?? []
  checkIds(RESOURCE_KINDS.routeTable, ids)
  let query = db.selectFrom('route_tables').selectAll().where('account_id', '=', account)
  const vpcIds = exactValues(input.Filters, 'vpc-id')
  if (vpcIds) query = query.where('vpc_id', 'in', vpcIds)
  const rows = ids.length === 0
    ? await query.execute()
    : await inBatches(ids, (batch) => db
      .selectFrom('route_tables').selectAll().where('account_id', '=', account).where('route_table_id', 'in', batch).execute())
  if (ids.length > 0) requireAll(RESOURCE_KINDS.routeTable, ids, new Set(rows.map((row) => row.route_table_id)))
  const wires = await loadRouteTables(db, rows)
  const items = rows.flatMap((row, index): RouteTableItem[] => {
    const wire = wires[index]
    return wire ? [{ row, wire }] : []
  })
  const matches = compileFilters(input.Filters, FILTERS, ({ wire }) => fromWireTags(wire.Tags))
  const { page, nextToken } = paginate(items.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 100,
    keyOf: ({ row }) => timeKey(row.created_ms, row.route_table_id),
    operation: 'DescribeRouteTables',
  })
  return { RouteTables: page.map(({ wire }) => wire), NextToken: nextToken }
}

/** The wire forms of route tables, in the order given. */
async function loadRouteTables(db: Db, rows: readonly RouteTableTable[]): Promise<RouteTable[]> {
  const ids = rows.map((row) => row.route_table_id)
  const vpcOf = new Map(rows.map((row) => [row.route_table_id, row.vpc_id]))
  const routeRows = await inBatches(ids, (batch) => db
    .selectFrom('routes').selectAll().where('route_table_id', 'in', batch).orderBy('created_ms').orderBy('destination').execute())
  const routes = groupBy(
    await loadRouteItems(db, routeRows, (route) => vpcOf.get(route.route_table_id)), ({ row }) => row.route_table_id)
  const associations = groupBy(
    await inBatches(ids, (batch) => db
      .selectFrom('route_table_associations').selectAll().where('route_table_id', 'in', batch)
      .orderBy('created_ms').orderBy('association_id').execute()),
    (row) => row.route_table_id,
  )
  const cidrs = new Map<string, string[]>()
  for (const vpcId of new Set(vpcOf.values())) cidrs.set(vpcId, await cidrsOf(db, vpcId))
  const tags = await tagsOf(db, ids)
  return rows.map((row) => routeTableToWire(row, {
    cidrs: cidrs.get(row.vpc_id) ?? [],
    routes: routes.get(row.route_table_id) ?? [],
    associations: associations.get(row.route_table_id) ?? [],
    tags: toWireTags(tags.get(row.route_table_id)),
  }))
}
