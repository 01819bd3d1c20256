import { chainOf, changeLayerDoc, layerDoc, layerOf, releaseLayer } from '../model/layer.ts'
import type { LayerTable, VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { hasLongChain } from './attached-volumes.ts'
import type { InstanceReconcilerOptions, LoadedInstance } from './load-instance.ts'
import { again, DONE, recording, type Outcome } from './loop.ts'
import { planShorten } from './plan-shorten.ts'

/** How often a chain that is being made shorter is looked at. */
const INTERVAL_MS = 2000

/** Has a running machine bring the layers of a volume together, one volume at a time. */
export async function shortenChains(options: InstanceReconcilerOptions, { row, volumes }: LoadedInstance): Promise<Outcome> {
  const { clock, hypervisor, store } = options
  const volume = volumes.find(hasLongChain)
  if (!volume) return DONE
  const { chain, isShared } = await store.read(async (db) => {
    const layers = await chainOf(db, volume.row.layer_id)
    return { chain: layers, isShared: await isLowestShared(db, layers) }
  })
  const baseId = planShorten(chain, isShared)
  if (baseId === undefined) return DONE
  const progress = await hypervisor.ensureShortened(row.instance_id, volume.row.volume_id, baseId)
  if (progress.state !== 'running') {
    if (progress.state === 'absent') return DONE
    return recording('instance.shortened', (db) => recordShortened(db, volume.row, chain, baseId, clock.now()), again(0))
  }
  const percent = Math.floor(progress.percent)
  if (layerDoc(volume.head).progress === percent) return again(INTERVAL_MS)
  return recording('instance.shortening', (db) =>
    changeLayerDoc(db, volume.head.layer_id, { progress: percent }), again(INTERVAL_MS))
}

/** Whether anything but the layer above it stands on the lowest layer, or is made of it. */
async function isLowestShared(db: Db, chain: readonly LayerTable[]): Promise<boolean> {
  const lowestId = chain.at(-1)?.layer_id ?? ''
  const above = chain.at(-2)?.layer_id ?? ''
  const user = await db
    .selectFrom('snapshots').select('snapshot_id as id').where('layer_id', '=', lowestId)
    .unionAll(db.selectFrom('layers').select('layer_id as id').where('layer_id', '<>', above)
      .where((eb) => eb.or([eb('parent_id', '=', lowestId), eb('replaces_id', '=', lowestId)])))
    .limit(1).executeTakeFirst()
  return user !== undefined
}

/** The layers in between are not under this volume any more, and go where nobody else needs them. */
async function recordShortened(
  db: Db,
  volume: VolumeTable,
  [head, ...under]: LayerTable[],
  baseId: string | null,
  nowMs: number,
): Promise<void> {
  const now = await db
    .selectFrom('volumes').select(['layer_id', 'next_layer_id']).where('volume_id', '=', volume.volume_id).executeTakeFirst()
  const top = head && (await layerOf(db, head.layer_id))
  if (!top || now?.layer_id !== top.layer_id || top.parent_id !== head.parent_id) return
  const base = under.find((layer) => layer.layer_id === baseId)
  const depth = base ? base.depth + 1 : 0
  const { progress: _done, ...doc } = layerDoc(top)
  await db
    .updateTable('layers').set({ parent_id: baseId, depth, doc: JSON.stringify(doc) }).where('layer_id', '=', top.layer_id).execute()
  // Somebody may want a snapshot since.
  if (now.next_layer_id !== null) {
    await db.updateTable('layers').set({ depth: depth + 1 }).where('layer_id', '=', now.next_layer_id).execute()
  }
  if (head.parent_id !== null) await releaseLayer(db, head.parent_id, nowMs)
}
