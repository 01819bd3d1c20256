import type { Clock } from '../core/clock.ts'
import { isWellFormedId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import { createPauses, type DelayRange, type SimWorld } from '../hypervisor/sim-world.ts'
import type { Volumes, VolumeSpec } from './driver.ts'

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

/** Volumes of a simulated host; `close` leaves every call under way without effect, as a crash would. */
export function createSimVolumes(options: SimVolumesOptions): Volumes & { close(): void } {
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

  async ensureVolume(spec: VolumeSpec): Promise<void> {
    const path = this.pathOf(spec.volumeId)
    if (this.#world.volumes.has(path)) return
    if (!Number.isSafeInteger(spec.sizeGib) || spec.sizeGib < 1) {
      throw new Error(`${spec.volumeId}: a volume's size is a whole number of GiB, not ${spec.sizeGib}`)
    }
    if (spec.snapshotId !== null && !(await this.hasLayer(spec.snapshotId))) {
      throw new Error(`the layer of ${spec.snapshotId} is not on this host: import it first`)
    }
    await this.#pauses.pause(this.#delays.createMs)
    if (!this.#world.volumes.has(path)) this.#world.volumes.set(path, { ...spec })
  }

  async ensureDeleted(volumeId: string): Promise<void> {
    const path = this.pathOf(volumeId)
    if (!this.#world.volumes.has(path)) return
    await this.#pauses.pause(this.#delays.deleteMs)
    this.#world.deleteVolume(path)
  }

  pathOf(volumeId: string): string {
    checkId('vol', volumeId)
    return `/sim/volumes/${volumeId}`
  }

  async list(): Promise<string[]> {
    return [...this.#world.volumes.values()].map((volume) => volume.volumeId).toSorted()
  }

  async hasLayer(snapshotId: string): Promise<boolean> {
    checkId('snap', snapshotId)
    return this.#world.layers.has(snapshotId)
  }

  /** `file` is only a name here: the simulator has no disks to read. */
  async importLayer(snapshotId: string, file: string): Promise<void> {
    if (await this.hasLayer(snapshotId)) return
    await this.#pauses.pause(this.#delays.importMs)
    this.#world.layers.set(snapshotId, file)
  }

  async listLayers(): Promise<string[]> {
    return [...this.#world.layers.keys()].toSorted()
  }

  close(): void {
    this.#pauses.close()
  }
}

function checkId(prefix: 'vol' | 'snap', id: string): void {
  if (!isWellFormedId(prefix, id)) throw new Error(`not a ${prefix === 'vol' ? 'volume' : 'snapshot'} id: ${id}`)
}
