import type { DeleteSnapshotReturnCode, DeregisterImageRequest, DeregisterImageResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { imageDoc, type ImageDoc } from '../model/image.ts'
import { emitImageState } from '../model/image-events.ts'
import { binned, recycleRuleFor } from '../model/recycle-rules.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { deleteSnapshot } from './delete-snapshot.ts'
import { requireOwnImage } from './image-rows.ts'
import { deleteTagsOf } from './tags.ts'

/** How long an image stays protected after its protection was disabled, where that was asked for. */
export const COOLDOWN_MS = 24 * 60 * 60 * 1000

/**
 * DeregisterImage: nobody can launch it any more; its instances stay, and so do its snapshots unless
 * DeleteAssociatedSnapshots. Where a retention rule matches it, it goes into the recycle bin, and with it those
 * of its snapshots that a rule keeps as well: others stay, for it needs them to be restored.
 *
 * @throws ApiError AuthFailure for somebody else's; OperationNotPermitted for one that is protected.
 */
export async function deregisterImage(context: Context, input: DeregisterImageRequest): Promise<DeregisterImageResult> {
  const { db, account, nowMs } = context
  const row = await requireOwnImage(context, input.ImageId)
  checkProtection(row.image_id, imageDoc(row), nowMs)
  const snapshots = await db
    .selectFrom('image_snapshots').select('snapshot_id').distinct().where('image_id', '=', row.image_id)
    .orderBy('snapshot_id').execute()
  const retentionMs = await recycleRuleFor(db, { account, resourceType: 'EC2_IMAGE', resourceId: row.image_id })
  if (retentionMs === undefined) await removeImage(context, row)
  else await db.updateTable('images').set(binned(nowMs, retentionMs)).where('image_id', '=', row.image_id).execute()
  await emitImageState(db, row, { state: 'deregistered', requestId: context.requestId }, nowMs)
  if (!input.DeleteAssociatedSnapshots) return { Return: true }
  const results: DeleteSnapshotReturnCode[] = []
  for (const { snapshot_id: id } of snapshots) results.push(await deleteUnder(context, id))
  return { Return: true, DeleteSnapshotResults: results }
}

function checkProtection(imageId: string, { deregistrationProtection: protection }: ImageDoc, nowMs: number): void {
  if (protection?.enabled) {
    throw new ApiError(
      'OperationNotPermitted',
      `The image '${imageId}' may not be deregistered: deregistration protection is enabled. Disable it and try again.`,
    )
  }
  const freeMs = protection?.cooldown && protection.disabledMs !== undefined ? protection.disabledMs + COOLDOWN_MS : 0
  if (nowMs >= freeMs) return
  throw new ApiError(
    'OperationNotPermitted',
    `The image '${imageId}' may not be deregistered before ${new Date(freeMs).toISOString()}: its deregistration protection ` +
      'was enabled with a cooldown period of 24 hours.',
  )
}

/** Deletes an image's rows, but none of its snapshots. */
async function removeImage(context: Context, row: ImageTable): Promise<void> {
  await deleteTagsOf(context.db, [row.image_id])
  await forgetTokensOf(context, row.image_id)
  await context.db.deleteFrom('images').where('image_id', '=', row.image_id).execute()
}

/** Deletes a snapshot that was under the image, and says how that went: what others use stays. */
async function deleteUnder(context: Context, snapshotId: string): Promise<DeleteSnapshotReturnCode> {
  const code = await codeOf(context, snapshotId)
  return { SnapshotId: snapshotId, ReturnCode: code }
}

async function codeOf(context: Context, snapshotId: string): Promise<DeleteSnapshotReturnCode['ReturnCode']> {
  if (await isUnderAnother(context.db, snapshotId)) return 'skipped'
  try {
    await deleteSnapshot(context, { SnapshotId: snapshotId })
    return 'success'
  } catch (error) {
    // It looks before it writes, so nothing is half done.
    if (!(error instanceof ApiError)) throw error
    if (error.code === 'InvalidSnapshot.InUse') return 'skipped'
    return error.code === 'AuthFailure' ? 'missing-permissions' : 'client-error'
  }
}

async function isUnderAnother(db: Db, snapshotId: string): Promise<boolean> {
  const other = await db
    .selectFrom('image_snapshots').innerJoin('images', 'images.image_id', 'image_snapshots.image_id')
    .select('images.image_id').where('image_snapshots.snapshot_id', '=', snapshotId).where('images.binned_ms', 'is', null)
    .executeTakeFirst()
  return other !== undefined
}
