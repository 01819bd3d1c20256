import type {
  AttachInternetGatewayRequest, CreateInternetGatewayRequest, CreateInternetGatewayResult, DeleteInternetGatewayRequest,
  DescribeInternetGatewaysRequest, DescribeInternetGatewaysResult, DetachInternetGatewayRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { ATTACHED, internetGatewayToWire } from '../model/internet-gateway-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { InternetGatewayTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, requireAll, RESOURCE_KINDS } from './resources.ts'
import { wakeVpc } from './security-group-lookup.ts'
import { deleteTagsOf, insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'
import { checkQuota, requireVpc } from './vpc-lookup.ts'

/** As many as VPCs: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html */
const MAX_GATEWAYS = 5

/** CreateInternetGateway: one that is attached to nothing yet. */
export async function createInternetGateway(
  { db, account, random, nowMs }: Context,
  input: CreateInternetGatewayRequest,
): Promise<CreateInternetGatewayResult> {
  const type = RESOURCE_KINDS.internetGateway.type
  const tags = parseTagSpecifications(input.TagSpecifications, [type]).get(type) ?? []
  const present = await db.selectFrom('internet_gateways').select('internet_gateway_id').where('account_id', '=', account).execute()
  checkQuota(
    present.length, MAX_GATEWAYS, 'InternetGatewayLimitExceeded', 'The maximum number of internet gateways has been reached.')
  const row: InternetGatewayTable = {
    internet_gateway_id: newId(random, 'igw'), account_id: account, vpc_id: null, created_ms: nowMs,
  }
  await db.insertInto('internet_gateways').values(row).execute()
  await insertTags(db, account, type, row.internet_gateway_id, tags)
  return { InternetGateway: internetGatewayToWire(row, toWireTags(tags)) }
}

/** AttachInternetGateway: a gateway has one VPC, and a VPC one gateway. Routes to it work from now on. */
export async function attachInternetGateway(
  context: Context,
  input: AttachInternetGatewayRequest,
): Promise<Record<string, never>> {
  const { db, nowMs } = context
  const gateway = await requireGateway(context, input.InternetGatewayId)
  const { vpc_id: vpcId } = await requireVpc(context, input.VpcId)
  if (gateway.vpc_id !== null) {
    throw new ApiError(
      'Resource.AlreadyAssociated',
      `resource ${gateway.internet_gateway_id} is already attached to network ${gateway.vpc_id}`,
    )
  }
  const other = await db
    .selectFrom('internet_gateways').select('internet_gateway_id').where('vpc_id', '=', vpcId).executeTakeFirst()
  if (other) throw new ApiError('InvalidParameterValue', `Network ${vpcId} already has an internet gateway attached`)
  await attach(context, gateway, vpcId)
  await wakeVpc(db, vpcId, nowMs)
  return {}
}

/** DetachInternetGateway: not while a public address of the VPC needs it. Routes to it become blackholes. */
export async function detachInternetGateway(
  context: Context,
  input: DetachInternetGatewayRequest,
): Promise<Record<string, never>> {
  const { db, nowMs } = context
  const gateway = await requireGateway(context, input.InternetGatewayId)
  const { vpc_id: vpcId } = await requireVpc(context, input.VpcId)
  if (gateway.vpc_id !== vpcId) {
    throw new ApiError('Gateway.NotAttached', `resource ${gateway.internet_gateway_id} is not attached to network ${vpcId}`)
  }
  const mapped = await db
    .selectFrom('interfaces').select('interface_id')
    .where('vpc_id', '=', vpcId).where('public_ip', 'is not', null).executeTakeFirst()
    ?? await db
      .selectFrom('interface_addresses').select('interface_id')
      .where('vpc_id', '=', vpcId).where('public_ip', 'is not', null).executeTakeFirst()
  if (mapped) {
    throw new ApiError(
      'DependencyViolation',
      `Network ${vpcId} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.`,
    )
  }
  await attach(context, gateway, null)
  await wakeVpc(db, vpcId, nowMs)
  return {}
}

async function attach({ db }: Context, gateway: InternetGatewayTable, vpcId: string | null): Promise<void> {
  await db
    .updateTable('internet_gateways').set({ vpc_id: vpcId })
    .where('internet_gateway_id', '=', gateway.internet_gateway_id).execute()
}

/** DeleteInternetGateway: one that is detached. */
export async function deleteInternetGateway(
  context: Context,
  input: DeleteInternetGatewayRequest,
): Promise<Record<string, never>> {
  const { db } = context
  const { internet_gateway_id: id, vpc_id: vpcId } = await requireGateway(context, input.InternetGatewayId)
  if (vpcId !== null) {
    throw new ApiError('DependencyViolation', `The internetGateway '${id}' has dependencies and cannot be deleted.`)
  }
  await deleteTagsOf(db, [id])
  await db.deleteFrom('internet_gateways').where('internet_gateway_id', '=', id).execute()
  return {}
}

async function requireGateway({ db, account }: Context, id: string | undefined): Promise<InternetGatewayTable> {
  if (!id) throw missingParameter('internetGatewayId')
  checkIds(RESOURCE_KINDS.internetGateway, [id])
  const row = await db
    .selectFrom('internet_gateways').selectAll()
    .where('account_id', '=', account).where('internet_gateway_id', '=', id).executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.internetGateway, [id])
  return row
}

const FILTERS: FilterFields<InternetGatewayTable> = {
  'attachment.state': (row) => (row.vpc_id === null ? undefined : ATTACHED),
  'attachment.vpc-id': (row) => row.vpc_id ?? undefined,
  'internet-gateway-id': (row) => row.internet_gateway_id,
  'owner-id': (row) => row.account_id,
}

/** DescribeInternetGateways: those named, or all of the account, oldest first. */
export async function describeInternetGateways(
  { db, account }: Context,
  input: DescribeInternetGatewaysRequest,
): Promise<DescribeInternetGatewaysResult> {
  const ids = input.InternetGatewayIds ?? []
  checkIds(RESOURCE_KINDS.internetGateway, ids)
  const query = db.selectFrom('internet_gateways').selectAll().where('account_id', '=', account)
  const rows = ids.length === 0
    ? await query.execute()
    : await inBatches(ids, (batch) => query.where('internet_gateway_id', 'in', batch).execute())
  if (ids.length > 0) requireAll(RESOURCE_KINDS.internetGateway, ids, new Set(rows.map((row) => row.internet_gateway_id)))
  const tags = await tagsOf(db, rows.map((row) => row.internet_gateway_id))
  const matches = compileFilters(input.Filters, FILTERS, (row) => tags.get(row.internet_gateway_id) ?? [])
  const { page, nextToken } = paginate(rows.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 1000,
    keyOf: (row) => timeKey(row.created_ms, row.internet_gateway_id),
    operation: 'DescribeInternetGateways',
  })
  return {
    InternetGateways: page.map((row) => internetGatewayToWire(row, toWireTags(tags.get(row.internet_gateway_id)))),
    NextToken: nextToken,
  }
}
