import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { LayerSpec } from '../volumes/driver.ts'
import type { DiskSwitch, MachineSpec, MemoryImage, NicSpec } from './driver.ts'
import type { LayerData } from './sim-data.ts'
import { SimDisks } from './sim-disks.ts'
import { SimSerial } from './sim-serial.ts'
import { SimLayers, topOf, type SimLayer } from './sim-layers.ts'
import type { SimMachine, SimNic, SimProcess, Task } from './sim-machine.ts'
import { staleDisks, textOf, type SavedGuest, type Write } from './sim-memory.ts'
import { draw, type DelayRange } from './sim-pauses.ts'

export type { SimLayer } from './sim-layers.ts'

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
  /** Whether memory cannot be saved: a device of the guest does not allow it. */
  hibernationFails = false
  /** Whether memory that is saved cannot be loaded: the host has another processor now. */
  loadingFails = false
  /** What must never have happened to any guest, in words. */
  readonly harm: string[] = []
  /** Whether guests take SSH keys from the host. */
  takesKeys = true
  readonly #layers = new SimLayers()
  readonly #clock: Clock
  readonly #random: Random
  readonly #delays: SimGuestDelays
  readonly #watchers = new Set<(instanceId: string) => void>()
  /** Ids of memory that a guest went on with. */
  readonly #consumed = new Set<string>()
  #lastPid = FIRST_PID

  constructor({ clock, random, delays }: SimWorldOptions) {
    this.#clock = clock
    this.#random = random
    this.#delays = delays
  }

  /** How many guests have gone on with memory that was loaded. */
  get resumed(): number {
    return this.#consumed.size
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
    if (this.machines.get(spec.instanceId)?.process) return
    const machine = this.#begin(spec)
    machine.images.clear()
    machine.boots += 1
    print(machine, '[    0.000000] Hearth simulated guest: no kernel, no programs, only this text\n')
    print(machine, `[    0.000000] ${spec.instanceId}: ${spec.vcpus} vCPU, ${spec.memoryMib} MiB of memory\n`)
    this.#later(machine, this.#delays.bootMs, () => this.#booted(machine))
  }

  /** The power button: a running guest shuts itself down, in its own time. */
  pressPowerButton(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.status !== 'running' || machine.process.hangs) return
    print(machine, 'Power button pressed: the simulated guest shuts down.\n')
    this.#later(machine, this.#delays.shutdownMs, () => this.guestPowersOff(instanceId))
  }

  /** A non-maskable interrupt: the guest says what Linux says of one that nobody knows the reason of, and goes on. */
  interrupt(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.status !== 'running') return
    print(machine, 'Uhhuh. NMI received for unknown reason 20 on CPU 0.\nDazed and confused, but trying to continue\n')
  }

  /** The guest computes something, and keeps it in its memory. @returns whether it runs. */
  guestComputes(instanceId: string): boolean {
    const process = this.machines.get(instanceId)?.process
    if (!process || !doesWork(process)) return false
    process.memory.counter += 1
    return true
  }

  /** Stops the process as it is: nothing of it does anything. */
  freeze(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    const process = machine?.process
    if (!process || process.frozenMs !== undefined) return
    process.frozenMs = this.#clock.now()
    process.held.push(...[...machine.tasks].map((task) => task.run))
    this.#rest(machine)
    for (const stream of process.disks.streams.values()) stream.timer?.cancel()
  }

  /** Has a process that was frozen go on where it was. */
  thaw(instanceId: string): void {
    const process = this.machines.get(instanceId)?.process
    if (process?.frozenMs === undefined) return
    const nowMs = this.#clock.now()
    const stoodMs = nowMs - process.frozenMs
    process.frozenMs = undefined
    for (const [volumeId, stream] of process.disks.streams) {
      stream.beganMs += stoodMs
      stream.endsMs += stoodMs
      stream.timer = this.#clock.after(stream.endsMs - nowMs, () => this.#streamed(instanceId, process, volumeId))
    }
    if (process.status === 'running') for (const run of process.held.splice(0)) run()
    this.#changed(instanceId)
  }

  /** Has the guest stand still. */
  pause(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.status !== 'running') return
    machine.process.status = 'paused'
    machine.process.held.push(...[...machine.tasks].map((task) => task.run))
    this.#rest(machine)
  }

  /** Begins the file of its memory; nobody can load it before `endSaving`. */
  beginSaving(instanceId: string, { memoryId, key, binding }: MemoryImage): void {
    this.machines.get(instanceId)?.images.set(memoryId, { key, binding, saved: null })
  }

  /** Writes all that a guest that stands still has in its memory. */
  endSaving(instanceId: string, memoryId: string): void {
    const machine = this.machines.get(instanceId)
    const image = machine?.images.get(memoryId)
    if (!machine?.process || !image) return
    const { memory, unwritten, held, disks, nics } = machine.process
    image.saved = {
      memory: { ...memory }, unwritten: [...unwritten], held: [...held],
      disks: new Map([...disks.all].map(([volumeId, { spec }]) => [volumeId, textOf(this.dataOf(topOf(spec)))])),
      nics: [...nics.keys()],
    }
  }

  /** Starts a process with what was in a guest's memory; the guest stands still. */
  load(spec: MachineSpec, memoryId: string, saved: SavedGuest): void {
    const { process } = this.#begin(spec)
    process.status = 'paused'
    process.memory = { ...saved.memory }
    process.unwritten.push(...saved.unwritten)
    process.held.push(...saved.held)
    process.loaded = { memoryId, saved }
  }

  /** A guest that stands still goes on. */
  letGo(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    const process = machine?.process
    if (process?.status !== 'paused') return
    if (process.loaded) {
      const { memoryId, saved } = process.loaded
      const shown = (volumeId: string) => this.#show(process, volumeId)
      this.harm.push(...staleDisks(saved, shown).map((each) => `${instanceId}: ${each}`))
      if (this.#consumed.has(memoryId)) this.harm.push(`${instanceId} goes on a second time with ${memoryId}`)
      this.#consumed.add(memoryId)
      process.loaded = null
    }
    process.status = 'running'
    process.outOfSpace = process.unwritten.length > 0
    this.resume(instanceId)
    for (const run of process.held.splice(0)) run()
    this.#changed(instanceId)
  }

  /** Deletes memory that is in files. */
  forgetMemory(instanceId: string): void {
    this.machines.get(instanceId)?.images.clear()
  }

  /** Sits down at a machine's serial console, of whose guest nothing is left but that it echoes what is typed. */
  openSerial(instanceId: string): SimSerial | 'busy' | 'absent' {
    const machine = this.machines.get(instanceId)
    if (!machine?.process) return 'absent'
    if (machine.serial) return 'busy'
    const serial = new SimSerial((typed) => {
      if (machine.process?.status === 'running' && machine.process.frozenMs === undefined) print(machine, typed.replaceAll('\r', '\nsimulated login: '))
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
    if (machine?.process?.status !== 'running' || machine.process.hangs || machine.process.frozenMs !== undefined) return
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
    if (!process || !disk || !doesWork(process)) return false
    process.memory.counter += 1
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
    if (process?.status !== 'running' || !process.outOfSpace || this.isDiskFull) return
    process.outOfSpace = false
    for (const write of process.unwritten.splice(0)) this.#write(process, write)
  }

  /** What a layer shows: its own blocks over those of what its file stands on. */
  dataOf(layerId: string): LayerData {
    return this.#layers.show(this.#layers.chainOf(layerId))
  }

  /** The guest's kernel panics: it does nothing any more, and its process goes on. */
  guestHangs(instanceId: string): void {
    this.#hang(instanceId, 'guest')
  }

  /** The process stops: it answers nobody, and its guest stands still. */
  processHangs(instanceId: string): void {
    this.#hang(instanceId, 'process')
  }

  /** Of these interfaces, those behind which a guest answers. */
  answering(interfaceIds: ReadonlySet<string>): Set<string> {
    return new Set([...this.machines.values()].flatMap(({ process }) =>
      (process && doesWork(process) ? [...process.nics.values()] : [])
        .flatMap(({ spec, hasLink }) => (hasLink && interfaceIds.has(spec.interfaceId) ? spec.interfaceId : []))))
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
    const process = this.machines.get(instanceId)?.process
    if (!process || process.disks.streams.has(volumeId)) return
    const beganMs = this.#clock.now()
    const tookMs = draw(this.#random, this.#delays.streamMs ?? [0, 0])
    const finish = () => this.#streamed(instanceId, process, volumeId)
    const stream = { baseId, beganMs, endsMs: beganMs + tookMs, timer: tookMs === 0 ? null : this.#clock.after(tookMs, finish) }
    process.disks.streams.set(volumeId, stream)
    if (tookMs === 0) finish()
  }

  #streamed(instanceId: string, { disks }: SimProcess, volumeId: string): void {
    disks.finishStream(volumeId)
    this.#changed(instanceId)
  }

  /** With what the data `from` (from the top) shows, or empty. */
  makeLayer(spec: LayerSpec, from: readonly LayerData[] = []): void {
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

  /** A machine with a new process, of which nobody has seen anything. @throws Error where QEMU would fail too. */
  #begin(spec: MachineSpec): SimMachine & { process: SimProcess } {
    const disks = new SimDisks(spec.instanceId, this.#layers, spec.disks)
    const known = this.machines.get(spec.instanceId) ??
      { instanceId: spec.instanceId, spec, process: null, console: '', serial: null, authorizedKeys: new Map(), boots: 0, images: new Map(),
        tasks: new Set() }
    const pid = ++this.#lastPid
    const process: SimProcess = {
      pid, startedAtMs: this.#clock.now(), status: 'running', memory: { bootId: pid, counter: 0 }, loaded: null,
      nics: new Map(spec.nics.map((nic) => [nic.attachmentId, plugged(nic)])), disks, unwritten: [], held: [],
    }
    const machine = Object.assign(known, { spec, process })
    this.machines.set(spec.instanceId, machine)
    return machine
  }

  #show(process: SimProcess, volumeId: string): LayerData {
    const disk = process.disks.all.get(volumeId)
    return disk ? this.dataOf(topOf(disk.spec)) : new Map()
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
    // A guest that hangs never does it.
    if (machine.process?.hangs) return
    if (machine.process?.status === 'paused' || machine.process?.frozenMs !== undefined) machine.process.held.push(run)
    else if (delayMs === 0) run()
    else {
      const timer = this.#clock.after(delayMs, () => {
        machine.tasks.delete(task)
        run()
      })
      const task: Task = { run, timer }
      machine.tasks.add(task)
    }
  }

  #hang(instanceId: string, hangs: 'guest' | 'process'): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.status !== 'running') return
    machine.process.hangs = hangs
    this.#rest(machine)
  }

  #rest(machine: SimMachine): void {
    for (const { timer } of machine.tasks) timer.cancel()
    machine.tasks.clear()
  }

  #changed(instanceId: string): void {
    for (const watcher of this.#watchers) watcher(instanceId)
  }
}

/** Whether a guest can do anything. */
function doesWork(process: SimProcess): boolean {
  return process.status === 'running' && !process.outOfSpace && !process.hangs && process.frozenMs === undefined
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
