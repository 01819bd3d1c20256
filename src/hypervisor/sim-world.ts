import { setMaxListeners } from 'node:events'
import type { Clock, Timer } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { LayerSpec } from '../volumes/driver.ts'
import type { DiskSpec, DiskSwitch, MachineSpec, NicSpec } from './driver.ts'

/** Shortest and longest duration in milliseconds; [0, 0] is at once, without a timer. */
export type DelayRange = [minMs: number, maxMs: number]

/** How long simulated guests take, by themselves. */
export interface SimGuestDelays {
  /** From the process's start to the login prompt on the console. */
  bootMs: DelayRange
  /** From the power button to the guest's power-off. */
  shutdownMs: DelayRange
  /** From the request to give up an interface until the guest has. */
  unplugMs: DelayRange
}

export interface SimWorldOptions {
  clock: Clock
  random: Random
  delays: SimGuestDelays
}

/** The process of a simulated machine. */
export interface SimProcess {
  pid: number
  startedAtMs: number
  status: 'running' | 'shutdown'
  outOfSpace?: boolean
  /** Its interfaces, by attachment. */
  nics: Map<string, SimNic>
  /** Its disks, by volume. */
  disks: Map<string, SimDisk>
}

/** A disk of a running machine. */
export interface SimDisk {
  spec: DiskSpec
  /** The guest was asked to give it up. */
  isLeaving: boolean
}

/** A layer on a simulated host. */
export interface SimLayer extends LayerSpec {
  isSealed: boolean
}

/** An interface of a running machine. */
export interface SimNic {
  spec: NicSpec
  /** Whether packets pass. */
  hasLink: boolean
  /** The guest was asked to give it up. */
  isLeaving: boolean
}

/** A simulated machine: a folder on the host and, while it runs, a process. */
export interface SimMachine {
  instanceId: string
  spec: MachineSpec
  process: SimProcess | null
  /** Everything the guest ever wrote to its console. */
  console: string
  /** How often it was started. */
  boots: number
  /** What the guest is busy with: booting, or shutting down. */
  timers: Timer[]
}

const FIRST_PID = 1000

/**
 * What exists on a simulated host whatever becomes of the agent: processes with their guests, and
 * disks. Drivers come and go over it as agents restart.
 */
export class SimWorld {
  /** By instance id. */
  readonly machines = new Map<string, SimMachine>()
  /** By id. */
  readonly layers = new Map<string, SimLayer>()
  /** Whether the host's disk takes no more. */
  isDiskFull = false
  /** Which machine, by the id of a layer, writes into it. */
  readonly #users = new Map<string, string>()
  readonly #clock: Clock
  readonly #random: Random
  readonly #delays: SimGuestDelays
  readonly #watchers = new Set<(instanceId: string) => void>()
  #lastPid = FIRST_PID

  constructor({ clock, random, delays }: SimWorldOptions) {
    this.#clock = clock
    this.#random = random
    this.#delays = delays
  }

  /** Calls `watcher` when something happens to a machine; returns what ends that. */
  watch(watcher: (instanceId: string) => void): () => void {
    this.#watchers.add(watcher)
    return () => void this.#watchers.delete(watcher)
  }

  /**
   * Starts the machine's process, unless it has one.
   *
   * @throws Error where QEMU would fail too: a disk that is missing, or in use by another machine.
   */
  start(spec: MachineSpec): void {
    const known = this.machines.get(spec.instanceId)
    if (known?.process) return
    for (const disk of spec.disks) this.#checkDisk(spec.instanceId, disk)
    const machine = known ?? { instanceId: spec.instanceId, spec, process: null, console: '', boots: 0, timers: [] }
    this.machines.set(spec.instanceId, machine)
    machine.spec = spec
    machine.boots += 1
    for (const disk of spec.disks) this.#users.set(topOf(disk), spec.instanceId)
    machine.process = {
      pid: ++this.#lastPid, startedAtMs: this.#clock.now(), status: 'running',
      nics: new Map(spec.nics.map((nic) => [nic.attachmentId, plugged(nic)])),
      disks: new Map(spec.disks.map((disk) => [disk.volumeId, { spec: disk, isLeaving: false }])),
    }
    machine.console += '[    0.000000] Hearth simulated guest: no kernel, no programs, only this text\n'
    machine.console += `[    0.000000] ${spec.instanceId}: ${spec.vcpus} vCPU, ${spec.memoryMib} MiB of memory\n`
    this.#later(machine, this.#delays.bootMs, () => this.#booted(machine))
  }

  /** The power button: a running guest shuts itself down, in its own time. */
  pressPowerButton(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.status !== 'running') return
    machine.console += 'Power button pressed: the simulated guest shuts down.\n'
    this.#later(machine, this.#delays.shutdownMs, () => this.guestPowersOff(instanceId))
  }

  /** Plugs an interface into a machine that has a process. */
  plug(instanceId: string, nic: NicSpec): void {
    this.machines.get(instanceId)?.process?.nics.set(nic.attachmentId, plugged(nic))
  }

  /** Asks the guest to give an interface up, which it does in its own time. */
  requestUnplug(instanceId: string, attachmentId: string): void {
    const machine = this.machines.get(instanceId)
    const nic = machine?.process?.nics.get(attachmentId)
    if (!machine || !nic || nic.isLeaving) return
    nic.isLeaving = true
    this.#later(machine, this.#delays.unplugMs, () => {
      machine.process?.nics.delete(attachmentId)
      this.#changed(instanceId)
    })
  }

  /** The guest switches itself off; its process stays, as QEMU's does with shutdown=pause. */
  guestPowersOff(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.status !== 'running') return
    machine.console += 'The simulated guest is down.\n'
    machine.process.status = 'shutdown'
    this.#rest(machine)
    this.#changed(instanceId)
  }

  /** The guest writes, and finds the host's disk full or not. */
  guestWrites(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.status !== 'running' || !this.isDiskFull) return
    machine.process.outOfSpace = true
    this.#changed(instanceId)
  }

  /** A guest that stands still for want of space tries again. */
  resume(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.outOfSpace && !this.isDiskFull) machine.process.outOfSpace = false
  }

  /** The process ends at once: killed, crashed, or out of memory. */
  processDies(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (!machine?.process) return
    for (const disk of machine.process.disks.values()) this.#users.delete(topOf(disk.spec))
    machine.process = null
    this.#rest(machine)
    this.#changed(instanceId)
  }

  /** Forgets the machine and its console. */
  removeMachine(instanceId: string): void {
    this.processDies(instanceId)
    this.machines.delete(instanceId)
  }

  /** Plugs a disk into a machine that has a process. @throws Error as `start`. */
  plugDisk(instanceId: string, disk: DiskSpec): void {
    const process = this.machines.get(instanceId)?.process
    if (!process) return
    this.#checkDisk(instanceId, disk)
    this.#users.set(topOf(disk), instanceId)
    process.disks.set(disk.volumeId, { spec: disk, isLeaving: false })
  }

  /** Asks the guest to give a disk up, which it does in its own time. */
  requestDiskUnplug(instanceId: string, volumeId: string): void {
    const machine = this.machines.get(instanceId)
    const disk = machine?.process?.disks.get(volumeId)
    if (!machine || !disk || disk.isLeaving) return
    disk.isLeaving = true
    this.#later(machine, this.#delays.unplugMs, () => this.pullDisk(instanceId, volumeId))
  }

  /** Takes a disk from a machine, whatever its guest does. */
  pullDisk(instanceId: string, volumeId: string): void {
    const process = this.machines.get(instanceId)?.process
    const disk = process?.disks.get(volumeId)
    if (!disk) return
    this.#users.delete(topOf(disk.spec))
    process?.disks.delete(volumeId)
    this.#changed(instanceId)
  }

  /** Has disks of a running machine go on in other layers. @throws Error where QEMU would fail too. */
  switchDisks(instanceId: string, switches: readonly DiskSwitch[]): string[] {
    const process = this.machines.get(instanceId)?.process
    if (!process) return []
    const present = switches.filter(({ volumeId }) => process.disks.has(volumeId))
    for (const { volumeId, to } of present) {
      const disk = process.disks.get(volumeId)
      if (!disk || topOf(disk.spec) === to.layerId) continue
      const spec = { ...disk.spec, layers: [to, ...disk.spec.layers] }
      this.#checkDisk(instanceId, spec)
      this.#users.delete(topOf(disk.spec))
      this.#users.set(to.layerId, instanceId)
      disk.spec = spec
    }
    return present.map(({ volumeId }) => volumeId)
  }

  makeLayer(spec: LayerSpec): void {
    if (!this.layers.has(spec.layerId)) this.layers.set(spec.layerId, { ...spec, isSealed: false })
  }

  /** @throws Error when a machine writes into it. */
  sealLayer(layerId: string): void {
    this.#checkUnused(layerId)
    const layer = this.layers.get(layerId)
    if (!layer) throw new Error(`the layer ${layerId} is not on this host`)
    layer.isSealed = true
  }

  /** @throws Error when a machine writes into it. */
  growLayer(layerId: string, sizeGib: number): void {
    this.#checkUnused(layerId)
    const layer = this.layers.get(layerId)
    if (!layer) throw new Error(`the layer ${layerId} is not on this host`)
    if (layer.isSealed && layer.sizeGib < sizeGib) throw new Error(`${layerId} is immutable`)
    layer.sizeGib = Math.max(layer.sizeGib, sizeGib)
  }

  /** @throws Error when a machine writes into it, or another layer stands on it: that one would be lost. */
  deleteLayer(layerId: string): void {
    this.#checkUnused(layerId)
    const above = [...this.layers.values()].find((layer) => layer.parentId === layerId)
    if (above) throw new Error(`${layerId} is under ${above.layerId}`)
    this.layers.delete(layerId)
  }

  #checkUnused(layerId: string): void {
    const user = this.#users.get(layerId)
    if (user !== undefined) throw new Error(`${layerId} is in use by ${user}`)
  }

  #checkDisk(instanceId: string, disk: DiskSpec): void {
    const top = topOf(disk)
    for (const { layerId } of disk.layers) {
      if (!this.layers.has(layerId)) throw new Error(`${instanceId}: there is no layer ${layerId}`)
    }
    if (this.layers.get(top)?.isSealed) throw new Error(`${instanceId}: ${top} is immutable`)
    const user = this.#users.get(top)
    if (user !== undefined && user !== instanceId) throw new Error(`${instanceId}: ${top} is in use by ${user}`)
  }

  #booted(machine: SimMachine): void {
    const mac = machine.spec.nics.find((nic) => nic.deviceIndex === 0)?.mac ?? 'none'
    machine.console += `[    1.000000] eth0: ${mac} (simulated)\nsimulated login:\n`
  }

  #later(machine: SimMachine, range: DelayRange, run: () => void): void {
    const delayMs = draw(this.#random, range)
    if (delayMs === 0) run()
    else machine.timers.push(this.#clock.after(delayMs, run))
  }

  #rest(machine: SimMachine): void {
    for (const timer of machine.timers) timer.cancel()
    machine.timers = []
  }

  #changed(instanceId: string): void {
    for (const watcher of this.#watchers) watcher(instanceId)
  }
}

/** An empty simulated host. */
export function createSimWorld(options: SimWorldOptions): SimWorld {
  return new SimWorld(options)
}

function plugged(spec: NicSpec): SimNic {
  return { spec, hasLink: true, isLeaving: false }
}

/** What a disk writes into. */
function topOf(disk: DiskSpec): string {
  const top = disk.layers[0]
  if (!top) throw new Error(`${disk.volumeId} has no layer`)
  return top.layerId
}

function draw(random: Random, [minMs, maxMs]: DelayRange): number {
  return maxMs > minMs ? minMs + random.int(maxMs - minMs + 1) : minMs
}

/**
 * The pauses of one simulated driver. After `close` none of them ends well: a driver of an agent
 * that died must not go on acting on the world.
 */
export function createPauses(clock: Clock, random: Random): { pause(range: DelayRange): Promise<void>; close(): void } {
  const closed = new AbortController()
  // As many calls may pause at once as the agent makes.
  setMaxListeners(0, closed.signal)
  return {
    async pause(range) {
      closed.signal.throwIfAborted()
      const delayMs = draw(random, range)
      if (delayMs > 0) await clock.sleep(delayMs, closed.signal)
    },
    close: () => closed.abort(new Error('this simulated driver is closed')),
  }
}
