import { statfsSync } from 'node:fs'
import { freemem, totalmem } from 'node:os'
import type { Clock, Timer } from '../core/clock.ts'
import type { RecycleBinUse } from '../model/host.ts'
import { isNearlyFull } from '../reconcile/plan-recycle.ts'
import { formatMib, type Terminal } from './terminal.ts'

/** What is left of the machine, in MiB. */
export interface Room {
  disk: { freeMib: number; totalMib: number }
  /** Memory that programs could still have without swapping. */
  memory: { availableMib: number; totalMib: number }
}

/** Capacity that may be promised to instances, and what is: of a zone, or of all there is. */
export interface Promised {
  zone?: string
  nominal: { vcpus: number; memoryMib: number }
  used: { vcpus: number; memoryMib: number }
}

/** Below these something will soon not have room: a fresh guest's disk grows by gigabytes. */
const LITTLE = { diskMib: 5 * 1024, diskShare: 0.05, memoryShare: 0.1, promisedShare: 0.9 }

/** How often a running cloud looks at what is left. */
const WATCH_INTERVAL_MS = 30_000

/** What is left on the disk of the home, and of the machine's memory. */
export function readRoom(home: string): Room {
  const { bavail, blocks, bsize } = statfsSync(home)
  const mib = (bytes: number) => Math.floor(bytes / 2 ** 20)
  return {
    disk: { freeMib: mib(bavail * bsize), totalMib: mib(blocks * bsize) },
    memory: { availableMib: mib(freemem()), totalMib: mib(totalmem()) },
  }
}

/** One thing that will soon be missing, and what to do about it. */
export interface RoomWarning {
  of: 'disk' | 'memory' | 'capacity' | 'recycle-bin'
  text: string
}

/** What will soon be missing. */
export function roomWarnings({ disk, memory }: Room, home: string, promised: readonly Promised[] = []): RoomWarning[] {
  const warnings: RoomWarning[] = []
  const warn = (of: RoomWarning['of'], text: string) => void warnings.push({ of, text })
  if (disk.freeMib < Math.max(LITTLE.diskMib, disk.totalMib * LITTLE.diskShare)) {
    warn('disk', `only ${formatMib(disk.freeMib)} are free on the disk of ${home}: guests pause when it is full; `
      + 'terminate instances, or free some space')
  }
  if (memory.availableMib < memory.totalMib * LITTLE.memoryShare) {
    warn('memory', `only ${formatMib(memory.availableMib)} of ${formatMib(memory.totalMib)} of memory are available: `
      + 'the kernel may end guests; stop some, or choose smaller types')
  }
  const full = promised.filter(({ used, nominal }) =>
    used.vcpus > nominal.vcpus * LITTLE.promisedShare || used.memoryMib > nominal.memoryMib * LITTLE.promisedShare)
  if (full.length > 0) {
    const isAll = full.length === promised.length
    const where = full.flatMap(({ zone }) => zone ?? []).join(' and ')
    warn('capacity', `nearly all capacity ${isAll ? '' : `of ${where} `}is promised: launches ${isAll ? '' : 'there '}will soon fail with `
      + `InsufficientInstanceCapacity; stop instances, ${isAll ? '' : 'choose another zone, '}or raise --overcommit-vcpus and --overcommit-memory`)
  }
  return warnings
}

/** Whether the recycle bin is about to delete the oldest that it holds. */
export function recycleWarnings(use: RecycleBinUse | null): RoomWarning[] {
  if (use === null || !isNearlyFull(use.heldMib, use.budgetMib)) return []
  const text = `the recycle bin holds ${formatMib(use.heldMib)} of at most ${formatMib(use.budgetMib)}: beyond it the oldest is `
    + 'deleted for good; restore what you need, or raise --recycle-budget-gib'
  return [{ of: 'recycle-bin', text }]
}

/** Undefined for a home whose folder was taken away, of which whoever needs it says more. */
function readIfThere(home: string, read: (home: string) => Room): Room | undefined {
  try {
    return read(home)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Says each warning when it arises, while the cloud runs; what it answers ends that. */
export function watchRoom(home: string, clock: Clock, terminal: Terminal, read: (home: string) => Room = readRoom): Timer {
  let said = new Set<RoomWarning['of']>()
  let timer: Timer
  const look = () => {
    const room = readIfThere(home, read)
    const warnings = room ? roomWarnings(room, home) : []
    for (const warning of warnings) if (!said.has(warning.of)) terminal.say(`warning: ${warning.text}`)
    said = new Set(warnings.map((warning) => warning.of))
    timer = clock.after(WATCH_INTERVAL_MS, look)
  }
  look()
  return { cancel: () => timer.cancel() }
}
