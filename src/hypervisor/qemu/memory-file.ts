import { createCipheriv, createDecipheriv, createHash, hkdfSync } from 'node:crypto'
import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import type { Random } from '../../core/random.ts'
import { MemoryImageError, type MemoryImage } from '../driver.ts'

/*
 * The file of a guest's memory: a header, then frames.
 *
 *   header  "HEARTH MEMORY 1\n", 32 random bytes
 *   frame   length of its text (31 bits, big endian) after one bit that marks the last frame; tag (16 bytes); text
 *
 * Each text is encrypted by AES-256-GCM under a key of this file alone (HKDF-SHA256 of the image's key and the random
 * bytes), with the frame's number and whether it is the last one as its nonce; the header and the image's binding are
 * authenticated with every one. So nothing can be changed, left out, moved, appended or cut off, nor read as something
 * that it is not. The first text is JSON about the machine, the others are what QEMU sent.
 */

const MAGIC = Buffer.from('HEARTH MEMORY 1\n')
const SALT_BYTES = 32
const HEADER_BYTES = MAGIC.length + SALT_BYTES
const HEAD_BYTES = 20
const LAST = 0x8000_0000
/** Of text in a frame; the event loop waits for as much to be encrypted, less than a millisecond. */
const CHUNK_BYTES = 1024 * 1024
/** After so much the disk begins to be written, so that little is left to wait for at the end. */
const FLUSH_BYTES = 64 * CHUNK_BYTES

/** What opens a file. */
type Secret = Pick<MemoryImage, 'key' | 'binding'>

/**
 * Writes a new file of what `source` yields, durably. What it yielded may be overwritten once the next is asked for.
 *
 * @throws Error when something is in its place, or it cannot be written: then a part of it may be there.
 */
export async function writeMemoryFile(
  path: string,
  secret: Secret,
  about: unknown,
  source: AsyncIterable<Buffer>,
  random: Random,
): Promise<void> {
  const header = Buffer.concat([MAGIC, random.bytes(SALT_BYTES)])
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  const writer = new Writer(await open(path, flags, 0o600), new Sealer(header, secret))
  try {
    await writer.put(header)
    await writer.seal(Buffer.from(JSON.stringify(about)), false)
    const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
    let filled = 0
    for await (const data of source) {
      for (let offset = 0; offset < data.length;) {
        if (filled === CHUNK_BYTES) {
          await writer.seal(chunk, false)
          filled = 0
        }
        const copied = data.copy(chunk, filled, offset)
        filled += copied
        offset += copied
      }
    }
    await writer.seal(chunk.subarray(0, filled), true)
    await writer.finish()
  } finally {
    await writer.close()
  }
}

/** A file that is open to be read. */
export interface MemoryFile {
  /** What was noted about the machine. */
  about: unknown
  /** What QEMU sent, each piece authenticated; it ends well only where the whole file does. */
  chunks(): AsyncGenerator<Buffer>
  close(): Promise<void>
}

/**
 * Opens a file.
 *
 * @returns undefined when there is none.
 * @throws MemoryImageError when it is damaged, or its key or binding is another.
 */
export async function openMemoryFile(path: string, secret: Secret): Promise<MemoryFile | undefined> {
  let handle: FileHandle
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    const reader = new Reader(handle)
    const header = await reader.take(HEADER_BYTES)
    if (!header.subarray(0, MAGIC.length).equals(MAGIC)) {
      throw new MemoryImageError('the file of its memory is not of a kind that this version of Hearth reads')
    }
    const sealer = new Sealer(header, secret)
    const first = await reader.frame()
    const about: unknown = JSON.parse(sealer.open(first, 'is damaged, or was saved with something else than this').toString())
    return { about, chunks: () => chunksOf(reader, sealer, first.isLast), close: () => handle.close() }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Reads the next frame while the present one is used. */
async function* chunksOf(reader: Reader, sealer: Sealer, isEmpty: boolean): AsyncGenerator<Buffer> {
  let coming = isEmpty ? undefined : reader.frame()
  while (coming) {
    const frame = await coming
    coming = frame.isLast ? undefined : reader.frame()
    // Whoever stops listening before the end does not want to hear of it.
    coming?.catch(() => {})
    const chunk = sealer.open(frame, 'is damaged')
    if (frame.isLast) await reader.expectEnd()
    yield chunk
  }
}

interface Frame {
  isLast: boolean
  tag: Buffer
  text: Buffer
}

/** Encrypts or decrypts the frames of one file, in their order. */
class Sealer {
  readonly #key: Buffer
  readonly #context: Buffer
  #count = 0

  constructor(header: Buffer, { key, binding }: Secret) {
    this.#key = Buffer.from(hkdfSync('sha256', Buffer.from(key, 'base64'), header.subarray(MAGIC.length), MAGIC, 32))
    this.#context = createHash('sha256').update(header).update(binding).digest()
  }

  seal(text: Buffer, isLast: boolean): Frame {
    const cipher = createCipheriv('aes-256-gcm', this.#key, this.#nonce(isLast))
    cipher.setAAD(this.#context)
    const sealed = cipher.update(text)
    cipher.final()
    return { isLast, tag: cipher.getAuthTag(), text: sealed }
  }

  /** @throws MemoryImageError that says "the file of its memory" and `otherwise`. */
  open({ isLast, tag, text }: Frame, otherwise: string): Buffer {
    const decipher = createDecipheriv('aes-256-gcm', this.#key, this.#nonce(isLast), { authTagLength: 16 })
    decipher.setAAD(this.#context)
    decipher.setAuthTag(tag)
    const opened = decipher.update(text)
    try {
      decipher.final()
    } catch {
      throw new MemoryImageError(`the file of its memory ${otherwise}`)
    }
    return opened
  }

  /** Never the same twice under one key: each file has its own. */
  #nonce(isLast: boolean): Buffer {
    const nonce = Buffer.alloc(12)
    nonce.writeBigUInt64BE(BigInt(this.#count++), 3)
    nonce.writeUInt8(isLast ? 1 : 0, 11)
    return nonce
  }
}

/** Writes one frame while the next is made. */
class Writer {
  readonly #handle: FileHandle
  readonly #sealer: Sealer
  #written: Promise<void> = Promise.resolve()
  #flushed: Promise<void> = Promise.resolve()
  #unflushedBytes = 0

  constructor(handle: FileHandle, sealer: Sealer) {
    this.#handle = handle
    this.#sealer = sealer
  }

  async seal(plain: Buffer, isLast: boolean): Promise<void> {
    const { tag, text } = this.#sealer.seal(plain, isLast)
    const head = Buffer.alloc(HEAD_BYTES)
    head.writeUInt32BE((text.length | (isLast ? LAST : 0)) >>> 0)
    tag.copy(head, 4)
    await this.put(head, text)
  }

  /** Returns when what was put before is written. */
  async put(...pieces: Buffer[]): Promise<void> {
    await this.#written
    this.#written = this.#write(pieces)
    // Told by the next call.
    this.#written.catch(() => {})
  }

  /** Waits until all is on the disk. */
  async finish(): Promise<void> {
    await this.#written
    await this.#flushed
    await this.#handle.sync()
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#written, this.#flushed])
    await this.#handle.close()
  }

  async #write(pieces: Buffer[]): Promise<void> {
    for (const piece of pieces) {
      // What a full disk takes of it may be a part; the next attempt says why.
      for (let offset = 0; offset < piece.length;) offset += (await this.#handle.write(piece, offset)).bytesWritten
      this.#unflushedBytes += piece.length
    }
    if (this.#unflushedBytes < FLUSH_BYTES) return
    // A disk that is slower than what comes is waited for here, and not all at the end.
    await this.#flushed
    this.#unflushedBytes = 0
    this.#flushed = this.#handle.datasync()
    this.#flushed.catch(() => {})
  }
}

class Reader {
  readonly #handle: FileHandle
  #position = 0

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  async frame(): Promise<Frame> {
    const head = await this.take(HEAD_BYTES)
    const word = head.readUInt32BE()
    const length = word & ~LAST
    if (length > CHUNK_BYTES) throw new MemoryImageError('the file of its memory is damaged')
    return { isLast: word >= LAST, tag: head.subarray(4), text: await this.take(length) }
  }

  /** @throws MemoryImageError where the file ends before. */
  async take(length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(length)
    for (let offset = 0; offset < length;) {
      const { bytesRead } = await this.#handle.read(buffer, offset, length - offset, this.#position)
      if (bytesRead === 0) throw new MemoryImageError('the file of its memory is damaged: a part of it is missing')
      offset += bytesRead
      this.#position += bytesRead
    }
    return buffer
  }

  async expectEnd(): Promise<void> {
    const { bytesRead } = await this.#handle.read(Buffer.alloc(1), 0, 1, this.#position)
    if (bytesRead > 0) throw new MemoryImageError('the file of its memory is damaged: something follows its end')
  }
}
