import type { Duplex } from 'node:stream'
import type { Clock } from '../core/clock.ts'
import { isWellFormedId } from '../core/ids.ts'
import { plainPpm } from '../core/ppm.ts'
import type { Random } from '../core/random.ts'
import {
  GuestRefusedError, type DiskSpec, type DiskSwitch, type Hypervisor, type KeyChange, type MachineChannels,
  type MachineObservation, type MachinePlatform, type MachineSpec, type MemoryImage, type NicSpec,
} from './driver.ts'
import { createPauses, type DelayRange, type SimWorld } from './sim-world.ts'

/** A VGA text screen, width and height in pixels: what a machine shows that draws nothing. */
const TEXT_SCREEN = [720, 400] as const

/** The only user that no simulated guest has. */
const NOBODY = 'nobody'

/** How long the simulated hypervisor takes, each drawn from [min, max] milliseconds. */
export interface SimHypervisorDelays {
  startMs: DelayRange
  stopMs: DelayRange
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
    if (this.#statusOf(spec.instanceId) === 'running') return
    await this.#pauses.pause(this.#delays.startMs)
    // Another call may have started it in the pause, and its guest may have powered off since.
    if (this.#statusOf(spec.instanceId) === 'shutdown') this.#world.processDies(spec.instanceId)
    this.#world.start(spec)
  }

  async ensureSaved(_instanceId: string, _image: MemoryImage): Promise<'saved' | 'absent'> {
    throw new Error('to come')
  }

  async ensureLoaded(_spec: MachineSpec, _image: MemoryImage): Promise<'loaded' | 'missing'> {
    throw new Error('to come')
  }

  async ensureReleased(_instanceId: string): Promise<void> {
    throw new Error('to come')
  }

  async ensureForgotten(_instanceId: string): Promise<void> {
    throw new Error('to come')
  }

  async requestShutdown(instanceId: string): Promise<void> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
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
    if (process.status === 'shutdown') return { status: 'shutdown', pid: process.pid }
    const outOfSpace = process.outOfSpace ? { outOfSpace: true as const } : {}
    return { status: 'running', pid: process.pid, startedAtMs: process.startedAtMs, ...outOfSpace }
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
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
    const machine = this.#world.machines.get(instanceId)
    if (machine?.process?.status !== 'running') return undefined
    return { hasGuestAgent: this.#world.takesKeys, isSerialTaken: machine.serial !== null }
  }

  async openSerial(instanceId: string): Promise<Duplex | 'busy' | 'absent'> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
    return this.#world.openSerial(instanceId)
  }

  async changeAuthorizedKeys(instanceId: string, { osUser, add, remove }: KeyChange): Promise<'done' | 'unreachable'> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
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
    return plainPpm(...TEXT_SCREEN, [0, 0, 0])
  }

  async resume(instanceId: string): Promise<void> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
    this.#world.resume(instanceId)
  }

  async pressKey(instanceId: string): Promise<void> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
  }

  async ensureNics(instanceId: string, nics: readonly NicSpec[], cutOff: readonly string[] = []): Promise<string[]> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
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
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
    const has = this.#world.machines.get(instanceId)?.process?.disks
    if (!has) return []
    const wanted = new Set(disks.map((disk) => disk.volumeId))
    for (const volumeId of [...has.all.keys()].filter((id) => id !== has.rootId && !wanted.has(id))) {
      if (cutOff.includes(volumeId)) this.#world.takeDiskAway(instanceId, volumeId)
      else this.#world.requestDiskUnplug(instanceId, volumeId)
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
    if (errors.length > 0) throw errors[0]
    return [...has.all.keys()]
  }

  async switchDisks(
    instanceId: string,
    switches: readonly DiskSwitch[],
    { quiesce }: { quiesce: boolean },
  ): Promise<{ switched: string[]; isQuiesced: boolean }> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
    const switched = this.#world.switchDisks(instanceId, switches)
    const hasAgent = this.#world.hasGuestAgents && this.#statusOf(instanceId) === 'running'
    return { switched, isQuiesced: quiesce && hasAgent && switched.length > 0 }
  }

  async ensureShortened(
    instanceId: string,
    volumeId: string,
    baseId: string | null,
  ): Promise<{ state: 'running'; percent: number } | { state: 'done' | 'absent' }> {
    checkId(instanceId)
    await this.#pauses.pause([0, 0])
    const disks = this.#world.machines.get(instanceId)?.process?.disks
    if (!disks?.all.has(volumeId)) return { state: 'absent' }
    if (!disks.streams.has(volumeId)) {
      if (disks.isShort(volumeId, baseId)) return { state: 'done' }
      this.#world.beginStream(instanceId, volumeId, baseId)
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

  #statusOf(instanceId: string): 'running' | 'shutdown' | undefined {
    return this.#world.machines.get(instanceId)?.process?.status
  }
}

function checkId(instanceId: string): void {
  if (!isWellFormedId('i', instanceId)) throw new Error(`not an instance id: ${instanceId}`)
}
