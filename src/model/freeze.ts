import type { Random } from '../core/random.ts'
import type { VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { insertLayer, layerOf } from './layer.ts'

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
 * Records that the volumes write into their next layers now: nobody writes into the former ones any
 * more, and their reconciler makes them immutable. Volumes that are something else by now are left alone.
 */
export async function recordFrozen(db: Db, volumes: readonly VolumeTable[], nowMs: number): Promise<void> {
  for (const volume of volumes) {
    if (volume.next_layer_id === null) continue
    const changed = await db
      .updateTable('volumes').set({ layer_id: volume.next_layer_id, next_layer_id: null, freeze: null })
      .where('volume_id', '=', volume.volume_id)
      .where('layer_id', '=', volume.layer_id).where('next_layer_id', '=', volume.next_layer_id)
      .executeTakeFirst()
    if (changed.numUpdatedRows === 0n) continue
    await db.updateTable('layers').set({ state: 'sealing' }).where('layer_id', '=', volume.layer_id).execute()
    await enqueue(db, { kind: 'layer', id: volume.layer_id, hostId: volume.host_id }, nowMs)
  }
}
