import { ApiError } from '../core/errors.ts'
import { isSnapshotVisible } from '../model/visible.ts'
import type { SnapshotTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'

/** EC2's limit of a description. */
const MAX_DESCRIPTION_LENGTH = 255

/**
 * The row of a snapshot that the account may use: its own, a public one, or one shared with it.
 *
 * @throws ApiError MissingParameter, InvalidSnapshotID.Malformed, InvalidSnapshot.NotFound.
 */
export async function requireVisibleSnapshot(
  { db, account }: Pick<Context, 'db' | 'account'>,
  snapshotId: string | undefined,
): Promise<SnapshotTable> {
  if (!snapshotId) throw missingParameter('snapshotId')
  checkIds(RESOURCE_KINDS.snapshot, [snapshotId])
  const row = await db
    .selectFrom('snapshots').selectAll().where('snapshot_id', '=', snapshotId).where(isSnapshotVisible(account))
    .executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.snapshot, [snapshotId])
  return row
}

/**
 * The row of a snapshot that the account owns, as changing or deleting one takes.
 *
 * @throws ApiError what `requireVisibleSnapshot` throws; AuthFailure for one that it only may use.
 */
export async function requireOwnSnapshot(context: Context, snapshotId: string | undefined): Promise<SnapshotTable> {
  const row = await requireVisibleSnapshot(context, snapshotId)
  if (row.account_id === context.account) return row
  throw new ApiError('AuthFailure', `Not authorized for snapshot:${row.snapshot_id}`)
}

/** @throws ApiError InvalidParameterValue for a description that is too long. */
export function checkDescription(description: string | undefined): void {
  if ([...(description ?? '')].length <= MAX_DESCRIPTION_LENGTH) return
  throw new ApiError('InvalidParameterValue', `A description may have at most ${MAX_DESCRIPTION_LENGTH} characters.`)
}
