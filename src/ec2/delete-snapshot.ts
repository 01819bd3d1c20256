import type { DeleteSnapshotRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { binned, recycleRuleFor } from '../model/recycle-rules.ts'
import { removeSnapshot } from '../model/snapshot.ts'
import { lockOf } from '../model/snapshot-lock.ts'
import type { SnapshotTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { requireOwnSnapshot } from './snapshot-rows.ts'

/**
 * DeleteSnapshot, in any order: what other snapshots and volumes need of it stays for them. A pending one may go as
 * well. Where a retention rule matches it, it goes into the recycle bin.
 *
 * @throws ApiError InvalidSnapshot.InUse while an image is made of it; OperationNotPermitted while it is locked.
 */
export async function deleteSnapshot(context: Context, input: DeleteSnapshotRequest): Promise<Record<string, never>> {
  const { db, account, nowMs } = context
  const row = await requireOwnSnapshot(context, input.SnapshotId)
  const lock = lockOf(row, nowMs)
  if (lock && lock.state !== 'expired') {
    throw new ApiError(
      'OperationNotPermitted', `The snapshot '${row.snapshot_id}' is locked in ${lock.lock.mode} mode and can't be deleted.`,
    )
  }
  const retentionMs = await recycleRuleFor(db, { account, resourceType: 'EBS_SNAPSHOT', resourceId: row.snapshot_id })
  await checkUnused(context, row, retentionMs !== undefined)
  if (retentionMs === undefined) await removeSnapshot(db, row, nowMs)
  else {
    await db
      .updateTable('snapshots').set(binned(nowMs, retentionMs)).where('snapshot_id', '=', row.snapshot_id).execute()
  }
  return {}
}

/**
 * Refuses while an image needs it. One in the recycle bin needs it only if it is to be gone for good: it can be
 * restored after its snapshots were.
 */
async function checkUnused({ db }: Context, { snapshot_id: id }: SnapshotTable, isKept: boolean): Promise<void> {
  const users = await db
    .selectFrom('image_snapshots').innerJoin('images', 'images.image_id', 'image_snapshots.image_id')
    .select(['images.image_id', 'images.binned_ms']).where('image_snapshots.snapshot_id', '=', id)
    .orderBy('images.image_id').execute()
  const user = users.find((image) => image.binned_ms === null || !isKept)
  if (user) throw new ApiError('InvalidSnapshot.InUse', `The snapshot ${id} is currently in use by ${user.image_id}`)
}
