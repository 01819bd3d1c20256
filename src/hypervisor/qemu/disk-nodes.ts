import { relative } from 'node:path'
import type { LayerRef } from '../../volumes/driver.ts'
import type { DiskLimits, DiskSpec } from '../driver.ts'

/**
 * How a disk is built: the device, a throttle filter that stays as long as the device does, under it
 * the layers from the top. The filter holds the limits, and is where the files are taken away from a
 * guest that does not give the device up.
 *
 * The names all derive from the volume's id, so that whoever looks knows what is whose. A volume whose
 * files were taken away may come back while its former device is still there: `name` is the volume's
 * id, followed by ".2" and so on for such a further device.
 */
export const deviceId = (name: string): string => `disk-${name}`
export const filterNode = (name: string): string => `limits-${name}`
export const throttleGroup = (name: string): string => `rate-${name}`
export const goneNode = (name: string): string => `gone-${name}`

/** The volume and name of a device, undefined for one that is no disk. */
export const diskOfDevice = (id: string) => diskNamedBy(id, deviceId(''))

/** The volume and name of the disk that a filter is part of, undefined for another node. */
export const diskOfFilter = (node: string) => diskNamedBy(node, filterNode(''))

function diskNamedBy(text: string, prefix: string): { volumeId: string; name: string } | undefined {
  if (!text.startsWith(prefix)) return undefined
  const [name, volumeId] = /^(vol-[0-9a-f]+)(?:\.\d+)?$/.exec(text.slice(prefix.length)) ?? []
  return name === undefined || volumeId === undefined ? undefined : { volumeId, name }
}

/**
 * Two disks of one machine may stand on the same layer, and QEMU takes no name twice and none of more
 * than 31 characters.
 */
export function layerNode(layerId: string, volumeId: string): string {
  return `${layerId}.${volumeId.slice(-8)}`
}

/** The layer that a node was made for; machines of an earlier version have nodes named by the layer alone. */
export function layerOfNode(node: string): string | undefined {
  return /^((?:lay|snap|vol)-[0-9a-f]+)(?:\.[0-9a-f]{8})?$/.exec(node)?.[1]
}

/** The nodes of a disk, as blockdev-add and -blockdev take them. */
export function diskNodes(disk: DiskSpec, name: string, folder: string): Record<string, unknown> {
  const [top, ...lower] = disk.layers
  if (!top) throw new Error(`${disk.volumeId} has no layer`)
  let backing: Record<string, unknown> | null = null
  for (const layer of lower.toReversed()) backing = { ...layerNodes(layer, disk.volumeId, folder), 'read-only': true, backing }
  return { ...filter(name), file: topNodes(top, disk.volumeId, folder, backing) }
}

/** The filter without what is under it. */
export function filter(name: string): Record<string, unknown> {
  return { driver: 'throttle', 'node-name': filterNode(name), 'throttle-group': throttleGroup(name), discard: 'unmap' }
}

/** A layer that is written into, with what is under it given: the file's own header is never followed. */
export function topNodes(
  layer: LayerRef,
  volumeId: string,
  folder: string,
  backing: Record<string, unknown> | null,
): Record<string, unknown> {
  const nodes = layerNodes(layer, volumeId, folder)
  return { ...nodes, file: { ...nodes.file, discard: 'unmap' }, discard: 'unmap', backing }
}

function layerNodes(layer: LayerRef, volumeId: string, folder: string) {
  const encrypt = layer.key === null ? {} : { encrypt: { format: 'luks', 'key-secret': keyId(layer, volumeId) } }
  return {
    driver: 'qcow2', 'node-name': layerNode(layer.layerId, volumeId), ...encrypt,
    file: { driver: 'file', filename: relative(folder, layer.path) },
  }
}

/** In place of files that were taken away: whatever a guest asks of it fails with an I/O error. */
export function goneNodes(name: string, sizeBytes: number): Record<string, unknown> {
  return {
    driver: 'blkdebug', 'node-name': goneNode(name), 'inject-error': [{ event: 'none', errno: 5 }],
    image: { driver: 'null-co', size: sizeBytes },
  }
}

/** The keys of some layers of a volume, each with the id of the secret that QEMU is to look it up by. */
export function keysOf(layers: readonly LayerRef[], volumeId: string): { id: string; key: string }[] {
  return layers.flatMap((layer) => (layer.key === null ? [] : [{ id: keyId(layer, volumeId), key: layer.key }]))
}

function keyId(layer: LayerRef, volumeId: string): string {
  return `key-${layerNode(layer.layerId, volumeId)}`
}

/** Limits as QEMU has them; nothing is left out, so that what is unlimited now stops being limited. */
export function throttleLimits(limits: DiskLimits | null): Record<string, number> {
  const { iops, burst, bytesPerSecond } = limits ?? { iops: null, burst: null, bytesPerSecond: null }
  const isBurst = burst !== null && iops !== null && burst.iops > iops
  return {
    'iops-total': iops ?? 0,
    // QEMU takes no burst that is below what is allowed always.
    'iops-total-max': isBurst ? burst.iops : 0,
    'iops-total-max-length': isBurst ? burst.seconds : 1,
    'bps-total': bytesPerSecond ?? 0,
  }
}

/** What the guest sees of a disk. EC2's serial number is the volume's id without its dash, all that virtio has room for. */
export function diskDevice(disk: DiskSpec, name: string): Record<string, string> {
  return {
    driver: 'virtio-blk-pci', id: deviceId(name), drive: filterNode(name), serial: disk.volumeId.replace('-', ''),
  }
}
