import { layerDoc, MOST_LAYERS } from '../model/layer.ts'
import type { LayerTable } from '../store/schema.ts'

/**
 * What is to be under the top layer of a running volume when its chain has become too long; null when the
 * volume is to stand alone, undefined when its chain may stay as it is.
 *
 * The lowest layer, normally the image's, stays where others stand on it as well: copying it up would take the
 * space that sharing it saves. A volume that is encrypted leaves plain layers of its own account behind in any case.
 *
 * @param chain from the top.
 * @param isShared whether the lowest layer has users beside this chain.
 */
export function planShorten(chain: readonly LayerTable[], isShared: boolean): string | null | undefined {
  const [top] = chain
  const lowest = chain.at(-1)
  if (!top || !lowest || chain.length <= MOST_LAYERS) return undefined
  if (!isShared) return null
  const isExposed = layerDoc(top).kmsKeyId !== undefined && layerDoc(lowest).kmsKeyId === undefined
  return isExposed && lowest.account_id === top.account_id ? null : lowest.layer_id
}
