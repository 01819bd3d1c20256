import type { Timer } from '../core/clock.ts'
import type { MachineSpec, NicSpec } from './driver.ts'
import type { SimDisks } from './sim-disks.ts'
import type { SimSerial } from './sim-serial.ts'
import type { SavedGuest, SimImage, SimMemory, Write } from './sim-memory.ts'

/** The process of a simulated machine. */
export interface SimProcess {
  pid: number
  startedAtMs: number
  /** `paused`: the guest stands still, and hears and does nothing. */
  status: 'running' | 'paused' | 'shutdown'
  outOfSpace?: boolean
  /** What does nothing any more: the guest inside, or the whole process. */
  hangs?: 'guest' | 'process'
  /** Since when nothing of it does anything, whatever its status is, until it is thawed. */
  frozenMs?: number | undefined
  memory: SimMemory
  /** What its memory was loaded from, until the guest goes on. */
  loaded: { memoryId: string; saved: SavedGuest } | null
  /** Its interfaces, by attachment. */
  nics: Map<string, SimNic>
  disks: SimDisks
  /** What the guest has written since there was no room for it. */
  unwritten: Write[]
  /** What a guest that stands still will do as soon as it goes on. */
  held: (() => void)[]
}

/** An interface of a running machine. */
export interface SimNic {
  spec: NicSpec
  /** Whether packets pass. */
  hasLink: boolean
  /** The guest was asked to give it up. */
  isLeaving: boolean
}

/** A simulated machine: a folder on the host and, while it runs, a process. */
export interface SimMachine {
  instanceId: string
  spec: MachineSpec
  process: SimProcess | null
  /** Everything the guest ever wrote to its console. */
  console: string
  /** Who sits at its serial console. */
  serial: SimSerial | null
  /** Lines of authorized_keys, by user of the guest. */
  authorizedKeys: Map<string, Set<string>>
  /** How often it was started. */
  boots: number
  /** Memory in files of its folder, by id. */
  images: Map<string, SimImage>
  /** What the guest is busy with: booting, or shutting down. */
  tasks: Set<Task>
}

/** What happens later, by the guest itself. */
export interface Task {
  run: () => void
  timer: Timer
}
