import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemRandom as random } from '../../core/random.ts'
import { MemoryImageError } from '../driver.ts'
import { openMemoryFile, writeMemoryFile } from './memory-file.ts'

const MIB = 1024 * 1024
const HEADER_BYTES = 48
const HEAD_BYTES = 20
const secret = { key: random.bytes(32).toString('base64'), binding: 'these disks' }
const about = { vcpus: 2 }
let folder: string
let file: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hearth-memory-'))
  file = join(folder, 'memory-1')
})
afterEach(() => rmSync(folder, { recursive: true }))

async function write(data: Buffer, pieceBytes = 65_536): Promise<void> {
  rmSync(file, { force: true })
  await writeMemoryFile(file, secret, about, pieces(data, pieceBytes), random)
}

async function* pieces(data: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  // As a socket may, it hands out the same memory again and again.
  const piece = Buffer.alloc(pieceBytes)
  for (let offset = 0; offset < data.length; offset += pieceBytes) yield piece.subarray(0, data.copy(piece, 0, offset))
}

async function read(secretNow = secret): Promise<{ about: unknown; data: Buffer } | undefined> {
  const opened = await openMemoryFile(file, secretNow)
  if (!opened) return undefined
  try {
    const chunks: Buffer[] = []
    for await (const chunk of opened.chunks()) chunks.push(chunk)
    return { about: opened.about, data: Buffer.concat(chunks) }
  } finally {
    await opened.close()
  }
}

/** Where the frames begin, and where the last one ends. */
function framesOf(bytes: Buffer): number[] {
  const starts = [HEADER_BYTES]
  for (let at = HEADER_BYTES; at < bytes.length; starts.push(at)) at += HEAD_BYTES + (bytes.readUInt32BE(at) & 0x7fff_ffff)
  return starts
}

describe('the file of a memory', () => {
  test.each([0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5])('gives back %i bytes, and what was noted', async (length) => {
    const data = random.bytes(length)
    await write(data)
    const { about: noted, data: found } = (await read())!
    expect(noted).toEqual(about)
    expect(found.equals(data)).toBe(true)
    expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  test('is not there before it was written, and is never written over', async () => {
    expect(await read()).toBeUndefined()
    await write(random.bytes(10))
    await expect(writeMemoryFile(file, secret, about, pieces(random.bytes(10), 10), random)).rejects.toThrow('EEXIST')
  })

  test('shows nothing of the memory, and the same memory in no two files alike', async () => {
    const data = Buffer.alloc(2 * MIB, 'a secret of the guest ')
    await write(data)
    const first = readFileSync(file)
    await write(data)
    const second = readFileSync(file)
    expect(first.includes('a secret') || first.includes('vcpus')).toBe(false)
    for (const at of framesOf(first).slice(0, -1)) expect(first.subarray(at + 4, at + 40).equals(second.subarray(at + 4, at + 40))).toBe(false)
  })

  test.each([['another key', { ...secret, key: random.bytes(32).toString('base64') }], ['another binding', { ...secret, binding: 'newer disks' }]])(
    'does not open with %s', async (_what, other) => {
      await write(random.bytes(100))
      await expect(read(other)).rejects.toThrow(MemoryImageError)
    })

  const damages: [what: string, damage: (bytes: Buffer, starts: number[]) => Buffer][] = [
    ['of another kind', (bytes) => Buffer.concat([Buffer.from('X'), bytes.subarray(1)])],
    ['with a bit changed in its header', (bytes) => flipped(bytes, 20)],
    ['with a bit changed in the length of a frame', (bytes, [, second = 0]) => flipped(bytes, second + 3)],
    ['with a bit changed in a tag', (bytes, [, second = 0]) => flipped(bytes, second + 4)],
    ['with a bit changed in its middle', (bytes, [, , third = 0]) => flipped(bytes, third + 1000)],
    ['with its last byte changed', (bytes) => flipped(bytes, bytes.length - 1)],
    ['with the last byte missing', (bytes) => bytes.subarray(0, -1)],
    ['without its last frame', (bytes, starts) => bytes.subarray(0, starts.at(-2))],
    ['with an earlier frame marked as its last', (bytes, starts) => {
      const cut = Buffer.from(bytes.subarray(0, starts.at(-2)))
      cut.writeUInt8(cut.readUInt8(starts.at(-3)) | 0x80, starts.at(-3))
      return cut
    }],
    ['with two frames in the other order', (bytes, [, a = 0, b = 0, c = 0]) =>
      Buffer.concat([bytes.subarray(0, a), bytes.subarray(b, c), bytes.subarray(a, b), bytes.subarray(c)])],
    ['with a frame twice', (bytes, [, a = 0, b = 0]) => Buffer.concat([bytes.subarray(0, b), bytes.subarray(a)])],
    ['with a frame left out', (bytes, [, a = 0, b = 0]) => Buffer.concat([bytes.subarray(0, a), bytes.subarray(b)])],
    ['with something after its end', (bytes) => Buffer.concat([bytes, Buffer.from('x')])],
    ['that is empty', () => Buffer.alloc(0)],
  ]
  test.each(damages)('is refused %s', async (_what, damage) => {
    await write(random.bytes(3 * MIB + 100))
    const bytes = readFileSync(file)
    writeFileSync(file, damage(Buffer.from(bytes), framesOf(bytes)))
    await expect(read()).rejects.toThrow(MemoryImageError)
    writeFileSync(file, bytes)
    expect((await read())!.data).toHaveLength(3 * MIB + 100)
  })

  test('of which a frame comes from another file under the same key is refused', async () => {
    await write(random.bytes(3 * MIB))
    const other = readFileSync(file)
    await write(random.bytes(3 * MIB))
    const bytes = readFileSync(file)
    const [, second = 0, third = 0] = framesOf(bytes)
    other.copy(bytes, second, second, third)
    writeFileSync(file, bytes)
    await expect(read()).rejects.toThrow(MemoryImageError)
  })

  test('fails with what its source fails with', async () => {
    const source = async function* (): AsyncGenerator<Buffer> {
      yield random.bytes(10)
      throw new Error('no more')
    }
    await expect(writeMemoryFile(file, secret, about, source(), random)).rejects.toThrow('no more')
  })
})

function flipped(bytes: Buffer, at: number): Buffer {
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
  return bytes
}
