import { type BoundedFile, DiskFormatError, onlyChanges, sane } from './bounded-file.ts'

const KIB = 1024
const MIB = 1024 * KIB
const REGION_TABLE_OFFSET = 192 * KIB
const REGION_TABLE_BYTES = 64 * KIB
const MOST_REGIONS = 2047
const MOST_METADATA_ENTRIES = 2047
const METADATA_TABLE_BYTES = 64 * KIB
const MOST_REGION_BYTES = 1024 * MIB
const BLOCK_BYTES = { least: MIB, most: 256 * MIB }
const HAS_PARENT = 2
const CHUNK_SECTORS = 2 ** 23
/** States of a block whose data are in the file. */
const PRESENT: readonly number[] = [6, 7]
/** GUIDs of regions and of items of metadata; [MS-VHDX] 2.2.3 and 2.6.2. */
const GUIDS = {
  blocks: '2DC27766-F623-4200-9D64-115E9BFD4A08',
  metadata: '8B7CA206-4790-4B9A-B8FE-575F050F886E',
  fileParameters: 'CAA16737-FA36-4D43-B3B6-33F0AA44E76B',
  diskSize: '2FA54224-CD1B-4876-B211-5DBED83BF4B8',
  logicalSectorSize: '8141BF1D-A96F-4709-BA47-F233A8FAAB5F',
  parentLocator: 'A8D35F2D-B30B-454D-ABF7-D3D84834AB0C',
}

interface Range {
  offset: number
  length: number
}

export function isVhdx(head: Buffer): boolean {
  return head.subarray(0, 8).toString('latin1') === 'vhdxfile'
}

/**
 * The size of a VHDX disk.
 *
 * @throws DiskFormatError for a differencing one, and one that is not whole.
 */
export async function inspectVhdx(file: BoundedFile): Promise<number> {
  const regions = await readRegions(file)
  const metadata = regions.get(GUIDS.metadata)
  const blocks = regions.get(GUIDS.blocks)
  if (!metadata || !blocks) throw new DiskFormatError('its tables are missing: it is damaged')
  const items = await readMetadata(file, metadata)
  if (items.has(GUIDS.parentLocator)) throw onlyChanges('disk (its parent)')
  const parameters = await readItem(file, items, GUIDS.fileParameters, 8)
  if (parameters.readUInt32LE(4) & HAS_PARENT) throw onlyChanges('disk (its parent)')
  const blockBytes = parameters.readUInt32LE(0)
  const isPowerOfTwo = (blockBytes & (blockBytes - 1)) === 0
  if (blockBytes < BLOCK_BYTES.least || blockBytes > BLOCK_BYTES.most || !isPowerOfTwo) {
    throw new DiskFormatError(`blocks of ${blockBytes} bytes make no sense`)
  }
  const sectorBytes = (await readItem(file, items, GUIDS.logicalSectorSize, 4)).readUInt32LE(0)
  if (sectorBytes !== 512 && sectorBytes !== 4096) throw new DiskFormatError(`sectors of ${sectorBytes} bytes make no sense`)
  const sizeBytes = sane((await readItem(file, items, GUIDS.diskSize, 8)).readBigUInt64LE(0), 'the size of the disk')
  await checkBlocks(file, blocks, { sizeBytes, blockBytes, sectorBytes })
  return sizeBytes
}

async function readRegions(file: BoundedFile): Promise<Map<string, Range>> {
  const table = await file.read(REGION_TABLE_OFFSET, REGION_TABLE_BYTES, 'the end of its table of regions')
  const count = table.readUInt32LE(8)
  const isTable = table.subarray(0, 4).toString('latin1') === 'regi' && count <= MOST_REGIONS
  if (!isTable) throw new DiskFormatError('its table of regions is damaged')
  const regions = new Map<string, Range>()
  for (let index = 0; index < count; index++) {
    const at = 16 + index * 32
    const range = { offset: sane(table.readBigUInt64LE(at + 16), 'the place of a region'), length: table.readUInt32LE(at + 24) }
    file.checkWithin(range.offset, range.length, 'one of its regions')
    if (range.length > MOST_REGION_BYTES) throw new DiskFormatError(`a region of ${range.length} bytes makes no sense`)
    regions.set(guidAt(table, at), range)
  }
  return regions
}

/** Where items of metadata are in the file. */
async function readMetadata(file: BoundedFile, region: Range): Promise<Map<string, Range>> {
  const table = await file.read(region.offset, METADATA_TABLE_BYTES, 'the end of its metadata')
  const count = table.readUInt16LE(10)
  const isTable = table.subarray(0, 8).toString('latin1') === 'metadata' && count <= MOST_METADATA_ENTRIES
  if (!isTable) throw new DiskFormatError('its metadata are damaged')
  const items = new Map<string, Range>()
  for (let index = 0; index < count; index++) {
    const at = 32 + index * 32
    items.set(guidAt(table, at), { offset: region.offset + table.readUInt32LE(at + 16), length: table.readUInt32LE(at + 20) })
  }
  return items
}

async function readItem(file: BoundedFile, items: ReadonlyMap<string, Range>, guid: string, length: number): Promise<Buffer> {
  const item = items.get(guid)
  if (!item || item.length < length) throw new DiskFormatError('its metadata are damaged')
  return file.read(item.offset, length, 'the end of its metadata')
}

async function checkBlocks(
  file: BoundedFile,
  region: Range,
  { sizeBytes, blockBytes, sectorBytes }: { sizeBytes: number; blockBytes: number; sectorBytes: number },
): Promise<void> {
  const blocks = Math.ceil(sizeBytes / blockBytes)
  const blocksPerChunk = (CHUNK_SECTORS * sectorBytes) / blockBytes
  const entries = blocks + Math.floor(Math.max(0, blocks - 1) / blocksPerChunk)
  if (entries * 8 > region.length) throw new DiskFormatError('its table of blocks is too small for the size of the disk')
  await file.scan({ offset: region.offset, entries, entryBytes: 8, what: 'the end of its table of blocks' }, (part) => {
    for (let at = 0; at < part.length; at += 8) {
      const entry = part.readBigUInt64LE(at)
      if (!PRESENT.includes(Number(entry & 7n))) continue
      file.checkWithin(Number(entry >> 20n) * MIB, blockBytes, 'some of its data')
    }
  })
}

/** The first three parts of a GUID are little-endian numbers. */
function guidAt(bytes: Buffer, at: number): string {
  const hex = (...places: number[]) => places.map((place) => bytes.readUInt8(at + place).toString(16).padStart(2, '0')).join('')
  return [hex(3, 2, 1, 0), hex(5, 4), hex(7, 6), hex(8, 9), hex(10, 11, 12, 13, 14, 15)].join('-').toUpperCase()
}
