import { insertRow } from '../store/prepared.ts'
import type { LayerTable, SnapshotTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { PROVIDER_ACCOUNT } from './account.ts'
import { emitSnapshotEnded, emitSnapshotSetEnded } from './ebs-events.ts'
import { imageDoc } from './image.ts'
import { emitImageState } from './image-events.ts'
import { releaseLayer } from './layer.ts'
import type { SnapshotLock } from './snapshot-lock.ts'

/** What of a snapshot SQL never looks into. */
export interface SnapshotDoc {
  description?: string
  kmsKeyId?: string
  /** When it was complete. */
  completedMs?: number
  /** Why it is in error. */
  stateMessage?: string
  /** Whether CopySnapshot or CopyImage made it. */
  isCopy?: boolean
  /** Of a copy: what it was made of, in which other region, and whether it has its data in common with that. */
  copyOf?: { snapshotId: string; region: string | null; isIncremental: boolean }
  /** All snapshots of one CreateSnapshots, in order. */
  set?: string[]
  lock?: SnapshotLock
}

/** The doc of a snapshot row. */
export function snapshotDoc(row: Pick<SnapshotTable, 'doc'>): SnapshotDoc {
  return JSON.parse(row.doc) as SnapshotDoc
}

/** Writes the row of a new snapshot of what a layer holds, or will hold when it is sealed. */
export async function insertSnapshot(
  db: Db,
  snapshot: Pick<SnapshotTable, 'snapshot_id' | 'account_id' | 'size_gib' | 'volume_id' | 'encrypted' | 'created_ms'>,
  layer: Pick<LayerTable, 'layer_id' | 'state'>,
  doc: SnapshotDoc,
): Promise<SnapshotTable> {
  const isComplete = layer.state === 'sealed'
  const row: SnapshotTable = {
    ...snapshot, layer_id: layer.layer_id, state: isComplete ? 'completed' : 'pending', is_public: 0, binned_ms: null,
    bin_exit_ms: null,
    doc: JSON.stringify({ ...doc, ...(isComplete ? { completedMs: snapshot.created_ms } : {}) } satisfies SnapshotDoc),
  }
  await insertRow(db, 'snapshots', { ...row })
  if (isComplete) await tellOfEnd(db, row, row.created_ms)
  return row
}

/** Deletes a snapshot for good: row, permissions, tags, and its data where nothing else refers to that. */
export async function removeSnapshot(
  db: Db,
  row: Pick<SnapshotTable, 'snapshot_id' | 'layer_id'>,
  nowMs: number,
): Promise<void> {
  await db.deleteFrom('tags').where('resource_id', '=', row.snapshot_id).execute()
  await db.deleteFrom('snapshot_permissions').where('snapshot_id', '=', row.snapshot_id).execute()
  await db.deleteFrom('snapshots').where('snapshot_id', '=', row.snapshot_id).execute()
  if (row.layer_id !== null) await releaseLayer(db, row.layer_id, nowMs)
}

/**
 * For the transaction that records that a layer is immutable, or that it could not be filled: its
 * snapshots are complete, or in error, and with the last snapshot of an image the image is there, or
 * has failed.
 */
export async function settleSnapshotsOf(
  db: Db,
  layerId: string,
  outcome: { state: 'completed' } | { state: 'error'; message: string },
  nowMs: number,
): Promise<void> {
  const snapshots = await db
    .selectFrom('snapshots').selectAll().where('layer_id', '=', layerId).where('state', '=', 'pending').execute()
  for (const snapshot of snapshots) {
    const change: SnapshotDoc = outcome.state === 'completed' ? { completedMs: nowMs } : { stateMessage: outcome.message }
    const doc = JSON.stringify({ ...snapshotDoc(snapshot), ...change })
    await db.updateTable('snapshots').set({ state: outcome.state, doc }).where('snapshot_id', '=', snapshot.snapshot_id).execute()
    await tellOfEnd(db, { ...snapshot, state: outcome.state, doc }, nowMs)
    await settleImagesOf(db, snapshot.snapshot_id, nowMs)
  }
}

/** A snapshot is complete, or in error, and with the last one of a set so is that. The provider's are nobody's to hear of. */
async function tellOfEnd(db: Db, row: SnapshotTable, nowMs: number): Promise<void> {
  if (row.account_id === PROVIDER_ACCOUNT) return
  const { copyOf, set, stateMessage } = snapshotDoc(row)
  const cause = row.state === 'error' ? (stateMessage ?? 'failed') : null
  // What was imported is neither of a volume nor a copy, and its task tells of it.
  if (row.volume_id !== null || copyOf) {
    await emitSnapshotEnded(db, row, { cause, copyOf: copyOf ?? null, isIncremental: copyOf?.isIncremental ?? false }, nowMs)
  }
  if (!set) return
  const rows = await db.selectFrom('snapshots').selectAll().where('snapshot_id', 'in', set).execute()
  if (rows.some((each) => each.state === 'pending')) return
  await emitSnapshotSetEnded(db, rows.toSorted((a, b) => set.indexOf(a.snapshot_id) - set.indexOf(b.snapshot_id)), nowMs)
}

/** Pending images of which that was the last snapshot to wait for are available now, or have failed. */
async function settleImagesOf(db: Db, snapshotId: string, nowMs: number): Promise<void> {
  const images = await db
    .selectFrom('image_snapshots').innerJoin('images', 'images.image_id', 'image_snapshots.image_id')
    .select(['images.image_id', 'images.account_id', 'images.doc'])
    .where('image_snapshots.snapshot_id', '=', snapshotId).where('images.state', '=', 'pending').execute()
  for (const image of images) {
    const under = await db
      .selectFrom('image_snapshots').innerJoin('snapshots', 'snapshots.snapshot_id', 'image_snapshots.snapshot_id')
      .select(['snapshots.snapshot_id', 'snapshots.state', 'snapshots.doc'])
      .where('image_snapshots.image_id', '=', image.image_id).execute()
    const broken = under.find((each) => each.state === 'error')
    const state = broken ? 'failed' : under.every((each) => each.state === 'completed') ? 'available' : 'pending'
    if (state === 'pending') continue
    const doc = imageDoc(image)
    const reason = broken
      ? { stateReason: `Snapshot ${broken.snapshot_id}: ${snapshotDoc(broken).stateMessage ?? 'failed'}` }
      : { stateReason: undefined }
    await db
      .updateTable('images').set({ state, doc: JSON.stringify({ ...doc, ...reason }) })
      .where('image_id', '=', image.image_id).execute()
    await emitImageState(db, image, { state, requestId: doc.requestId, error: reason.stateReason ?? '' }, nowMs)
  }
}
