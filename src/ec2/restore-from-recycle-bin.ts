import type {
  RestoreImageFromRecycleBinRequest, RestoreImageFromRecycleBinResult, RestoreSnapshotFromRecycleBinRequest,
  RestoreSnapshotFromRecycleBinResult, RestoreVolumeFromRecycleBinRequest, RestoreVolumeFromRecycleBinResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { snapshotDoc } from '../model/snapshot.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { NO_VOLUME } from './recycle-bin.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'

/** The columns of what is outside the bin. */
const OUTSIDE = { binned_ms: null, bin_exit_ms: null } as const

/**
 * RestoreImageFromRecycleBin: the image is as it was, with its launch permissions and tags. Its snapshots
 * must be there: those that are in the bin too are to be restored first. Its name must still be free.
 * https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-working-with-amis.html
 *
 * @throws ApiError InvalidAMIID.NotFound for what is not in the bin, InvalidAMIName.Duplicate, IncorrectState.
 */
export async function restoreImageFromRecycleBin(
  { db, account }: Context,
  { ImageId: id }: RestoreImageFromRecycleBinRequest,
): Promise<RestoreImageFromRecycleBinResult> {
  if (!id) throw missingParameter('ImageId')
  checkIds(RESOURCE_KINDS.image, [id])
  const row = await db
    .selectFrom('images').select('name')
    .where('image_id', '=', id).where('account_id', '=', account).where('binned_ms', 'is not', null).executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.image, [id])
  const namesake = await db
    .selectFrom('images').select('image_id')
    .where('account_id', '=', account).where('name', '=', row.name).where('binned_ms', 'is', null).executeTakeFirst()
  if (namesake) {
    throw new ApiError('InvalidAMIName.Duplicate', `AMI name ${row.name} is already in use by AMI ${namesake.image_id}`)
  }
  const gone = await db
    .selectFrom('image_snapshots').innerJoin('snapshots', 'snapshots.snapshot_id', 'image_snapshots.snapshot_id')
    .select('snapshots.snapshot_id').where('image_id', '=', id).where('binned_ms', 'is not', null).executeTakeFirst()
  if (gone) {
    throw new ApiError(
      'IncorrectState', `The snapshot '${gone.snapshot_id}' of the image '${id}' is in the Recycle Bin; restore it first.`)
  }
  await db.updateTable('images').set(OUTSIDE).where('image_id', '=', id).execute()
  return { Return: true }
}

/**
 * RestoreSnapshotFromRecycleBin: the snapshot is as it was, with its permissions and tags.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RestoreSnapshotFromRecycleBin.html
 *
 * @throws ApiError InvalidSnapshot.NotFound for what is not in the bin.
 */
export async function restoreSnapshotFromRecycleBin(
  { db, account }: Context,
  { SnapshotId: id }: RestoreSnapshotFromRecycleBinRequest,
): Promise<RestoreSnapshotFromRecycleBinResult> {
  if (!id) throw missingParameter('SnapshotId')
  checkIds(RESOURCE_KINDS.snapshot, [id])
  const row = await db
    .selectFrom('snapshots').selectAll()
    .where('snapshot_id', '=', id).where('account_id', '=', account).where('binned_ms', 'is not', null).executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.snapshot, [id])
  await db.updateTable('snapshots').set(OUTSIDE).where('snapshot_id', '=', id).execute()
  return {
    SnapshotId: id, Description: snapshotDoc(row).description ?? '', Encrypted: row.encrypted === 1, OwnerId: account,
    Progress: row.state === 'completed' ? '100%' : '0%', StartTime: new Date(row.created_ms), State: row.state,
    VolumeId: row.volume_id ?? NO_VOLUME, VolumeSize: row.size_gib, SseType: row.encrypted === 1 ? 'sse-kms' : undefined,
  }
}

/**
 * RestoreVolumeFromRecycleBin: the volume is `available`, with its data and tags; what it was attached to is not said.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RestoreVolumeFromRecycleBin.html
 *
 * @throws ApiError InvalidVolume.NotFound for what is not in the bin.
 */
export async function restoreVolumeFromRecycleBin(
  { db, account }: Context,
  { VolumeId: id }: RestoreVolumeFromRecycleBinRequest,
): Promise<RestoreVolumeFromRecycleBinResult> {
  if (!id) throw missingParameter('VolumeId')
  checkIds(RESOURCE_KINDS.volume, [id])
  const restored = await db
    .updateTable('volumes').set({ ...OUTSIDE, state: 'available' })
    .where('volume_id', '=', id).where('account_id', '=', account)
    // One whose time is over is going, file and all.
    .where('binned_ms', 'is not', null).where('state', '<>', 'deleting')
    .executeTakeFirst()
  if (restored.numUpdatedRows === 0n) throw notFoundError(RESOURCE_KINDS.volume, [id])
  return { Return: true }
}
