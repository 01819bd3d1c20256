import type {
  DescribeInstanceStatusRequest, DescribeInstanceStatusResult, InstanceStatus, InstanceStatusSummary,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { instanceDoc, STATE_CODES } from '../model/instance.ts'
import { zoneIdOf } from '../model/zone.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { EVENT_FIELDS, eventsByInstance } from './instance-events.ts'
import { requireInstances } from './instance-rows.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'

/** How long a guest may take to boot before it counts as impaired; emulated ones take minutes. */
const BOOT_DEADLINE_MS = 10 * 60 * 1000

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceStatus.html */
const MAX_IDS = 100

/**
 * DescribeInstanceStatus: running instances, with IncludeAllInstances all of them, with what is planned for them.
 * Nothing is managed by others.
 *
 * The system and its volumes are `ok` while the machine runs; instance and volumes are `impaired` while
 * the guest stands still because the disk of its host is full. The instance is `initializing` until its
 * guest has asked for its address since the last start, which it does when kernel and network are
 * up, and `impaired` when it has not ten minutes later. A simulated guest is up as soon as it runs.
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
  const events = await eventsByInstance(context)
  const shown = rows
    .filter((row) => input.IncludeAllInstances === true || row.state === 'running')
    .map((row) => ({ row, status: { ...statusToWire(row, nowMs), Events: events.get(row.instance_id) ?? [] } }))
    .filter(({ status }) => matches(status))
  const { page, nextToken } = paginate(shown, {
    maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeInstanceStatus',
    keyOf: ({ row }) => timeKey(row.created_ms, row.reservation_id, row.launch_index, row.instance_id),
  })
  return { InstanceStatuses: page.map(({ status }) => status), NextToken: nextToken }
}

function statusToWire(row: InstanceTable, nowMs: number): InstanceStatus {
  const isRunning = row.state === 'running'
  return {
    AvailabilityZone: row.zone,
    AvailabilityZoneId: zoneIdOf(row.zone),
    InstanceId: row.instance_id,
    InstanceState: { Code: STATE_CODES[row.state], Name: row.state },
    InstanceStatus: isRunning ? guestStatus(row, nowMs) : NOT_APPLICABLE,
    SystemStatus: isRunning ? OK : NOT_APPLICABLE,
    AttachedEbsStatus: isRunning ? volumeStatus(row) : NOT_APPLICABLE,
    Operator: { Managed: false },
  }
}

const OK = { Status: 'ok', Details: [{ Name: 'reachability', Status: 'passed' }] } as const satisfies InstanceStatusSummary
const NOT_APPLICABLE = { Status: 'not-applicable' } as const satisfies InstanceStatusSummary

function guestStatus(row: InstanceTable, nowMs: number): InstanceStatusSummary {
  const { contactMs, platform, outOfSpaceSinceMs } = instanceDoc(row)
  if (outOfSpaceSinceMs !== null) return impaired(outOfSpaceSinceMs)
  if (platform?.accelerator === 'sim' || (contactMs !== null && contactMs >= row.launch_ms)) return OK
  const deadlineMs = row.launch_ms + BOOT_DEADLINE_MS
  if (nowMs < deadlineMs) {
    return { Status: 'initializing', Details: [{ Name: 'reachability', Status: 'initializing' }] }
  }
  return impaired(deadlineMs)
}

function volumeStatus(row: InstanceTable): InstanceStatusSummary {
  const { outOfSpaceSinceMs } = instanceDoc(row)
  return outOfSpaceSinceMs === null ? OK : impaired(outOfSpaceSinceMs)
}

function impaired(sinceMs: number): InstanceStatusSummary {
  return { Status: 'impaired', Details: [{ Name: 'reachability', Status: 'failed', ImpairedSince: new Date(sinceMs) }] }
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
