import { closeSync, fstatSync } from 'node:fs'
import { join } from 'node:path'
import { waitFor } from '../../core/clock.ts'
import { messageOf } from '../../core/errors.ts'
import { UID_BASE } from '../../core/machine-uid.ts'
import type { MachineSpec } from '../driver.ts'
import { architectureFacts, architectureOf, uefiFirmware } from './architecture.ts'
import { machineArguments, UEFI_VARIABLES_FILE } from './arguments.ts'
import { MachineCgroup } from './cgroup.ts'
import type { Execute, Qemu } from './devices.ts'
import { keysOf } from './disk-nodes.ts'
import { MachineFolder, specHash, type MachineRecord } from './folder.ts'
import type { QemuOptions } from './index.ts'
import { ALREADY_RUNNING, giveLayers, isRoot, spawnQemu, type Launch } from './launch.ts'
import type { Layout } from './layout.ts'
import type { Monitors } from './monitor.ts'
import { findMachine, isAlive, isMachine, isStopped, processOf, type ProcessId } from './process.ts'
import { closeMaster, forgetKeys, launchSecrets, openMaster } from './secrets.ts'
import { ensureUefiVariables } from './uefi-variables.ts'

const START_TIMEOUT_MS = 30_000
const QUIT_TIMEOUT_MS = 2_000
const KILL_TIMEOUT_MS = 15_000
const CGROUP_TIMEOUT_MS = 2_000
const POLL_MS = 10
const LOG_TAIL_BYTES = 2_000
const OTHER_RUNS = 'another QEMU of this machine runs'

/** A QEMU that was started just now. */
export interface StartedQemu {
  process: ProcessId
  /** How it ended; undefined while it lives. */
  end(): string | undefined
  /** What it has said since its start, the last of it. */
  said(): string
}

/** QEMU did not start. */
export class StartError extends Error {
  /** What QEMU wrote about it. */
  readonly said: string

  constructor(instanceId: string, end: string, said: string) {
    super(`${instanceId} did not start: ${end}${said && `\n${said}`}`)
    this.said = said
  }
}

/** The processes of machines: found, started and ended. The caller sees to it that nobody else does that for the same one meanwhile. */
export class QemuProcesses {
  readonly #options: QemuOptions
  readonly #home: string
  readonly #monitors: Monitors
  readonly #changed: (instanceId: string) => void
  #lastCgroupReason: string | null = null

  /** `home` as the kernel names it, since processes are told by their working directory. */
  constructor(options: QemuOptions, home: string, monitors: Monitors, changed: (instanceId: string) => void) {
    this.#options = options
    this.#home = home
    this.#monitors = monitors
    this.#changed = changed
  }

  executor(folder: MachineFolder): Execute {
    return (...command) => this.#monitors.execute(folder.instanceId, folder.path, ...command)
  }

  /** A machine that has a process. */
  qemu(folder: MachineFolder): Qemu {
    return { execute: this.executor(folder), folder: folder.path, uid: folder.machineUid() }
  }

  /** The machine's process: the recorded one if it is that still, else by a search. */
  locate(folder: MachineFolder): ProcessId | undefined {
    const record = folder.readRecord()
    if (record?.pid != null && record.startTicks != null) {
      const recorded = { pid: record.pid, startTicks: record.startTicks }
      if (isAlive(recorded) && isMachine(recorded.pid, folder.instanceId, folder.path)) return recorded
    }
    return folder.hasTraces() ? findMachine(folder.instanceId, folder.path)[0] : undefined
  }

  /** QEMU's run state; undefined when it does not answer (its process may be busy all the same). */
  async status(folder: MachineFolder): Promise<string | undefined> {
    return this.#monitors.status(folder.instanceId, folder.path).catch(() => undefined)
  }

  /** The same, of a process that may be just starting, and needs a moment until it answers; "gone" when it ends. */
  settledStatus(folder: MachineFolder, found: ProcessId): Promise<string | undefined> {
    return waitFor(this.#options.clock, 'QEMU to answer', QUIT_TIMEOUT_MS, async () => {
      if (!isAlive(found)) return 'gone'
      const current = await this.status(folder)
      return current === 'prelaunch' ? undefined : current
    }, POLL_MS).catch(() => undefined)
  }

  /** Takes over a live process; false when it is gone by now, or its guest did not run, and it was ended. */
  async adopt(folder: MachineFolder, found: ProcessId, spec: MachineSpec): Promise<boolean> {
    const status = await this.settledStatus(folder, found)
    const isIdle = status !== undefined && (status === 'shutdown' || isPaused(status))
    if (isIdle) await this.stop(folder)
    if (status === 'gone' || isIdle) return false
    const { log } = this.#options
    if (status === undefined) log.warn('a machine runs but its QEMU does not answer', { instanceId: spec.instanceId })
    this.#record(folder, spec, found)
    return true
  }

  /**
   * Starts QEMU and waits for it. With a layout its devices get those places, and it waits for memory that the guest is to
   * go on with; it needs the keys of its disks until then.
   *
   * @returns undefined when another driver's start came first.
   */
  async launch(spec: MachineSpec, folder: MachineFolder, layout?: Layout): Promise<StartedQemu | undefined> {
    const { master, arguments: keyWords } = launchSecrets(
      spec.disks.flatMap((disk) => keysOf(disk.layers, disk.volumeId)), this.#options.random)
    const words = [...machineArguments(spec, folder.path, layout), ...(layout ? ['-S', '-incoming', 'defer'] : []), ...keyWords]
    const launch = this.#prepare(spec, folder, words)
    const goal = layout ? 'inmigrate' : 'running'
    if (master === null) return this.#start(spec, folder, launch, goal)
    const masterHandle = openMaster(master, launch.uid, this.#options.random)
    try {
      const started = await this.#start(spec, folder, { ...launch, masterHandle }, goal)
      // It has opened its disks, and does not need their keys any more. What is left is forgotten with the next change.
      if (started && !layout) await forgetKeys(this.executor(folder)).catch(() => {})
      return started
    } finally {
      closeMaster(masterHandle)
    }
  }

  async #start(spec: MachineSpec, folder: MachineFolder, launch: Launch, goal: string): Promise<StartedQemu | undefined> {
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
    const isUp = async () => end !== undefined || (await this.status(folder)) === goal
    await waitFor(this.#options.clock, 'QEMU to start', START_TIMEOUT_MS, isUp, POLL_MS)
      .catch((error: unknown) => (end = messageOf(error)))
    // The answer may have come from a QEMU that was there before ours.
    if (end === OTHER_RUNS || (end === undefined && !(started && isAlive(started)))) return undefined
    const said = () => folder.tail('qemu.log', LOG_TAIL_BYTES, logStart).toString().trim()
    if (end === undefined && started) return { process: started, end: () => end, said }
    await this.stop(folder, started ? [started] : [])
    throw new StartError(spec.instanceId, end ?? '', said())
  }

  #prepare(spec: MachineSpec, folder: MachineFolder, words: string[]): Launch {
    const uid = isRoot() ? UID_BASE + spec.slot : null
    if (uid === null && spec.netnsPath !== null) {
      throw new Error('a machine in a network namespace needs root: run hearth as root, or with --engine sim')
    }
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
  async stop(folder: MachineFolder, targets = findMachine(folder.instanceId, folder.path)): Promise<void> {
    for (const found of targets) {
      if (!isAlive(found)) continue
      if (!isStopped(found) && (await this.#quit(folder, found))) continue
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

  /** Whether it has ended, as it was asked to. */
  async #quit(folder: MachineFolder, found: ProcessId): Promise<boolean> {
    await this.#monitors.execute(folder.instanceId, folder.path, 'quit').catch(() => {})
    return this.#waitUntilGone(found, QUIT_TIMEOUT_MS).catch(() => false)
  }

  #waitUntilGone(found: ProcessId, timeoutMs: number): Promise<true> {
    return waitFor(this.#options.clock, `process ${found.pid} to end`, timeoutMs, () => !isAlive(found), POLL_MS)
  }
}

/** Whether a guest stands still in that run state of its QEMU, and does not go on by itself. */
export function isPaused(status: string): boolean {
  return ['paused', 'postmigrate', 'finish-migrate', 'inmigrate'].includes(status)
}
