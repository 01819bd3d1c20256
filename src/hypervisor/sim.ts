import type { Duplex } from 'node:stream'
import type { Clock } from '../core/clock.ts'
import { isWellFormedId } from '../core/ids.ts'
import { plainPpm } from '../core/ppm.ts'
import type { Random } from '../core/random.ts'
import {
  DisksError, GuestRefusedError, MemoryImageError, type DiskSpec, type DiskSwitch, type Hypervisor, type KeyChange, type MachineChannels,
  type MachineHealth, type MachineObservation, type MachinePlatform, type MachineSpec, type MemoryImage, type NicSpec,
} from './driver.ts'
import type { SimProcess } from './sim-machine.ts'
import { checkImage } from './sim-memory.ts'
import { createPauses, type DelayRange } from './sim-pauses.ts'
import type { SimWorld } from './sim-world.ts'

/** A VGA text screen, width and height in pixels: what a machine shows that draws nothing. */
const TEXT_SCREEN = [720, 400] as const

/** The only user that no simulated guest has. */
const NOBODY = 'nobody'

/** How long the simulated hypervisor takes, each drawn from [min, max] milliseconds. */
export interface SimHypervisorDelays {
  startMs: DelayRange
  stopMs: DelayRange
  /** For memory; no time by default. */
  saveMs?: DelayRange
  loadMs?: DelayRange
}

export interface SimHypervisorOptions {
  world: SimWorld
  clock: Clock
  random: Random
  delays: SimHypervisorDelays
}

/**
 * A hypervisor over simulated machines. They belong to `world`, which outlives this driver: after
 * `close`, calls under way end with an error and without effect, as a crash would leave them.
 */
export function createSimHypervisor(options: SimHypervisorOptions): Hypervisor {
  return new SimHypervisor(options)
}

class SimHypervisor implements Hypervisor {
  readonly #world: SimWorld
  readonly #clock: Clock
  readonly #delays: SimHypervisorDelays
  readonly #pauses: ReturnType<typeof createPauses>
  readonly #unwatch: (() => void)[] = []

  constructor({ world, clock, random, delays }: SimHypervisorOptions) {
    this.#world = world
    this.#clock = clock
    this.#delays = delays
    this.#pauses = createPauses(clock, random)
  }

  async platform(): Promise<MachinePlatform> {
    return { machineType: 'sim', cpuModel: 'sim', accelerator: 'sim' }
  }

  async ensureRunning(spec: MachineSpec): Promise<void> {
    checkId(spec.instanceId)
    const isUp = () => this.#statusOf(spec.instanceId) === 'running' || this.#isFrozen(spec.instanceId)
    if (isUp()) return
    await this.#pauses.pause(this.#delays.startMs)
    // Another call may have started it in the pause, and its guest may have powered off since.
    if (!isUp()) this.#world.processDies(spec.instanceId)
    this.#world.start(spec)
  }

  async ensureSaved(
    instanceId: string, image: MemoryImage, _disks: readonly DiskSpec[], signal?: AbortSignal,
  ): Promise<'saved' | 'absent'> {
    await this.#reach(instanceId)
    const isWhole = () => Boolean(this.#world.machines.get(instanceId)?.images.get(image.memoryId)?.saved)
    const isUp = () => ['running', 'paused'].includes(this.#statusOf(instanceId) ?? '')
    if (isUp() && !isWhole()) {
      this.#world.memory.pause(instanceId)
      this.#world.memory.beginSaving(instanceId, image)
      await this.#pauses.pause(this.#delays.saveMs ?? [0, 0], signal).catch((error: unknown) => {
        if (error !== signal?.reason) throw error
      })
      this.#checkAnswers(instanceId)
      if (signal?.aborted || this.#world.hibernationFails || this.#world.isDiskFull) {
        this.#world.memory.forget(instanceId)
        this.#world.memory.letGo(instanceId)
        signal?.throwIfAborted()
        throw new MemoryImageError(this.#world.isDiskFull ? 'the disk of the host is full' : 'a device of the guest cannot be saved')
      }
      if (isUp()) this.#world.memory.endSaving(instanceId, image.memoryId)
    }
    if (isUp()) await this.ensureStopped(instanceId)
    return this.#statusOf(instanceId) === undefined && isWhole() ? 'saved' : 'absent'
  }

  async ensureLoaded(spec: MachineSpec, image: MemoryImage): Promise<'loaded' | 'missing'> {
    const id = spec.instanceId
    checkId(id)
    const found = this.#world.machines.get(id)?.images.get(image.memoryId)
    if (!found?.saved) return 'missing'
    if (this.#statusOf(id) === 'running') throw new Error(`${id} runs, and cannot be given its memory`)
    const saved = checkImage(found, image, spec)
    this.#checkAnswers(id)
    if (this.#isLoaded(id, image)) return 'loaded'
    await this.#pauses.pause(this.#delays.loadMs ?? [0, 0])
    if (this.#world.loadingFails) throw new MemoryImageError('this host has another processor')
    this.#world.processDies(id)
    this.#world.memory.load(spec, image.memoryId, saved)
    return 'loaded'
  }

  async ensureReleased(instanceId: string): Promise<void> {
    await this.#reach(instanceId)
    this.#world.memory.forget(instanceId)
    await this.#pauses.pause(this.#delays.stopMs)
    await this.#reach(instanceId)
    this.#world.memory.letGo(instanceId)
  }

  async ensureForgotten(instanceId: string): Promise<void> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
    this.#world.memory.forget(instanceId)
  }

  async requestShutdown(instanceId: string): Promise<void> {
    await this.#reach(instanceId)
    this.#world.pressPowerButton(instanceId)
  }

  async ensureStopped(instanceId: string): Promise<void> {
    checkId(instanceId)
    if (this.#statusOf(instanceId) === undefined) return
    await this.#pauses.pause(this.#delays.stopMs)
    this.#world.processDies(instanceId)
  }

  async observe(instanceId: string): Promise<MachineObservation> {
    checkId(instanceId)
    const process = this.#world.machines.get(instanceId)?.process
    if (!process) return { status: 'absent' }
    if (process.status !== 'running' && process.frozenMs === undefined) return { status: process.status, pid: process.pid }
    const outOfSpace = process.outOfSpace && process.frozenMs === undefined ? { outOfSpace: true as const } : {}
    return { status: 'running', pid: process.pid, startedAtMs: process.startedAtMs, ...outOfSpace }
  }

  async ensureFrozen(instanceId: string): Promise<void> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
    this.#world.freeze(instanceId)
  }

  async ensureThawed(instanceId: string): Promise<void> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
    this.#world.thaw(instanceId)
  }

  async health(instanceId: string): Promise<MachineHealth> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
    const process = this.#world.machines.get(instanceId)?.process
    if (!process) return 'absent'
    if (process.hangs === 'process' || process.frozenMs !== undefined) return 'silent'
    return process.status === 'running' && !process.outOfSpace ? 'running' : 'still'
  }

  async list(): Promise<string[]> {
    return [...this.#world.machines.keys()].toSorted()
  }

  async remove(instanceId: string): Promise<void> {
    await this.ensureStopped(instanceId)
    this.#world.removeMachine(instanceId)
  }

  async consoleOutput(instanceId: string, maxBytes: number): Promise<Buffer> {
    checkId(instanceId)
    const output = Buffer.from(this.#world.machines.get(instanceId)?.console ?? '')
    return output.subarray(Math.max(0, output.length - maxBytes))
  }

  async channels(instanceId: string): Promise<MachineChannels | undefined> {
    await this.#reach(instanceId)
    const machine = this.#world.machines.get(instanceId)
    if (machine?.process?.status !== 'running') return undefined
    return { hasGuestAgent: this.#world.takesKeys, isSerialTaken: machine.serial !== null }
  }

  async openSerial(instanceId: string): Promise<Duplex | 'busy' | 'absent'> {
    await this.#reach(instanceId)
    return this.#world.openSerial(instanceId)
  }

  async changeAuthorizedKeys(instanceId: string, { osUser, add, remove }: KeyChange): Promise<'done' | 'unreachable'> {
    await this.#reach(instanceId)
    const machine = this.#world.machines.get(instanceId)
    if (machine?.process?.status !== 'running' || !this.#world.takesKeys) return 'unreachable'
    if (osUser === NOBODY) throw new GuestRefusedError(`failed to lookup user '${osUser}'`)
    const keys = new Set(machine.authorizedKeys.get(osUser))
    for (const key of remove) keys.delete(key)
    for (const key of add) keys.add(key)
    machine.authorizedKeys.set(osUser, keys)
    return 'done'
  }

  async screenshot(instanceId: string): Promise<Buffer> {
    checkId(instanceId)
    if (this.#statusOf(instanceId) === undefined) throw new Error(`${instanceId} has no process and no screen`)
    this.#checkAnswers(instanceId)
    return plainPpm(...TEXT_SCREEN, [0, 0, 0])
  }

  async resume(instanceId: string): Promise<void> {
    await this.#reach(instanceId)
    this.#world.disks.resume(instanceId)
  }

  async pressKey(instanceId: string): Promise<void> {
    await this.#reach(instanceId)
  }

  async interrupt(instanceId: string): Promise<void> {
    await this.#reach(instanceId)
    if (this.#statusOf(instanceId) === undefined) throw new Error(`${instanceId} has no process to interrupt`)
    this.#world.interrupt(instanceId)
  }

  async ensureNics(instanceId: string, nics: readonly NicSpec[], cutOff: readonly string[] = []): Promise<string[]> {
    await this.#reach(instanceId)
    const has = this.#world.machines.get(instanceId)?.process?.nics
    if (!has) return []
    const wanted = new Set(nics.map((nic) => nic.attachmentId))
    for (const [attachmentId, nic] of has) {
      if (nic.spec.deviceIndex === 0 || wanted.has(attachmentId)) continue
      if (cutOff.includes(attachmentId)) nic.hasLink = false
      this.#world.requestUnplug(instanceId, attachmentId)
    }
    for (const nic of nics) {
      if (nic.deviceIndex !== 0 && !has.has(nic.attachmentId)) this.#world.plug(instanceId, nic)
    }
    return [...has.values()].filter(({ spec }) => spec.deviceIndex !== 0).map(({ spec }) => spec.attachmentId)
  }

  async ensureDisks(instanceId: string, disks: readonly DiskSpec[], cutOff: readonly string[] = []): Promise<string[]> {
    await this.#reach(instanceId)
    const has = this.#world.machines.get(instanceId)?.process?.disks
    if (!has) return []
    const wanted = new Set(disks.map((disk) => disk.volumeId))
    for (const volumeId of [...has.all.keys()].filter((id) => id !== has.rootId && !wanted.has(id))) {
      if (cutOff.includes(volumeId)) this.#world.disks.takeAway(instanceId, volumeId)
      else this.#world.disks.requestUnplug(instanceId, volumeId)
    }
    const errors: unknown[] = []
    for (const disk of disks) {
      try {
        if (has.all.has(disk.volumeId)) has.adjust(disk)
        else has.plug(disk)
      } catch (error) {
        errors.push(error)
      }
    }
    const open = [...has.all.keys()]
    if (errors.length > 0) throw new DisksError(errors[0], open)
    return open
  }

  async switchDisks(
    instanceId: string,
    switches: readonly DiskSwitch[],
    { quiesce }: { quiesce: boolean },
  ): Promise<{ switched: string[]; isQuiesced: boolean }> {
    await this.#reach(instanceId)
    const switched = this.#world.disks.switch(instanceId, switches)
    const hasAgent = this.#world.hasGuestAgents && this.#statusOf(instanceId) === 'running'
    return { switched, isQuiesced: quiesce && hasAgent && switched.length > 0 }
  }

  async ensureShortened(
    instanceId: string,
    volumeId: string,
    baseId: string | null,
  ): Promise<{ state: 'running'; percent: number } | { state: 'done' | 'absent' }> {
    await this.#reach(instanceId)
    const disks = this.#world.machines.get(instanceId)?.process?.disks
    if (!disks?.all.has(volumeId)) return { state: 'absent' }
    if (!disks.streams.has(volumeId)) {
      if (disks.isShort(volumeId, baseId)) return { state: 'done' }
      this.#world.disks.beginStream(instanceId, volumeId, baseId)
    }
    const stream = disks.streams.get(volumeId)
    if (!stream) return { state: 'done' }
    const part = (this.#clock.now() - stream.beganMs) / (stream.endsMs - stream.beganMs)
    return { state: 'running', percent: Math.floor(part * 100) }
  }

  onChange(listener: (instanceId: string) => void): void {
    this.#unwatch.push(this.#world.watch(listener))
  }

  async close(): Promise<void> {
    this.#pauses.close()
    for (const unwatch of this.#unwatch.splice(0)) unwatch()
  }

  /** Asks the machine's process for something. @throws Error when it does not answer. */
  async #reach(instanceId: string): Promise<void> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
    this.#checkAnswers(instanceId)
  }

  #checkAnswers(instanceId: string): void {
    const isSilent = this.#world.machines.get(instanceId)?.process?.hangs === 'process' || this.#isFrozen(instanceId)
    if (isSilent) throw new Error(`${instanceId} does not answer`)
  }

  #isFrozen(instanceId: string): boolean {
    return this.#world.machines.get(instanceId)?.process?.frozenMs !== undefined
  }

  #statusOf(instanceId: string): SimProcess['status'] | undefined {
    return this.#world.machines.get(instanceId)?.process?.status
  }

  #isLoaded(instanceId: string, { memoryId }: MemoryImage): boolean {
    return this.#world.machines.get(instanceId)?.process?.loaded?.memoryId === memoryId
  }
}

function checkId(instanceId: string): void {
  if (!isWellFormedId('i', instanceId)) throw new Error(`not an instance id: ${instanceId}`)
}
