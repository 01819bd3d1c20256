import type {
  DescribeInstanceStatusRequest, DescribeInstanceStatusResult, InstanceStatus,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { STATE_CODES } from '../model/instance.ts'
import { instanceStatuses } from '../model/instance-status-wire.ts'
import { loadOutages, type Outage } from '../model/outage.ts'
import { zoneIdOf } from '../model/zone.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { EVENT_FIELDS, eventsByInstance } from './instance-events.ts'
import { requireInstances } from './instance-rows.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceStatus.html */
const MAX_IDS = 100

/**
 * DescribeInstanceStatus: running instances, with IncludeAllInstances all of them, with what is planned for them.
 * Nothing is managed by others.
 *
 * System and instance are what the status checks found: `impaired` when the machine, or its guest, has not answered in two
 * rounds. Until the guest is first heard of (it asks for its address, or answers the checks) the instance is `initializing`,
 * and `impaired` when that takes more than ten minutes. Instance and volumes are `impaired` as well while the guest stands
 * still because the disk of its host is full, and all of them while its zone has failed, since that did, and until the machine
 * goes on or is started again. A simulated guest is up as soon as it runs.
 */
export async function describeInstanceStatus(
  context: Context,
  input: DescribeInstanceStatusRequest,
): Promise<DescribeInstanceStatusResult> {
  const { db, account, nowMs } = context
  const ids = input.InstanceIds ?? []
  refuseIdsWithMaxResults(ids, input.MaxResults, 'instancesSet')
  if (ids.length > MAX_IDS) {
    throw new ApiError('InvalidParameterValue', `At most ${MAX_IDS} instance IDs can be specified on a single call`)
  }
  const matches = compileFilters(input.Filters, FIELDS)
  const rows = ids.length > 0
    ? await requireInstances(context, ids)
    : await db.selectFrom('instances').selectAll().where('account_id', '=', account).execute()
  const events = await eventsByInstance(context, ids)
  const outageOf = await loadOutages(db)
  const shown = rows
    .filter((row) => input.IncludeAllInstances === true || row.state === 'running')
    .map((row) => ({ row, status: { ...statusToWire(row, nowMs, outageOf(row)), Events: events.get(row.instance_id) ?? [] } }))
    .filter(({ status }) => matches(status))
  const { page, nextToken } = paginate(shown, {
    maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeInstanceStatus',
    keyOf: ({ row }) => timeKey(row.created_ms, row.reservation_id, row.launch_index, row.instance_id),
  })
  return { InstanceStatuses: page.map(({ status }) => status), NextToken: nextToken }
}

function statusToWire(row: InstanceTable, nowMs: number, outage: Outage | undefined): InstanceStatus {
  return {
    AvailabilityZone: row.zone,
    AvailabilityZoneId: zoneIdOf(row.zone),
    InstanceId: row.instance_id,
    InstanceState: { Code: STATE_CODES[row.state], Name: row.state },
    ...instanceStatuses(row, nowMs, outage),
    Operator: { Managed: false },
  }
}

const FIELDS: FilterFields<InstanceStatus> = {
  'attached-ebs-status.status': (each) => each.AttachedEbsStatus?.Status,
  'availability-zone': (each) => each.AvailabilityZone,
  'availability-zone-id': (each) => each.AvailabilityZoneId,
  'instance-state-code': (each) => text(each.InstanceState?.Code),
  'instance-state-name': (each) => each.InstanceState?.Name,
  'instance-status.reachability': (each) => each.InstanceStatus?.Details?.map((detail) => detail.Status),
  'instance-status.status': (each) => each.InstanceStatus?.Status,
  'operator.managed': (each) => text(each.Operator?.Managed),
  'system-status.reachability': (each) => each.SystemStatus?.Details?.map((detail) => detail.Status),
  'system-status.status': (each) => each.SystemStatus?.Status,
  ...EVENT_FIELDS,
  ...withoutValue('operator.principal'),
}
