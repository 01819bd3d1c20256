import type {
  DeleteNatGatewayRequest, DeleteNatGatewayResult, DescribeNatGatewaysRequest, DescribeNatGatewaysResult, NatGateway,
} from '@aws-sdk/client-ec2'
import { removeInterface } from '../model/free-interface.ts'
import { endOfShowing } from '../model/nat-gateway.ts'
import { natGatewayToWire } from '../model/nat-gateway-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { NatGatewayTable } from '../store/schema.ts'
import { forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { compileFilters, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, requireAll, RESOURCE_KINDS } from './resources.ts'
import { wakeVpc } from './security-group-lookup.ts'
import { deleteTagsOf, tagsOf, toWireTags } from './tags.ts'

/** States in which a NAT gateway is nothing but a row that is still shown. */
const ENDED: NatGatewayTable['state'][] = ['deleted', 'failed']

/** The account's NAT gateways, but for those that ended too long ago to be shown. */
function shownGateways({ db, account, nowMs }: Context) {
  return db
    .selectFrom('nat_gateways').selectAll().where('account_id', '=', account)
    .where((eb) => eb.or([eb('state', 'not in', ENDED), eb('deleted_ms', '>', endOfShowing(nowMs))]))
}

/** Forgets the account's NAT gateways that are not shown any more. */
export async function forgetEndedGateways(context: Context): Promise<void> {
  const { db, account, nowMs } = context
  const rows = await db
    .selectFrom('nat_gateways').select('nat_gateway_id').where('account_id', '=', account)
    .where('state', 'in', ENDED).where('deleted_ms', '<=', endOfShowing(nowMs)).execute()
  const ids = rows.map((row) => row.nat_gateway_id)
  await deleteTagsOf(db, ids)
  for (const id of ids) await forgetTokensOf(context, id)
  await inBatches(ids, (batch) => db.deleteFrom('nat_gateways').where('nat_gateway_id', 'in', batch).execute())
}

/** The wire form of one that is there. */
export async function loadNatGateway({ db, account }: Context, id: string): Promise<NatGateway> {
  const row = await db
    .selectFrom('nat_gateways').selectAll().where('account_id', '=', account).where('nat_gateway_id', '=', id)
    .executeTakeFirstOrThrow()
  return natGatewayToWire(row, toWireTags((await tagsOf(db, [id])).get(id)))
}

/**
 * DeleteNatGateway: its Elastic IP is free at once; the rest goes when the network has given it up.
 * Routes to it stay, as blackholes.
 */
export async function deleteNatGateway(context: Context, input: DeleteNatGatewayRequest): Promise<DeleteNatGatewayResult> {
  const { db } = context
  const { NatGatewayId: id } = input
  if (!id) throw missingParameter('natGatewayId')
  checkIds(RESOURCE_KINDS.natGateway, [id])
  const row = await shownGateways(context).where('nat_gateway_id', '=', id).executeTakeFirst()
  if (!row || row.state === 'deleted') throw notFoundError(RESOURCE_KINDS.natGateway, [id])
  if (row.interface_id !== null && row.state !== 'deleting') await giveUp(context, { ...row, interface_id: row.interface_id })
  else if (row.state === 'failed') {
    await db.updateTable('nat_gateways').set({ state: 'deleted' }).where('nat_gateway_id', '=', id).execute()
  }
  return { NatGatewayId: id }
}

/** The row of the interface goes when the network has nothing of it any more; then the gateway is deleted. */
async function giveUp({ db, nowMs }: Context, row: NatGatewayTable & { interface_id: string }): Promise<void> {
  const own = await db
    .selectFrom('interfaces').selectAll().where('interface_id', '=', row.interface_id).executeTakeFirstOrThrow()
  await removeInterface({ db, nowMs }, own)
  await db
    .updateTable('nat_gateways').set({ state: 'deleting', deleted_ms: nowMs })
    .where('nat_gateway_id', '=', row.nat_gateway_id).execute()
  // Routes to it are blackholes wherever the VPC is.
  await wakeVpc(db, row.vpc_id, nowMs)
}

const FILTERS: FilterFields<NatGatewayTable> = {
  'nat-gateway-id': (row) => row.nat_gateway_id,
  state: (row) => row.state,
  'subnet-id': (row) => row.subnet_id,
  'vpc-id': (row) => row.vpc_id,
}

/** DescribeNatGateways: those named, or all of the account, oldest first; deleted ones for an hour. */
export async function describeNatGateways(
  context: Context,
  input: DescribeNatGatewaysRequest,
): Promise<DescribeNatGatewaysResult> {
  const { db } = context
  const ids = input.NatGatewayIds ?? []
  checkIds(RESOURCE_KINDS.natGateway, ids)
  const query = shownGateways(context)
  const rows = ids.length === 0
    ? await query.execute()
    : await inBatches(ids, (batch) => query.where('nat_gateway_id', 'in', batch).execute())
  if (ids.length > 0) requireAll(RESOURCE_KINDS.natGateway, ids, new Set(rows.map((row) => row.nat_gateway_id)))
  const tags = await tagsOf(db, rows.map((row) => row.nat_gateway_id))
  const matches = compileFilters(input.Filter, FILTERS, (row) => tags.get(row.nat_gateway_id) ?? [])
  const { page, nextToken } = paginate(rows.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 1000,
    keyOf: (row) => timeKey(row.created_ms, row.nat_gateway_id),
    operation: 'DescribeNatGateways',
  })
  return {
    NatGateways: page.map((row) => natGatewayToWire(row, toWireTags(tags.get(row.nat_gateway_id)))), NextToken: nextToken,
  }
}
