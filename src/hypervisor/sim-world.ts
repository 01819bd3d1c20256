import type { LayerSpec } from '../volumes/driver.ts'
import type { MachineSpec, NicSpec } from './driver.ts'
import type { LayerData } from './sim-data.ts'
import { SimGuestDisks } from './sim-guest-disks.ts'
import { SimGuestMemory } from './sim-guest-memory.ts'
import { plugged, print, SimGuests, type SimGuestsOptions } from './sim-guests.ts'
import { SimLayers, type SimLayer } from './sim-layers.ts'
import type { SimMachine, SimProcess } from './sim-machine.ts'
import { SimSerial } from './sim-serial.ts'

export type { SimLayer } from './sim-layers.ts'

export type SimWorldOptions = Omit<SimGuestsOptions, 'layers'>

/**
 * What exists on a simulated host whatever becomes of the agent: processes with their guests, and
 * disks. Drivers come and go over it as agents restart.
 */
export class SimWorld {
  readonly memory: SimGuestMemory
  readonly disks: SimGuestDisks
  /** Whether guests freeze their file systems when they are asked to. */
  hasGuestAgents = false
  /** Whether memory cannot be saved: a device of the guest does not allow it. */
  hibernationFails = false
  /** Whether memory that is saved cannot be loaded: the host has another processor now. */
  loadingFails = false
  /** Whether guests take SSH keys from the host. */
  takesKeys = true
  readonly #layers = new SimLayers()
  readonly #guests: SimGuests

  constructor(options: SimWorldOptions) {
    this.#guests = new SimGuests({ ...options, layers: this.#layers })
    this.disks = new SimGuestDisks(this.#guests)
    this.memory = new SimGuestMemory(this.#guests, this.disks)
  }

  /** By instance id. */
  get machines(): Map<string, SimMachine> {
    return this.#guests.machines
  }

  /** What must never have happened to any guest, in words. */
  get harm(): string[] {
    return this.memory.harm
  }

  /** How many guests have gone on with memory that was loaded. */
  get resumed(): number {
    return this.memory.resumed
  }

  /** Whether the host's disk takes no more. */
  get isDiskFull(): boolean {
    return this.disks.isDiskFull
  }

  set isDiskFull(isFull: boolean) {
    this.disks.isDiskFull = isFull
  }

  /** By id. */
  get layers(): Map<string, SimLayer> {
    return this.#layers.all
  }

  /** Calls `watcher` when something happens to a machine; returns what ends that. */
  watch(watcher: (instanceId: string) => void): () => void {
    return this.#guests.watch(watcher)
  }

  /**
   * Starts the machine's process, unless it has one.
   *
   * @throws Error where QEMU would fail too: a disk that is missing, or in use by another machine.
   */
  start(spec: MachineSpec): void {
    if (this.machines.get(spec.instanceId)?.process) return
    const machine = this.#guests.begin(spec)
    machine.images.clear()
    machine.boots += 1
    print(machine, '[    0.000000] Hearth simulated guest: no kernel, no programs, only this text\n')
    print(machine, `[    0.000000] ${spec.instanceId}: ${spec.vcpus} vCPU, ${spec.memoryMib} MiB of memory\n`)
    this.#guests.later(machine, this.#guests.delays.bootMs, () => this.#booted(machine))
  }

  /** The power button: a running guest shuts itself down, in its own time. */
  pressPowerButton(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.status !== 'running' || machine.process.hangs) return
    print(machine, 'Power button pressed: the simulated guest shuts down.\n')
    this.#guests.later(machine, this.#guests.delays.shutdownMs, () => this.guestPowersOff(instanceId))
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
    process.frozenMs = this.#guests.clock.now()
    process.held.push(...[...machine.tasks].map((task) => task.run))
    this.#guests.rest(machine)
    this.disks.freeze(process)
  }

  /** Has a process that was frozen go on where it was. */
  thaw(instanceId: string): void {
    const process = this.machines.get(instanceId)?.process
    if (process?.frozenMs === undefined) return
    const stoodMs = this.#guests.clock.now() - process.frozenMs
    process.frozenMs = undefined
    this.disks.thaw(instanceId, process, stoodMs)
    if (process.status === 'running') for (const run of process.held.splice(0)) run()
    this.#guests.changed(instanceId)
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
    this.#guests.later(machine, this.#guests.delays.unplugMs, () => {
      machine.process?.nics.delete(attachmentId)
      this.#guests.changed(instanceId)
    })
  }

  /** The guest switches itself off; its process stays, as QEMU's does with shutdown=pause. */
  guestPowersOff(instanceId: string): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.status !== 'running' || machine.process.hangs || machine.process.frozenMs !== undefined) return
    print(machine, 'The simulated guest is down.\n')
    machine.process.status = 'shutdown'
    this.#guests.rest(machine)
    this.#guests.changed(instanceId)
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
    if (!this.isDiskFull) return this.disks.write(process, write)
    process.unwritten.push(write)
    process.outOfSpace = true
    this.#guests.changed(instanceId)
    return false
  }

  /** What a layer shows: its own blocks over those of what its file stands on. */
  dataOf(layerId: string): LayerData {
    return this.disks.dataOf(layerId)
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
    this.#guests.rest(machine)
    this.#guests.changed(instanceId)
  }

  /** Forgets the machine and its console. */
  removeMachine(instanceId: string): void {
    this.processDies(instanceId)
    this.machines.delete(instanceId)
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

  #booted(machine: SimMachine): void {
    const mac = machine.spec.nics.find((nic) => nic.deviceIndex === 0)?.mac ?? 'none'
    print(machine, `[    1.000000] eth0: ${mac} (simulated)\nsimulated login:\n`)
  }

  #hang(instanceId: string, hangs: 'guest' | 'process'): void {
    const machine = this.machines.get(instanceId)
    if (machine?.process?.status !== 'running') return
    machine.process.hangs = hangs
    this.#guests.rest(machine)
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
