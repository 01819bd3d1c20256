import type { Keys } from '../keys/keys.ts'
import { changeLayerDoc, layerDoc, layerOf } from '../model/layer.ts'
import type { LayerTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'

/**
 * The data key of a layer whose file is to be made; null for a plain one. A new key is written, wrapped,
 * before anything is encrypted by it: a file without its key would be lost.
 */
export async function ensureLayerKey(
  { store, keys }: { store: Store; keys: Keys },
  layer: LayerTable,
): Promise<string | null> {
  const { kmsKeyId, wrappedKey } = layerDoc(layer)
  if (kmsKeyId === undefined) return null
  if (wrappedKey !== undefined) return keys.unwrap(kmsKeyId, wrappedKey)
  const made = await keys.newDataKey(kmsKeyId)
  const wrapped = await store.transaction('layer.key', async (db) => {
    const now = await layerOf(db, layer.layer_id)
    if (!now) throw new Error(`${layer.layer_id} is gone`)
    // An earlier run may have written one; its file may be there already.
    const known = layerDoc(now).wrappedKey
    if (known === undefined) await changeLayerDoc(db, layer.layer_id, { wrappedKey: made.wrapped })
    return known ?? made.wrapped
  })
  return wrapped === made.wrapped ? made.key : keys.unwrap(kmsKeyId, wrapped)
}
