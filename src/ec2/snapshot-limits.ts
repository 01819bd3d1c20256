import { ApiError } from '../core/errors.ts'
import { snapshotDoc } from '../model/snapshot.ts'
import type { VolumeTable } from '../store/schema.ts'
import { inBatches } from '../store/batch.ts'
import type { Context } from './context.ts'

/** Snapshots of one volume that may be pending at once, and of one on a slow disk. */
const MOST_PENDING = 5
const MOST_PENDING_OF_HDD = 1
const HDD_TYPES: readonly string[] = ['st1', 'sc1']

/** Copies of snapshots that an account may have under way in a region: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html */
const MOST_COPIES = 20

/** How long to wait before the next snapshot of a volume while one is pending. */
const CONCURRENT_INTERVAL_MS = 15_000

/**
 * Refuses snapshots of a volume of which there are enough under way. Once they are complete, the next one
 * may follow at once.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
 *
 * @throws ApiError ConcurrentSnapshotLimitExceeded, SnapshotCreationPerVolumeRateExceeded.
 */
export async function checkSnapshotLimits(
  { db, account, nowMs }: Context,
  volumes: readonly Pick<VolumeTable, 'volume_id' | 'volume_type'>[],
): Promise<void> {
  const pending = await inBatches(volumes.map((volume) => volume.volume_id), (batch) =>
    db.selectFrom('snapshots').select(['volume_id', 'created_ms'])
      .where('volume_id', 'in', batch).where('account_id', '=', account).where('state', '=', 'pending').execute())
  for (const volume of volumes) {
    const own = pending.filter((each) => each.volume_id === volume.volume_id)
    if (own.length >= (HDD_TYPES.includes(volume.volume_type) ? MOST_PENDING_OF_HDD : MOST_PENDING)) {
      throw new ApiError(
        'ConcurrentSnapshotLimitExceeded', 'Maximum allowed in-progress snapshots for a single volume exceeded.',
      )
    }
    if (own.some((each) => nowMs - each.created_ms < CONCURRENT_INTERVAL_MS)) {
      throw new ApiError(
        'SnapshotCreationPerVolumeRateExceeded',
        'The maximum per volume CreateSnapshot request rate has been exceeded. Use an increasing or variable sleep ' +
          'interval between requests.',
      )
    }
  }
}

/**
 * Refuses a copy of a snapshot while there are enough under way. Those under an image are CopyImage's.
 *
 * @throws ApiError ResourceLimitExceeded.
 */
export async function checkCopyLimit({ db, account }: Pick<Context, 'db' | 'account'>): Promise<void> {
  const pending = await db
    .selectFrom('snapshots').leftJoin('image_snapshots', 'image_snapshots.snapshot_id', 'snapshots.snapshot_id')
    .select('snapshots.doc')
    .where('account_id', '=', account).where('state', '=', 'pending').where('volume_id', 'is', null).where('image_id', 'is', null).execute()
  if (pending.filter((each) => snapshotDoc(each).isCopy).length < MOST_COPIES) return
  throw new ApiError(
    'ResourceLimitExceeded', `Too many snapshot copies in progress. The limit is ${MOST_COPIES} for this destination region.`,
  )
}
