import { setMaxListeners } from 'node:events'
import type { Clock, Timer } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { VolumeSpec } from '../volumes/driver.ts'
import type { MachineSpec, NicSpec } from './driver.ts'

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
  /** By path. */
  readonly volumes = new Map<string, VolumeSpec>()
  /** Snapshot id to the file it came from. */
  readonly layers = new Map<string, string>()
  /** Whether the host's disk takes no more. */
  isDiskFull = false
  /** Which machine, by the path of a disk, has it open. */
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
    for (const disk of spec.disks) this.#checkDisk(spec.instanceId, disk.path)
    const machine = known ?? { instanceId: spec.instanceId, spec, process: null, console: '', boots: 0, timers: [] }
    this.machines.set(spec.instanceId, machine)
    machine.spec = spec
    machine.boots += 1
    for (const disk of spec.disks) this.#users.set(disk.path, spec.instanceId)
    machine.process = {
      pid: ++this.#lastPid, startedAtMs: this.#clock.now(), status: 'running',
      nics: new Map(spec.nics.map((nic) => [nic.attachmentId, plugged(nic)])),
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
    machine.process = null
    for (const disk of machine.spec.disks) this.#users.delete(disk.path)
    this.#rest(machine)
    this.#changed(instanceId)
  }

  /** Forgets the machine and its console. */
  removeMachine(instanceId: string): void {
    this.processDies(instanceId)
    this.machines.delete(instanceId)
  }

  /** @throws Error when a machine has it open: the driver was told to pull a disk from under a guest. */
  deleteVolume(path: string): void {
    const user = this.#users.get(path)
    if (user !== undefined) throw new Error(`${path} is in use by ${user}`)
    this.volumes.delete(path)
  }

  #checkDisk(instanceId: string, path: string): void {
    if (!this.volumes.has(path)) throw new Error(`${instanceId}: there is no disk ${path}`)
    const user = this.#users.get(path)
    if (user !== undefined && user !== instanceId) throw new Error(`${instanceId}: ${path} is in use by ${user}`)
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
