import { type BoundedFile, DiskFormatError, onlyChanges, sane } from './bounded-file.ts'

const SECTOR_BYTES = 512
const COMPRESSED_GRAINS = 0x1_0000
/** In place of an offset: the header at the end of the file counts. */
const AT_END = 0xffff_ffff_ffff_ffffn
const FOOTER_FROM_END = 3 * SECTOR_BYTES
const MARKER_FOOTER = 3
const MOST_GRAIN_TABLE_ENTRIES = 512
const MOST_GRAIN_SECTORS = 0x20_0000
const MOST_DIRECTORY_BYTES = 32 * 1024 ** 2
/** Where QEMU looks for the descriptor, whatever the header says. */
const QEMU_DESCRIPTOR = { offset: SECTOR_BYTES, length: 20 * SECTOR_BYTES }
const MOST_DESCRIPTOR_BYTES = 1024 * 1024

interface Header {
  version: number
  flags: number
  capacitySectors: number
  grainSectors: number
  descriptorOffset: number
  descriptorBytes: number
  tableEntries: number
  directoryOffset: bigint
  compression: number
}

export function isVmdk(head: Buffer): boolean {
  return head.subarray(0, 4).toString('latin1') === 'KDMV'
}

/** Whether it is the text form, or a part of an ESX disk: neither is a disk by itself. */
export function refuseVmdkParts(head: Buffer): void {
  if (/^\s*(#[^\n]*\n\s*)*#\s*disk\s*descriptor/i.test(head.toString('latin1'))) throw onlyDescriptor()
  if (head.subarray(0, 4).toString('latin1') === 'COWD') {
    throw new DiskFormatError('it is a part of a disk of VMware ESX; convert the whole with qemu-img convert -O qcow2')
  }
}

function onlyDescriptor(): DiskFormatError {
  return new DiskFormatError(
    'it is a VMDK descriptor, which only names the files of a disk; make one file of them with qemu-img convert -O qcow2')
}

/**
 * The size of a VMDK disk in one file (monolithicSparse, streamOptimized).
 *
 * @throws DiskFormatError for one that names other files or a parent, or that is not whole.
 */
export async function inspectVmdk(file: BoundedFile): Promise<number> {
  const first = parseHeader(await file.read(0, SECTOR_BYTES, 'the end of its header'))
  // QEMU takes a header without capacity for one before a descriptor with the names of files.
  if (first.capacitySectors === 0) throw onlyDescriptor()
  await checkDescriptor(file, first)
  const header = first.directoryOffset === AT_END ? await readFooter(file) : first
  if (header.capacitySectors === 0) throw onlyDescriptor()
  await checkDirectory(file, header)
  return header.capacitySectors * SECTOR_BYTES
}

function parseHeader(sector: Buffer): Header {
  const header: Header = {
    version: sector.readUInt32LE(4), flags: sector.readUInt32LE(8),
    capacitySectors: sane(sector.readBigUInt64LE(12), 'the size of the disk'),
    grainSectors: sane(sector.readBigUInt64LE(20), 'the size of its grains'),
    descriptorOffset: sane(sector.readBigUInt64LE(28), 'the place of its descriptor') * SECTOR_BYTES,
    descriptorBytes: sane(sector.readBigUInt64LE(36), 'the size of its descriptor') * SECTOR_BYTES,
    tableEntries: sector.readUInt32LE(44), directoryOffset: sector.readBigUInt64LE(56), compression: sector.readUInt16LE(77),
  }
  const { version, compression } = header
  if (version < 1 || version > 3) throw new DiskFormatError(`VMDK files of version ${version} are not known here`)
  if (compression > 1) throw new DiskFormatError(`it is compressed in a way that is not known here (${compression})`)
  return header
}

/** A descriptor is text within the file; nothing in it may lead to another. */
async function checkDescriptor(file: BoundedFile, { descriptorOffset, descriptorBytes }: Header): Promise<void> {
  if (descriptorOffset === 0 || descriptorBytes === 0) {
    throw new DiskFormatError(
      'it has no descriptor, so it is one of several files of a disk; make one of them with qemu-img convert -O qcow2')
  }
  if (descriptorBytes > MOST_DESCRIPTOR_BYTES) {
    throw new DiskFormatError(`a descriptor of ${descriptorBytes} bytes makes no sense`)
  }
  const own = (await file.read(descriptorOffset, descriptorBytes, 'the end of its descriptor')).toString('latin1')
  const seen = (await file.readUpTo(QEMU_DESCRIPTOR.offset, QEMU_DESCRIPTOR.length, 'its descriptor')).toString('latin1')
  for (const text of [own, seen]) {
    const parentId = /parentCID\s*=\s*"?([0-9a-f]+)/i.exec(text)?.[1] ?? 'ffffffff'
    if (/parentFileNameHint/i.test(text) || !/^f{8}$/i.test(parentId)) throw onlyChanges('disk (its parent)')
  }
  const type = /createType\s*=\s*"([^"]*)"/i.exec(own)?.[1]
  if (type === 'monolithicSparse' || type === 'streamOptimized') return
  throw new DiskFormatError(`disks of the kind ${JSON.stringify(type?.slice(0, 40) ?? 'unknown')} are several files; `
    + 'make one of them with qemu-img convert -O qcow2')
}

/** A stream's header is written before its directory is; the one at its end knows where that is. */
async function readFooter(file: BoundedFile): Promise<Header> {
  const atEnd = file.size - (file.size % SECTOR_BYTES) - FOOTER_FROM_END
  if (atEnd < SECTOR_BYTES) throw new DiskFormatError('its end is missing: it is truncated; copy or download it again')
  const end = await file.read(atEnd, FOOTER_FROM_END, 'its footer')
  const isFooter = end.readUInt32LE(8) === 0 && end.readUInt32LE(12) === MARKER_FOOTER && isVmdk(end.subarray(SECTOR_BYTES))
  if (!isFooter) throw new DiskFormatError('its end is missing: it is truncated; copy or download it again')
  const footer = parseHeader(end.subarray(SECTOR_BYTES, 2 * SECTOR_BYTES))
  if (footer.directoryOffset !== AT_END) return footer
  throw new DiskFormatError('its footer does not say where its grain directory is: it is damaged')
}

/** Every grain table that the directory names, and all grains that those name, must be in the file. */
async function checkDirectory(file: BoundedFile, header: Header): Promise<void> {
  const { capacitySectors, grainSectors, tableEntries } = header
  if (tableEntries === 0 || tableEntries > MOST_GRAIN_TABLE_ENTRIES) {
    throw new DiskFormatError(`grain tables of ${tableEntries} entries make no sense`)
  }
  if (grainSectors === 0 || grainSectors > MOST_GRAIN_SECTORS) {
    throw new DiskFormatError(`grains of ${grainSectors} sectors make no sense`)
  }
  const directoryOffset = sane(header.directoryOffset, 'the place of its grain directory') * SECTOR_BYTES
  const entries = Math.ceil(capacitySectors / (grainSectors * tableEntries))
  if (entries * 4 > MOST_DIRECTORY_BYTES) throw new DiskFormatError('its grain directory is larger than QEMU reads')
  const directory = { offset: directoryOffset, entries, entryBytes: 4, what: 'the end of its grain directory' }
  await file.scan(directory, (part) => {
    for (const sector of sectorsIn(part)) file.checkWithin(sector * SECTOR_BYTES, tableEntries * 4, 'one of its grain tables')
  })
  // A compressed grain is as long as it is; that it begins in the file is what can be told.
  const grainBytes = header.flags & COMPRESSED_GRAINS ? 1 : grainSectors * SECTOR_BYTES
  await file.scan(directory, async (part) => {
    for (const sector of sectorsIn(part)) {
      const table = { offset: sector * SECTOR_BYTES, entries: tableEntries, entryBytes: 4, what: 'one of its grain tables' }
      await file.scan(table, (grains) => {
        for (const grain of sectorsIn(grains)) {
          // 1 stands for zeros.
          if (grain > 1) file.checkWithin(grain * SECTOR_BYTES, grainBytes, 'some of its data')
        }
      })
    }
  })
}

function* sectorsIn(part: Buffer): Generator<number> {
  for (let at = 0; at < part.length; at += 4) {
    const sector = part.readUInt32LE(at)
    if (sector !== 0) yield sector
  }
}
