import type { FileHandle } from 'node:fs/promises'

/** Blocks of zeros of that size become holes. */
const BLOCK_BYTES = 64 * 1024
const ZEROS = Buffer.alloc(BLOCK_BYTES)

/** Writes a stream of bytes into a file, zeros as holes: disks that were compressed are mostly that. */
export class SparseWriter {
  readonly #handle: FileHandle
  readonly #limits: { mostBytes: number; mostWrittenBytes: number }
  readonly #block = Buffer.alloc(BLOCK_BYTES)
  #filled = 0
  #offset = 0
  #writtenBytes = 0

  constructor(handle: FileHandle, limits: { mostBytes: number; mostWrittenBytes: number }) {
    this.#handle = handle
    this.#limits = limits
  }

  /** How many bytes have come. */
  get bytes(): number {
    return this.#offset + this.#filled
  }

  /** @throws Error when it becomes more than the limits allow. */
  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + BLOCK_BYTES - this.#filled)
      this.#block.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      if (this.#filled === BLOCK_BYTES) await this.#flush()
    }
  }

  /** Writes what is left; the file is as long as what came. */
  async end(): Promise<void> {
    await this.#flush()
    await this.#handle.truncate(this.#offset)
  }

  async #flush(): Promise<void> {
    const block = this.#block.subarray(0, this.#filled)
    const isHole = block.equals(ZEROS.subarray(0, block.length))
    const { mostBytes } = this.#limits
    if (this.bytes > mostBytes) throw new Error(`it is more than ${mostBytes} bytes, which no disk may be`)
    if (!isHole) {
      this.#writtenBytes += block.length
      if (this.#writtenBytes > this.#limits.mostWrittenBytes) {
        throw new Error(`there is no room for it: only ${this.#limits.mostWrittenBytes} bytes may be used of this file system`)
      }
      for (let done = 0; done < block.length;) {
        const { bytesWritten } = await this.#handle.write(block, done, block.length - done, this.#offset + done)
        done += bytesWritten
      }
    }
    this.#offset += block.length
    this.#filled = 0
  }
}
