import type { RouteItem } from '../model/route-table-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { RouteTable, RouteTableTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'

/** @throws ApiError MissingParameter, InvalidRouteTableId.Malformed, InvalidRouteTableID.NotFound. */
export async function requireRouteTable({ db, account }: Context, id: string | undefined): Promise<RouteTableTable> {
  if (!id) throw missingParameter('routeTableId')
  checkIds(RESOURCE_KINDS.routeTable, [id])
  const row = await db
    .selectFrom('route_tables').selectAll().where('account_id', '=', account).where('route_table_id', '=', id).executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.routeTable, [id])
  return row
}

/** Routes with what their targets are now; `vpcOf` says which VPC a route's table is of. */
export async function loadRouteItems(
  db: Db,
  rows: readonly RouteTable[],
  vpcOf: (row: RouteTable) => string | undefined,
): Promise<RouteItem[]> {
  const idsOf = (kind: RouteTable['target_kind']) => rows.flatMap((row) => (row.target_kind === kind ? [row.target_id] : []))
  const gateways = new Map((await inBatches(idsOf('internet-gateway'), (batch) => db
    .selectFrom('internet_gateways').select(['internet_gateway_id', 'vpc_id']).where('internet_gateway_id', 'in', batch).execute()))
    .map((row) => [row.internet_gateway_id, row.vpc_id]))
  const natGateways = new Set((await inBatches(idsOf('nat-gateway'), (batch) => db
    .selectFrom('nat_gateways').select('nat_gateway_id')
    .where('nat_gateway_id', 'in', batch).where('state', 'in', ['pending', 'available']).execute()))
    .map((row) => row.nat_gateway_id))
  const peerings = new Set((await inBatches(idsOf('peering'), (batch) => db
    .selectFrom('vpc_peerings').select('peering_id').where('peering_id', 'in', batch).where('status', '=', 'active').execute()))
    .map((row) => row.peering_id))
  const interfaces = new Map((await inBatches(idsOf('interface'), (batch) => db
    .selectFrom('interfaces').select(['interface_id', 'instance_id', 'account_id', 'wanted'])
    .where('interface_id', 'in', batch).execute()))
    .map((row) => [row.interface_id, row]))
  return rows.map((row): RouteItem => {
    const target = row.target_id
    switch (row.target_kind) {
      case 'internet-gateway':
        return { row, isActive: gateways.get(target) === vpcOf(row) && gateways.has(target) }
      case 'nat-gateway':
        return { row, isActive: natGateways.has(target) }
      case 'peering':
        return { row, isActive: peerings.has(target) }
      case 'interface': {
        // A stopped instance forwards nothing.
        const found = interfaces.get(target)
        const isActive = found?.wanted === 1
        if (!found || found.instance_id === null) return { row, isActive }
        return { row, isActive, instance: { instanceId: found.instance_id, accountId: found.account_id } }
      }
    }
  })
}
