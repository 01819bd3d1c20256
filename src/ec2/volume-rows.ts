import { ApiError } from '../core/errors.ts'
import { isSnapshotVisible } from '../model/visible.ts'
import { inBatches } from '../store/batch.ts'
import type { SnapshotTable, VolumeTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, requireAll, RESOURCE_KINDS } from './resources.ts'

/**
 * The rows of all volumes named, each once; one in the recycle bin is not there.
 *
 * @throws ApiError InvalidVolumeID.Malformed, InvalidVolume.NotFound.
 */
export async function requireVolumes({ db, account }: Context, ids: readonly string[]): Promise<VolumeTable[]> {
  checkIds(RESOURCE_KINDS.volume, ids)
  const rows = await inBatches([...new Set(ids)], (batch) =>
    db.selectFrom('volumes').selectAll()
      .where('account_id', '=', account).where('binned_ms', 'is', null).where('volume_id', 'in', batch).execute())
  requireAll(RESOURCE_KINDS.volume, ids, new Set(rows.map((row) => row.volume_id)))
  return rows
}

/** The row of the one volume named; errors as of `requireVolumes`, and MissingParameter. */
export async function requireVolume(context: Context, id: string | undefined): Promise<VolumeTable> {
  if (!id) throw missingParameter('VolumeId')
  const [row] = await requireVolumes(context, [id])
  if (!row) throw new Error(`${id} was found without a row`)
  return row
}

/** EC2's error for a volume, or what it is made of, in a state that does not allow what was asked. */
export function incorrectVolumeState(message: string): ApiError {
  return new ApiError('IncorrectState', message)
}

/**
 * A snapshot to make a volume of: one that the account sees, or one that is under `imageId`, which it may launch.
 *
 * @throws ApiError InvalidSnapshotID.Malformed, InvalidSnapshot.NotFound, IncorrectState before it is complete.
 */
export async function requireSnapshotToUse(
  { db, account }: Context,
  snapshotId: string,
  imageId?: string,
): Promise<SnapshotTable> {
  checkIds(RESOURCE_KINDS.snapshot, [snapshotId])
  const row = await db
    .selectFrom('snapshots').selectAll().where('snapshot_id', '=', snapshotId)
    .where((eb) => eb.or([
      isSnapshotVisible(account),
      ...(imageId === undefined ? [] : [eb.exists(
        eb.selectFrom('image_snapshots').select('image_id')
          .where('image_snapshots.snapshot_id', '=', snapshotId).where('image_snapshots.image_id', '=', imageId),
      )]),
    ]))
    .executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.snapshot, [snapshotId])
  if (row.state !== 'completed') throw incorrectVolumeState(`Snapshot ${snapshotId} is in invalid state - ${row.state}`)
  return row
}
