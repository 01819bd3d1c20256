import type {
  CreateNetworkInsightsPathRequest, CreateNetworkInsightsPathResult, DeleteNetworkInsightsPathRequest, DeleteNetworkInsightsPathResult,
  DescribeNetworkInsightsPathsRequest, DescribeNetworkInsightsPathsResult,
} from '@aws-sdk/client-ec2'
import { parseIpv4 } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import { isWellFormedId, newId } from '../core/ids.ts'
import { insightsPathDoc, type InsightsPathDoc } from '../model/network-insights.ts'
import { insightsPathToWire } from '../model/network-insights-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { NetworkInsightsTable } from '../store/schema.ts'
import { claimToken, forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { compileFilters, withoutValue, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { checkIds, existingIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { deleteTagsOf, insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'

/** Ends of paths that AWS knows and that there are none of here. */
const UNKNOWN_ENDS = /^(pcx|tgw|tgw-attach|vgw|vpce|vpce-svc)-/

/**
 * CreateNetworkInsightsPath: a question that analyses answer. Both ends are an instance, an interface
 * or an internet gateway, by id or ARN; the destination may be an address alone.
 *
 * @throws ApiError InvalidParameterValue, MissingParameter, the NotFound of an end, IdempotentParameterMismatch.
 */
export async function createNetworkInsightsPath(
  context: Context,
  input: CreateNetworkInsightsPathRequest,
): Promise<CreateNetworkInsightsPathResult> {
  const { db, account, random, nowMs } = context
  refuseParameters(input, ['FilterAtSource', 'FilterAtDestination'])
  const tags = parseTagSpecifications(input.TagSpecifications, ['network-insights-path']).get('network-insights-path') ?? []
  const doc = await readPath(context, input)
  const id = newId(random, 'nip')
  const earlier = await claimToken(context, 'CreateNetworkInsightsPath', input, id)
  if (earlier !== undefined) return { NetworkInsightsPath: await loadPath(context, earlier) }
  await db.insertInto('network_insights').values({
    id, account_id: account, kind: 'path', path_id: null, created_ms: nowMs, doc: JSON.stringify(doc),
  }).execute()
  await insertTags(db, account, 'network-insights-path', id, tags)
  return { NetworkInsightsPath: await loadPath(context, id) }
}

async function readPath(context: Context, input: CreateNetworkInsightsPathRequest): Promise<InsightsPathDoc> {
  const protocol = input.Protocol?.toLowerCase()
  if (protocol !== 'tcp' && protocol !== 'udp') throw invalidValue('Protocol', input.Protocol, 'Valid values are: tcp, udp.')
  const source = await readEnd(context, 'Source', input.Source ?? '')
  if (!input.Destination && !input.DestinationIp) throw missingParameter('Destination')
  const destination = input.Destination ? await readEnd(context, 'Destination', input.Destination) : null
  if (destination === source) throw invalidValue('Destination', destination, 'It must not be the source.')
  if (source.startsWith('igw-') && destination?.startsWith('igw-')) {
    throw invalidValue('Destination', destination, 'A path does not lead from internet gateway to internet gateway.')
  }
  const port = input.DestinationPort
  if (port !== undefined && !(port >= 1 && port <= 65_535)) throw invalidValue('DestinationPort', port)
  return {
    source, destination, protocol, destinationPort: port ?? null,
    sourceIp: readAddress('SourceIp', input.SourceIp), destinationIp: readAddress('DestinationIp', input.DestinationIp),
  }
}

function readAddress(name: string, address: string | undefined): string | null {
  if (!address) return null
  if (parseIpv4(address) === undefined) throw invalidValue(name, address)
  return address
}

/** The id of one end, which exists. */
async function readEnd(context: Context, name: 'Source' | 'Destination', text: string): Promise<string> {
  const { db, account, region } = context
  const arn = /^arn:aws:ec2:([^:]*):([^:]*):[a-z-]+\/(.+)$/.exec(text)
  if (arn && (arn[1] !== region || arn[2] !== account)) throw unsupportedParameter(`${name} (${text}) of another region or account`)
  const id = arn?.[3] ?? text
  if (UNKNOWN_ENDS.test(id)) throw unsupportedParameter(`${name} (${id})`)
  const kind = [RESOURCE_KINDS.instance, RESOURCE_KINDS.networkInterface].find((each) => isWellFormedId(each.prefix, id))
  if (kind) {
    requireAll(kind, [id], await existingIds(db, account, kind, [id]))
    return id
  }
  if (!isWellFormedId('igw', id)) throw invalidValue(name, text)
  const gateway = await db
    .selectFrom('internet_gateways').select('internet_gateway_id')
    .where('account_id', '=', account).where('internet_gateway_id', '=', id).executeTakeFirst()
  if (!gateway) throw new ApiError('InvalidInternetGatewayID.NotFound', `The internetGateway ID '${id}' does not exist`)
  return id
}

/** The row of a path. @throws ApiError InvalidNetworkInsightsPathId.Malformed, InvalidNetworkInsightsPathId.NotFound. */
export async function findPath({ db, account }: Context, id: string): Promise<NetworkInsightsTable> {
  checkIds(RESOURCE_KINDS.networkInsightsPath, [id])
  const row = await db
    .selectFrom('network_insights').selectAll()
    .where('account_id', '=', account).where('kind', '=', 'path').where('id', '=', id).executeTakeFirst()
  requireAll(RESOURCE_KINDS.networkInsightsPath, [id], new Set(row ? [id] : []))
  return row as NetworkInsightsTable
}

async function loadPath(context: Context, id: string) {
  const row = await findPath(context, id)
  return insightsPathToWire(row, toWireTags((await tagsOf(context.db, [id])).get(id)), context.region)
}

/** DeleteNetworkInsightsPath: once it has no analyses any more. */
export async function deleteNetworkInsightsPath(
  context: Context,
  input: DeleteNetworkInsightsPathRequest,
): Promise<DeleteNetworkInsightsPathResult> {
  const { db } = context
  const { id } = await findPath(context, input.NetworkInsightsPathId ?? '')
  const analysis = await db.selectFrom('network_insights').select('id').where('path_id', '=', id).limit(1).executeTakeFirst()
  if (analysis) {
    throw new ApiError('AnalysisExistsForNetworkInsightsPath', `The network insights path '${id}' has analyses; delete them first.`)
  }
  await deleteTagsOf(db, [id])
  await forgetTokensOf(context, id)
  await db.deleteFrom('network_insights').where('id', '=', id).execute()
  return { NetworkInsightsPathId: id }
}

const FILTERS: FilterFields<NetworkInsightsTable> = {
  destination: (row) => insightsPathDoc(row).destination ?? undefined,
  protocol: (row) => insightsPathDoc(row).protocol,
  source: (row) => insightsPathDoc(row).source,
  ...withoutValue(
    'filter-at-source.source-address', 'filter-at-source.source-port-range', 'filter-at-source.destination-address',
    'filter-at-source.destination-port-range', 'filter-at-destination.source-address', 'filter-at-destination.source-port-range',
    'filter-at-destination.destination-address', 'filter-at-destination.destination-port-range',
  ),
}

/** DescribeNetworkInsightsPaths: those named, or all of the account, oldest first. */
export async function describeNetworkInsightsPaths(
  { db, account, region }: Context,
  input: DescribeNetworkInsightsPathsRequest,
): Promise<DescribeNetworkInsightsPathsResult> {
  const ids = input.NetworkInsightsPathIds ?? []
  checkIds(RESOURCE_KINDS.networkInsightsPath, ids)
  const query = db.selectFrom('network_insights').selectAll().where('account_id', '=', account).where('kind', '=', 'path')
  const rows = ids.length === 0 ? await query.execute() : await inBatches(ids, (batch) => query.where('id', 'in', batch).execute())
  if (ids.length > 0) requireAll(RESOURCE_KINDS.networkInsightsPath, ids, new Set(rows.map((row) => row.id)))
  const tags = await tagsOf(db, rows.map((row) => row.id))
  const matches = compileFilters(input.Filters, FILTERS, (row) => tags.get(row.id) ?? [])
  const { page, nextToken } = paginate(rows.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, max: 100,
    keyOf: (row) => timeKey(row.created_ms, row.id), operation: 'DescribeNetworkInsightsPaths',
  })
  return {
    NetworkInsightsPaths: page.map((row) => insightsPathToWire(row, toWireTags(tags.get(row.id)), region)), NextToken: nextToken,
  }
}
