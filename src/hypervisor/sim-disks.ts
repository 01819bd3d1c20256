import type { Timer } from '../core/clock.ts'
import { MAX_DISKS, type DiskSpec, type DiskSwitch } from './driver.ts'
import { topOf, type SimLayers } from './sim-layers.ts'

/** As QEMU's machines have it: ports beyond those for the disks of the start. */
const SPARE_PORTS = 4

/** A disk of a running machine. */
export interface SimDisk {
  spec: DiskSpec
  /** The guest was asked to give it up. */
  isLeaving: boolean
}

/** A job that makes a disk of fewer layers. */
export interface SimStream {
  baseId: string | null
  beganMs: number
  endsMs: number
  timer: Timer | null
}

/** The disks of one simulated process. */
export class SimDisks {
  /** Those with files, by volume; the first is the root. */
  readonly all = new Map<string, SimDisk>()
  readonly streams = new Map<string, SimStream>()
  readonly #instanceId: string
  readonly #layers: SimLayers
  readonly #ports: number
  /** Devices whose files were taken away, and that the guest has not given up. */
  #hollow = 0

  /** @throws Error where QEMU would not start. */
  constructor(instanceId: string, layers: SimLayers, disks: readonly DiskSpec[]) {
    this.#instanceId = instanceId
    this.#layers = layers
    this.#ports = Math.min(Math.max(0, disks.length - 1) + SPARE_PORTS, MAX_DISKS - 1)
    for (const disk of disks) layers.check(instanceId, disk)
    for (const disk of disks) this.#add(disk)
  }

  get rootId(): string | undefined {
    return this.all.keys().next().value
  }

  /** No effect without a free port. @throws Error where QEMU would fail too. */
  plug(disk: DiskSpec): void {
    if (this.all.size - 1 + this.#hollow < this.#ports) this.#add(disk)
  }

  /** The guest has given it up. */
  remove(volumeId: string): void {
    const disk = this.all.get(volumeId)
    if (!disk) return
    this.cancelStream(volumeId)
    this.#layers.free(disk.spec)
    this.all.delete(volumeId)
  }

  /** Its files are let go of now, its port when the guest gives it up: `gone` says so. */
  takeAway(volumeId: string): { gone: () => void } {
    this.remove(volumeId)
    this.#hollow += 1
    return { gone: () => void (this.#hollow -= 1) }
  }

  /** Its limits, and a size that is not smaller. */
  adjust({ volumeId, sizeGib, limits }: DiskSpec): void {
    const disk = this.all.get(volumeId)
    if (!disk) return
    if (disk.spec.sizeGib < sizeGib) this.cancelStream(volumeId)
    disk.spec = { ...disk.spec, sizeGib: Math.max(disk.spec.sizeGib, sizeGib), limits }
    const layer = this.#layers.get(topOf(disk.spec))
    layer.sizeGib = Math.max(layer.sizeGib, sizeGib)
  }

  /** All or none. @throws Error where QEMU would fail too. */
  switch(switches: readonly DiskSwitch[]): string[] {
    const present = switches.flatMap(({ volumeId, to }) => {
      const disk = this.all.get(volumeId)
      return disk ? [{ disk, to }] : []
    })
    const due = present.filter(({ disk, to }) => topOf(disk.spec) !== to.layerId)
      .map(({ disk, to }) => ({ disk, spec: { ...disk.spec, layers: [to, ...disk.spec.layers] } }))
    for (const { disk, spec } of due) {
      this.#layers.check(this.#instanceId, spec)
      if (this.#layers.get(topOf(spec)).parentId !== topOf(disk.spec)) throw new Error(`${topOf(spec)} is not over ${topOf(disk.spec)}`)
    }
    for (const { disk, spec } of due) {
      this.cancelStream(spec.volumeId)
      this.#layers.free(disk.spec)
      this.#layers.use(this.#instanceId, spec)
      disk.spec = spec
      this.adjust(spec)
    }
    return present.map(({ disk }) => disk.spec.volumeId)
  }

  /** @throws Error when there is no such layer under the top one. */
  isShort(volumeId: string, baseId: string | null): boolean {
    return this.#positionOf(volumeId, baseId) === 1
  }

  /** The end of a job: the disk has only its top layer over `baseId`. */
  finishStream(volumeId: string): void {
    const stream = this.streams.get(volumeId)
    const disk = this.all.get(volumeId)
    if (!stream || !disk) return
    this.streams.delete(volumeId)
    const ids = disk.spec.layers.map(({ layerId }) => layerId)
    const position = this.#positionOf(volumeId, stream.baseId)
    this.#layers.shorten(topOf(disk.spec), ids.slice(1, position), stream.baseId)
    disk.spec = { ...disk.spec, layers: [...disk.spec.layers.slice(0, 1), ...disk.spec.layers.slice(position)] }
  }

  cancelStream(volumeId: string): void {
    this.streams.get(volumeId)?.timer?.cancel()
    this.streams.delete(volumeId)
  }

  /** The process ended. */
  end(): void {
    for (const volumeId of this.all.keys()) this.remove(volumeId)
  }

  #add(disk: DiskSpec): void {
    this.#layers.use(this.#instanceId, disk)
    this.all.set(disk.volumeId, { spec: disk, isLeaving: false })
    this.adjust(disk)
  }

  #positionOf(volumeId: string, baseId: string | null): number {
    const layers = this.all.get(volumeId)?.spec.layers ?? []
    const position = baseId === null ? layers.length : layers.findIndex(({ layerId }) => layerId === baseId)
    if (position < 1) throw new Error(`${volumeId}: ${baseId} is not under its top layer`)
    return position
  }
}
