import type {
  ActiveInstance, DescribeSpotFleetInstancesRequest, DescribeSpotFleetInstancesResponse, DescribeSpotFleetRequestHistoryRequest,
  DescribeSpotFleetRequestHistoryResponse, DescribeSpotFleetRequestsRequest, DescribeSpotFleetRequestsResponse, _InstanceType,
} from '@aws-sdk/client-ec2'
import { isForgotten, type FleetState } from '../model/fleet.ts'
import { fleetHistory, FLEET_HISTORY_MS } from '../model/fleet-history.ts'
import { instanceStatuses } from '../model/instance-status-wire.ts'
import { loadOutages } from '../model/outage.ts'
import { spotFleetHistoryToWire, spotFleetToWire } from '../model/spot-fleet.ts'
import type { Context } from './context.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkEnum, missingParameter } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { requireSpotFleet } from './spot-fleet-rows.ts'
import { tagsOf, toWireTags } from './tags.ts'

/** Of instances and of records: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotFleetInstances.html */
const PAGE = { min: 1, max: 1000 } as const

/** DescribeSpotFleetRequests: cancelled ones for two days. */
export async function describeSpotFleetRequests(
  { db, account, nowMs }: Context,
  input: DescribeSpotFleetRequestsRequest,
): Promise<DescribeSpotFleetRequestsResponse> {
  const ids = input.SpotFleetRequestIds ?? []
  checkIds(RESOURCE_KINDS.spotFleet, ids)
  const shown = (await db.selectFrom('fleets').selectAll().where('account_id', '=', account).where('kind', '=', 'spot-fleet').execute())
    .filter((row) => !isForgotten(row, nowMs))
  requireAll(RESOURCE_KINDS.spotFleet, ids, new Set(shown.map((row) => row.fleet_id)))
  const { page, nextToken } = paginate(ids.length > 0 ? shown.filter((row) => ids.includes(row.fleet_id)) : shown, {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, operation: 'DescribeSpotFleetRequests',
    keyOf: (row) => timeKey(row.created_ms, row.fleet_id),
  })
  const tags = await tagsOf(db, page.map((row) => row.fleet_id))
  return {
    SpotFleetRequestConfigs: page.map((row) => spotFleetToWire(row, row.state as FleetState, toWireTags(tags.get(row.fleet_id)))),
    NextToken: nextToken,
  }
}

/** DescribeSpotFleetInstances: those that have not ended, and are not about to. */
export async function describeSpotFleetInstances(
  context: Context,
  input: DescribeSpotFleetInstancesRequest,
): Promise<DescribeSpotFleetInstancesResponse> {
  const { fleet_id: fleetId } = await requireSpotFleet(context, input.SpotFleetRequestId)
  const rows = await context.db
    .selectFrom('instances').selectAll().where('account_id', '=', context.account).where('fleet_id', '=', fleetId)
    .where('state', 'not in', ['shutting-down', 'terminated']).execute()
  const { page, nextToken } = paginate(rows, {
    maxResults: input.MaxResults, nextToken: input.NextToken, ...PAGE, operation: 'DescribeSpotFleetInstances',
    keyOf: (row) => timeKey(row.created_ms, row.instance_id),
  })
  const outageOf = await loadOutages(context.db)
  const instances = page.map((row): ActiveInstance => {
    const { SystemStatus: system, InstanceStatus: guest } = instanceStatuses(row, context.nowMs, outageOf(row))
    return {
      InstanceId: row.instance_id, InstanceType: row.instance_type as _InstanceType, SpotInstanceRequestId: row.spot_request_id ?? undefined,
      InstanceHealth: system.Status === 'impaired' || guest.Status === 'impaired' ? 'unhealthy' : 'healthy',
    }
  })
  return { SpotFleetRequestId: fleetId, ActiveInstances: instances, NextToken: nextToken }
}

/** DescribeSpotFleetRequestHistory: of the last two days, oldest first. */
export async function describeSpotFleetRequestHistory(
  context: Context,
  input: DescribeSpotFleetRequestHistoryRequest,
): Promise<DescribeSpotFleetRequestHistoryResponse> {
  const { db, nowMs } = context
  const type = checkEnum('EventType', input.EventType, ['instanceChange', 'fleetRequestChange', 'error', 'information'])
  if (!input.StartTime) throw missingParameter('StartTime')
  const { fleet_id: fleetId } = await requireSpotFleet(context, input.SpotFleetRequestId)
  const records = await fleetHistory(db, fleetId, Math.max(input.StartTime.getTime(), nowMs - FLEET_HISTORY_MS))
  const { page, nextToken } = paginate(records.filter((record) => type === undefined || record.event_type === type), {
    maxResults: input.MaxResults, nextToken: input.NextToken, ...PAGE, operation: 'DescribeSpotFleetRequestHistory',
    keyOf: (record) => timeKey(record.at_ms, record.seq),
  })
  return {
    SpotFleetRequestId: fleetId, StartTime: input.StartTime, HistoryRecords: page.map(spotFleetHistoryToWire), NextToken: nextToken,
    // Only where nothing is left to be read of the time before.
    ...(nextToken === undefined ? { LastEvaluatedTime: new Date(nowMs) } : {}),
  }
}
