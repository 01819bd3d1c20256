import type {
  DeleteNetworkInsightsAnalysisRequest, DeleteNetworkInsightsAnalysisResult, DescribeNetworkInsightsAnalysesRequest,
  DescribeNetworkInsightsAnalysesResult, StartNetworkInsightsAnalysisRequest, StartNetworkInsightsAnalysisResult,
} from '@aws-sdk/client-ec2'
import { newId } from '../core/ids.ts'
import { insightsAnalysisDoc, insightsPathDoc } from '../model/network-insights.ts'
import { insightsAnalysisToWire } from '../model/network-insights-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { NetworkInsightsTable } from '../store/schema.ts'
import { claimToken, forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { analyse } from './network-insights-analyse.ts'
import { compileFilters, filterText, type FilterFields } from './filters.ts'
import { findPath } from './network-insights-paths.ts'
import { paginate, timeKey } from './pagination.ts'
import { refuseParameters } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { deleteTagsOf, insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'

/**
 * StartNetworkInsightsAnalysis: answers the path's question from the rows as they are now. It has
 * succeeded when the call returns, whatever it found; it fails when an end of the path is gone.
 *
 * @throws ApiError InvalidNetworkInsightsPathId.NotFound, IdempotentParameterMismatch.
 */
export async function startNetworkInsightsAnalysis(
  context: Context,
  input: StartNetworkInsightsAnalysisRequest,
): Promise<StartNetworkInsightsAnalysisResult> {
  const { db, account, random, nowMs } = context
  refuseParameters(input, ['AdditionalAccounts', 'FilterInArns', 'FilterOutArns'])
  const type = 'network-insights-analysis'
  const tags = parseTagSpecifications(input.TagSpecifications, [type]).get(type) ?? []
  const path = await findPath(context, input.NetworkInsightsPathId ?? '')
  const id = newId(random, 'nia')
  const earlier = await claimToken(context, 'StartNetworkInsightsAnalysis', input, id)
  if (earlier !== undefined) return { NetworkInsightsAnalysis: await loadAnalysis(context, earlier) }
  const doc = await analyse(context, insightsPathDoc(path))
  await db.insertInto('network_insights').values({
    id, account_id: account, kind: 'analysis', path_id: path.id, created_ms: nowMs, doc: JSON.stringify(doc),
  }).execute()
  await insertTags(db, account, type, id, tags)
  return { NetworkInsightsAnalysis: await loadAnalysis(context, id) }
}

async function findAnalysis({ db, account }: Context, id: string): Promise<NetworkInsightsTable> {
  checkIds(RESOURCE_KINDS.networkInsightsAnalysis, [id])
  const row = await db
    .selectFrom('network_insights').selectAll()
    .where('account_id', '=', account).where('kind', '=', 'analysis').where('id', '=', id).executeTakeFirst()
  requireAll(RESOURCE_KINDS.networkInsightsAnalysis, [id], new Set(row ? [id] : []))
  return row as NetworkInsightsTable
}

async function loadAnalysis(context: Context, id: string) {
  const row = await findAnalysis(context, id)
  return insightsAnalysisToWire(row, toWireTags((await tagsOf(context.db, [id])).get(id)), context.region)
}

/** DeleteNetworkInsightsAnalysis. */
export async function deleteNetworkInsightsAnalysis(
  context: Context,
  input: DeleteNetworkInsightsAnalysisRequest,
): Promise<DeleteNetworkInsightsAnalysisResult> {
  const { db } = context
  const { id } = await findAnalysis(context, input.NetworkInsightsAnalysisId ?? '')
  await deleteTagsOf(db, [id])
  await forgetTokensOf(context, id)
  await db.deleteFrom('network_insights').where('id', '=', id).execute()
  return { NetworkInsightsAnalysisId: id }
}

const FILTERS: FilterFields<NetworkInsightsTable> = {
  'path-found': (row) => filterText(insightsAnalysisDoc(row).pathFound),
  status: (row) => insightsAnalysisDoc(row).status,
}

/** DescribeNetworkInsightsAnalyses: those named, those of a path, or all of the account, oldest first. */
export async function describeNetworkInsightsAnalyses(
  context: Context,
  input: DescribeNetworkInsightsAnalysesRequest,
): Promise<DescribeNetworkInsightsAnalysesResult> {
  const { db, region } = context
  const rows = (await chosenAnalyses(context, input)).filter((row) =>
    row.created_ms >= (input.AnalysisStartTime?.getTime() ?? -Infinity)
    && row.created_ms <= (input.AnalysisEndTime?.getTime() ?? Infinity))
  const tags = await tagsOf(db, rows.map((row) => row.id))
  const matches = compileFilters(input.Filters, FILTERS, (row) => tags.get(row.id) ?? [])
  const { page, nextToken } = paginate(rows.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, max: 100,
    keyOf: (row) => timeKey(row.created_ms, row.id), operation: 'DescribeNetworkInsightsAnalyses',
  })
  return {
    NetworkInsightsAnalyses: page.map((row) => insightsAnalysisToWire(row, toWireTags(tags.get(row.id)), region)),
    NextToken: nextToken,
  }
}

async function chosenAnalyses(context: Context, input: DescribeNetworkInsightsAnalysesRequest): Promise<NetworkInsightsTable[]> {
  const { db, account } = context
  const ids = input.NetworkInsightsAnalysisIds ?? []
  checkIds(RESOURCE_KINDS.networkInsightsAnalysis, ids)
  let query = db.selectFrom('network_insights').selectAll().where('account_id', '=', account).where('kind', '=', 'analysis')
  if (input.NetworkInsightsPathId) query = query.where('path_id', '=', (await findPath(context, input.NetworkInsightsPathId)).id)
  if (ids.length === 0) return query.execute()
  const rows = await inBatches(ids, (batch) => query.where('id', 'in', batch).execute())
  requireAll(RESOURCE_KINDS.networkInsightsAnalysis, ids, new Set(rows.map((row) => row.id)))
  return rows
}
