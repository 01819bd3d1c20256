import type { DiskLimits, DiskSpec } from '../hypervisor/driver.ts'
import type { Keys } from '../keys/keys.ts'
import { diskLimitsOf } from '../model/disk-limits.ts'
import { chainOf, layerDoc } from '../model/layer.ts'
import { volumeDoc } from '../model/volume.ts'
import { VOLUME_TYPES } from '../model/volume-type.ts'
import type { LayerTable, VolumeTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import type { LayerRef, Volumes } from '../volumes/driver.ts'
import { sizeInMachine, type AttachedVolume } from './attached-volumes.ts'

interface Ambient {
  store: Store
  volumes: Pick<Volumes, 'pathOf'>
  keys: Pick<Keys, 'unwrap'>
}

/** The volumes as disks of a machine, in the same order. */
export async function diskSpecs(ambient: Ambient, volumes: readonly AttachedVolume[]): Promise<DiskSpec[]> {
  const chains = await ambient.store.read((db) => Promise.all(volumes.map(({ row }) => chainOf(db, row.layer_id))))
  return Promise.all(volumes.map(async (volume, index) => ({
    volumeId: volume.row.volume_id,
    deviceName: volume.row.device ?? '',
    layers: await Promise.all((chains[index] ?? []).map((layer) => layerRef(ambient, layer))),
    sizeGib: sizeInMachine(volume),
    limits: limitsOf(volume.row),
  })))
}

function limitsOf(row: VolumeTable): DiskLimits | null {
  const type = VOLUME_TYPES.find((each) => each === row.volume_type)
  const { iops, throughputMibps } = volumeDoc(row)
  return type ? diskLimitsOf(type, row.size_gib, iops, throughputMibps) : null
}

/** A layer as a driver reads it, with its key. */
export async function layerRef({ volumes, keys }: Pick<Ambient, 'volumes' | 'keys'>, layer: LayerTable): Promise<LayerRef> {
  return { layerId: layer.layer_id, path: volumes.pathOf(layer.layer_id), key: await keyOf(keys, layer) }
}

/** The key of an encrypted layer; null for a plain one. @throws Error when it has none yet, or it cannot be unwrapped. */
export async function keyOf(keys: Pick<Keys, 'unwrap'>, layer: LayerTable): Promise<string | null> {
  const { kmsKeyId, wrappedKey } = layerDoc(layer)
  if (kmsKeyId === undefined) return null
  if (wrappedKey === undefined) throw new Error(`${layer.layer_id} is to be encrypted and has no key yet`)
  return keys.unwrap(kmsKeyId, wrappedKey)
}
