import { closeSync, openSync, readSync } from 'node:fs'

/**
 * The first cluster of a qcow2 file: what of it is read, and how it is written for a new one. Reading it
 * here costs microseconds where qemu-img costs a process, and follows no file that it names.
 *
 * Format: docs/interop/qcow2.txt of QEMU.
 */

/** What matters of a qcow2 file. */
export interface Qcow2Header {
  /** As its user sees it. */
  sizeBytes: number
  /** The file that it stands on; null when it stands alone. */
  backing: string | null
  /** A file that holds its data in its stead; null as it should be. */
  dataFile: string | null
  isEncrypted: boolean
}

export const CLUSTER_BYTES = 65_536
const HEADER_BYTES = 112
const MAGIC = 0x514649fb
const DATA_FILE_BIT = 4n
const EXTENSION = { end: 0, backingFormat: 0xe2792aca, luks: 0x0537be77, dataFile: 0x44415441 }
/** As much of a file as is looked at. */
const LOOKED_AT_BYTES = 65_536
const LONGEST_NAME_BYTES = 1023

/** @throws Error when the file is not a qcow2 image. */
export function readHeader(file: string): Qcow2Header {
  const handle = openSync(file, 'r')
  try {
    const head = Buffer.alloc(LOOKED_AT_BYTES)
    const length = readSync(handle, head, 0, head.length, 0)
    return parseHeader(head.subarray(0, length), file)
  } finally {
    closeSync(handle)
  }
}

function parseHeader(head: Buffer, file: string): Qcow2Header {
  if (head.length < 72 || head.readUInt32BE(0) !== MAGIC) throw new Error(`${file} is not a qcow2 image`)
  const version = head.readUInt32BE(4)
  if (version !== 2 && version !== 3) throw new Error(`${file} is a qcow2 image of the unknown version ${version}`)
  const isNew = version === 3 && head.length >= 104
  const sizeBytes = Number(head.readBigUInt64BE(24))
  if (!Number.isSafeInteger(sizeBytes)) throw new Error(`${file} claims the absurd size of ${sizeBytes} bytes`)
  const extensions = readExtensions(head, isNew ? head.readUInt32BE(100) : 72)
  const backingAt = Number(head.readBigUInt64BE(8))
  const hasDataFile = isNew && (head.readBigUInt64BE(72) & DATA_FILE_BIT) !== 0n
  return {
    sizeBytes,
    backing: backingAt === 0 ? null : head.toString('utf8', backingAt, backingAt + head.readUInt32BE(16)) || 'without a name',
    dataFile: hasDataFile ? (extensions.get(EXTENSION.dataFile)?.toString('utf8') ?? 'without a name') : null,
    isEncrypted: head.readUInt32BE(32) !== 0,
  }
}

function readExtensions(head: Buffer, start: number): Map<number, Buffer> {
  const extensions = new Map<number, Buffer>()
  for (let at = start; at + 8 <= head.length;) {
    const [type, length] = [head.readUInt32BE(at), head.readUInt32BE(at + 4)]
    if (type === EXTENSION.end) break
    extensions.set(type, head.subarray(at + 8, at + 8 + length))
    at += 8 + Math.ceil(length / 8) * 8
  }
  return extensions
}

/** Where the tables of a new file are. */
export interface NewHeader {
  sizeBytes: number
  /** Name of the qcow2 file that it stands on, relative to itself. */
  backing: string | null
  l1: { offset: number; entries: number }
  refcountTableOffset: number
  /** The LUKS header within the file; null for a plain one. */
  luks: { offset: number; bytes: number } | null
}

/** The first cluster of a new file (version 3, clusters of 64 KiB), as long as it is not zeros. */
export function buildHeader({ sizeBytes, backing, l1, refcountTableOffset, luks }: NewHeader): Buffer {
  const name = Buffer.from(backing ?? '')
  if (name.length > LONGEST_NAME_BYTES) throw new Error(`the name of the layer below is too long: ${backing}`)
  const extensions = Buffer.concat([
    ...(backing === null ? [] : [extension(EXTENSION.backingFormat, Buffer.from('qcow2'))]),
    ...(luks === null ? [] : [extension(EXTENSION.luks, twoNumbers(luks.offset, luks.bytes))]),
    extension(EXTENSION.end, Buffer.alloc(0)),
  ])
  const head = Buffer.alloc(HEADER_BYTES)
  head.writeUInt32BE(MAGIC, 0)
  head.writeUInt32BE(3, 4)
  if (backing !== null) {
    head.writeBigUInt64BE(BigInt(HEADER_BYTES + extensions.length), 8)
    head.writeUInt32BE(name.length, 16)
  }
  head.writeUInt32BE(Math.log2(CLUSTER_BYTES), 20)
  head.writeBigUInt64BE(BigInt(sizeBytes), 24)
  head.writeUInt32BE(luks === null ? 0 : 2, 32)
  head.writeUInt32BE(l1.entries, 36)
  head.writeBigUInt64BE(BigInt(l1.offset), 40)
  head.writeBigUInt64BE(BigInt(refcountTableOffset), 48)
  head.writeUInt32BE(1, 56)
  // Counts of 2^4 bits; the features of version 3 are all off.
  head.writeUInt32BE(4, 96)
  head.writeUInt32BE(HEADER_BYTES, 100)
  return Buffer.concat([head, extensions, name])
}

function extension(type: number, content: Buffer): Buffer {
  const padded = Buffer.alloc(8 + Math.ceil(content.length / 8) * 8)
  padded.writeUInt32BE(type, 0)
  padded.writeUInt32BE(content.length, 4)
  content.copy(padded, 8)
  return padded
}

function twoNumbers(first: number, second: number): Buffer {
  const buffer = Buffer.alloc(16)
  buffer.writeBigUInt64BE(BigInt(first), 0)
  buffer.writeBigUInt64BE(BigInt(second), 8)
  return buffer
}
