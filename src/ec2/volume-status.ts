import type {
  DescribeVolumeStatusRequest, DescribeVolumeStatusResult, EnableVolumeIORequest, VolumeStatusDetails, VolumeStatusEvent,
  VolumeStatusItem,
} from '@aws-sdk/client-ec2'
import { instanceDoc } from '../model/instance.ts'
import { volumeDoc } from '../model/volume.ts'
import { isAttached } from '../model/volume-wire.ts'
import { wakeInstance } from '../model/wake-instance.ts'
import { lostSinceMs, loadOutages, type Outage } from '../model/outage.ts'
import { zoneIdOf } from '../model/zone.ts'
import { preparedIn } from '../store/prepared.ts'
import type { InstanceTable, VolumeTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'
import { incorrectVolumeState, requireVolume, requireVolumes } from './volume-rows.ts'

/**
 * DescribeVolumeStatus, of all volumes, oldest first: `ok`; `insufficient-data` while a volume is being made;
 * `impaired` when it could not be made, or while its guest stands still because the disk of its host is full. While its zone
 * has failed it is `impaired` with an instance, as long as that is, and nothing is known of it without one. Nothing here ever disables the I/O of
 * a volume, so that there are no actions to take.
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
  const instances = new Map((await instancesOf(db, rows.flatMap((row) => row.instance_id ?? []))).map((each) => [each.instance_id, each]))
  const outageOf = await loadOutages(db)
  const health = (row: VolumeTable) => {
    const instance = instances.get(row.instance_id ?? '')
    return healthOf(row, instance, outageOf(instance ?? row))
  }
  const shown = rows
    .map((row) => ({ row, status: statusToWire(row, health(row)) }))
    .filter(({ status }) => matches(status))
  const { page, nextToken } = paginate(shown, {
    maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeVolumeStatus',
    keyOf: ({ row }) => timeKey(row.created_ms, row.volume_id),
  })
  return { VolumeStatuses: page.map(({ status }) => status), NextToken: nextToken }
}

const instancesOf = preparedIn((db, ids) =>
  db.selectFrom('instances').select(['instance_id', 'zone', 'host_id', 'state', 'doc']).where('instance_id', 'in', ids))

function statusToWire(row: VolumeTable, health: Health): VolumeStatusItem {
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

function healthOf(
  row: VolumeTable,
  instance: Pick<InstanceTable, 'state' | 'doc'> | undefined,
  outage: Outage | undefined,
): Health {
  if (row.state === 'error') {
    const description = volumeDoc(row).errorMessage ?? 'The volume could not be made.'
    return {
      status: 'impaired', enabled: 'failed', performance: 'not-applicable',
      event: { ...eventOf(row, 'potential-data-inconsistency', row.created_ms), Description: description },
    }
  }
  const hasZoneFailed = outage !== undefined && outage.zone.state !== 'available'
  if (row.ready === 0 || (hasZoneFailed && !isAttached(row))) {
    return { status: 'insufficient-data', enabled: 'insufficient-data', performance: 'insufficient-data' }
  }
  const stall = instance && isAttached(row) ? stallOf(instance, outage) : undefined
  if (stall) return stalled(row, stall.sinceMs, stall.why)
  return { status: 'ok', enabled: 'passed', performance: isProvisioned(row) && isAttached(row) ? 'normal' : 'not-applicable' }
}

/** Since when the instance does nothing with its volumes, and why. */
function stallOf(instance: Pick<InstanceTable, 'state' | 'doc'>, outage: Outage | undefined): { sinceMs: number; why: string } | undefined {
  const { outOfSpaceSinceMs } = instanceDoc(instance)
  if (outage && !outage.isOver) {
    const { zone, state } = outage.zone
    return {
      sinceMs: outage.sinceMs,
      why: state === 'available' ? `What is in the Availability Zone ${zone} is about to go on.` : `The Availability Zone ${zone} is ${state}.`,
    }
  }
  const lostMs = lostSinceMs(instance, outage)
  if (lostMs !== null) return { sinceMs: lostMs, why: 'The machine of the instance has lost its power, and is about to be started again.' }
  if (outOfSpaceSinceMs === null) return undefined
  return {
    sinceMs: outOfSpaceSinceMs, why: 'The disk of the host has no room for what the instance writes; it goes on as soon as there is some.',
  }
}

function stalled(row: VolumeTable, sinceMs: number, description: string): Health {
  return {
    status: 'impaired', enabled: 'passed', performance: 'stalled',
    event: { ...eventOf(row, 'io-performance:stalled', sinceMs), InstanceId: row.instance_id ?? undefined, Description: description },
  }
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
