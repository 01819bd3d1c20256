import type {
  DescribeVolumeStatusRequest, DescribeVolumeStatusResult, EnableVolumeIORequest, VolumeStatusDetails, VolumeStatusEvent,
  VolumeStatusItem,
} from '@aws-sdk/client-ec2'
import { instanceDoc } from '../model/instance.ts'
import { volumeDoc } from '../model/volume.ts'
import { isAttached } from '../model/volume-wire.ts'
import { wakeInstance } from '../model/wake-instance.ts'
import { zoneIdOf } from '../model/zone.ts'
import { preparedIn } from '../store/prepared.ts'
import type { VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { compileFilters, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'
import { incorrectVolumeState, requireVolume, requireVolumes } from './volume-rows.ts'

/**
 * DescribeVolumeStatus, of all volumes, oldest first: `ok`; `insufficient-data` while a volume is being made;
 * `impaired` when it could not be made, or while its guest stands still because the disk of its host is full. Nothing
 * here ever disables the I/O of a volume, so that there are no actions to take.
 * https://docs.aws.amazon.com/ebs/latest/userguide/monitoring-volume-checks.html
 */
export async function describeVolumeStatus(
  context: Context,
  input: DescribeVolumeStatusRequest,
): Promise<DescribeVolumeStatusResult> {
  const { db, account } = context
  const ids = input.VolumeIds ?? []
  refuseIdsWithMaxResults(ids, input.MaxResults, 'volumeSet')
  const matches = compileFilters(input.Filters, FIELDS)
  const rows = ids.length > 0
    ? await requireVolumes(context, ids)
    : await db.selectFrom('volumes').selectAll().where('account_id', '=', account).where('binned_ms', 'is', null).execute()
  const stalls = await stalledInstances(db, rows)
  const shown = rows
    .map((row) => ({ row, status: statusToWire(row, stalls.get(row.instance_id ?? '')) }))
    .filter(({ status }) => matches(status))
  const { page, nextToken } = paginate(shown, {
    maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeVolumeStatus',
    keyOf: ({ row }) => timeKey(row.created_ms, row.volume_id),
  })
  return { VolumeStatuses: page.map(({ status }) => status), NextToken: nextToken }
}

const instancesOf = preparedIn((db, ids) =>
  db.selectFrom('instances').select(['instance_id', 'doc']).where('instance_id', 'in', ids))

/** Since when guests stand still for want of space, by instance id. */
async function stalledInstances(db: Db, rows: readonly VolumeTable[]): Promise<Map<string, number>> {
  const instances = await instancesOf(db, rows.flatMap((row) => row.instance_id ?? []))
  return new Map(instances.flatMap(({ instance_id: id, doc }) => {
    const sinceMs = instanceDoc({ doc }).outOfSpaceSinceMs
    return sinceMs === null ? [] : [[id, sinceMs] as const]
  }))
}

function statusToWire(row: VolumeTable, stalledSinceMs: number | undefined): VolumeStatusItem {
  const health = healthOf(row, stalledSinceMs)
  return {
    Actions: [],
    AttachmentStatuses: isAttached(row)
      ? [{ InstanceId: row.instance_id ?? undefined, IoPerformance: health.performance }]
      : [],
    AvailabilityZone: row.zone,
    AvailabilityZoneId: zoneIdOf(row.zone),
    Events: health.event ? [health.event] : [],
    // A volume of a snapshot shows all of it from the beginning.
    ...(row.snapshot_id === null ? {} : { InitializationStatusDetails: { InitializationType: 'default', Progress: 100 } }),
    Operator: { Managed: false },
    VolumeId: row.volume_id,
    VolumeStatus: {
      Status: health.status,
      Details: [
        { Name: 'io-enabled', Status: health.enabled },
        { Name: 'io-performance', Status: health.performance },
      ] satisfies VolumeStatusDetails[],
    },
  }
}

interface Health {
  status: 'ok' | 'impaired' | 'insufficient-data'
  enabled: 'passed' | 'failed' | 'insufficient-data'
  performance: 'normal' | 'stalled' | 'not-applicable' | 'insufficient-data'
  event?: VolumeStatusEvent
}

function healthOf(row: VolumeTable, stalledSinceMs: number | undefined): Health {
  if (row.state === 'error') {
    const description = volumeDoc(row).errorMessage ?? 'The volume could not be made.'
    return {
      status: 'impaired', enabled: 'failed', performance: 'not-applicable',
      event: { ...eventOf(row, 'potential-data-inconsistency', row.created_ms), Description: description },
    }
  }
  if (row.ready === 0) return { status: 'insufficient-data', enabled: 'insufficient-data', performance: 'insufficient-data' }
  if (stalledSinceMs !== undefined && isAttached(row)) {
    return {
      status: 'impaired', enabled: 'passed', performance: 'stalled',
      event: {
        ...eventOf(row, 'io-performance:stalled', stalledSinceMs), InstanceId: row.instance_id ?? undefined,
        Description: 'The disk of the host has no room for what the instance writes; it goes on as soon as there is some.',
      },
    }
  }
  return { status: 'ok', enabled: 'passed', performance: isProvisioned(row) && isAttached(row) ? 'normal' : 'not-applicable' }
}

/** Only of provisioned IOPS does EC2 tell whether they are had. */
function isProvisioned(row: VolumeTable): boolean {
  return row.volume_type === 'io1' || row.volume_type === 'io2'
}

/** The same event has the same id in every answer. */
function eventOf(row: VolumeTable, type: string, sinceMs: number): VolumeStatusEvent {
  return { EventId: `evol-${row.volume_id.slice('vol-'.length)}`, EventType: type, NotBefore: new Date(sinceMs) }
}

const FIELDS: FilterFields<VolumeStatusItem> = {
  'availability-zone': (each) => each.AvailabilityZone,
  'event.description': (each) => each.Events?.map((event) => event.Description),
  'event.event-id': (each) => each.Events?.map((event) => event.EventId),
  'event.event-type': (each) => each.Events?.map((event) => event.EventType),
  'event.not-before': (each) => each.Events?.map((event) => text(event.NotBefore)),
  'volume-status.details-name': (each) => each.VolumeStatus?.Details?.map((detail) => detail.Name),
  'volume-status.details-status': (each) => each.VolumeStatus?.Details?.map((detail) => detail.Status),
  'volume-status.status': (each) => each.VolumeStatus?.Status,
  ...withoutValue('action.code', 'action.description', 'action.event-id', 'event.not-after'),
}

/**
 * EnableVolumeIO: EC2 disables the I/O of a volume whose data may be inconsistent; that never happens here. A guest
 * that stands still for want of space is let try again at once.
 *
 * @throws ApiError IncorrectState of a volume that could not be made: it has no data.
 */
export async function enableVolumeIO(context: Context, input: EnableVolumeIORequest): Promise<Record<string, never>> {
  const row = await requireVolume(context, input.VolumeId)
  if (row.state === 'error') throw incorrectVolumeState(`The volume '${row.volume_id}' is in the 'error' state.`)
  if (row.instance_id !== null) await wakeInstance(context.db, row.instance_id, context.nowMs)
  return {}
}
