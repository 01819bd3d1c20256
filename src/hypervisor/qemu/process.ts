import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { nameArguments } from './arguments.ts'

/** A process, told from a later one with the same pid by when it started. */
export interface ProcessId {
  pid: number
  /** Clock ticks between the host's boot and the process's start. */
  startTicks: number
}

/** Linux reports process times in 1/100 s to user space on every architecture that QEMU's KVM runs on. */
const TICK_MS = 10

/** The live process with that pid; undefined when there is none or only its zombie. */
export function processOf(pid: number): ProcessId | undefined {
  const stat = read(`/proc/${pid}/stat`)
  if (stat === undefined) return undefined
  // The command's name is in parentheses and may itself hold any character.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // Until its last thread is gone, the zombie of the first one still holds memory, files and locks.
  const isZombie = fields[0] === 'Z' && Number(fields[17]) <= 1
  if (isZombie || fields[0] === 'X') return undefined
  return { pid, startTicks: Number(fields[19]) }
}

/** Whether that very process (not a later one with its pid, not its zombie) lives. */
export function isAlive(id: ProcessId): boolean {
  return processOf(id.pid)?.startTicks === id.startTicks
}

/** Whether a signal has stopped the process, and none has let it go on. */
export function isStopped({ pid }: ProcessId): boolean {
  return threadState(pid, String(pid)) === 'T'
}

/** Whether all of a process that was told to stop has; a thread that has just ended does nothing either. */
export function areThreadsStopped({ pid }: ProcessId): boolean {
  return threadsOf(pid).every((thread) => ['T', 'Z', 'X', undefined].includes(threadState(pid, thread)))
}

function threadState(pid: number, thread: string): string | undefined {
  const stat = read(`/proc/${pid}/task/${thread}/stat`)
  return stat?.slice(stat.lastIndexOf(')') + 2)[0]
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

/** When the process began, in milliseconds since the epoch, to about a second. */
export function startedAtMs(id: ProcessId): number {
  const bootSeconds = Number(/^btime (\d+)$/m.exec(read('/proc/stat') ?? '')?.[1] ?? 0)
  return bootSeconds * 1000 + id.startTicks * TICK_MS
}

/**
 * Whether the process is the machine `instanceId` run from `folder`: by its command line (which the
 * programs that lead to QEMU carry as well, so it holds from the moment of the spawn) and by its
 * working directory, which tells two homes apart.
 */
export function isMachine(pid: number, instanceId: string, folder: string): boolean {
  const words = commandLine(pid)
  const [flag, name] = nameArguments(instanceId)
  if (!words.some((word, index) => word === flag && words[index + 1] === name)) return false
  const cwd = workingDirectory(pid)
  return cwd === undefined || cwd === folder
}

/** The words of a process's command line; none of one that is gone. */
export function commandLine(pid: number): string[] {
  return (read(`/proc/${pid}/cmdline`) ?? '').split('\0')
}

/**
 * Every live process that is the machine `instanceId` run from `folder`: its QEMU first, then
 * starts that have not come so far (and will not, if there is a QEMU).
 */
export function findMachine(instanceId: string, folder: string): ProcessId[] {
  const found = allPids().flatMap((pid) => {
    const id = isMachine(pid, instanceId, folder) ? processOf(pid) : undefined
    return id ? [id] : []
  })
  return found.toSorted((a, b) => Number(isQemu(b.pid)) - Number(isQemu(a.pid)))
}

function isQemu(pid: number): boolean {
  return (read(`/proc/${pid}/cmdline`) ?? '').split('\0', 1)[0]?.includes('qemu') ?? false
}

/** Ids of the machines with a process whose folder is (or was) directly under `instancesFolder`. */
export function findMachineIds(instancesFolder: string): string[] {
  return allPids().flatMap((pid) => {
    const instanceId = /(?:^|\0)-name\0guest=(i-[0-9a-f]+),/.exec(read(`/proc/${pid}/cmdline`) ?? '')?.[1]
    if (instanceId === undefined || workingDirectory(pid) !== `${instancesFolder}/${instanceId}`) return []
    return processOf(pid) ? [instanceId] : []
  })
}

function allPids(): number[] {
  return readdirSync('/proc').map(Number).filter((pid) => pid > 0)
}

/** Undefined when this process may not see it. The kernel marks a folder that was deleted since. */
function workingDirectory(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`).replace(/ \(deleted\)$/, '')
  } catch {
    return undefined
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}
