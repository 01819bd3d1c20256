import type { Random } from '../core/random.ts'
import type { VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { changeLayerDoc, insertLayer, layerDoc, layerOf } from './layer.ts'

/** Of several wishes for one moment, the strictest counts. */
const STRICTNESS = ['crash', 'quiesced', 'down'] as const
export type FreezeMode = (typeof STRICTNESS)[number]

/**
 * Asks for the volumes' data as it is at one moment soon: each goes on in a new layer from then on, and
 * what it wrote into until then becomes immutable. Volumes of one instance that are asked for in one
 * transaction change over at one instant. Where such a moment is asked for already and has not come,
 * it serves both: it comes after this call as well.
 *
 * @returns for each volume the layer that will hold its data of that moment.
 */
export async function requestFreeze(
  ambient: { db: Db; random: Random; nowMs: number },
  volumes: readonly VolumeTable[],
  mode: FreezeMode,
): Promise<Map<string, string>> {
  const { db, nowMs } = ambient
  const layers = new Map<string, string>()
  for (const volume of volumes) {
    const head = await layerOf(db, volume.layer_id)
    if (!head) throw new Error(`${volume.volume_id} has no layer`)
    layers.set(volume.volume_id, head.layer_id)
    const nextLayerId = volume.next_layer_id ?? (await insertLayer(ambient, {
      account: volume.account_id, hostId: volume.host_id, parent: head, state: 'making', sizeGib: volume.size_gib,
    })).layer_id
    await db
      .updateTable('volumes').set({ next_layer_id: nextLayerId, freeze: stricter(volume.freeze, mode) })
      .where('volume_id', '=', volume.volume_id).execute()
    await enqueue(db, { kind: 'volume', id: volume.volume_id, hostId: volume.host_id }, nowMs)
  }
  return layers
}

function stricter(a: FreezeMode | null, b: FreezeMode): FreezeMode {
  return a !== null && STRICTNESS.indexOf(a) > STRICTNESS.indexOf(b) ? a : b
}

/**
 * For the transaction just before a running machine is made to go on in the next layers: notes which
 * snapshots that moment serves. One that is asked for before it is recorded may come before or after the
 * moment, and nobody can tell. Volumes of which that is noted already (a try that crashed) keep their note.
 *
 * @returns the strictest of the ways in which that moment is asked for, as they are now.
 */
export async function noteFreezing(db: Db, volumes: readonly VolumeTable[]): Promise<FreezeMode> {
  let mode: FreezeMode = 'crash'
  for (const { volume_id: volumeId, layer_id: layerId } of volumes) {
    const now = await db.selectFrom('volumes').select('freeze').where('volume_id', '=', volumeId).executeTakeFirst()
    mode = stricter(now?.freeze ?? null, mode)
    const head = await layerOf(db, layerId)
    if (!head || layerDoc(head).frozenFor !== undefined) continue
    await changeLayerDoc(db, layerId, { frozenFor: await pendingOf(db, layerId) })
  }
  return mode
}

/** Ids of the snapshots that wait for a layer. */
async function pendingOf(db: Db, layerId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('snapshots').select('snapshot_id').where('layer_id', '=', layerId).where('state', '=', 'pending')
    .orderBy('snapshot_id').execute()
  return rows.map((row) => row.snapshot_id)
}

/**
 * Records that the volumes write into their next layers now: nobody writes into the former ones any
 * more, and their reconciler makes them immutable. Volumes that are something else by now are left alone.
 * Snapshots that were asked for while the change was under way get a moment of their own, all of them the same.
 */
export async function recordFrozen(
  ambient: { db: Db; random: Random; nowMs: number },
  volumes: readonly VolumeTable[],
): Promise<void> {
  const { db, nowMs } = ambient
  for (const volume of volumes) {
    if (volume.next_layer_id === null) continue
    const current = await db
      .selectFrom('volumes').selectAll().where('volume_id', '=', volume.volume_id)
      .where('layer_id', '=', volume.layer_id).where('next_layer_id', '=', volume.next_layer_id)
      .executeTakeFirst()
    const head = current && (await layerOf(db, current.layer_id))
    if (!head) continue
    const { frozenFor, ...doc } = layerDoc(head)
    const late = frozenFor && (await pendingOf(db, head.layer_id)).filter((id) => !frozenFor.includes(id))
    await db
      .updateTable('volumes').set({ layer_id: volume.next_layer_id, next_layer_id: null, freeze: null })
      .where('volume_id', '=', volume.volume_id).execute()
    await db
      .updateTable('layers').set({ state: 'sealing', doc: JSON.stringify(doc) }).where('layer_id', '=', head.layer_id).execute()
    await enqueue(db, { kind: 'layer', id: head.layer_id, hostId: volume.host_id }, nowMs)
    if (!late || late.length === 0) continue
    await freezeAgain(ambient, { ...current, layer_id: volume.next_layer_id, next_layer_id: null }, late)
  }
}

async function freezeAgain(
  ambient: { db: Db; random: Random; nowMs: number },
  volume: VolumeTable,
  snapshotIds: string[],
): Promise<void> {
  await ambient.db.updateTable('snapshots').set({ layer_id: volume.layer_id }).where('snapshot_id', 'in', snapshotIds).execute()
  await requestFreeze(ambient, [{ ...volume, freeze: null }], volume.freeze ?? 'crash')
}
