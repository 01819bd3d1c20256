import { setMaxListeners } from 'node:events'
import type { Clock, Timer } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { LayerSpec } from '../volumes/driver.ts'
import type { DiskSwitch, MachineSpec, NicSpec } from './driver.ts'
import type { LayerData } from './sim-data.ts'
import { SimDisks } from './sim-disks.ts'
import { SimSerial } from './sim-serial.ts'
import { SimLayers, topOf, type SimLayer } from './sim-layers.ts'

export type { SimLayer } from './sim-layers.ts'

/** Shortest and longest duration in milliseconds; [0, 0] is at once, without a timer. */
export type DelayRange = [minMs: number, maxMs: number]

/** How long simulated guests take, by themselves. */
export interface SimGuestDelays {
  /** From the process's start to the login prompt on the console. */
  bootMs: DelayRange
  /** From the power button to the guest's power-off. */
  shutdownMs: DelayRange
  /** From the request to give up an interface or a disk until the guest has. */
  unplugMs: DelayRange
  /** For the job that makes a disk of fewer layers; no time by default. */
  streamMs?: DelayRange
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
  disks: SimDisks
  /** What the guest has written since there was no room for it. */
  unwritten: Write[]
}

/** A number that a guest writes into a block of a volume. */
interface Write {
  volumeId: string
  block: number
  value: number
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
  /** Who sits at its serial console. */
  serial: SimSerial | null
  /** Lines of authorized_keys, by user of the guest. */
  authorizedKeys: Map<string, Set<string>>
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
  /** Whether the host's disk takes no more. */
  isDiskFull = false
  /** Whether guests freeze their file systems when they are asked to. */
  hasGuestAgents = false
  /** Whether guests take SSH keys from the host. */
  takesKeys = true
  readonly #layers = new SimLayers()
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

  /** By id. */
  get layers(): Map<string, SimLayer> {
    return this.#layers.all
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
    const disks = new SimDisks(spec.instanceId, this.#layers, spec.disks)
    const machine = known ?? { instanceId: spec.instanceId, spec, process: null, console: '', serial: null, authorizedKeys: new Map(), boots: 0, timers: [] }
    this.machines.set(spec.instanceId, machine)
    machine.spec = spec
    machine.boots += 1
    machine.process = {
      pid: ++this.#lastPid, startedAtMs: this.#clock.now(), status: 'running',
      nics: new Map(spec.nics.map((nic) => [nic.attachmentId, plugged(nic)])),
      disks, unwritten: [],
    }
    print(machine, '[    0.000000] Hearth simulated guest: no kernel, no programs, only this text\n')
    print(machine, `[    0.000000] ${spec.instanceId}: ${spec.vcpus} vCPU, ${spec.memoryMib} MiB of memory\n`)
    this.#later(machine, this.#delays.bootMs, () => this.#booted(machine))
  }

  /** The power button: a running guest shuts itself down, in its own time. */
  pressPowerButton(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.status !== 'running') return
    print(machine, 'Power button pressed: the simulated guest shuts down.\n')
    this.#later(machine, this.#delays.shutdownMs, () => this.guestPowersOff(instanceId))
  }

  /** Sits down at a machine's serial console, of whose guest nothing is left but that it echoes what is typed. */
  openSerial(instanceId: string): SimSerial | 'busy' | 'absent' {
    const machine = this.machines.get(instanceId)
    if (!machine?.process) return 'absent'
    if (machine.serial) return 'busy'
    const serial = new SimSerial((typed) => {
      if (machine.process?.status === 'running') print(machine, typed.replaceAll('\r', '\nsimulated login: '))
    })
    machine.serial = serial
    serial.once('close', () => {
      if (machine.serial === serial) machine.serial = null
    })
    return serial
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
    print(machine, 'The simulated guest is down.\n')
    machine.process.status = 'shutdown'
    this.#rest(machine)
    this.#changed(instanceId)
  }

  /**
   * The guest writes a number into a block of a volume (its root by default) and waits until that is on
   * the disk.
   *
   * @returns whether it is; one that finds the host's disk full stands still, and writes again when it goes on.
   */
  guestWrites(instanceId: string, volumeId?: string, value = 0, block = 0): boolean {
    const process = this.machines.get(instanceId)?.process
    const disk = process?.disks.all.get(volumeId ?? process.disks.rootId ?? '')
    if (process?.status !== 'running' || process.outOfSpace || !disk) return false
    const write = { volumeId: disk.spec.volumeId, block, value }
    if (!this.isDiskFull) return this.#write(process, write)
    process.unwritten.push(write)
    process.outOfSpace = true
    this.#changed(instanceId)
    return false
  }

  /** A guest that stands still for want of space tries again. */
  resume(instanceId: string): void {
    const process = this.machines.get(instanceId)?.process
    if (!process?.outOfSpace || this.isDiskFull) return
    process.outOfSpace = false
    for (const write of process.unwritten.splice(0)) this.#write(process, write)
  }

  /** What a layer shows: its own blocks over those of what its file stands on. */
  dataOf(layerId: string): LayerData {
    return this.#layers.show(this.#layers.chainOf(layerId))
  }

  /** The process ends at once: killed, crashed, or out of memory. */
  processDies(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (!machine?.process) return
    machine.process.disks.end()
    machine.process = null
    machine.serial?.hangUp()
    machine.serial = null
    this.#rest(machine)
    this.#changed(instanceId)
  }

  /** Forgets the machine and its console. */
  removeMachine(instanceId: string): void {
    this.processDies(instanceId)
    this.machines.delete(instanceId)
  }

  /** Asks the guest to give a disk up, which it does in its own time. */
  requestDiskUnplug(instanceId: string, volumeId: string): void {
    const machine = this.machines.get(instanceId)
    const disk = machine?.process?.disks.all.get(volumeId)
    if (!machine || !disk || disk.isLeaving) return
    disk.isLeaving = true
    this.#later(machine, this.#delays.unplugMs, () => {
      // It may be another disk by now: that one was taken away, and came again.
      if (machine.process?.disks.all.get(volumeId) !== disk) return
      machine.process.disks.remove(volumeId)
      this.#changed(instanceId)
    })
  }

  /** Takes the files of a disk from a machine, whatever its guest does; that gives up the rest in its own time. */
  takeDiskAway(instanceId: string, volumeId: string): void {
    const machine = this.machines.get(instanceId)
    if (!machine?.process?.disks.all.has(volumeId)) return
    const { gone } = machine.process.disks.takeAway(volumeId)
    this.#later(machine, this.#delays.unplugMs, gone)
    this.#changed(instanceId)
  }

  /** Has disks of a running machine go on in other layers, at one instant. @throws Error where QEMU would fail too. */
  switchDisks(instanceId: string, switches: readonly DiskSwitch[]): string[] {
    return this.machines.get(instanceId)?.process?.disks.switch(switches) ?? []
  }

  /** Begins the job that brings a disk's layers above `baseId` together, unless it is at work. */
  beginStream(instanceId: string, volumeId: string, baseId: string | null): void {
    const disks = this.machines.get(instanceId)?.process?.disks
    if (!disks || disks.streams.has(volumeId)) return
    const beganMs = this.#clock.now()
    const tookMs = draw(this.#random, this.#delays.streamMs ?? [0, 0])
    const finish = () => {
      disks.finishStream(volumeId)
      this.#changed(instanceId)
    }
    const stream = { baseId, beganMs, endsMs: beganMs + tookMs, timer: tookMs === 0 ? null : this.#clock.after(tookMs, finish) }
    disks.streams.set(volumeId, stream)
    if (tookMs === 0) finish()
  }

  /** With what the layers `from` (from the top) show, or empty. */
  makeLayer(spec: LayerSpec, from: readonly string[] = []): void {
    this.#layers.make(spec, from)
  }

  /** @throws Error when a machine writes into it. */
  sealLayer(layerId: string): void {
    this.#layers.seal(layerId)
  }

  /** @throws Error when a machine writes into it, or nobody may. */
  growLayer(layerId: string, sizeGib: number): void {
    this.#layers.grow(layerId, sizeGib)
  }

  /** @throws Error when a machine writes into it, or another layer stands on it: that one would be lost. */
  deleteLayer(layerId: string): void {
    this.#layers.delete(layerId)
  }

  #write(process: SimProcess, { volumeId, block, value }: Write): boolean {
    const disk = process.disks.all.get(volumeId)
    if (disk) this.#layers.get(topOf(disk.spec)).data.set(block, value)
    return disk !== undefined
  }

  #booted(machine: SimMachine): void {
    const mac = machine.spec.nics.find((nic) => nic.deviceIndex === 0)?.mac ?? 'none'
    print(machine, `[    1.000000] eth0: ${mac} (simulated)\nsimulated login:\n`)
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

/** What the guest writes to its console: kept, and shown to who sits there. */
function print(machine: SimMachine, text: string): void {
  machine.console += text
  machine.serial?.show(text)
}

function plugged(spec: NicSpec): SimNic {
  return { spec, hasLink: true, isLeaving: false }
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
