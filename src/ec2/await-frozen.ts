import { preparedIn } from '../store/prepared.ts'
import type { FinishAmbient } from './operation.ts'

/** How long a caller waits for the moment of its snapshots; after that they are pending all the same. */
const FREEZE_DEADLINE_MS = 5000
const FREEZE_POLL_MS = 20

/** Snapshots whose volume is attached and still writes into what they are to be of. */
const notFrozen = preparedIn((db, snapshotIds: string[]) =>
  db.selectFrom('snapshots').innerJoin('volumes', 'volumes.layer_id', 'snapshots.layer_id')
    .select('snapshots.snapshot_id').where('snapshots.snapshot_id', 'in', snapshotIds)
    .where('volumes.instance_id', 'is not', null).limit(1))

/**
 * Waits until the moment has come that the snapshots are of. Whoever froze a file system, asked for a snapshot
 * and thaws after the answer must find that moment in it. What no instance has cannot change meanwhile.
 */
export async function awaitFrozen(
  { store, clock }: FinishAmbient,
  snapshotIds: readonly (string | undefined)[],
): Promise<void> {
  const ids = snapshotIds.filter((id) => id !== undefined)
  const deadlineMs = clock.now() + FREEZE_DEADLINE_MS
  while ((await store.read((db) => notFrozen(db, ids))).length > 0) {
    if (clock.now() >= deadlineMs) return
    await clock.sleep(FREEZE_POLL_MS)
  }
}
