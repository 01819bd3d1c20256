import type { Clock } from '../core/clock.ts'
import { isWellFormedId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import { createPauses, type DelayRange } from '../hypervisor/sim-pauses.ts'
import type { SimLayer, SimWorld } from '../hypervisor/sim-world.ts'
import type { DiskUsage, FillProgress, FillSource, LayerRef, LayerSpec, Volumes } from './driver.ts'

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
  /** Disks of the same computer's other regions, which may be read. */
  otherWorlds?: (() => Iterable<SimWorld>) | undefined
}

/** Layers of a simulated host; `close` leaves every call under way without effect, as a crash would. */
export function createSimVolumes(options: SimVolumesOptions): Volumes {
  return new SimVolumes(options)
}

interface Fill {
  beganMs: number
  endsMs: number
  /** Why it ended, when not for well. */
  error?: unknown
}

class SimVolumes implements Volumes {
  readonly #world: SimWorld
  readonly #clock: Clock
  readonly #random: Random
  readonly #delays: SimVolumeDelays
  readonly #otherWorlds: () => Iterable<SimWorld>
  readonly #pauses: ReturnType<typeof createPauses>
  /** What this agent fills; another one begins anew. */
  readonly #fills = new Map<string, Fill>()

  constructor({ world, clock, random, delays, otherWorlds = () => [] }: SimVolumesOptions) {
    this.#otherWorlds = otherWorlds
    this.#world = world
    this.#clock = clock
    this.#random = random
    this.#delays = delays
    this.#pauses = createPauses(clock, random)
  }

  async ensureLayer(spec: LayerSpec): Promise<void> {
    checkSpec(spec)
    if (this.#world.layers.has(spec.layerId)) return
    if (spec.parentId !== null) this.#layer(spec.parentId)
    await this.#pauses.pause(this.#delays.createMs)
    this.#checkRoom(spec.layerId)
    const below = spec.parentId === null ? 0 : this.#layer(spec.parentId).sizeGib
    this.#world.makeLayer({ ...spec, sizeGib: Math.max(spec.sizeGib, below) })
  }

  async ensureFilled(spec: LayerSpec, source: FillSource): Promise<FillProgress> {
    checkSpec(spec)
    if (spec.parentId !== null) throw new Error(`${spec.layerId}: a layer that is filled stands alone`)
    if (this.#world.layers.has(spec.layerId)) return { state: 'done' }
    const fill = this.#fills.get(spec.layerId) ?? this.#beginFill(spec, source)
    if (this.#world.layers.has(spec.layerId)) return { state: 'done' }
    if (fill.error !== undefined) {
      this.#fills.delete(spec.layerId)
      throw fill.error
    }
    const part = (this.#clock.now() - fill.beganMs) / (fill.endsMs - fill.beganMs)
    return { state: 'running', percent: Math.min(99, Math.floor(part * 100)) }
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
    this.#fills.delete(layerId)
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
    this.#fills.clear()
  }

  /** It takes as long as an import; without such a time it is over at once. */
  #beginFill(spec: LayerSpec, source: FillSource): Fill {
    const [minMs, maxMs] = this.#delays.importMs
    const tookMs = maxMs > minMs ? minMs + this.#random.int(maxMs - minMs + 1) : minMs
    const fill: Fill = { beganMs: this.#clock.now(), endsMs: this.#clock.now() + tookMs }
    this.#fills.set(spec.layerId, fill)
    const end = () => {
      // Ended meanwhile, or begun anew.
      if (this.#fills.get(spec.layerId) !== fill) return
      try {
        this.#checkRoom(spec.layerId)
        const sizeGib = Math.max(spec.sizeGib, 'chain' in source ? this.#readChain(source.chain) : 0)
        this.#world.makeLayer({ ...spec, sizeGib }, 'chain' in source ? source.chain.map(({ layerId }) => this.#readable(layerId).data) : [])
        this.#fills.delete(spec.layerId)
      } catch (error) {
        fill.error = error
      }
    }
    if (tookMs === 0) end()
    else this.#pauses.pause([tookMs, tookMs]).then(end, () => {})
    return fill
  }

  /** @throws Error where data would be missing or be noise: a chain that is not the whole one, or under other keys. */
  #readChain(chain: readonly LayerRef[]): number {
    const given = chain.map(({ layerId }) => layerId)
    for (const { layerId, key } of chain) {
      const layer = this.#readable(layerId)
      if (!layer.isSealed) throw new Error(`the layer ${layerId} is not immutable yet`)
      if (layer.key !== key) throw new Error(`the layer ${layerId} has another key`)
      // More than these may be given: what a machine brought up into the top of its disk hides the layers between.
      const { parentId } = layer
      if (parentId !== null && given.indexOf(parentId) < given.indexOf(layerId)) {
        throw new Error(`under ${layerId} is ${parentId}, not ${given.join(', ')}`)
      }
    }
    return chain[0] === undefined ? 0 : this.#readable(chain[0].layerId).sizeGib
  }

  /** Of this region or another one: a layer that is copied. */
  #readable(layerId: string): SimLayer {
    for (const world of [this.#world, ...this.#otherWorlds()]) {
      const layer = world.layers.get(layerId)
      if (layer) return layer
    }
    throw new Error(`the layer ${layerId} is not on this host`)
  }

  #layer(layerId: string): SimLayer {
    checkId(layerId)
    const layer = this.#world.layers.get(layerId)
    if (!layer) throw new Error(`the layer ${layerId} is not on this host`)
    return layer
  }

  #checkRoom(layerId: string): void {
    if (this.#world.isDiskFull) throw new Error(`${layerId}: no space left on the disk that holds /sim`)
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
