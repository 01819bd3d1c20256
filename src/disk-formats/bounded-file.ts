import type { FileHandle } from 'node:fs/promises'

/** A disk file that is not to be read by anything else; the message says why and what to do. */
export class DiskFormatError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'DiskFormatError'
  }
}

/**
 * The most that is read of any file to judge it: the tables of a disk of 1 TiB. Of larger ones the
 * rest of the tables is left unread, and what lies there to whoever converts the file.
 */
export const MOST_BYTES_READ = 160 * 1024 ** 2
/** The part of it that a scan of tables may take: what headers ask for comes first and must fit. */
const MOST_BYTES_SCANNED = 128 * 1024 ** 2
/** How much of a table is in memory at once. */
const PART_BYTES = 64 * 1024

/** What there is of a file to look into; `FileHandle` fits, and so does a stand-in of tests. */
export type Readable = Pick<FileHandle, 'read'>

/** A file that is read in bounded pieces and never beyond a total, whatever its headers say. */
export class BoundedFile {
  readonly size: number
  readonly #handle: Readable
  #bytesRead = 0
  #bytesScanned = 0

  constructor(handle: Readable, size: number) {
    this.#handle = handle
    this.size = size
  }

  get bytesRead(): number {
    return this.#bytesRead
  }

  /**
   * Exactly `length` bytes from `offset`.
   *
   * @throws DiskFormatError when they are not all in the file, in words that name `what` they are.
   */
  async read(offset: number, length: number, what: string): Promise<Buffer> {
    this.checkWithin(offset, length, what)
    if (this.#bytesRead + length > MOST_BYTES_READ) throw new DiskFormatError(`${what} is too large to be looked into`)
    const buffer = Buffer.alloc(length)
    let done = 0
    while (done < length) {
      const { bytesRead } = await this.#handle.read(buffer, done, length - done, offset + done)
      // Somebody cuts it while it is read.
      if (bytesRead === 0) throw truncated(what)
      done += bytesRead
    }
    this.#bytesRead += length
    return buffer
  }

  /** Up to `length` bytes from `offset`: fewer where the file ends. */
  async readUpTo(offset: number, length: number, what: string): Promise<Buffer> {
    const present = Math.max(0, Math.min(length, this.size - offset))
    return present === 0 ? Buffer.alloc(0) : this.read(offset, present, what)
  }

  /** @throws DiskFormatError unless the whole range is in the file. */
  checkWithin(offset: number, length: number, what: string): void {
    if (offset + length > this.size) throw truncated(what)
  }

  /**
   * A table of fixed entries, part by part; `visit` gets each part and the index of its first entry.
   *
   * @returns false when the rest of it was left unread, since enough has been read of this file.
   */
  async scan(
    table: { offset: number; entries: number; entryBytes: number; what: string },
    visit: (part: Buffer, first: number) => void | Promise<void>,
  ): Promise<boolean> {
    const { offset, entries, entryBytes, what } = table
    this.checkWithin(offset, entries * entryBytes, what)
    const entriesAtOnce = Math.floor(PART_BYTES / entryBytes)
    for (let first = 0; first < entries; first += entriesAtOnce) {
      const bytes = Math.min(entriesAtOnce, entries - first) * entryBytes
      if (this.#bytesScanned + bytes > MOST_BYTES_SCANNED) return false
      this.#bytesScanned += bytes
      await visit(await this.read(offset + first * entryBytes, bytes, what), first)
    }
    return true
  }
}

function truncated(what: string): DiskFormatError {
  return new DiskFormatError(`the file ends before ${what}: it is truncated or damaged; copy or download it again`)
}

/** The error for a disk that shows another one where it has nothing itself. */
export function onlyChanges(other: string): DiskFormatError {
  return new DiskFormatError(`it is only the changes over another ${other}; make it whole with qemu-img convert -O qcow2`)
}

/** A 64-bit number of a header as a number. @throws DiskFormatError for one that no file has. */
export function sane(value: bigint, what: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new DiskFormatError(`${what} makes no sense: ${value}`)
  return Number(value)
}
