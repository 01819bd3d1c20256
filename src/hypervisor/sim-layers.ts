import type { LayerSpec } from '../volumes/driver.ts'
import type { DiskSpec } from './driver.ts'
import { bringUp, readThrough, type LayerData } from './sim-data.ts'

/** A layer on a simulated host. Its parent is as its file says, its data what it holds itself. */
export interface SimLayer extends LayerSpec {
  isSealed: boolean
  data: LayerData
}

/** The files of layers on a simulated host, and who writes into them. Refuses what would harm anybody's data. */
export class SimLayers {
  /** By id. */
  readonly all = new Map<string, SimLayer>()
  /** Which machine, by the id of a layer, writes into it. */
  readonly #users = new Map<string, string>()

  /** With what the data `from` (from the top) shows, or empty. No effect when it is there. */
  make(spec: LayerSpec, from: readonly LayerData[]): void {
    if (!this.all.has(spec.layerId)) this.all.set(spec.layerId, { ...spec, isSealed: false, data: readThrough(from) })
  }

  /** @throws Error when a machine writes into it. */
  seal(layerId: string): void {
    this.#checkUnused(layerId)
    this.get(layerId).isSealed = true
  }

  /** @throws Error when a machine writes into it, or nobody may. */
  grow(layerId: string, sizeGib: number): void {
    this.#checkUnused(layerId)
    const layer = this.get(layerId)
    if (layer.isSealed && layer.sizeGib < sizeGib) throw new Error(`${layerId} is immutable`)
    layer.sizeGib = Math.max(layer.sizeGib, sizeGib)
  }

  /** @throws Error when a machine writes into it, or another layer stands on it: that one would be lost. */
  delete(layerId: string): void {
    this.#checkUnused(layerId)
    const above = [...this.all.values()].find((layer) => layer.parentId === layerId)
    if (above) throw new Error(`${layerId} is under ${above.layerId}`)
    this.all.delete(layerId)
  }

  /** A layer and those under it, as their files say. */
  chainOf(layerId: string): string[] {
    const { parentId } = this.get(layerId)
    return [layerId, ...(parentId === null ? [] : this.chainOf(parentId))]
  }

  /** What those layers show, from the top. */
  show(chain: readonly string[]): LayerData {
    return readThrough(chain.map((layerId) => this.get(layerId).data))
  }

  /** The layer on `base` (null: on nothing) holds what was between them. */
  shorten(top: string, middle: readonly string[], base: string | null): void {
    const layer = this.get(top)
    bringUp(layer.data, middle.map((layerId) => this.get(layerId).data))
    layer.parentId = base
  }

  /**
   * A machine is to write into the top of the disk.
   *
   * @throws Error where QEMU would fail too (a layer that is missing, under another key, immutable, or
   * written into by another machine), and where the layers are not what the files say: QEMU would show
   * a guest rubbish then.
   */
  use(instanceId: string, disk: DiskSpec): void {
    this.check(instanceId, disk)
    this.#users.set(topOf(disk), instanceId)
  }

  /** As `use`, before anything is done. */
  check(instanceId: string, disk: DiskSpec): void {
    const top = topOf(disk)
    for (const { layerId, key } of disk.layers) {
      if (this.get(layerId).key !== key) throw new Error(`${instanceId}: wrong key for ${layerId}`)
    }
    if (this.get(top).isSealed) throw new Error(`${instanceId}: ${top} is immutable`)
    const user = this.#users.get(top)
    if (user !== undefined && user !== instanceId) throw new Error(`${instanceId}: ${top} is in use by ${user}`)
    const given = disk.layers.map(({ layerId }) => layerId)
    // More than these may be given: what was brought up into the top hides the layers between.
    const used = this.chainOf(top).map((layerId) => given.indexOf(layerId))
    if (used.some((position, index) => position < 0 || position < (used[index - 1] ?? 0))) {
      throw new Error(`${instanceId}: ${disk.volumeId} is not made of ${given.join(', ')}`)
    }
  }

  /** Its machine has let go of the top of the disk. */
  free(disk: DiskSpec): void {
    this.#users.delete(topOf(disk))
  }

  get(layerId: string): SimLayer {
    const layer = this.all.get(layerId)
    if (!layer) throw new Error(`the layer ${layerId} is not on this host`)
    return layer
  }

  #checkUnused(layerId: string): void {
    const user = this.#users.get(layerId)
    if (user !== undefined) throw new Error(`${layerId} is in use by ${user}`)
  }
}

/** What a disk writes into. */
export function topOf(disk: DiskSpec): string {
  const top = disk.layers[0]
  if (!top) throw new Error(`${disk.volumeId} has no layer`)
  return top.layerId
}
