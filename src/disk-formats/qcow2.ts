import { type BoundedFile, DiskFormatError, onlyChanges, sane } from './bounded-file.ts'

/** https://www.qemu.org/docs/master/interop/qcow2.html */
const INCOMPATIBLE = { dirty: 1n, corrupt: 2n, dataFile: 4n, compression: 8n, extendedL2: 16n }
const KNOWN = INCOMPATIBLE.dirty | INCOMPATIBLE.compression | INCOMPATIBLE.extendedL2
const RAW_DATA_FILE = 2n
const EXTENSIONS = { end: 0, dataFile: 0x44415441, encryption: 0x0537be77 }
const V2_HEADER_BYTES = 72
const V3_HEADER_BYTES = 104
const HEADER_BYTES = 112
/** The most that QEMU takes. */
const MOST_L1_BYTES = 32 * 1024 ** 2
const MOST_REFCOUNT_TABLE_BYTES = 8 * 1024 ** 2
const MOST_SNAPSHOTS = 65_536
const LEAST_SNAPSHOT_BYTES = 40
/** Bits of an entry that are an offset. */
const OFFSET = 0x00ff_ffff_ffff_fe00n
const COMPRESSED = 1n << 62n
const SECTOR_BYTES = 512

interface Header {
  version: number
  clusterBits: number
  clusterBytes: number
  sizeBytes: number
  l1Entries: number
  l1Offset: number
  refcountOffset: number
  refcountClusters: number
  refcountBits: number
  snapshots: number
  snapshotsOffset: number
  /** Bytes of an entry of an L2 table. */
  l2EntryBytes: number
}

export function isQcow2(head: Buffer): boolean {
  return head.subarray(0, 4).toString('latin1') === 'QFI\xfb'
}

/**
 * What a qcow2 file says of itself.
 *
 * @throws DiskFormatError for one that names another file, is encrypted, needs what is not known here,
 * or whose tables or data are not in the file.
 */
export async function inspectQcow2(file: BoundedFile): Promise<number> {
  const head = await file.readUpTo(0, HEADER_BYTES, 'the header')
  const header = await readHeader(file, head)
  await checkL1(file, header)
  await checkRefcounts(file, header)
  if (header.snapshots > MOST_SNAPSHOTS) {
    throw new DiskFormatError(`it has ${header.snapshots} internal snapshots, more than QEMU reads`)
  }
  if (header.snapshots > 0) {
    file.checkWithin(header.snapshotsOffset, header.snapshots * LEAST_SNAPSHOT_BYTES, 'its table of internal snapshots')
  }
  return header.sizeBytes
}

async function readHeader(file: BoundedFile, head: Buffer): Promise<Header> {
  const version = head.length < 8 ? 0 : head.readUInt32BE(4)
  if (version !== 2 && version !== 3) {
    throw new DiskFormatError(`it is a qcow file of version ${version}; convert it with qemu-img convert -O qcow2`)
  }
  file.checkWithin(0, version === 2 ? V2_HEADER_BYTES : V3_HEADER_BYTES, 'the end of its header')
  if (head.readBigUInt64BE(8) !== 0n || head.readUInt32BE(16) !== 0) {
    throw onlyChanges('file (its backing file)')
  }
  if (head.readUInt32BE(32) !== 0) throw encrypted()
  const incompatible = version === 2 ? 0n : await checkFeatures(file, head)
  const clusterBits = head.readUInt32BE(20)
  if (clusterBits < 9 || clusterBits > 21) throw new DiskFormatError(`clusters of 2^${clusterBits} bytes make no sense`)
  const isExtended = (incompatible & INCOMPATIBLE.extendedL2) !== 0n
  if (isExtended && clusterBits < 14) throw new DiskFormatError('clusters are too small for subclusters')
  const refcountOrder = version === 2 ? 4 : head.readUInt32BE(96)
  if (refcountOrder > 6) throw new DiskFormatError(`reference counts of 2^${refcountOrder} bits make no sense`)
  return {
    version, clusterBits, clusterBytes: 2 ** clusterBits, sizeBytes: sane(head.readBigUInt64BE(24), 'the size of the disk'),
    l1Entries: head.readUInt32BE(36), l1Offset: sane(head.readBigUInt64BE(40), 'the place of its L1 table'),
    refcountOffset: sane(head.readBigUInt64BE(48), 'the place of its reference counts'), refcountClusters: head.readUInt32BE(56),
    refcountBits: 2 ** refcountOrder, snapshots: head.readUInt32BE(60),
    snapshotsOffset: sane(head.readBigUInt64BE(64), 'the place of its internal snapshots'), l2EntryBytes: isExtended ? 16 : 8,
  }
}

/** Version 3: features, and extensions of the header. */
async function checkFeatures(file: BoundedFile, head: Buffer): Promise<bigint> {
  const incompatible = head.readBigUInt64BE(72)
  if (incompatible & INCOMPATIBLE.dataFile || head.readBigUInt64BE(88) & RAW_DATA_FILE) throw hasDataFile()
  if (incompatible & INCOMPATIBLE.corrupt) {
    throw new DiskFormatError('it is marked as corrupt; repair it with qemu-img check -r all')
  }
  if (incompatible & ~KNOWN) {
    throw new DiskFormatError(`it needs features that are not known here (0x${(incompatible & ~KNOWN).toString(16)})`)
  }
  const headerBytes = head.readUInt32BE(100)
  const clusterBytes = 2 ** Math.min(21, head.readUInt32BE(20))
  if (headerBytes < V3_HEADER_BYTES || headerBytes % 8 !== 0 || headerBytes > clusterBytes) {
    throw new DiskFormatError(`a header of ${headerBytes} bytes makes no sense`)
  }
  const compression = headerBytes > V3_HEADER_BYTES && head.length > V3_HEADER_BYTES ? head.readUInt8(V3_HEADER_BYTES) : 0
  if (compression > 1) throw new DiskFormatError(`it is compressed in a way that is not known here (${compression})`)
  await checkExtensions(file, headerBytes, clusterBytes)
  return incompatible
}

/** Extensions are within the first cluster. */
async function checkExtensions(file: BoundedFile, start: number, clusterBytes: number): Promise<void> {
  const first = await file.readUpTo(0, clusterBytes, 'its header')
  for (let at = start; at + 8 <= first.length;) {
    const type = first.readUInt32BE(at)
    const length = first.readUInt32BE(at + 4)
    if (type === EXTENSIONS.end) return
    if (type === EXTENSIONS.dataFile) throw hasDataFile()
    if (type === EXTENSIONS.encryption) throw encrypted()
    at += 8 + Math.ceil(length / 8) * 8
    if (at > first.length) throw new DiskFormatError('an extension of its header does not fit into it')
  }
}

function hasDataFile(): DiskFormatError {
  return new DiskFormatError('its data are in another file; bring them together with qemu-img convert -O qcow2')
}

function encrypted(): DiskFormatError {
  return new DiskFormatError('it is encrypted; decrypt it with qemu-img convert, whoever has its secret')
}

/** Every table that the L1 table names, and all data that those name, must be in the file. */
async function checkL1(file: BoundedFile, header: Header): Promise<void> {
  const { l1Entries, l1Offset, clusterBytes, sizeBytes, l2EntryBytes } = header
  const l2Entries = clusterBytes / l2EntryBytes
  if (l1Entries * 8 > MOST_L1_BYTES) throw new DiskFormatError(`an L1 table of ${l1Entries} entries makes no sense`)
  if (l1Entries * l2Entries * clusterBytes < sizeBytes) {
    throw new DiskFormatError('its L1 table is too small for the size of the disk')
  }
  if (l1Entries > 0) checkPlace(l1Offset, header, 'its L1 table')
  const table = { offset: l1Offset, entries: l1Entries, entryBytes: 8, what: 'the end of its L1 table' }
  await file.scan(table, (part) => {
    for (const { offset } of entriesOf(part)) {
      checkPlace(offset, header, 'an L2 table')
      file.checkWithin(offset, clusterBytes, 'one of its L2 tables')
    }
  })
  await file.scan(table, async (part, first) => {
    for (const { offset, index } of entriesOf(part)) {
      await file.scan({ offset, entries: l2Entries, entryBytes: l2EntryBytes, what: 'one of its L2 tables' }, (l2, firstInL2) =>
        checkL2(file, header, l2, (first + index) * l2Entries + firstInL2))
    }
  })
}

/** Places that entries of an L1 table, or of the table of reference counts, name. */
function* entriesOf(part: Buffer): Generator<{ offset: number; index: number }> {
  for (let index = 0; index < part.length / 8; index++) {
    const offset = Number(part.readBigUInt64BE(index * 8) & OFFSET)
    if (offset !== 0) yield { offset, index }
  }
}

function checkL2(file: BoundedFile, header: Header, part: Buffer, firstCluster: number): void {
  const { clusterBits, clusterBytes, sizeBytes, l2EntryBytes } = header
  for (let at = 0; at < part.length; at += l2EntryBytes) {
    const entry = part.readBigUInt64BE(at)
    if (entry === 0n) continue
    if (entry & COMPRESSED) {
      const offsetBits = BigInt(62 - (clusterBits - 8))
      const offset = Number(entry & ((1n << offsetBits) - 1n))
      const sectors = Number((entry & (COMPRESSED - 1n)) >> offsetBits)
      // The last sector need not be whole, as the file may end in it.
      file.checkWithin(offset - (offset % SECTOR_BYTES) + sectors * SECTOR_BYTES, 1, 'some of its data')
      continue
    }
    const offset = Number(entry & OFFSET)
    if (offset === 0) continue
    checkPlace(offset, header, 'some data')
    // Where the disk ends within a cluster, the file may end there too.
    const used = Math.min(clusterBytes, Math.max(1, sizeBytes - (firstCluster + at / l2EntryBytes) * clusterBytes))
    file.checkWithin(offset, used, 'some of its data')
  }
}

/** The last thing that is counted as in use must be in the file, which also tells of disks too large to scan. */
async function checkRefcounts(file: BoundedFile, header: Header): Promise<void> {
  const { refcountOffset, refcountClusters, clusterBytes, refcountBits } = header
  const tableBytes = refcountClusters * clusterBytes
  if (refcountClusters === 0 || tableBytes > MOST_REFCOUNT_TABLE_BYTES) {
    throw new DiskFormatError(`a table of reference counts of ${refcountClusters} clusters makes no sense`)
  }
  checkPlace(refcountOffset, header, 'its table of reference counts')
  const table = await file.read(refcountOffset, tableBytes, 'its table of reference counts')
  let last: { offset: number; index: number } | undefined
  for (last of entriesOf(table)) {
    checkPlace(last.offset, header, 'a block of reference counts')
    file.checkWithin(last.offset, clusterBytes, 'one of its reference counts')
  }
  if (!last) return
  const counts = await file.read(last.offset, clusterBytes, 'one of its reference counts')
  const lastUsed = lastNonZero(counts)
  if (lastUsed < 0) return
  const clustersPerBlock = (clusterBytes * 8) / refcountBits
  const cluster = last.index * clustersPerBlock + Math.floor((lastUsed * 8) / refcountBits)
  file.checkWithin(cluster * clusterBytes, 1, 'the end of its data')
}

function lastNonZero(bytes: Buffer): number {
  for (let at = bytes.length - 1; at >= 0; at--) if (bytes[at] !== 0) return at
  return -1
}

function checkPlace(offset: number, { clusterBytes }: Pick<Header, 'clusterBytes'>, what: string): void {
  if (offset !== 0 && offset % clusterBytes === 0) return
  throw new DiskFormatError(`${what} is at ${offset}, where nothing can be: it is damaged`)
}
