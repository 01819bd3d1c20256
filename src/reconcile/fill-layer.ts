import type { Keys } from '../keys/keys.ts'
import { chainOf, layerDoc, type LayerSource } from '../model/layer.ts'
import type { LayerTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { DISK_FORMATS, type DiskFormat, type FillProgress, type FillSource, type Volumes } from '../volumes/driver.ts'
import { layerRef } from './disks.ts'
import { ensureLayerKey } from './layer-key.ts'

/** Layers that are filled at the same time; more would only take turns at the disk. */
const MOST_AT_ONCE = 2

/** How often a layer that is being filled, or waits for that, is looked at. */
const INTERVAL_MS = 500

/** Another region of this cloud, as something to copy snapshots from. Its agents know nothing of that. */
export interface RegionSource {
  store: Pick<Store, 'read'>
  volumes: Pick<Volumes, 'pathOf'>
  keys: Pick<Keys, 'unwrap'>
}

/** Finds another region; undefined for one that this cloud does not have (any more). */
export type RegionSources = (region: string) => Promise<RegionSource | undefined>

export interface FillerOptions {
  store: Store
  volumes: Volumes
  keys: Keys
  /** None unless given. */
  otherRegions?: RegionSources | undefined
}

type Ended = Exclude<FillProgress, { state: 'running' }>

type Progress = Exclude<FillProgress, { state: 'running' }> | { state: 'running'; percent: number; againMs: number }

export interface Filler {
  /** Goes on filling a layer, or waits while others are. */
  fill(row: LayerTable): Promise<Progress>
  /** It is not to be filled any more. */
  forget(layerId: string): void
}

/** Fills layers, a few at a time. What was under way when an agent ends begins anew with the next one. */
export function createFiller(options: FillerOptions): Filler {
  const underWay = new Set<string>()
  return {
    async fill(row) {
      const { layer_id: id } = row
      const waiting = { state: 'running', percent: layerDoc(row).progress ?? 0, againMs: INTERVAL_MS } as const
      if (!underWay.has(id) && underWay.size >= MOST_AT_ONCE) return waiting
      underWay.add(id)
      let isOver = true
      try {
        const source = await resolveSource(options, row)
        if (!source) return waiting
        if ('state' in source) return source
        const spec = { layerId: id, sizeGib: row.size_gib, parentId: null, key: await ensureLayerKey(options, row) }
        const progress = await options.volumes.ensureFilled(spec, source)
        if (progress.state !== 'running') return progress
        isOver = false
        return { ...progress, percent: Math.floor(progress.percent), againMs: INTERVAL_MS }
      } finally {
        if (isOver) underWay.delete(id)
      }
    },
    forget: (layerId) => void underWay.delete(layerId),
  }
}

/** What the volumes driver is to read; undefined while that is still written into. */
async function resolveSource(options: FillerOptions, row: LayerTable): Promise<FillSource | Ended | undefined> {
  const { store, volumes, keys } = options
  const source: LayerSource | undefined = layerDoc(row).source
  if (!source) throw new Error(`${row.layer_id} is to be filled with nothing`)
  if ('region' in source) {
    // What is whole stays good, whatever becomes of its source.
    return (await volumes.has(row.layer_id)) ? { state: 'done' } : resolveForeign(options, source)
  }
  if ('file' in source) return { file: source.file, format: formatOf(source.format) }
  const chain = await store.read((db) => chainOf(db, source.layerId))
  if (chain[0]?.state !== 'sealed') return undefined
  return { chain: await Promise.all(chain.map((layer) => layerRef({ volumes, keys }, layer))) }
}

/** A snapshot's layer may be another one by now, with the same data; a snapshot in the recycle bin is deleted. */
async function resolveForeign(
  { otherRegions }: FillerOptions,
  { region, snapshotId }: Extract<LayerSource, { region: string }>,
): Promise<FillSource | Ended> {
  const from = await otherRegions?.(region)
  if (!from) return { state: 'failed', reason: `This cloud has no region ${region} any more.` }
  const chain = await from.store.read(async (db) => {
    const snapshot = await db
      .selectFrom('snapshots').select('layer_id')
      .where('snapshot_id', '=', snapshotId).where('binned_ms', 'is', null).executeTakeFirst()
    return snapshot?.layer_id == null ? undefined : chainOf(db, snapshot.layer_id)
  })
  if (!chain) return { state: 'failed', reason: `The snapshot ${snapshotId} in ${region} was deleted while it was copied.` }
  return { chain: await Promise.all(chain.map((layer) => layerRef(from, layer))) }
}

function formatOf(name: string): DiskFormat {
  const format = DISK_FORMATS.find((each) => each === name)
  if (!format) throw new Error(`${name} is no format of disks`)
  return format
}
