import type { Clock } from '../core/clock.ts'
import { isWellFormedId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import { createPauses, type DelayRange, type SimWorld } from '../hypervisor/sim-world.ts'
import type { DiskUsage, FillProgress, FillSource, LayerSpec, Volumes } from './driver.ts'

/** How long the simulated disks take, each drawn from [min, max] milliseconds. */
export interface SimVolumeDelays {
  createMs: DelayRange
  deleteMs: DelayRange
  importMs: DelayRange
}

export interface SimVolumesOptions {
  world: SimWorld
  clock: Clock
  random: Random
  delays: SimVolumeDelays
}

/** Layers of a simulated host; `close` leaves every call under way without effect, as a crash would. */
export function createSimVolumes(options: SimVolumesOptions): Volumes {
  return new SimVolumes(options)
}

class SimVolumes implements Volumes {
  readonly #world: SimWorld
  readonly #delays: SimVolumeDelays
  readonly #pauses: ReturnType<typeof createPauses>

  constructor({ world, clock, random, delays }: SimVolumesOptions) {
    this.#world = world
    this.#delays = delays
    this.#pauses = createPauses(clock, random)
  }

  async ensureLayer(spec: LayerSpec): Promise<void> {
    checkSpec(spec)
    if (this.#world.layers.has(spec.layerId)) return
    if (spec.parentId !== null && !this.#world.layers.has(spec.parentId)) {
      throw new Error(`the layer ${spec.parentId} is not on this host`)
    }
    await this.#pauses.pause(this.#delays.createMs)
    this.#world.makeLayer({ ...spec })
  }

  async ensureFilled(spec: LayerSpec, _source: FillSource): Promise<FillProgress> {
    checkSpec(spec)
    if (this.#world.layers.has(spec.layerId)) return { state: 'done' }
    await this.#pauses.pause(this.#delays.importMs)
    this.#world.makeLayer({ ...spec, parentId: null })
    return { state: 'done' }
  }

  async ensureSealed(layerId: string): Promise<void> {
    checkId(layerId)
    await this.#pauses.pause([0, 0])
    this.#world.sealLayer(layerId)
  }

  async ensureSize(spec: LayerSpec): Promise<void> {
    checkSpec(spec)
    await this.#pauses.pause([0, 0])
    this.#world.growLayer(spec.layerId, spec.sizeGib)
  }

  async ensureDeleted(layerId: string): Promise<void> {
    checkId(layerId)
    if (!this.#world.layers.has(layerId)) return
    await this.#pauses.pause(this.#delays.deleteMs)
    this.#world.deleteLayer(layerId)
  }

  pathOf(layerId: string): string {
    checkId(layerId)
    return `/sim/layers/${layerId}`
  }

  async list(): Promise<string[]> {
    return [...this.#world.layers.keys()].toSorted()
  }

  async has(layerId: string): Promise<boolean> {
    checkId(layerId)
    return this.#world.layers.has(layerId)
  }

  /** `file` is only a name here: the simulator has no disks to read. */
  async importLayer(layerId: string, _file: string): Promise<void> {
    if (await this.has(layerId)) return
    await this.#pauses.pause(this.#delays.importMs)
    this.#world.makeLayer({ layerId, sizeGib: 1, parentId: null, key: null })
    this.#world.sealLayer(layerId)
  }

  async usage(): Promise<DiskUsage> {
    return { bytesOf: new Map([...this.#world.layers.keys()].map((id) => [id, 0])), freeBytes: 2 ** 40, totalBytes: 2 ** 40 }
  }

  async close(): Promise<void> {
    this.#pauses.close()
  }
}

function checkSpec(spec: LayerSpec): void {
  checkId(spec.layerId)
  if (!Number.isSafeInteger(spec.sizeGib) || spec.sizeGib < 1) {
    throw new Error(`${spec.layerId}: a disk's size is a whole number of GiB, not ${spec.sizeGib}`)
  }
}

function checkId(id: string): void {
  if (!(['lay', 'vol', 'snap'] as const).some((prefix) => isWellFormedId(prefix, id))) throw new Error(`not a layer's id: ${id}`)
}
