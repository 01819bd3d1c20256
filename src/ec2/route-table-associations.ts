import type {
  AssociateRouteTableRequest, AssociateRouteTableResult, DisassociateRouteTableRequest, ReplaceRouteTableAssociationRequest,
  ReplaceRouteTableAssociationResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import type { RouteTableAssociationTable, RouteTableTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter, refuseParameters } from './parameters.ts'
import { requireRouteTable } from './route-table-lookup.ts'
import { wakeVpc } from './security-group-lookup.ts'
import { requireSubnet } from './subnet-lookup.ts'

/** AssociateRouteTable: the subnet uses that table instead of the main one. */
export async function associateRouteTable(
  context: Context,
  input: AssociateRouteTableRequest,
): Promise<AssociateRouteTableResult> {
  const { db, nowMs } = context
  refuseParameters(input, ['GatewayId', 'PublicIpv4Pool'])
  const table = await requireRouteTable(context, input.RouteTableId)
  const subnet = await requireSubnet(context, input.SubnetId)
  if (subnet.vpc_id !== table.vpc_id) {
    throw new ApiError(
      'InvalidParameterValue',
      `Route table ${table.route_table_id} and subnet ${subnet.subnet_id} belong to different networks`,
    )
  }
  const existing = await db
    .selectFrom('route_table_associations').select('association_id').where('subnet_id', '=', subnet.subnet_id).executeTakeFirst()
  if (existing) {
    throw new ApiError(
      'Resource.AlreadyAssociated',
      `the specified association for route table ${table.route_table_id} conflicts with an existing association`,
    )
  }
  const id = await insertAssociation(context, table, subnet.subnet_id)
  await wakeVpc(db, table.vpc_id, nowMs)
  return { AssociationId: id, AssociationState: { State: 'associated' } }
}

async function insertAssociation(
  { db, account, random, nowMs }: Context,
  table: RouteTableTable,
  subnetId: string | null,
): Promise<string> {
  const id = newId(random, 'rtbassoc')
  await db.insertInto('route_table_associations').values({
    association_id: id, account_id: account, route_table_id: table.route_table_id, subnet_id: subnetId, created_ms: nowMs,
  }).execute()
  return id
}

/** DisassociateRouteTable: the subnet uses the main table again. */
export async function disassociateRouteTable(
  context: Context,
  input: DisassociateRouteTableRequest,
): Promise<Record<string, never>> {
  const { db, nowMs } = context
  const association = await requireAssociation(context, input.AssociationId)
  if (association.subnet_id === null) {
    throw new ApiError(
      'InvalidParameterValue',
      `cannot disassociate the main route table association ${association.association_id}`,
    )
  }
  const table = await requireRouteTable(context, association.route_table_id)
  await deleteAssociation(context, association)
  await wakeVpc(db, table.vpc_id, nowMs)
  return {}
}

/**
 * ReplaceRouteTableAssociation: the subnet uses another table at once; or, with the association of the
 * main table, the VPC has another main table.
 */
export async function replaceRouteTableAssociation(
  context: Context,
  input: ReplaceRouteTableAssociationRequest,
): Promise<ReplaceRouteTableAssociationResult> {
  const { db, nowMs } = context
  const association = await requireAssociation(context, input.AssociationId)
  const table = await requireRouteTable(context, input.RouteTableId)
  const former = await requireRouteTable(context, association.route_table_id)
  if (former.vpc_id !== table.vpc_id) {
    throw new ApiError(
      'InvalidParameterValue',
      `Route table ${table.route_table_id} and association ${association.association_id} belong to different networks`,
    )
  }
  await deleteAssociation(context, association)
  if (association.subnet_id === null) {
    await setMain(context, former, 0)
    await setMain(context, table, 1)
  }
  const id = await insertAssociation(context, table, association.subnet_id)
  await wakeVpc(db, table.vpc_id, nowMs)
  return { NewAssociationId: id, AssociationState: { State: 'associated' } }
}

async function setMain({ db }: Context, table: RouteTableTable, isMain: 0 | 1): Promise<void> {
  await db.updateTable('route_tables').set({ is_main: isMain }).where('route_table_id', '=', table.route_table_id).execute()
}

async function deleteAssociation({ db }: Context, association: RouteTableAssociationTable): Promise<void> {
  await db
    .deleteFrom('route_table_associations').where('association_id', '=', association.association_id).execute()
}

async function requireAssociation(
  { db, account }: Context,
  id: string | undefined,
): Promise<RouteTableAssociationTable> {
  if (!id) throw missingParameter('associationId')
  const row = await db
    .selectFrom('route_table_associations').selectAll()
    .where('account_id', '=', account).where('association_id', '=', id).executeTakeFirst()
  if (!row) throw new ApiError('InvalidAssociationID.NotFound', `The association ID '${id}' does not exist`)
  return row
}
