import type { MachineSpec, MemoryImage } from './driver.ts'
import { MemoryImageError } from './driver.ts'
import type { LayerData } from './sim-data.ts'

/** What a simulated guest has in its memory: enough to tell whether it goes on, or was started afresh. */
export interface SimMemory {
  /** Another one for each start. */
  bootId: number
  /** What the guest has computed since: raised by all that it does. */
  counter: number
}

/** A number that a guest writes into a block of a volume. */
export interface Write {
  volumeId: string
  block: number
  value: number
}

/** Memory in a file of a machine's folder. */
export interface SimImage {
  key: string
  binding: string
  /** Null while it is being written, and for ever when that was cut short. */
  saved: SavedGuest | null
}

/** A guest that stands still, with what it knows of its devices. */
export interface SavedGuest {
  memory: SimMemory
  unwritten: Write[]
  /** What it was about to do. */
  held: (() => void)[]
  /** What its disks showed, by volume. */
  disks: Map<string, string>
  /** Attachments of its interfaces. */
  nics: string[]
}

/** The same for the same data. */
export function textOf(data: LayerData): string {
  return JSON.stringify([...data].toSorted(([a], [b]) => a - b))
}

/** @throws MemoryImageError when the file is not what is asked for, or a machine of that spec cannot go on with it. */
export function checkImage(found: SimImage, asked: MemoryImage, { disks, nics }: MachineSpec): SavedGuest {
  if (found.key !== asked.key || found.saved === null) throw new MemoryImageError('the file is damaged, or its key is another')
  if (found.binding !== asked.binding) throw new MemoryImageError('it was saved with something else')
  if (!isSame([...found.saved.disks.keys()], disks.map((disk) => disk.volumeId))) throw new MemoryImageError('it was saved with other disks')
  if (!isSame(found.saved.nics, nics.map((nic) => nic.attachmentId))) throw new MemoryImageError('it was saved with other interfaces')
  return found.saved
}

/** What must not happen: a guest goes on whose memory does not go with its disks. */
export function staleDisks(saved: SavedGuest, show: (volumeId: string) => LayerData): string[] {
  return [...saved.disks].flatMap(([volumeId, before]) => {
    const now = textOf(show(volumeId))
    return now === before ? [] : [`memory of when ${volumeId} held ${before} goes on, and it holds ${now}`]
  })
}

function isSame(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.toSorted().every((each, index) => each === right.toSorted()[index])
}
