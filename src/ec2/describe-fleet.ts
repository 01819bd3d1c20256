import type {
  ActiveInstance, DescribeFleetHistoryRequest, DescribeFleetHistoryResult, DescribeFleetInstancesRequest, DescribeFleetInstancesResult,
  FleetEventType, HistoryRecordEntry, _InstanceType,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { FLEET_HISTORY_MS, fleetHistory, type FleetHistoryDoc } from '../model/fleet-history.ts'
import { instanceStatuses } from '../model/instance-status-wire.ts'
import { loadOutages } from '../model/outage.ts'
import type { FleetHistoryTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, type FilterFields } from './filters.ts'
import { requireFleet } from './fleet-rows.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkEnum, missingParameter } from './parameters.ts'

const FIELDS: FilterFields<ActiveInstance> = { 'instance-type': (instance) => instance.InstanceType }

/** DescribeFleetInstances: those that run, or are about to. Not of fleets of type `instant`, whose instances DescribeFleets tells. */
export async function describeFleetInstances(
  context: Context,
  { FleetId: id, Filters: filters, MaxResults: maxResults, NextToken: after }: DescribeFleetInstancesRequest,
): Promise<DescribeFleetInstancesResult> {
  const fleet = await requireFleet(context, id)
  const matches = compileFilters(filters, FIELDS)
  if (fleet.type === 'instant') {
    throw new ApiError(
      'Unsupported', `Fleet ${fleet.fleet_id} is instant fleet. Describe fleet instances is not supported by this type of fleet`)
  }
  const found = await activeInstances(context, fleet.fleet_id)
  const { page, nextToken } = paginate(found.filter(matches), {
    maxResults, nextToken: after, min: 1, operation: 'DescribeFleetInstances', keyOf: (each) => each.InstanceId ?? '',
  })
  return { FleetId: fleet.fleet_id, ActiveInstances: page, NextToken: nextToken }
}

/** The instances of a fleet, of either kind, that run or are about to. */
async function activeInstances({ db, nowMs }: Context, fleetId: string): Promise<ActiveInstance[]> {
  const rows = await db
    .selectFrom('instances').selectAll().where('fleet_id', '=', fleetId).where('state', 'in', ['pending', 'running']).execute()
  const outageOf = await loadOutages(db)
  return rows.map((row) => {
    const { SystemStatus: system, InstanceStatus: guest } = instanceStatuses(row, nowMs, outageOf(row))
    return {
      InstanceId: row.instance_id, InstanceType: row.instance_type as _InstanceType, SpotInstanceRequestId: row.spot_request_id ?? undefined,
      InstanceHealth: system.Status === 'impaired' || guest.Status === 'impaired' ? 'unhealthy' : 'healthy',
    }
  })
}

/** Its words for the types of events; what is only of information is an event of the service. */
const EVENT_TYPES: Readonly<Record<FleetHistoryTable['event_type'], FleetEventType>> = {
  instanceChange: 'instance-change', fleetRequestChange: 'fleet-change', error: 'service-error', information: 'service-error',
}

/**
 * DescribeFleetHistory: what has happened since StartTime, of the last two days. Fleets of type `instant` have none, since all that
 * happens to them is told by CreateFleet.
 */
export async function describeFleetHistory(context: Context, input: DescribeFleetHistoryRequest): Promise<DescribeFleetHistoryResult> {
  const type = checkEnum('EventType', input.EventType, ['instance-change', 'fleet-change', 'service-error'])
  const { StartTime: start } = input
  if (!start) throw missingParameter('StartTime')
  const fleet = await requireFleet(context, input.FleetId)
  if (fleet.type === 'instant') {
    throw new ApiError(
      'Unsupported', `Fleet ${fleet.fleet_id} is instant fleet. Describe fleet history is not supported by this type of fleet`)
  }
  const { db, nowMs } = context
  const rows = await fleetHistory(db, fleet.fleet_id, Math.max(start.getTime(), nowMs - FLEET_HISTORY_MS))
  const wanted = rows.filter((row) => type === undefined || EVENT_TYPES[row.event_type] === type)
  const { page, nextToken } = paginate(wanted, {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, operation: 'DescribeFleetHistory', keyOf: (row) => timeKey(row.seq),
  })
  return {
    FleetId: fleet.fleet_id, StartTime: start, HistoryRecords: page.map(recordToWire), NextToken: nextToken,
    LastEvaluatedTime: nextToken === undefined ? new Date(nowMs) : undefined,
  }
}

function recordToWire(row: FleetHistoryTable): HistoryRecordEntry {
  const { subType, description, instanceId } = JSON.parse(row.doc) as FleetHistoryDoc
  return {
    EventType: EVENT_TYPES[row.event_type], Timestamp: new Date(row.at_ms),
    EventInformation: { EventSubType: subType, EventDescription: description, InstanceId: instanceId },
  }
}
