import type { DeleteVolumeRequest, DescribeVolumesRequest, DescribeVolumesResult, Volume } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { binned, recycleRuleFor } from '../model/recycle-rules.ts'
import { changeVolumeDoc, volumeDoc } from '../model/volume.ts'
import { volumeToWire } from '../model/volume-wire.ts'
import type { VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'
import { fromWireTags, tagsOf, toWireTags } from './tags.ts'
import { incorrectVolumeState, requireVolume, requireVolumes } from './volume-rows.ts'

/** The wire form of volumes, in the order given. */
export async function loadVolumes(db: Db, region: string, rows: readonly VolumeTable[]): Promise<Volume[]> {
  const tags = await tagsOf(db, rows.map((row) => row.volume_id))
  return rows.map((row) => volumeToWire(row, region, toWireTags(tags.get(row.volume_id))))
}

/** DescribeVolumes, oldest first. */
export async function describeVolumes(context: Context, input: DescribeVolumesRequest): Promise<DescribeVolumesResult> {
  refuseIdsWithMaxResults(input.VolumeIds, input.MaxResults, 'volumeSet')
  const matches = compileFilters(input.Filters, FIELDS, (item: Volume) => fromWireTags(item.Tags))
  const volumes = await loadVolumes(context.db, context.region, await selectRows(context, input))
  const { page, nextToken } = paginate(volumes.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeVolumes',
    keyOf: (each) => timeKey(each.CreateTime?.getTime() ?? 0, each.VolumeId ?? ''),
  })
  return { Volumes: page, NextToken: nextToken }
}

async function selectRows(context: Context, input: DescribeVolumesRequest): Promise<VolumeTable[]> {
  const ids = input.VolumeIds ?? []
  if (ids.length > 0) return requireVolumes(context, ids)
  let query = context.db.selectFrom('volumes').selectAll().where('account_id', '=', context.account).where('binned_ms', 'is', null)
  for (const [name, column] of COLUMNS) {
    const values = exactValues(input.Filters, name)
    if (values) query = query.where(column, 'in', values)
  }
  return query.execute()
}

/**
 * DeleteVolume: of one that nothing uses; again for one that is going already is the same. Snapshots that are
 * still to be taken of it get what is in it. Where a rule of the recycle bin says so it goes there, with its tags.
 *
 * @throws ApiError VolumeInUse, IncorrectState while it is being made.
 */
export async function deleteVolume(context: Context, input: DeleteVolumeRequest): Promise<Record<string, never>> {
  const { db, nowMs } = context
  const row = await requireVolume(context, input.VolumeId)
  const id = row.volume_id
  if (row.instance_id !== null) {
    throw new ApiError('VolumeInUse', `Volume ${id} is currently attached to ${row.instance_id}`)
  }
  if (row.state === 'creating') throw incorrectVolumeState(`The volume '${id}' is not 'available'.`)
  await forgetTokensOf(context, id)
  // What could not be made has nothing that is worth keeping.
  const retentionMs = row.state === 'available'
    ? await recycleRuleFor(db, { account: row.account_id, resourceType: 'EBS_VOLUME', resourceId: id })
    : undefined
  if (retentionMs !== undefined) {
    await db.updateTable('volumes').set(binned(nowMs, retentionMs)).where('volume_id', '=', id).execute()
    return {}
  }
  await db.updateTable('volumes').set({ state: 'deleting' }).where('volume_id', '=', id).execute()
  await changeVolumeDoc(db, row, { requestIds: { ...volumeDoc(row).requestIds, delete: context.requestId } })
  await enqueue(db, { kind: 'volume', id, hostId: row.host_id }, nowMs)
  return {}
}

/** Filters that are columns. */
const COLUMNS = [
  ['volume-id', 'volume_id'],
  ['attachment.instance-id', 'instance_id'],
  ['snapshot-id', 'snapshot_id'],
  ['availability-zone', 'zone'],
] as const

const FIELDS: FilterFields<Volume> = {
  'attachment.attach-time': (each) => each.Attachments?.map((attachment) => text(attachment.AttachTime)),
  'attachment.delete-on-termination': (each) =>
    each.Attachments?.map((attachment) => text(attachment.DeleteOnTermination)),
  'attachment.device': (each) => each.Attachments?.map((attachment) => attachment.Device),
  'attachment.instance-id': (each) => each.Attachments?.map((attachment) => attachment.InstanceId),
  'attachment.status': (each) => each.Attachments?.map((attachment) => attachment.State),
  'availability-zone': (each) => each.AvailabilityZone,
  'availability-zone-id': (each) => each.AvailabilityZoneId,
  'create-time': (each) => text(each.CreateTime),
  encrypted: (each) => text(each.Encrypted),
  'multi-attach-enabled': (each) => text(each.MultiAttachEnabled),
  'operator.managed': (each) => text(each.Operator?.Managed),
  size: (each) => text(each.Size),
  'snapshot-id': (each) => text(each.SnapshotId),
  status: (each) => each.State,
  'volume-id': (each) => each.VolumeId,
  'volume-type': (each) => each.VolumeType,
  ...withoutValue('fast-restored', 'operator.principal'),
}
