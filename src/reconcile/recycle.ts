import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { HostDoc, RecycleBinUse } from '../model/host.ts'
import { deleteEndedBackups, endedBackups } from '../model/instance-backup.ts'
import { removeSnapshot } from '../model/snapshot.ts'
import { groupBy } from '../store/batch.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Volumes } from '../volumes/driver.ts'
import { again, DONE, recording, type Outcome, type Reconciler } from './loop.ts'
import { isNearlyFull, planRecycle, type BinnedItem, type RecyclePlan, type RecycleWorld } from './plan-recycle.ts'

/** The one thing of the kind `recycle`. */
export const RECYCLE_BIN = 'bin'

/** Without a setting the bin may hold a tenth of the file system, and this at most. */
const MOST_BYTES = 50 * 2 ** 30
const SHARE = 0.1
/** Of what is told of the bin. */
const MIB = 2 ** 20

export interface RecycleOptions {
  store: Store
  clock: Clock
  log: Logger
  volumes: Pick<Volumes, 'usage'>
  /** The node, whose hosts' data all are on one disk. */
  hostId: string
  /** What the bin may hold; null for the default. */
  budgetGib: number | null
}

/**
 * Deletes what has been in the recycle bin for long enough, and the oldest where it holds more than it may; and what is known
 * of terminated instances that cannot be restored any more.
 */
export function createRecycleReconciler(options: RecycleOptions): Reconciler {
  const { store, clock, log, volumes, hostId, budgetGib } = options
  let wasNearlyFull = false
  return {
    async reconcile() {
      const { bin, backups } = await store.read(async (db) => ({
        bin: await loadBin(db, hostId), backups: await endedBackups(db, clock.now()),
      }))
      if (bin.items.length === 0) {
        wasNearlyFull = false
        const outcome = lookAgain(backups.nextExitMs, clock.now())
        if (!bin.told && backups.ended.length === 0) return outcome
        return recording('recycle.empty', async (db) => {
          await deleteEndedBackups(db, clock.now())
          await tell(db, hostId, undefined)
        }, outcome)
      }
      const { bytesOf, totalBytes } = await volumes.usage()
      const budgetBytes = budgetGib === null ? Math.min(totalBytes * SHARE, MOST_BYTES) : budgetGib * 2 ** 30
      const nowMs = clock.now()
      const plan = planRecycle({ ...bin, nowMs, budgetBytes, bytesOf })
      const use = { heldMib: Math.ceil(plan.heldBytes / MIB), budgetMib: Math.floor(budgetBytes / MIB) }
      if (plan.evicted.length > 0) {
        const deleted = plan.evicted.map(({ id }) => id)
        log.warn('the recycle bin is beyond its budget: the oldest in it is deleted', { ...use, deleted })
      }
      const isFull = isNearlyFull(plan.heldBytes, budgetBytes)
      if (isFull && !wasNearlyFull) log.warn('the recycle bin is nearly full: soon the oldest in it will be deleted', { ...use })
      wasNearlyFull = isFull
      const outcome = lookAgain(earlier(plan.nextExitMs, backups.nextExitMs), nowMs)
      const isToldAlready = bin.told?.heldMib === use.heldMib && bin.told.budgetMib === use.budgetMib
      if (isToldAlready && plan.expired.length + plan.evicted.length + backups.ended.length === 0) return outcome
      return recording('recycle.deleted', async (db) => {
        await deleteAll(db, plan, nowMs)
        // Those whose disks have just gone, too.
        await deleteEndedBackups(db, nowMs)
        await tell(db, hostId, use)
      }, outcome)
    },
  }
}

function lookAgain(atMs: number | undefined, nowMs: number): Outcome {
  return atMs === undefined ? DONE : again(Math.max(0, atMs - nowMs))
}

function earlier(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? a ?? b : Math.min(a, b)
}

type Bin = Pick<RecycleWorld, 'items' | 'parentOf' | 'inUse'> & { told: RecycleBinUse | undefined }

/** What is in the bin, and, where anything is, the layers of this node and who refers to them. */
async function loadBin(db: Db, hostId: string): Promise<Bin> {
  const host = await db.selectFrom('hosts').select('doc').where('host_id', '=', hostId).executeTakeFirst()
  const told = host && (JSON.parse(host.doc) as HostDoc).recycleBin
  const items = await binnedItems(db)
  if (items.length === 0) return { items, parentOf: new Map(), inUse: [], told }
  const ofNode = db.selectFrom('hosts').select('host_id').where('node_id', '=', hostId)
  const layers = await db.selectFrom('layers').select(['layer_id', 'parent_id']).where('host_id', 'in', ofNode).execute()
  const volumes = await db
    .selectFrom('volumes').select(['layer_id', 'next_layer_id'])
    .where('host_id', 'in', ofNode).where('binned_ms', 'is', null).execute()
  const snapshots = await db.selectFrom('snapshots').select('layer_id').where('binned_ms', 'is', null).execute()
  return {
    items, told,
    parentOf: new Map(layers.map((layer) => [layer.layer_id, layer.parent_id])),
    inUse: [...volumes.flatMap((volume) => [volume.layer_id, volume.next_layer_id]), ...snapshots.map((each) => each.layer_id)]
      .filter((layer) => layer !== null),
  }
}

/** Whatever is in the bin, but for volumes that are going already and snapshots that an image outside it is made of. */
async function binnedItems(db: Db): Promise<BinnedItem[]> {
  const images = await db
    .selectFrom('images').select(['image_id', 'binned_ms', 'bin_exit_ms']).where('binned_ms', 'is not', null).execute()
  const snapshots = await db
    .selectFrom('snapshots').select(['snapshot_id', 'layer_id', 'binned_ms', 'bin_exit_ms'])
    .where('binned_ms', 'is not', null).execute()
  const volumes = await db
    .selectFrom('volumes').select(['volume_id', 'layer_id', 'next_layer_id', 'binned_ms', 'bin_exit_ms'])
    .where('binned_ms', 'is not', null).where('state', '<>', 'deleting').execute()
  const uses = snapshots.length === 0 ? [] : await db
    .selectFrom('image_snapshots').innerJoin('snapshots', 'snapshots.snapshot_id', 'image_snapshots.snapshot_id')
    .select(['image_snapshots.snapshot_id', 'image_id']).where('binned_ms', 'is not', null).execute()
  const imagesOf = groupBy(uses, (use) => use.snapshot_id)
  const binnedImages = new Set(images.map((image) => image.image_id))
  const times = (row: { binned_ms: number | null; bin_exit_ms: number | null }) =>
    ({ binnedMs: row.binned_ms ?? 0, exitMs: row.bin_exit_ms ?? Infinity })
  return [
    ...images.map((row): BinnedItem => ({ kind: 'image', id: row.image_id, layerIds: [], imageIds: [], ...times(row) })),
    ...snapshots.map((row): BinnedItem => ({
      kind: 'snapshot', id: row.snapshot_id, layerIds: row.layer_id === null ? [] : [row.layer_id],
      imageIds: (imagesOf.get(row.snapshot_id) ?? []).map((use) => use.image_id), ...times(row),
    })).filter((item) => item.imageIds.every((id) => binnedImages.has(id))),
    ...volumes.map((row): BinnedItem => ({
      kind: 'volume', id: row.volume_id, imageIds: [],
      layerIds: [row.layer_id, ...(row.next_layer_id === null ? [] : [row.next_layer_id])], ...times(row),
    })),
  ]
}

/** Each as far as it is still in the bin as it was seen: it may have been restored meanwhile, and binned again. */
async function deleteAll(db: Db, { expired, evicted }: RecyclePlan, nowMs: number): Promise<void> {
  for (const item of [...expired, ...evicted]) {
    if (item.kind === 'image') await deleteImage(db, item)
  }
  for (const item of [...expired, ...evicted]) {
    if (item.kind === 'snapshot') await deleteSnapshot(db, item, nowMs)
    else if (item.kind === 'volume') await deleteVolume(db, item, nowMs)
  }
}

async function deleteImage(db: Db, { id, binnedMs }: BinnedItem): Promise<void> {
  const row = await db
    .selectFrom('images').select('image_id').where('image_id', '=', id).where('binned_ms', '=', binnedMs).executeTakeFirst()
  if (!row) return
  await db.deleteFrom('image_snapshots').where('image_id', '=', id).execute()
  await db.deleteFrom('image_permissions').where('image_id', '=', id).execute()
  await db.deleteFrom('tags').where('resource_id', '=', id).execute()
  await db.deleteFrom('client_tokens').where('resource_id', '=', id).execute()
  await db.deleteFrom('images').where('image_id', '=', id).execute()
}

async function deleteSnapshot(db: Db, { id, binnedMs }: BinnedItem, nowMs: number): Promise<void> {
  const row = await db
    .selectFrom('snapshots').select(['snapshot_id', 'layer_id'])
    .where('snapshot_id', '=', id).where('binned_ms', '=', binnedMs).executeTakeFirst()
  const use = await db.selectFrom('image_snapshots').select('image_id').where('snapshot_id', '=', id).executeTakeFirst()
  if (!row || use) return
  await removeSnapshot(db, row, nowMs)
}

/** Its reconciler does the rest; its row stays in the bin until then, so that nobody sees it again. */
async function deleteVolume(db: Db, { id, binnedMs }: BinnedItem, nowMs: number): Promise<void> {
  const row = await db
    .selectFrom('volumes').select('host_id').where('volume_id', '=', id).where('binned_ms', '=', binnedMs).executeTakeFirst()
  if (!row) return
  await db.updateTable('volumes').set({ state: 'deleting' }).where('volume_id', '=', id).execute()
  await enqueue(db, { kind: 'volume', id, hostId: row.host_id }, nowMs)
}

/** For `hearth status`: how full the bin is. */
async function tell(db: Db, hostId: string, use: RecycleBinUse | undefined): Promise<void> {
  const row = await db.selectFrom('hosts').select('doc').where('host_id', '=', hostId).executeTakeFirst()
  if (!row) return
  const { recycleBin: _, ...doc } = JSON.parse(row.doc) as HostDoc
  const changed = JSON.stringify(use ? { ...doc, recycleBin: use } : doc)
  await db.updateTable('hosts').set({ doc: changed }).where('host_id', '=', hostId).execute()
}
