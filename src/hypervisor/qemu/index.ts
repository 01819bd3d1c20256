import { closeSync, fstatSync, readdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { waitFor, type Clock } from '../../core/clock.ts'
import { messageOf } from '../../core/errors.ts'
import { isWellFormedId } from '../../core/ids.ts'
import type { Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import type {
  DiskSpec, DiskSwitch, GuestArchitecture, Hypervisor, KeyChange, MachineChannels, MachineObservation, MachinePlatform,
  MachineSpec, MemoryImage, NicSpec,
} from '../driver.ts'
import { architectureFacts, architectureOf, uefiFirmware } from './architecture.ts'
import { machineArguments, UEFI_VARIABLES_FILE } from './arguments.ts'
import { MachineCgroup } from './cgroup.ts'
import { changeAuthorizedKeys, openSerial, readChannels } from './channels.ts'
import type { Execute, Qemu } from './devices.ts'
import { keysOf } from './disk-nodes.ts'
import { ensureDisks } from './disks.ts'
import { ensureSharedFolders, MachineFolder, SCREEN_FILE, specHash, type MachineRecord } from './folder.ts'
import { KeyedLock } from './keyed-lock.ts'
import { UID_BASE } from '../../core/machine-uid.ts'
import { ALREADY_RUNNING, giveLayers, isRoot, spawnQemu, type Launch } from './launch.ts'
import { Monitors } from './monitor.ts'
import { ensureNics } from './nics.ts'
import { findMachine, findMachineIds, isAlive, isMachine, processOf, startedAtMs, type ProcessId } from './process.ts'
import { closeMaster, forgetKeys, launchSecrets, openMaster } from './secrets.ts'
import { ensureShortened, type Shortening } from './shorten.ts'
import { switchDisks } from './switch.ts'
import { ensureUefiVariables } from './uefi-variables.ts'
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
}

const START_TIMEOUT_MS = 30_000
const QUIT_TIMEOUT_MS = 2_000
const KILL_TIMEOUT_MS = 15_000
const CGROUP_TIMEOUT_MS = 2_000
const POLL_MS = 10
const LOG_TAIL_BYTES = 2_000
/** As much as parsePpm takes. */
const MAX_SCREEN_BYTES = 256 * 1024 * 1024
/** More than one only when another driver starts or ends the same machine meanwhile. */
const MAX_ATTEMPTS = 4
/** QEMU's run state after a write that failed for want of space; other errors are the guest's to see (werror=enospc). */
const OUT_OF_SPACE = 'io-error'
const OTHER_RUNS = 'another QEMU of this machine runs'

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
  #lastCgroupReason: string | null = null

  constructor(options: QemuOptions) {
    this.#options = options
    ensureSharedFolders(options.home, ['instances'])
    this.#home = realpathSync(options.home)
    this.#monitors = new Monitors(options.clock, (instanceId) => this.#changed(instanceId))
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
        const found = this.#locate(folder)
        if (found ? await this.#adopt(folder, found, spec) : await this.#launch(spec, folder)) return
      }
      throw new Error(`${spec.instanceId} is started and ended elsewhere on this host at the same time; try again`)
    })
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
    const folder = this.#folder(instanceId)
    if (!this.#locate(folder)) return
    await this.#monitors.execute(instanceId, folder.path, 'system_powerdown')
  }

  ensureStopped(instanceId: string): Promise<void> {
    const folder = this.#folder(instanceId)
    return this.#locks.run(instanceId, () => this.#stop(folder))
  }

  async observe(instanceId: string): Promise<MachineObservation> {
    const folder = this.#folder(instanceId)
    const found = this.#locate(folder)
    if (!found) return { status: 'absent' }
    folder.boundLogs()
    const status = await this.#status(folder)
    if (!isAlive(found)) return { status: 'absent' }
    if (status === 'shutdown') return { status: 'shutdown', pid: found.pid }
    const outOfSpace = status === OUT_OF_SPACE ? { outOfSpace: true as const } : {}
    return { status: 'running', pid: found.pid, startedAtMs: startedAtMs(found), ...outOfSpace }
  }

  async list(): Promise<string[]> {
    const instances = join(this.#home, 'instances')
    const folders = readdirSync(instances).filter((name) => isWellFormedId('i', name))
    return [...new Set([...folders, ...findMachineIds(instances)])].toSorted()
  }

  remove(instanceId: string): Promise<void> {
    const folder = this.#folder(instanceId)
    return this.#locks.run(instanceId, async () => {
      await this.#stop(folder)
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

  async changeAuthorizedKeys(instanceId: string, change: KeyChange): Promise<'done' | 'unreachable'> {
    return this.#withQemu(instanceId, 'unreachable', (qemu) => changeAuthorizedKeys(qemu, this.#options.clock, change))
  }

  async screenshot(instanceId: string): Promise<Buffer> {
    const folder = this.#folder(instanceId)
    // QEMU writes one file; two at once would mix.
    return this.#locks.run(`screen of ${instanceId}`, async () => {
      if (!this.#locate(folder)) throw new Error(`${instanceId} has no process and no screen`)
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
    if (!this.#locate(folder) || (await this.#status(folder)) !== OUT_OF_SPACE) return
    await this.#monitors.execute(instanceId, folder.path, 'cont')
  }

  async pressKey(instanceId: string): Promise<void> {
    const folder = this.#folder(instanceId)
    if (!this.#locate(folder)) return
    await this.#monitors.execute(instanceId, folder.path, 'send-key', { keys: [{ type: 'qcode', data: 'shift' }] })
  }

  async ensureNics(instanceId: string, nics: readonly NicSpec[], cutOff: readonly string[] = []): Promise<string[]> {
    const folder = this.#folder(instanceId)
    return this.#locks.run(instanceId, async () => {
      if (!this.#locate(folder)) return []
      return ensureNics(this.#executor(folder), nics, cutOff)
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
    await this.#monitors.close()
  }

  #folder(instanceId: string): MachineFolder {
    return new MachineFolder(this.#home, instanceId)
  }

  #changed(instanceId: string): void {
    for (const listener of this.#listeners) listener(instanceId)
  }

  /** Does something with a machine that runs, alone; `otherwise` when it does not run. */
  #withQemu<T>(instanceId: string, otherwise: T, use: (qemu: Qemu) => Promise<T>): Promise<T> {
    const folder = this.#folder(instanceId)
    return this.#locks.run(instanceId, async () => {
      if (!this.#locate(folder)) return otherwise
      return use({ execute: this.#executor(folder), folder: folder.path, uid: folder.machineUid() })
    })
  }

  #executor(folder: MachineFolder): Execute {
    return (...command) => this.#monitors.execute(folder.instanceId, folder.path, ...command)
  }

  /** The machine's process: the recorded one if it is that still, else by a search. */
  #locate(folder: MachineFolder): ProcessId | undefined {
    const record = folder.readRecord()
    if (record?.pid != null && record.startTicks != null) {
      const recorded = { pid: record.pid, startTicks: record.startTicks }
      if (isAlive(recorded) && isMachine(recorded.pid, folder.instanceId, folder.path)) return recorded
    }
    return folder.hasTraces() ? findMachine(folder.instanceId, folder.path)[0] : undefined
  }

  /** QEMU's run state; undefined when it does not answer (its process may be busy all the same). */
  async #status(folder: MachineFolder): Promise<string | undefined> {
    return this.#monitors.status(folder.instanceId, folder.path).catch(() => undefined)
  }

  /** Takes over a live process; false when it is gone by now, or was found in `shutdown` and ended. */
  async #adopt(folder: MachineFolder, found: ProcessId, spec: MachineSpec): Promise<boolean> {
    // One that was just spawned, by us or by an agent that died, needs a moment until it answers.
    const status = await waitFor(this.#options.clock, 'QEMU to answer', QUIT_TIMEOUT_MS, async () => {
      if (!isAlive(found)) return 'gone'
      const current = await this.#status(folder)
      return current === 'prelaunch' ? undefined : current
    }, POLL_MS).catch(() => undefined)
    if (status === 'shutdown') await this.#stop(folder)
    if (status === 'gone' || status === 'shutdown') return false
    const { log } = this.#options
    if (status === undefined) log.warn('a machine runs but its QEMU does not answer', { instanceId: spec.instanceId })
    this.#record(folder, spec, found)
    return true
  }

  /** Starts QEMU and waits for it; false when another driver's start came first. */
  async #launch(spec: MachineSpec, folder: MachineFolder): Promise<boolean> {
    const { master, arguments: keyWords } = launchSecrets(
      spec.disks.flatMap((disk) => keysOf(disk.layers, disk.volumeId)), this.#options.random)
    const launch = this.#prepare(spec, folder, keyWords)
    if (master === null) return this.#start(spec, folder, launch)
    const masterHandle = openMaster(master, launch.uid, this.#options.random)
    try {
      const isStarted = await this.#start(spec, folder, { ...launch, masterHandle })
      // It has opened its disks, and does not need their keys any more. What is left is forgotten with the next change.
      if (isStarted) await forgetKeys(this.#executor(folder)).catch(() => {})
      return isStarted
    } finally {
      closeMaster(masterHandle)
    }
  }

  async #start(spec: MachineSpec, folder: MachineFolder, launch: Launch): Promise<boolean> {
    this.#record(folder, spec, null)
    const logHandle = folder.openLog()
    const logStart = fstatSync(logHandle).size
    const child = spawnQemu(launch, logHandle)
    closeSync(logHandle)
    let end: string | undefined
    child.once('error', (error) => (end = error.message))
    child.once('exit', (code, signal) => {
      end = code === ALREADY_RUNNING ? OTHER_RUNS : `QEMU ended with ${signal ?? `exit code ${code}`}`
      this.#changed(spec.instanceId)
    })
    const started = child.pid === undefined ? undefined : processOf(child.pid)
    if (started) this.#record(folder, spec, started)
    const isUp = async () => end !== undefined || (await this.#status(folder)) === 'running'
    await waitFor(this.#options.clock, 'QEMU to start', START_TIMEOUT_MS, isUp, POLL_MS)
      .catch((error: unknown) => (end = messageOf(error)))
    // The answer may have come from a QEMU that was there before ours.
    if (end === OTHER_RUNS || (end === undefined && !(started && isAlive(started)))) return false
    if (end === undefined) return true
    await this.#stop(folder, started ? [started] : [])
    const tail = folder.tail('qemu.log', LOG_TAIL_BYTES, logStart).toString().trim()
    throw new Error(`${spec.instanceId} did not start: ${end}${tail && `\n${tail}`}`)
  }

  #prepare(spec: MachineSpec, folder: MachineFolder, keyWords: string[]): Launch {
    const uid = isRoot() ? UID_BASE + spec.slot : null
    if (uid === null && spec.netnsPath !== null) {
      throw new Error('a machine in a network namespace needs root: run hearth as root, or with --engine sim')
    }
    const words = [...machineArguments(spec, folder.path), ...keyWords]
    folder.prepare(uid)
    if (spec.platform.firmware === 'uefi') {
      const { variables } = uefiFirmware(architectureOf(spec.platform))
      ensureUefiVariables(join(folder.path, UEFI_VARIABLES_FILE), variables, uid)
    }
    if (uid !== null) for (const disk of spec.disks) giveLayers(disk.layers, uid)
    const cgroup = new MachineCgroup(this.#home, spec.instanceId).ensure(spec)
    // Said once, not at every start.
    if (cgroup.reason !== null && cgroup.reason !== this.#lastCgroupReason) {
      this.#options.log.warn('machines run without some of their resource limits', { reason: cgroup.reason })
    }
    this.#lastCgroupReason = cgroup.reason
    return {
      folder: folder.path, uid, kvm: spec.platform.accelerator === 'kvm', netnsPath: spec.netnsPath,
      tun: spec.netnsPath !== null || spec.nics.length > 0, cgroupFiles: cgroup.joinFiles, arguments: words,
      program: architectureFacts(architectureOf(spec.platform)).program,
    }
  }

  #record(folder: MachineFolder, spec: MachineSpec, process: ProcessId | null): void {
    const record: MachineRecord = {
      instanceId: spec.instanceId,
      uuid: spec.uuid,
      specHash: specHash(spec),
      pid: process?.pid ?? null,
      startTicks: process?.startTicks ?? null,
    }
    folder.writeRecord(record, this.#options.random.bytes(6).toString('hex'))
  }

  /** Ends these processes of the machine (all of them by default) and clears up after the last. */
  async #stop(folder: MachineFolder, targets = findMachine(folder.instanceId, folder.path)): Promise<void> {
    for (const found of targets) {
      if (!isAlive(found)) continue
      await this.#monitors.execute(folder.instanceId, folder.path, 'quit').catch(() => {})
      const ended = await this.#waitUntilGone(found, QUIT_TIMEOUT_MS).catch(() => false)
      if (ended) continue
      if (isAlive(found) && isMachine(found.pid, folder.instanceId, folder.path)) process.kill(found.pid, 'SIGKILL')
      await this.#waitUntilGone(found, KILL_TIMEOUT_MS)
    }
    if (findMachine(folder.instanceId, folder.path).length > 0) return
    folder.removeTraces()
    const cgroup = new MachineCgroup(this.#home, folder.instanceId)
    const { clock, log } = this.#options
    await waitFor(clock, 'its cgroups to empty', CGROUP_TIMEOUT_MS, () => cgroup.remove(), POLL_MS)
      .catch(() => log.warn('a machine\'s cgroups are left behind', { instanceId: folder.instanceId }))
  }

  #waitUntilGone(found: ProcessId, timeoutMs: number): Promise<true> {
    return waitFor(this.#options.clock, `process ${found.pid} to end`, timeoutMs, () => !isAlive(found), POLL_MS)
  }
}
