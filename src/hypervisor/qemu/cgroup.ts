import { createHash } from 'node:crypto'
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { messageOf } from '../../core/errors.ts'

/** What a machine's processes may use. */
export interface CgroupLimits {
  vcpus: number
  memoryMib: number
}

export interface Cgroup {
  /** Files into which a process writes "0" to join. */
  joinFiles: string[]
  /** Why there is no cgroup, or not all of it; null when everything is in force. */
  reason: string | null
}

/** QEMU's own use beside the guest's memory; emulation keeps up to 1 GiB of translated code. */
const OVERHEAD_MIB = 1536
const MAX_TASKS = 512
const V1_CONTROLLERS = ['cpu', 'memory', 'pids']

/** One machine's cgroups, on a host of either version; best effort, never a reason not to start. */
export class MachineCgroup {
  readonly #folders: string[]
  readonly #isV2: boolean

  /** `home` keeps two clouds on one host apart; `root` is where the hierarchies are mounted. */
  constructor(home: string, instanceId: string, root = '/sys/fs/cgroup') {
    const name = join(`hearth-${createHash('sha256').update(home).digest('hex').slice(0, 8)}`, instanceId)
    this.#isV2 = existsSync(join(root, 'cgroup.controllers'))
    const hierarchies = this.#isV2 ? [root] : V1_CONTROLLERS.map((each) => join(root, each)).filter(isHierarchy)
    this.#folders = hierarchies.map((each) => join(each, name))
  }

  /** Makes the cgroups and sets their limits. */
  ensure(limits: CgroupLimits): Cgroup {
    if (this.#folders.length === 0) return { joinFiles: [], reason: 'no cgroup hierarchy is mounted in /sys/fs/cgroup' }
    const problems: string[] = []
    const attempt = (run: () => void) => {
      try {
        run()
        return true
      } catch (error) {
        problems.push(messageOf(error))
        return false
      }
    }
    const made = this.#folders.filter((folder) => attempt(() => this.#make(folder)))
    for (const folder of made) {
      for (const [file, value] of settings(this.#isV2, limits)) {
        const path = join(folder, file)
        if (this.#isV2 || existsSync(path)) attempt(() => writeFileSync(path, value))
      }
    }
    const joinFiles = made.map((folder) => join(folder, 'cgroup.procs'))
    return { joinFiles, reason: problems.length > 0 ? problems.join('; ') : null }
  }

  /** Removes the cgroups; false while something still runs (or is only just ending) in one of them. */
  remove(): boolean {
    let gone = true
    for (const folder of this.#folders) {
      gone = removeFolder(folder) && gone
      // The last machine takes the cloud's own with it.
      removeFolder(dirname(folder))
    }
    return gone
  }

  #make(folder: string): void {
    mkdirSync(folder, { recursive: true })
    if (!this.#isV2) return
    // A child has only the controllers that each of its ancestors hands down.
    for (const ancestor of [dirname(dirname(folder)), dirname(folder)]) {
      const offered = readFileSync(join(ancestor, 'cgroup.controllers'), 'utf8').trim().split(' ')
      const wanted = V1_CONTROLLERS.filter((each) => offered.includes(each)).map((each) => `+${each}`)
      if (wanted.length > 0) writeFileSync(join(ancestor, 'cgroup.subtree_control'), wanted.join(' '))
    }
  }
}

function settings(isV2: boolean, { vcpus, memoryMib }: CgroupLimits): [file: string, value: string][] {
  const memoryBytes = String((memoryMib + OVERHEAD_MIB) * 1024 * 1024)
  if (isV2) {
    return [
      ['cpu.weight', String(Math.min(10_000, 100 * vcpus))],
      ['memory.max', memoryBytes],
      ['pids.max', String(MAX_TASKS)],
    ]
  }
  return [
    ['cpu.shares', String(Math.min(262_144, 1024 * vcpus))],
    ['memory.limit_in_bytes', memoryBytes],
    ['pids.max', String(MAX_TASKS)],
  ]
}

function isHierarchy(folder: string): boolean {
  try {
    accessSync(join(folder, 'cgroup.procs'), constants.F_OK)
    return true
  } catch {
    return false
  }
}

/** By rmdir only: the files in a cgroup are not ours to delete. True when it is not there any more. */
function removeFolder(folder: string): boolean {
  try {
    rmdirSync(folder)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
  }
}
