import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { Keys } from '../keys/keys.ts'
import { changeLayerDoc, insertLayer, layerDoc, layerOf, MOST_LAYERS, nodeOf, releaseLayer, wakeVolumesOver } from '../model/layer.ts'
import { settleSnapshotsOf } from '../model/snapshot.ts'
import type { LayerTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Volumes } from '../volumes/driver.ts'
import { createFiller, type Filler, type RegionSources } from './fill-layer.ts'
import { handOver } from './hand-over.ts'
import { again, DONE, recording, type Outcome, type Reconciler } from './loop.ts'

export interface LayerReconcilerOptions {
  store: Store
  clock: Clock
  random: Random
  log: Logger
  volumes: Volumes
  keys: Keys
  hostId: string
  /** Where snapshots can be copied from; nowhere unless given. */
  otherRegions?: RegionSources | undefined
}

/** Owns layers that no volume writes into: fills and seals them, and deletes those that nobody refers to. */
export function createLayerReconciler(options: LayerReconcilerOptions): Reconciler {
  const filler = createFiller(options)
  return {
    async reconcile(layerId) {
      const row = await options.store.read((db) => layerOf(db, layerId))
      if (row?.state !== 'filling') filler.forget(layerId)
      if (!row) {
        await options.volumes.ensureDeleted(layerId)
        return DONE
      }
      return row.host_id === options.hostId ? take(options, filler, row) : handOver(options, 'layer', layerId, row.host_id)
    },
  }
}

async function take(options: LayerReconcilerOptions, filler: Filler, row: LayerTable): Promise<Outcome> {
  switch (row.state) {
    // These are their volume's.
    case 'making':
    case 'open':
      return DONE
    case 'filling':
      return fill(options, filler, row)
    case 'sealing':
      return seal(options, row)
    case 'sealed':
      return recording('layer.settled', (db) => copyWhereDeep(options, db, row))
    case 'failed':
      await options.volumes.ensureDeleted(row.layer_id)
      return DONE
    case 'deleting':
      return remove(options, row)
  }
}

async function fill(options: LayerReconcilerOptions, filler: Filler, row: LayerTable): Promise<Outcome> {
  const { clock, log } = options
  const nowMs = clock.now()
  // The images that are built on this host are filled by their own reconciler.
  if (layerDoc(row).source === undefined) return DONE
  if (row.replaces_id !== null && !(await options.store.read((db) => hasSnapshots(db, row.replaces_id ?? '')))) {
    return recording('layer.unwanted', (db) => giveUp(db, row, nowMs))
  }
  const progress = await filler.fill(row)
  if (progress.state === 'running') {
    if (progress.percent === layerDoc(row).progress) return again(progress.againMs)
    return recording('layer.progress', async (db) => {
      const now = await layerOf(db, row.layer_id)
      if (now?.state === 'filling') await changeLayerDoc(db, row.layer_id, { progress: progress.percent })
    }, again(progress.againMs))
  }
  if (progress.state === 'failed') {
    log.error('a layer cannot be filled', { id: row.layer_id, reason: progress.reason })
    return recording('layer.failed', (db) => fail(db, row, progress.reason, nowMs))
  }
  return recording('layer.filled', async (db) => {
    const now = await layerOf(db, row.layer_id)
    if (now?.state !== 'filling') return
    const { source: _made, ...doc } = layerDoc(now)
    // It stands alone: what it was made of may go.
    await db
      .updateTable('layers').set({ state: 'sealing', parent_id: null, depth: 0, doc: JSON.stringify({ ...doc, progress: 100 }) })
      .where('layer_id', '=', row.layer_id).execute()
    if (now.parent_id !== null) await releaseLayer(db, now.parent_id, nowMs)
  }, again(0))
}

/** What waits for it is in error; a layer that it was to take the place of stays as it is. */
async function fail(db: Db, row: LayerTable, reason: string, nowMs: number): Promise<void> {
  const now = await layerOf(db, row.layer_id)
  if (now?.state !== 'filling') return
  if (now.replaces_id !== null) {
    await changeLayerDoc(db, now.replaces_id, { error: reason })
    return giveUp(db, now, nowMs)
  }
  await db
    .updateTable('layers')
    .set({ state: 'failed', parent_id: null, depth: 0, doc: JSON.stringify({ ...layerDoc(now), error: reason }) })
    .where('layer_id', '=', row.layer_id).execute()
  if (now.parent_id !== null) await releaseLayer(db, now.parent_id, nowMs)
  await settleSnapshotsOf(db, row.layer_id, { state: 'error', message: reason }, nowMs)
  await wakeVolumesOver(db, row.layer_id, nowMs)
  await enqueue(db, { kind: 'layer', id: row.layer_id, hostId: row.host_id }, nowMs)
}

/** A copy that is not to take another layer's place any more. */
async function giveUp(db: Db, row: LayerTable, nowMs: number): Promise<void> {
  await db.updateTable('layers').set({ replaces_id: null }).where('layer_id', '=', row.layer_id).execute()
  await releaseLayer(db, row.layer_id, nowMs)
}

async function seal(options: LayerReconcilerOptions, row: LayerTable): Promise<Outcome> {
  const { clock, volumes } = options
  await volumes.ensureSealed(row.layer_id)
  return recording('layer.sealed', async (db) => {
    const nowMs = clock.now()
    const sealed = await db
      .updateTable('layers').set({ state: 'sealed' })
      .where('layer_id', '=', row.layer_id).where('state', '=', 'sealing').executeTakeFirst()
    if (sealed.numUpdatedRows === 0n) return
    await settleSnapshotsOf(db, row.layer_id, { state: 'completed' }, nowMs)
    await wakeVolumesOver(db, row.layer_id, nowMs)
    if (row.replaces_id !== null) await takePlace(db, row, row.replaces_id, nowMs)
    else await copyWhereDeep(options, db, row)
  })
}

/** Snapshots go over to the copy, which holds the same and stands alone. */
async function takePlace(db: Db, copy: LayerTable, replacedId: string, nowMs: number): Promise<void> {
  await db.updateTable('snapshots').set({ layer_id: copy.layer_id }).where('layer_id', '=', replacedId).execute()
  await db.updateTable('layers').set({ replaces_id: null }).where('layer_id', '=', copy.layer_id).execute()
  await releaseLayer(db, replacedId, nowMs)
  await releaseLayer(db, copy.layer_id, nowMs)
}

/**
 * A snapshot on a long chain gets a copy that stands alone, so that what is made of it is as fast as what is
 * made of the first image. For a layer that is sealed.
 */
async function copyWhereDeep({ clock, random }: LayerReconcilerOptions, db: Db, row: LayerTable): Promise<void> {
  const nowMs = clock.now()
  const { error, kmsKeyId } = layerDoc(row)
  if (row.depth + 1 <= MOST_LAYERS || error !== undefined || !(await hasSnapshots(db, row.layer_id))) return
  const copy = await db.selectFrom('layers').select('layer_id').where('replaces_id', '=', row.layer_id).executeTakeFirst()
  if (copy) return
  // It is no volume's, and so the node's.
  const hostId = await nodeOf(db, row.host_id)
  const { layer_id: layerId } = await insertLayer({ db, random, nowMs }, {
    account: row.account_id, hostId, parent: null, state: 'filling', sizeGib: row.size_gib, replacesId: row.layer_id,
    doc: { source: { layerId: row.layer_id }, ...(kmsKeyId === undefined ? {} : { kmsKeyId }) },
  })
  await enqueue(db, { kind: 'layer', id: layerId, hostId }, nowMs)
}

async function hasSnapshots(db: Db, layerId: string): Promise<boolean> {
  return (await db.selectFrom('snapshots').select('snapshot_id').where('layer_id', '=', layerId).limit(1).execute()).length > 0
}

/** The file, then the row, then what only it stood on. */
async function remove({ clock, volumes }: LayerReconcilerOptions, row: LayerTable): Promise<Outcome> {
  await volumes.ensureDeleted(row.layer_id)
  return recording('layer.deleted', async (db) => {
    await db.deleteFrom('layers').where('layer_id', '=', row.layer_id).where('state', '=', 'deleting').execute()
    if (row.parent_id !== null) await releaseLayer(db, row.parent_id, clock.now())
  })
}
