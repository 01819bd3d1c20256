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

export interface FillerOptions {
  store: Store
  volumes: Volumes
  keys: Keys
}

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
async function resolveSource({ store, volumes, keys }: FillerOptions, row: LayerTable): Promise<FillSource | undefined> {
  const source: LayerSource | undefined = layerDoc(row).source
  if (!source) throw new Error(`${row.layer_id} is to be filled with nothing`)
  if (!('layerId' in source)) return { file: source.file, format: formatOf(source.format) }
  const chain = await store.read((db) => chainOf(db, source.layerId))
  if (chain[0]?.state !== 'sealed') return undefined
  return { chain: await Promise.all(chain.map((layer) => layerRef({ volumes, keys }, layer))) }
}

function formatOf(name: string): DiskFormat {
  const format = DISK_FORMATS.find((each) => each === name)
  if (!format) throw new Error(`${name} is no format of disks`)
  return format
}
