import { readdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../core/clock.ts'
import { isWellFormedId } from '../../core/ids.ts'
import type { Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import type {
  DiskSpec, DiskSwitch, GuestArchitecture, Hypervisor, KeyChange, MachineChannels, MachineHealth, MachineObservation,
  MachinePlatform, MachineSpec, MemoryImage, NicSpec,
} from '../driver.ts'
import { architectureFacts, uefiFirmware } from './architecture.ts'
import { changeAuthorizedKeys, openSerial, readChannels } from './channels.ts'
import type { Qemu } from './devices.ts'
import { ensureDisks } from './disks.ts'
import { ensureSharedFolders, MachineFolder, SCREEN_FILE } from './folder.ts'
import { setGuestClock } from './guest-clock.ts'
import { KeyedLock } from './keyed-lock.ts'
import { ensureLoaded } from './load.ts'
import { ensureReleased, ensureSaved, type Machine } from './memory.ts'
import { deleteImages } from './memory-images.ts'
import { Monitors } from './monitor.ts'
import { ensureNics } from './nics.ts'
import { findMachineIds, isAlive, startedAtMs } from './process.ts'
import { isPaused, QemuProcesses } from './processes.ts'
import { ensureShortened, type Shortening } from './shorten.ts'
import { switchDisks } from './switch.ts'
import { resolveMachineType } from './version.ts'

export interface QemuOptions {
  /** Hearth's home; machines live in `<home>/instances`. */
  home: string
  clock: Clock
  log: Logger
  random: Random
  accelerator: 'kvm' | 'tcg'
  /** Versioned machine type to pin on new instances; the installed QEMU's newest q35 by default. */
  machineType?: string
  /**
   * Whether it stays connected to the machines that it has to do with, to hear of changes; it does unless told otherwise. One
   * process can, for each machine: that of its host. Others of the same home ask and leave.
   */
  staysConnected?: boolean
}

/** Longer than for commands, which are tried again: a busy host is no reason to call a machine ill. */
const HEALTH_TIMEOUT_MS = 2_000
/** As much as parsePpm takes. */
const MAX_SCREEN_BYTES = 256 * 1024 * 1024
/** More than one only when another driver starts or ends the same machine meanwhile. */
const MAX_ATTEMPTS = 4
/** QEMU's run state after a write that failed for want of space; other errors are the guest's to see (werror=enospc). */
const OUT_OF_SPACE = 'io-error'

/** Machines as detached QEMU processes of this host; see docs on Hypervisor for the contract. */
export function createQemuHypervisor(options: QemuOptions): Hypervisor {
  return new QemuHypervisor(options)
}

class QemuHypervisor implements Hypervisor {
  readonly #options: QemuOptions
  /** As the kernel names it, since processes are told by their working directory. */
  readonly #home: string
  readonly #monitors: Monitors
  readonly #locks = new KeyedLock()
  readonly #listeners: ((instanceId: string) => void)[] = []
  readonly #machineTypes = new Map<GuestArchitecture, Promise<string>>()
  readonly #processes: QemuProcesses
  /** What goes on after the call that began it has returned; ends by itself, soon. */
  readonly #tasks = new Set<Promise<void>>()

  constructor(options: QemuOptions) {
    this.#options = options
    ensureSharedFolders(options.home, ['instances'])
    this.#home = realpathSync(options.home)
    const changed = (instanceId: string) => this.#changed(instanceId)
    this.#monitors = new Monitors(options.clock, changed, options.staysConnected ?? true)
    this.#processes = new QemuProcesses(options, this.#home, this.#monitors, changed)
  }

  async platform(guest?: { architecture: GuestArchitecture; firmware: 'bios' | 'uefi' }): Promise<MachinePlatform> {
    const { architecture = 'x86_64', firmware = 'bios' } = guest ?? {}
    const { emulatedCpu, hasBios, nativeOn } = architectureFacts(architecture)
    const isUefi = firmware === 'uefi' || !hasBios
    // Now, while somebody can still be told what is missing.
    if (isUefi) uefiFirmware(architecture)
    const isNative = this.#options.accelerator === 'kvm' && process.arch === nativeOn
    return {
      machineType: await this.#machineTypeOf(architecture), cpuModel: isNative ? 'host' : emulatedCpu,
      accelerator: isNative ? 'kvm' : 'tcg',
      ...(architecture === 'x86_64' ? {} : { architecture }), ...(isUefi ? { firmware: 'uefi' } : {}),
    }
  }

  #machineTypeOf(architecture: GuestArchitecture): Promise<string> {
    const { machineType } = this.#options
    if (machineType !== undefined && architecture === 'x86_64') return Promise.resolve(machineType)
    const known = this.#machineTypes.get(architecture)
    if (known) return known
    const asked = resolveMachineType(architecture)
    this.#machineTypes.set(architecture, asked)
    // What is installed meanwhile is found at the next try.
    asked.catch(() => this.#machineTypes.delete(architecture))
    return asked
  }

  ensureRunning(spec: MachineSpec): Promise<void> {
    const folder = this.#folder(spec.instanceId)
    return this.#locks.run(spec.instanceId, async () => {
      for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
        const found = this.#processes.locate(folder)
        // Before the disks move on without them; also when a call that was cut short has done it, and not durably.
        if (!found) await deleteImages(folder.path)
        if (found ? await this.#processes.adopt(folder, found, spec) : await this.#processes.launch(spec, folder)) return
      }
      throw new Error(`${spec.instanceId} is started and ended elsewhere on this host at the same time; try again`)
    })
  }

  ensureSaved(
    instanceId: string, image: MemoryImage, disks: readonly DiskSpec[], signal?: AbortSignal,
  ): Promise<'saved' | 'absent'> {
    const machine = this.#machine(instanceId)
    return this.#locks.run(instanceId, () => ensureSaved(machine, image, disks, signal))
  }

  ensureLoaded(spec: MachineSpec, image: MemoryImage): Promise<'loaded' | 'missing'> {
    const machine = this.#machine(spec.instanceId)
    const kvm = this.#options.accelerator === 'kvm'
    return this.#locks.run(spec.instanceId, () => ensureLoaded({ ...machine, kvm }, spec, image))
  }

  ensureReleased(instanceId: string): Promise<void> {
    const machine = this.#machine(instanceId)
    return this.#locks.run(instanceId, async () => {
      if (await ensureReleased(machine)) this.#setGuestClock(instanceId)
    })
  }

  ensureForgotten(instanceId: string): Promise<void> {
    const folder = this.#folder(instanceId)
    return this.#locks.run(instanceId, () => deleteImages(folder.path))
  }

  async requestShutdown(instanceId: string): Promise<void> {
    const folder = this.#folder(instanceId)
    if (!this.#processes.locate(folder)) return
    await this.#monitors.execute(instanceId, folder.path, 'system_powerdown')
  }

  ensureStopped(instanceId: string): Promise<void> {
    const folder = this.#folder(instanceId)
    return this.#locks.run(instanceId, () => this.#processes.stop(folder))
  }

  async observe(instanceId: string): Promise<MachineObservation> {
    const folder = this.#folder(instanceId)
    const found = this.#processes.locate(folder)
    if (!found) return { status: 'absent' }
    folder.boundLogs()
    const status = await this.#processes.status(folder)
    if (!isAlive(found)) return { status: 'absent' }
    if (status === 'shutdown') return { status: 'shutdown', pid: found.pid }
    if (status !== undefined && isPaused(status)) return { status: 'paused', pid: found.pid }
    const outOfSpace = status === OUT_OF_SPACE ? { outOfSpace: true as const } : {}
    return { status: 'running', pid: found.pid, startedAtMs: startedAtMs(found), ...outOfSpace }
  }

  async health(instanceId: string): Promise<MachineHealth> {
    const folder = this.#folder(instanceId)
    const found = this.#processes.locate(folder)
    if (!found) return 'absent'
    const status = await this.#monitors.status(instanceId, folder.path, HEALTH_TIMEOUT_MS).catch(() => undefined)
    if (!isAlive(found)) return 'absent'
    if (status === undefined) return 'silent'
    return status === 'running' ? 'running' : 'still'
  }

  async list(): Promise<string[]> {
    const instances = join(this.#home, 'instances')
    const folders = readdirSync(instances).filter((name) => isWellFormedId('i', name))
    return [...new Set([...folders, ...findMachineIds(instances)])].toSorted()
  }

  remove(instanceId: string): Promise<void> {
    const folder = this.#folder(instanceId)
    return this.#locks.run(instanceId, async () => {
      await this.#processes.stop(folder)
      folder.delete()
    })
  }

  async consoleOutput(instanceId: string, maxBytes: number): Promise<Buffer> {
    return this.#folder(instanceId).tail('console.log', maxBytes)
  }

  async channels(instanceId: string): Promise<MachineChannels | undefined> {
    return this.#withQemu(instanceId, undefined, ({ execute }) => readChannels(execute))
  }

  async openSerial(instanceId: string): Promise<Duplex | 'busy' | 'absent'> {
    return this.#withQemu<Duplex | 'busy' | 'absent'>(instanceId, 'absent', (qemu) => openSerial(qemu, this.#options.clock))
  }

  async changeAuthorizedKeys(instanceId: string, change: KeyChange): Promise<'done' | 'unreachable' | 'unsupported'> {
    return this.#withQemu<'done' | 'unreachable' | 'unsupported'>(instanceId, 'unreachable', (qemu) => changeAuthorizedKeys(qemu, this.#options.clock, change))
  }

  async screenshot(instanceId: string): Promise<Buffer> {
    const folder = this.#folder(instanceId)
    // QEMU writes one file; two at once would mix.
    return this.#locks.run(`screen of ${instanceId}`, async () => {
      if (!this.#processes.locate(folder)) throw new Error(`${instanceId} has no process and no screen`)
      try {
        await this.#monitors.execute(instanceId, folder.path, 'screendump', { filename: SCREEN_FILE })
        return folder.tail(SCREEN_FILE, MAX_SCREEN_BYTES)
      } finally {
        folder.deleteFile(SCREEN_FILE)
      }
    })
  }

  async resume(instanceId: string): Promise<void> {
    const folder = this.#folder(instanceId)
    if (!this.#processes.locate(folder) || (await this.#processes.status(folder)) !== OUT_OF_SPACE) return
    await this.#monitors.execute(instanceId, folder.path, 'cont')
  }

  async pressKey(instanceId: string): Promise<void> {
    const folder = this.#folder(instanceId)
    if (!this.#processes.locate(folder)) return
    await this.#monitors.execute(instanceId, folder.path, 'send-key', { keys: [{ type: 'qcode', data: 'shift' }] })
  }

  async interrupt(instanceId: string): Promise<void> {
    const folder = this.#folder(instanceId)
    if (!this.#processes.locate(folder)) throw new Error(`${instanceId} has no process to interrupt`)
    await this.#monitors.execute(instanceId, folder.path, 'inject-nmi')
  }

  async ensureNics(instanceId: string, nics: readonly NicSpec[], cutOff: readonly string[] = []): Promise<string[]> {
    const folder = this.#folder(instanceId)
    return this.#locks.run(instanceId, async () => {
      if (!this.#processes.locate(folder)) return []
      return ensureNics(this.#processes.executor(folder), nics, cutOff)
    })
  }

  async ensureDisks(instanceId: string, disks: readonly DiskSpec[], cutOff: readonly string[] = []): Promise<string[]> {
    return this.#withQemu(instanceId, [], (qemu) => ensureDisks(qemu, disks, cutOff))
  }

  async switchDisks(
    instanceId: string,
    switches: readonly DiskSwitch[],
    { quiesce }: { quiesce: boolean },
  ): Promise<{ switched: string[]; isQuiesced: boolean }> {
    const none = { switched: [], isQuiesced: false }
    return this.#withQemu(instanceId, none, (qemu) => switchDisks(qemu, switches, { quiesce, clock: this.#options.clock }))
  }

  async ensureShortened(instanceId: string, volumeId: string, baseId: string | null): Promise<Shortening> {
    return this.#withQemu(instanceId, { state: 'absent' }, ({ execute }) => ensureShortened(execute, volumeId, baseId))
  }

  onChange(listener: (instanceId: string) => void): void {
    this.#listeners.push(listener)
  }

  async close(): Promise<void> {
    this.#listeners.length = 0
    await Promise.allSettled(this.#tasks)
    await this.#monitors.close()
  }

  #folder(instanceId: string): MachineFolder {
    return new MachineFolder(this.#home, instanceId)
  }

  #machine(instanceId: string): Machine {
    const { clock, random } = this.#options
    return { processes: this.#processes, folder: this.#folder(instanceId), clock, random }
  }

  /** Nobody waits for it, but what is done to the machine next: the guest's agent hears one at a time. */
  #setGuestClock(instanceId: string): void {
    const { clock, log } = this.#options
    const task: Promise<void> = this.#withQemu(instanceId, false, (qemu) => setGuestClock(qemu, clock))
      .then((isSet) => log.info('a guest goes on', { instanceId, isClockSet: isSet }))
      .catch((error: unknown) => log.warn('the clock of a guest that goes on was not set', { instanceId, error: String(error) }))
      .finally(() => this.#tasks.delete(task))
    this.#tasks.add(task)
  }

  #changed(instanceId: string): void {
    for (const listener of this.#listeners) listener(instanceId)
  }

  /** Does something with a machine that runs, alone; `otherwise` when it does not run. */
  #withQemu<T>(instanceId: string, otherwise: T, use: (qemu: Qemu) => Promise<T>): Promise<T> {
    const folder = this.#folder(instanceId)
    return this.#locks.run(instanceId, async () => {
      if (!this.#processes.locate(folder)) return otherwise
      return use(this.#processes.qemu(folder))
    })
  }

}
