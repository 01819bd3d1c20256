import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { Keys } from '../keys/keys.ts'
import { emitVolumeEvent } from '../model/ebs-events.ts'
import { recordFrozen } from '../model/freeze.ts'
import { changeLayerDoc, layerDoc, layerOf, releaseLayer } from '../model/layer.ts'
import { settleSnapshotsOf } from '../model/snapshot.ts'
import { changeVolumeDoc, volumeDoc } from '../model/volume.ts'
import { wakeInstance } from '../model/wake-instance.ts'
import { prepared } from '../store/prepared.ts'
import type { LayerTable, VolumeTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Volumes } from '../volumes/driver.ts'
import { enqueueEquipped } from './equipped.ts'
import { handOver } from './hand-over.ts'
import { ensureLayerKey } from './layer-key.ts'
import { again, DONE, isFatal, recording, type Outcome, type Reconciler } from './loop.ts'
import { completeModification } from './modification.ts'

export interface VolumeReconcilerOptions {
  store: Store
  clock: Clock
  random: Random
  log: Logger
  volumes: Volumes
  keys: Keys
  hostId: string
}

/** How often the file of a new volume may fail to be made before the volume is in error. */
export const MAX_MAKE_FAILURES = 6

interface Loaded {
  row: VolumeTable
  head: LayerTable
  /** What a head that is to be made stands on; null where there is nothing to look at. */
  base: LayerTable | null
  /** What it is to write into next; null while nobody wants a snapshot. */
  next: LayerTable | null
}

const volumeOf = prepared((db, volumeId: string) =>
  db.selectFrom('volumes').selectAll().where('volume_id', '=', volumeId))
const setLayerOpen = prepared((db, layerId: string) =>
  db.updateTable('layers').set({ state: 'open' }).where('layer_id', '=', layerId).where('state', '=', 'making'))
const setAvailable = prepared((db, revision: number, volumeId: string) =>
  db.updateTable('volumes').set({ ready: 1, state: 'available', synced_revision: revision }).where('volume_id', '=', volumeId))
/** Its launch brings the rest into force. */
const setInUse = prepared((db, revision: number, volumeId: string) =>
  db.updateTable('volumes').set({ ready: 1, state: 'in-use', attach_state: 'attached', synced_revision: revision })
    .where('volume_id', '=', volumeId))

/**
 * Owns what volumes write into: makes the files of their layers, for the present and the next one, and does
 * all that is to be done with a volume that no instance has. With one that is attached the instance's
 * reconciler goes on, who knows whether the machine runs.
 */
export function createVolumeReconciler(options: VolumeReconcilerOptions): Reconciler {
  return {
    async reconcile(volumeId) {
      const loaded = await options.store.read((db) => load(db, volumeId))
      if (!loaded) return DONE
      const ownerId = loaded.row.host_id
      return ownerId === options.hostId ? take(options, loaded) : handOver(options, 'volume', volumeId, ownerId)
    },
  }
}

async function load(db: Db, volumeId: string): Promise<Loaded | undefined> {
  const [row] = await volumeOf(db, volumeId)
  const head = row && (await layerOf(db, row.layer_id))
  if (!head) return undefined
  const base = head.state === 'making' && head.parent_id !== null ? (await layerOf(db, head.parent_id)) ?? null : null
  return { row, head, base, next: row.next_layer_id === null ? null : (await layerOf(db, row.next_layer_id)) ?? null }
}

async function take(options: VolumeReconcilerOptions, loaded: Loaded): Promise<Outcome> {
  const { row, head, next } = loaded
  if (row.state === 'deleting') return remove(options, loaded)
  if (row.state === 'error') return DONE
  if (head.state === 'making') return makeHead(options, loaded)
  if (next?.state === 'making') return makeNext(options, row, next)
  if (row.instance_id !== null) return DONE
  if (next) return freezeAtRest(options, row)
  if (row.revision !== row.synced_revision) return modifyAtRest(options, row, head)
  return DONE
}

/**
 * The row goes, with whatever refers to it; its layers go when nobody else needs them. Snapshots that were
 * asked for get what is in it: nobody writes into it any more.
 */
function remove({ clock, random }: VolumeReconcilerOptions, { row }: Loaded): Outcome {
  return recording('volume.deleted', async (db) => {
    const nowMs = clock.now()
    let now = await load(db, row.volume_id)
    if (now?.row.state !== 'deleting') return
    if (now.head.state === 'making') await abandon(db, now, 'The volume was deleted before its data was there.', nowMs)
    else {
      // Twice where a snapshot was asked for while another's moment came.
      while (now?.row.next_layer_id) {
        await recordFrozen({ db, random, nowMs }, [now.row])
        now = await load(db, row.volume_id)
      }
    }
    await db.deleteFrom('tags').where('resource_id', '=', row.volume_id).execute()
    await db.deleteFrom('volumes').where('volume_id', '=', row.volume_id).execute()
    await emitVolumeEvent(db, row, { event: 'deleteVolume', result: 'deleted', requestId: volumeDoc(row).requestIds?.delete }, nowMs)
    // The one on top first: it stands on the other.
    if (now?.row.next_layer_id) await releaseLayer(db, now.row.next_layer_id, nowMs)
    if (now) await releaseLayer(db, now.row.layer_id, nowMs)
  })
}

/** Snapshots of what never came to be are in error. */
async function abandon(db: Db, { row }: Loaded, message: string, nowMs: number): Promise<void> {
  await settleSnapshotsOf(db, row.layer_id, { state: 'error', message }, nowMs)
  await db.updateTable('layers').set({ state: 'failed' }).where('layer_id', '=', row.layer_id).execute()
  await enqueue(db, { kind: 'layer', id: row.layer_id, hostId: row.host_id }, nowMs)
}

async function makeHead(options: VolumeReconcilerOptions, { row, head, base }: Loaded): Promise<Outcome> {
  const { clock } = options
  if (base?.state === 'failed') {
    const message = layerDoc(base).error ?? 'What it is made of could not be made.'
    options.log.error('a volume cannot be made', { id: row.volume_id, error: message })
    return recording('volume.failed', (db) => fail(db, row.volume_id, message, clock.now()))
  }
  // The layer's reconciler marks the volume due when it is whole.
  if (base?.state === 'filling' || base?.state === 'sealing') return DONE
  try {
    await ensureFile(options, head)
  } catch (error) {
    if (!(await isHopeless(options, head, error))) throw error
    options.log.error('a volume cannot be made', { id: row.volume_id, error: messageOf(error) })
    return recording('volume.failed', (db) => fail(db, row.volume_id, messageOf(error), clock.now()))
  }
  return recording('volume.ready', async (db) => {
    await setLayerOpen(db, head.layer_id)
    // The row may have moved on since it was read; only what is still so is recorded.
    const [now] = await volumeOf(db, row.volume_id)
    if (!now || now.state === 'deleting' || now.ready === 1) return
    await (now.instance_id === null ? setAvailable : setInUse)(db, row.revision, row.volume_id)
    const requestId = volumeDoc(now).requestIds?.create
    await emitVolumeEvent(db, now, { event: 'createVolume', result: 'available', requestId }, clock.now())
    if (now.instance_id !== null) await enqueueEquipped(db, now.instance_id, clock.now())
  }, row.next_layer_id === null ? DONE : again(0))
}

async function ensureFile(options: VolumeReconcilerOptions, layer: LayerTable): Promise<void> {
  const key = await ensureLayerKey(options, layer)
  await options.volumes.ensureLayer({ layerId: layer.layer_id, sizeGib: layer.size_gib, parentId: layer.parent_id, key })
}

/** Counts a failure, unless it is one that ends by itself: a disk without room may have some again. */
async function isHopeless({ store }: VolumeReconcilerOptions, layer: LayerTable, error: unknown): Promise<boolean> {
  if (isFatal(error) || isOutOfSpace(error)) return false
  const failures = (layerDoc(layer).failures ?? 0) + 1
  if (failures >= MAX_MAKE_FAILURES) return true
  await store.transaction('layer.not-made', (db) => changeLayerDoc(db, layer.layer_id, { failures }))
  return false
}

function isOutOfSpace(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'ENOSPC' || /no space left/i.test(messageOf(error))
}

/** EC2's state of a volume that could not be made; a launch that waits for it is over. */
async function fail(db: Db, volumeId: string, message: string, nowMs: number): Promise<void> {
  const now = await load(db, volumeId)
  if (!now || now.row.state === 'deleting' || now.head.state !== 'making') return
  await abandon(db, now, message, nowMs)
  await db.updateTable('volumes').set({ state: 'error', next_layer_id: null, freeze: null }).where('volume_id', '=', volumeId).execute()
  await changeVolumeDoc(db, now.row, { errorMessage: message })
  const requestId = volumeDoc(now.row).requestIds?.create
  await emitVolumeEvent(db, now.row, { event: 'createVolume', result: 'failed', cause: message, requestId }, nowMs)
  if (now.next) await releaseLayer(db, now.next.layer_id, nowMs)
  if (now.row.instance_id === null) return
  await wakeInstance(db, now.row.instance_id, nowMs)
}

/** Makes the file that the volume is to go on in. */
async function makeNext(options: VolumeReconcilerOptions, row: VolumeTable, next: LayerTable): Promise<Outcome> {
  const { clock, random } = options
  await ensureFile(options, next)
  return recording('volume.next-ready', async (db) => {
    await setLayerOpen(db, next.layer_id)
    const [now] = await volumeOf(db, row.volume_id)
    if (now?.next_layer_id !== next.layer_id) return
    if (now.instance_id === null) await recordFrozen({ db, random, nowMs: clock.now() }, [now])
    else await wakeInstance(db, now.instance_id, clock.now())
  }, row.instance_id === null ? again(0) : DONE)
}

/** An empty layer on what nobody writes into is the same data: it takes a line in the database. */
function freezeAtRest({ clock, random }: VolumeReconcilerOptions, row: VolumeTable): Outcome {
  return recording('volume.frozen', async (db) => {
    const [now] = await volumeOf(db, row.volume_id)
    if (now && now.instance_id === null && now.state !== 'deleting') await recordFrozen({ db, random, nowMs: clock.now() }, [now])
  }, again(0))
}

/** Brings a modification into force where no machine has the volume open. */
async function modifyAtRest(options: VolumeReconcilerOptions, row: VolumeTable, head: LayerTable): Promise<Outcome> {
  const { clock, volumes } = options
  if (head.size_gib < row.size_gib) {
    const key = await ensureLayerKey(options, head)
    await volumes.ensureSize({ layerId: head.layer_id, sizeGib: row.size_gib, parentId: head.parent_id, key })
  }
  return recording('volume.modified', (db) => completeModification(db, row, clock.now()))
}
