import type { DiskSwitch } from './driver.ts'
import type { LayerData } from './sim-data.ts'
import type { SimGuests } from './sim-guests.ts'
import { topOf } from './sim-layers.ts'
import type { SimProcess } from './sim-machine.ts'
import type { Write } from './sim-memory.ts'
import { draw } from './sim-pauses.ts'

/** The disks of a simulated host's running machines: what leaves them, goes on in other layers, or is made of fewer. */
export class SimGuestDisks {
  /** Whether the host's disk takes no more. */
  isDiskFull = false
  readonly #guests: SimGuests

  constructor(guests: SimGuests) {
    this.#guests = guests
  }

  /** Asks the guest to give a disk up, which it does in its own time. */
  requestUnplug(instanceId: string, volumeId: string): void {
    const machine = this.#guests.machines.get(instanceId)
    const disk = machine?.process?.disks.all.get(volumeId)
    if (!machine || !disk || disk.isLeaving) return
    disk.isLeaving = true
    this.#guests.later(machine, this.#guests.delays.unplugMs, () => {
      // It may be another disk by now: that one was taken away, and came again.
      if (machine.process?.disks.all.get(volumeId) !== disk) return
      machine.process.disks.remove(volumeId)
      this.#guests.changed(instanceId)
    })
  }

  /** Takes the files of a disk from a machine, whatever its guest does; that gives up the rest in its own time. */
  takeAway(instanceId: string, volumeId: string): void {
    const machine = this.#guests.machines.get(instanceId)
    if (!machine?.process?.disks.all.has(volumeId)) return
    const { gone } = machine.process.disks.takeAway(volumeId)
    this.#guests.later(machine, this.#guests.delays.unplugMs, gone)
    this.#guests.changed(instanceId)
  }

  /** Has disks of a running machine go on in other layers, at one instant. @throws Error where QEMU would fail too. */
  switch(instanceId: string, switches: readonly DiskSwitch[]): string[] {
    return this.#guests.machines.get(instanceId)?.process?.disks.switch(switches) ?? []
  }

  /** Begins the job that brings a disk's layers above `baseId` together, unless it is at work. */
  beginStream(instanceId: string, volumeId: string, baseId: string | null): void {
    const process = this.#guests.machines.get(instanceId)?.process
    if (!process || process.disks.streams.has(volumeId)) return
    const beganMs = this.#guests.clock.now()
    const tookMs = draw(this.#guests.random, this.#guests.delays.streamMs ?? [0, 0])
    const finish = () => this.#streamed(instanceId, process, volumeId)
    const stream = { baseId, beganMs, endsMs: beganMs + tookMs, timer: tookMs === 0 ? null : this.#guests.clock.after(tookMs, finish) }
    process.disks.streams.set(volumeId, stream)
    if (tookMs === 0) finish()
  }

  /** The jobs of a process that was frozen stand still with it. */
  freeze({ disks }: SimProcess): void {
    for (const stream of disks.streams.values()) stream.timer?.cancel()
  }

  /** They go on as if no time had gone by. */
  thaw(instanceId: string, process: SimProcess, stoodMs: number): void {
    for (const [volumeId, stream] of process.disks.streams) {
      stream.beganMs += stoodMs
      stream.endsMs += stoodMs
      stream.timer = this.#guests.clock.after(stream.endsMs - this.#guests.clock.now(), () => this.#streamed(instanceId, process, volumeId))
    }
  }

  /** What a disk of a machine shows; nothing without that disk. */
  show(process: SimProcess, volumeId: string): LayerData {
    const disk = process.disks.all.get(volumeId)
    return disk ? this.dataOf(topOf(disk.spec)) : new Map()
  }

  /** What a layer shows: its own blocks over those of what its file stands on. */
  dataOf(layerId: string): LayerData {
    const { layers } = this.#guests
    return layers.show(layers.chainOf(layerId))
  }

  /** A guest that stands still for want of space tries again. */
  resume(instanceId: string): void {
    const process = this.#guests.machines.get(instanceId)?.process
    if (process?.status !== 'running' || !process.outOfSpace || this.isDiskFull) return
    process.outOfSpace = false
    for (const write of process.unwritten.splice(0)) this.write(process, write)
  }

  /** A guest's number reaches a disk. @returns whether it has that disk. */
  write(process: SimProcess, { volumeId, block, value }: Write): boolean {
    const disk = process.disks.all.get(volumeId)
    if (disk) this.#guests.layers.get(topOf(disk.spec)).data.set(block, value)
    return disk !== undefined
  }

  #streamed(instanceId: string, { disks }: SimProcess, volumeId: string): void {
    disks.finishStream(volumeId)
    this.#guests.changed(instanceId)
  }
}
