import { type BoundedFile, DiskFormatError, onlyChanges, sane } from './bounded-file.ts'

const SECTOR_BYTES = 512
const FOOTER_BYTES = 512
const DYNAMIC_HEADER_BYTES = 1024
const TYPES = { fixed: 2, dynamic: 3, differencing: 4 }
const MOST_TABLE_ENTRIES = 32 * 1024 ** 2
const UNUSED = 0xffff_ffff
/** Programs whose files are as large as they say; of others the geometry counts, as for QEMU. */
const SIZE_NOT_GEOMETRY = ['win ', 'qem2', 'd2v ', 'tap\0', 'CTXS', 'wa\0\0']
/** The largest geometry there is: such a disk is larger, and as large as it says. */
const MOST_GEOMETRY_SECTORS = 65_535 * 16 * 255

/** A VHD begins with its footer where it grows, and has it at its end only where it does not. */
export function isVhd(footer: Buffer): boolean {
  return footer.subarray(0, 8).toString('latin1') === 'conectix'
}

/**
 * The size of a VHD disk, as QEMU takes it.
 *
 * @throws DiskFormatError for a differencing one, and one that is not whole.
 */
export async function inspectVhd(file: BoundedFile): Promise<number> {
  const first = await file.read(0, FOOTER_BYTES, 'the end of its header')
  const isDynamic = isVhd(first)
  const footer = isDynamic ? first : await file.read(file.size - FOOTER_BYTES, FOOTER_BYTES, 'its footer')
  const type = footer.readUInt32BE(60)
  if (type === TYPES.differencing) throw onlyChanges('disk (its parent)')
  const expected = isDynamic ? TYPES.dynamic : TYPES.fixed
  if (type !== expected) throw new DiskFormatError(`VHD disks of type ${type} are not known here`)
  checkSum(footer, 64)
  const sizeBytes = sizeOf(footer)
  if (isDynamic) await checkDynamic(file, footer, sizeBytes)
  else file.checkWithin(0, sizeBytes + FOOTER_BYTES, 'the end of its data')
  return sizeBytes
}

function sizeOf(footer: Buffer): number {
  const geometry = footer.readUInt16BE(56) * footer.readUInt8(58) * footer.readUInt8(59)
  const isTold = SIZE_NOT_GEOMETRY.includes(footer.subarray(28, 32).toString('latin1')) || geometry === MOST_GEOMETRY_SECTORS
  const told = sane(footer.readBigUInt64BE(48), 'the size of the disk')
  return isTold ? told - (told % SECTOR_BYTES) : geometry * SECTOR_BYTES
}

async function checkDynamic(file: BoundedFile, footer: Buffer, sizeBytes: number): Promise<void> {
  // Whoever writes one ends with the footer once more; what comes before it may be cut off without it.
  const end = await file.read(file.size - FOOTER_BYTES, FOOTER_BYTES, 'its footer')
  if (!isVhd(end) && !isVhd(end.subarray(1))) {
    throw new DiskFormatError('its end is missing: it is truncated; copy or download it again')
  }
  const place = sane(footer.readBigUInt64BE(16), 'the place of its header')
  const header = await file.read(place, DYNAMIC_HEADER_BYTES, 'the end of its header')
  if (header.subarray(0, 8).toString('latin1') !== 'cxsparse') throw new DiskFormatError('its header is damaged')
  checkSum(header, 36)
  const entries = header.readUInt32BE(28)
  const blockBytes = header.readUInt32BE(32)
  const isPowerOfTwo = blockBytes >= SECTOR_BYTES && (blockBytes & (blockBytes - 1)) === 0
  if (!isPowerOfTwo) throw new DiskFormatError(`blocks of ${blockBytes} bytes make no sense`)
  if (entries > MOST_TABLE_ENTRIES) throw new DiskFormatError(`a table of ${entries} blocks makes no sense`)
  if (entries * blockBytes < sizeBytes) throw new DiskFormatError('its table of blocks is too small for the size of the disk')
  const bitmapBytes = Math.ceil(blockBytes / SECTOR_BYTES / 8 / SECTOR_BYTES) * SECTOR_BYTES
  const offset = sane(header.readBigUInt64BE(16), 'the place of its table of blocks')
  await file.scan({ offset, entries, entryBytes: 4, what: 'the end of its table of blocks' }, (part) => {
    for (let at = 0; at < part.length; at += 4) {
      const sector = part.readUInt32BE(at)
      if (sector !== UNUSED) file.checkWithin(sector * SECTOR_BYTES, bitmapBytes + blockBytes, 'some of its data')
    }
  })
}

/** The checksum is the one's complement of the sum of all bytes but its own. */
function checkSum(bytes: Buffer, at: number): void {
  let sum = 0
  for (const [index, byte] of bytes.entries()) if (index < at || index >= at + 4) sum += byte
  if (~sum >>> 0 === bytes.readUInt32BE(at)) return
  throw new DiskFormatError('the checksum of its header is wrong: it is damaged')
}
