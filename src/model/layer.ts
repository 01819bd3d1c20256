import { newId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import { insertRow, prepared } from '../store/prepared.ts'
import type { LayerTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { PROVIDER_ACCOUNT } from './account.ts'

/** What of a layer SQL never looks into. */
export interface LayerDoc {
  /** The key that its blocks are to be encrypted by; absent for a plain one. */
  kmsKeyId?: string
  /** Its data key, wrapped by that key; written by the agent before it makes the file. */
  wrappedKey?: string
  /** What a layer that is `filling` is made of. */
  source?: LayerSource
  /** How much of it is done, percent. */
  progress?: number
  /** Why it could not be filled; of one that was to be made shorter, why that failed. */
  error?: string
  /** How often its file could not be made, one failure after the other. */
  failures?: number
  /**
   * The snapshots that are served by the moment at which a running machine goes on in the next layer:
   * written just before. Until it is recorded that it did, whoever asks for a snapshot cannot know
   * whether that moment has passed; see `recordFrozen`.
   */
  frozenFor?: string[]
}

/**
 * Another layer (a copy, under other keys or on its own), a file of this host that was checked, or a snapshot in another
 * region, which nothing here keeps from being deleted.
 */
export type LayerSource = { layerId: string } | { file: string; format: string } | { region: string; snapshotId: string }

/**
 * As many layers as a disk may be made of before it is made shorter in the background: each one more
 * is one more place to look for a block.
 */
export const MOST_LAYERS = 8

/** The doc of a layer row. */
export function layerDoc(row: Pick<LayerTable, 'doc'>): LayerDoc {
  return JSON.parse(row.doc) as LayerDoc
}

/** Changes part of a layer's doc. */
export async function changeLayerDoc(db: Db, layerId: string, change: Partial<LayerDoc>): Promise<void> {
  const row = await layerOf(db, layerId)
  if (!row) return
  const doc = JSON.stringify({ ...layerDoc(row), ...change })
  await db.updateTable('layers').set({ doc }).where('layer_id', '=', layerId).execute()
}

const byId = prepared((db, layerId: string) => db.selectFrom('layers').selectAll().where('layer_id', '=', layerId))

/** The row of a layer; undefined when there is none. */
export async function layerOf(db: Db, layerId: string): Promise<LayerTable | undefined> {
  return (await byId(db, layerId))[0]
}

/** What a layer is to be: with `state` 'making' empty over `parent`, with 'filling' made of `doc.source`. */
export interface NewLayer {
  account: string
  hostId: string
  parent: LayerTable | null
  state: 'making' | 'filling'
  sizeGib: number
  doc?: LayerDoc
  replacesId?: string
}

/**
 * Writes the row of a new layer. Over an encrypted one it is encrypted under the same key, unless its doc
 * names another; each layer has a data key of its own. Who wants its file made marks a volume, or the
 * layer itself, due. What a layer is a copy of stands as its parent until it is whole, and so is kept.
 */
export async function insertLayer(ambient: { db: Db; random: Random; nowMs: number }, layer: NewLayer): Promise<LayerTable> {
  const { db, random, nowMs } = ambient
  const kmsKeyId = layer.doc?.kmsKeyId ?? (layer.parent ? layerDoc(layer.parent).kmsKeyId : undefined)
  const source = layer.doc?.source
  const row: LayerTable = {
    layer_id: newId(random, 'lay'), account_id: layer.account, host_id: layer.hostId,
    parent_id: layer.parent?.layer_id ?? (source && 'layerId' in source ? source.layerId : null), replaces_id: layer.replacesId ?? null, state: layer.state,
    size_gib: layer.sizeGib, depth: layer.parent === null ? 0 : layer.parent.depth + 1, created_ms: nowMs,
    doc: JSON.stringify({ ...layer.doc, ...(kmsKeyId === undefined ? {} : { kmsKeyId }) } satisfies LayerDoc),
  }
  await insertRow(db, 'layers', { ...row })
  return row
}

/**
 * A layer that is to hold what `layer` shows, standing alone, under that key or (null) plain; it is filled in the
 * background, and keeps what it is made of until then. It belongs to no zone, and so to the node.
 */
export async function insertLayerCopy(
  ambient: { db: Db; random: Random; nowMs: number },
  layer: LayerTable,
  { account, kmsKeyId }: { account: string; kmsKeyId: string | null },
): Promise<LayerTable> {
  const copy = await insertLayer(ambient, {
    account, hostId: await nodeOf(ambient.db, layer.host_id), parent: null, state: 'filling', sizeGib: layer.size_gib,
    doc: { source: { layerId: layer.layer_id }, ...(kmsKeyId === null ? {} : { kmsKeyId }) },
  })
  await enqueue(ambient.db, { kind: 'layer', id: copy.layer_id, hostId: copy.host_id }, ambient.nowMs)
  return copy
}

const nodeOfHost = prepared((db, hostId: string) => db.selectFrom('hosts').select('node_id').where('host_id', '=', hostId))

/** The node that a host is a share of. */
export async function nodeOf(db: Db, hostId: string): Promise<string> {
  const [row] = await nodeOfHost(db, hostId)
  if (!row) throw new Error(`there is no host ${hostId}`)
  return row.node_id
}

/** A layer and all that are under it, from the top. */
export async function chainOf(db: Db, layerId: string): Promise<LayerTable[]> {
  const chain: LayerTable[] = []
  for (let next: string | null = layerId; next !== null;) {
    const row: LayerTable | undefined = await layerOf(db, next)
    if (!row) throw new Error(`layer ${next} is missing under ${layerId}`)
    chain.push(row)
    next = row.parent_id
  }
  return chain
}

/**
 * Whether somebody's data would stay plain under an encrypted layer over this one. What the provider's images hold is
 * known to everybody.
 */
export async function isExposed(db: Db, layer: LayerTable): Promise<boolean> {
  const chain = await chainOf(db, layer.layer_id)
  return chain.some((each) => layerDoc(each).kmsKeyId === undefined && each.account_id !== PROVIDER_ACCOUNT)
}

const waitingOver = prepared((db, layerId: string) =>
  db.selectFrom('volumes').innerJoin('layers', 'layers.layer_id', 'volumes.layer_id')
    .select(['volumes.volume_id', 'volumes.host_id']).where('layers.parent_id', '=', layerId))

/** What a layer is to hold is there, or will never be: new volumes that stand on it have waited for that. */
export async function wakeVolumesOver(db: Db, layerId: string, nowMs: number): Promise<void> {
  for (const volume of await waitingOver(db, layerId)) {
    await enqueue(db, { kind: 'volume', id: volume.volume_id, hostId: volume.host_id }, nowMs)
  }
}

const userOf = prepared((db, layerId: string) =>
  db.selectFrom('volumes').select('volume_id as id')
    .where((eb) => eb.or([eb('layer_id', '=', layerId), eb('next_layer_id', '=', layerId)]))
    .unionAll(db.selectFrom('snapshots').select('snapshot_id as id').where('layer_id', '=', layerId))
    .unionAll(db.selectFrom('layers').select('layer_id as id')
      .where((eb) => eb.or([eb('parent_id', '=', layerId), eb('replaces_id', '=', layerId)])))
    .limit(1))

/**
 * For whoever stopped referring to a layer: when nothing else does, it is to go. The layer's
 * reconciler deletes the file, then the row, then lets go of the layer under it in the same way.
 */
export async function releaseLayer(db: Db, layerId: string, nowMs: number): Promise<void> {
  const row = await layerOf(db, layerId)
  if (!row || row.state === 'deleting' || (await userOf(db, layerId)).length > 0) return
  await db.updateTable('layers').set({ state: 'deleting' }).where('layer_id', '=', layerId).execute()
  await enqueue(db, { kind: 'layer', id: layerId, hostId: row.host_id }, nowMs)
}
