import { statSync } from 'node:fs'
import { layerFile } from '../main.ts'
import type { HostDoc } from '../model/host.ts'
import { mappingsOf } from '../model/image.ts'
import { layerDoc, MOST_LAYERS } from '../model/layer.ts'
import type { ImageTable, LayerTable, SnapshotTable, VolumeTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'

/** What a volume or snapshot is made of. */
export interface DiskView {
  sizeGib: number
  isEncrypted: boolean
  /** How many layers; 1 for one that stands alone. */
  layers: number
  /** What it adds to what is under it, on disk; null where its file is not, or on another host. */
  bytes: number | null
}

export interface VolumeDiskView extends DiskView {
  volumeId: string
  account: string
  state: VolumeTable['state']
  instanceId: string | null
}

export interface SnapshotDiskView extends DiskView {
  snapshotId: string
  account: string
  state: SnapshotTable['state']
  volumeId: string | null
}

export interface ImageDiskView {
  imageId: string
  name: string
  account: string
  state: ImageTable['state']
  disks: { deviceName: string; snapshotId: string | null; sizeGib: number }[]
}

/** Something that is done to disks in the background. */
export interface DiskWork {
  /**
   * `freeze`: a volume is to go on in a new layer, for a snapshot; `fill`: a snapshot is being filled, as a copy or an
   * import; `flatten`: a snapshot on many layers is being copied into one; `shorten`: the layers of a running volume are
   * being brought together.
   */
  kind: 'freeze' | 'fill' | 'flatten' | 'shorten'
  layerId: string
  /** The volume or snapshots that it is for. */
  of: string[]
  percent: number | null
}

export interface LayerView {
  layerId: string
  /** The one under it. */
  parentId: string | null
  state: LayerTable['state']
  depth: number
  sizeGib: number
  bytes: number | null
  /** Why it could not be filled, or made shorter. */
  error: string | null
}

/** What `hearth disk list --json` prints. */
export interface DiskReport {
  volumes: VolumeDiskView[]
  snapshots: SnapshotDiskView[]
  images: ImageDiskView[]
  work: DiskWork[]
  recycleBin: {
    items: { kind: 'image' | 'snapshot' | 'volume'; id: string; account: string; binned: string; until: string }[]
    /** What only the bin holds, and what it may hold, as the agent saw it last. */
    heldMib: number | null
    budgetMib: number | null
  }
  layers: LayerView[]
  /** Of all layers. */
  bytes: number
}

/** The disks of the cloud, of every account: rows, and what their files in this home take. */
export async function readDisks(store: Store, home: string): Promise<DiskReport> {
  const rows = await store.read(loadRows)
  const layers = rows.layers.map((row) => layerView(row, home))
  const layerById = new Map(layers.map((layer) => [layer.layerId, layer]))
  const isOut = (row: { binned_ms: number | null }) => row.binned_ms === null
  return {
    volumes: rows.volumes.filter(isOut).map((row) => ({
      volumeId: row.volume_id, account: row.account_id, state: row.state, instanceId: row.instance_id,
      ...diskView(row, layerById),
    })),
    snapshots: rows.snapshots.filter(isOut).map((row) => ({
      snapshotId: row.snapshot_id, account: row.account_id, state: row.state, volumeId: row.volume_id,
      ...diskView(row, layerById),
    })),
    images: rows.images.filter(isOut).map(imageView),
    work: [...rows.layers.flatMap((row) => fillWork(row, rows)), ...volumeWork(rows)],
    recycleBin: recycleBinView(rows),
    layers,
    bytes: layers.reduce((sum, layer) => sum + (layer.bytes ?? 0), 0),
  }
}

type Rows = Awaited<ReturnType<typeof loadRows>>

async function loadRows(db: Db) {
  return {
    volumes: await db.selectFrom('volumes').selectAll().orderBy('created_ms').orderBy('volume_id').execute(),
    snapshots: await db.selectFrom('snapshots').selectAll().orderBy('created_ms').orderBy('snapshot_id').execute(),
    images: await db.selectFrom('images').selectAll().orderBy('created_ms').orderBy('image_id').execute(),
    layers: await db.selectFrom('layers').selectAll().orderBy('created_ms').orderBy('layer_id').execute(),
    hosts: await db.selectFrom('hosts').select('doc').execute(),
  }
}

function layerView(row: LayerTable, home: string): LayerView {
  return {
    layerId: row.layer_id, parentId: row.parent_id, state: row.state, depth: row.depth, sizeGib: row.size_gib,
    bytes: bytesOnDisk(layerFile(home, row.layer_id)), error: layerDoc(row).error ?? null,
  }
}

/** What a file takes, which is less than its length where it has holes. */
function bytesOnDisk(file: string): number | null {
  const facts = statSync(file, { throwIfNoEntry: false })
  return facts ? facts.blocks * 512 : null
}

function diskView(
  row: { layer_id: string | null; size_gib: number; encrypted: number },
  layerById: ReadonlyMap<string, LayerView>,
): DiskView {
  const layer = layerById.get(row.layer_id ?? '')
  return {
    sizeGib: row.size_gib, isEncrypted: row.encrypted === 1, layers: (layer?.depth ?? 0) + 1, bytes: layer?.bytes ?? null,
  }
}

function imageView(row: ImageTable): ImageDiskView {
  return {
    imageId: row.image_id, name: row.name, account: row.account_id, state: row.state,
    disks: mappingsOf(row).map(({ deviceName, snapshotId, sizeGib }) => ({ deviceName, snapshotId, sizeGib })),
  }
}

/** A layer that is being filled: for its own snapshots, or to take the place of another one under them, or for a volume over it. */
function fillWork(row: LayerTable, { layers, snapshots, volumes }: Rows): DiskWork[] {
  if (row.state !== 'filling') return []
  const over = layers.filter((each) => each.parent_id === row.layer_id).map((each) => each.layer_id)
  const of = [
    ...snapshots.filter((each) => each.layer_id === (row.replaces_id ?? row.layer_id)).map((each) => each.snapshot_id),
    ...volumes.filter((each) => over.includes(each.layer_id)).map((each) => each.volume_id),
  ]
  const kind = row.replaces_id === null ? 'fill' : 'flatten'
  return [{ kind, layerId: row.layer_id, of, percent: Math.floor(layerDoc(row).progress ?? 0) }]
}

function volumeWork({ volumes, layers }: Rows): DiskWork[] {
  const heads = new Map(layers.map((layer) => [layer.layer_id, layer]))
  return volumes.flatMap((volume): DiskWork[] => {
    const head = heads.get(volume.layer_id)
    const work: DiskWork[] = []
    if (volume.next_layer_id !== null) {
      work.push({ kind: 'freeze', layerId: volume.next_layer_id, of: [volume.volume_id], percent: null })
    }
    const percent = head && head.depth + 1 > MOST_LAYERS ? layerDoc(head).progress : undefined
    if (head && percent !== undefined) work.push({ kind: 'shorten', layerId: head.layer_id, of: [volume.volume_id], percent })
    return work
  })
}

function recycleBinView({ volumes, snapshots, images, hosts }: Rows): DiskReport['recycleBin'] {
  const all = [
    ...images.map((row) => ({ kind: 'image' as const, id: row.image_id, row })),
    ...snapshots.map((row) => ({ kind: 'snapshot' as const, id: row.snapshot_id, row })),
    ...volumes.map((row) => ({ kind: 'volume' as const, id: row.volume_id, row })),
  ]
  const iso = (ms: number | null) => new Date(ms ?? 0).toISOString()
  const use = hosts.map((host) => (JSON.parse(host.doc) as HostDoc).recycleBin).find((each) => each !== undefined)
  return {
    items: all.filter(({ row }) => row.binned_ms !== null)
      .toSorted((a, b) => (a.row.binned_ms ?? 0) - (b.row.binned_ms ?? 0))
      .map(({ kind, id, row }) => ({
        kind, id, account: row.account_id, binned: iso(row.binned_ms), until: iso(row.bin_exit_ms),
      })),
    heldMib: use?.heldMib ?? null,
    budgetMib: use?.budgetMib ?? null,
  }
}
