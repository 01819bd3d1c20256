const TAG_NEEDED = 1
const TAG_STRING_TABLE = 5
const SEGMENT_LOAD = 1
const SEGMENT_DYNAMIC = 2
const SEGMENT_INTERPRETER = 3

interface Segment {
  type: number
  offset: number
  address: number
  fileSize: number
}

/** What a program or shared library needs to run: file names of libraries, path of its loader. */
export interface ElfNeeds {
  libraries: string[]
  /** Absolute path of the dynamic loader; undefined for libraries and static programs. */
  interpreter: string | undefined
}

/**
 * Reads what a 64-bit little-endian ELF file needs (System V ABI, chapters 4 and 5).
 *
 * @throws Error when it is no such file.
 */
export function elfNeeds(file: Buffer): ElfNeeds {
  if (file.length < 64 || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) {
    throw new Error('not a 64-bit little-endian ELF file')
  }
  const segments = readSegments(file)
  const interpreterSegment = segments.find((segment) => segment.type === SEGMENT_INTERPRETER)
  const interpreter = interpreterSegment && stringAt(file, interpreterSegment.offset)
  const dynamic = segments.find((segment) => segment.type === SEGMENT_DYNAMIC)
  if (!dynamic) return { libraries: [], interpreter }

  const needed: number[] = []
  let stringTable = 0
  for (let at = dynamic.offset; at + 16 <= dynamic.offset + dynamic.fileSize; at += 16) {
    const tag = Number(file.readBigInt64LE(at))
    const value = Number(file.readBigUInt64LE(at + 8))
    if (tag === 0) break
    if (tag === TAG_NEEDED) needed.push(value)
    if (tag === TAG_STRING_TABLE) stringTable = offsetOf(segments, value)
  }
  return { libraries: needed.map((offset) => stringAt(file, stringTable + offset)), interpreter }
}

function readSegments(file: Buffer): Segment[] {
  const tableOffset = Number(file.readBigUInt64LE(32))
  const entrySize = file.readUInt16LE(54)
  const count = file.readUInt16LE(56)
  return Array.from({ length: count }, (_, index) => {
    const at = tableOffset + index * entrySize
    return {
      type: file.readUInt32LE(at),
      offset: Number(file.readBigUInt64LE(at + 8)),
      address: Number(file.readBigUInt64LE(at + 16)),
      fileSize: Number(file.readBigUInt64LE(at + 32)),
    }
  })
}

function offsetOf(segments: Segment[], address: number): number {
  for (const { type, offset, address: start, fileSize } of segments) {
    if (type === SEGMENT_LOAD && address >= start && address < start + fileSize) return address - start + offset
  }
  throw new Error('the ELF file points outside itself')
}

function stringAt(file: Buffer, offset: number): string {
  return file.toString('latin1', offset, file.indexOf(0, offset))
}
