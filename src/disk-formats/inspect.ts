import { constants } from 'node:fs'
import { type FileHandle, open, readlink } from 'node:fs/promises'
import type { DiskFormat } from '../volumes/driver.ts'
import { BoundedFile, DiskFormatError } from './bounded-file.ts'
import { refuseOthers } from './others.ts'
import { inspectQcow2, isQcow2 } from './qcow2.ts'
import { inspectVhd, isVhd } from './vhd.ts'
import { inspectVhdx, isVhdx } from './vhdx.ts'
import { inspectVmdk, isVmdk, refuseVmdkParts } from './vmdk.ts'

export { DiskFormatError } from './bounded-file.ts'

/** A disk file that may be read as what it says it is. */
export interface DiskFile {
  /** Where it is when every link on the way is followed. */
  path: string
  format: DiskFormat
  /** Size of the disk in it. */
  virtualSizeBytes: number
  identity: FileIdentity
}

/** What tells that it is still the same file with the same content. */
export interface FileIdentity {
  device: number
  inode: number
  sizeBytes: number
  modifiedMs: number
}

/** The largest volume there is, and thus the largest disk. */
export const MOST_DISK_BYTES = 64 * 1024 ** 4
const SECTOR_BYTES = 512
/** Enough for the mark of a tar archive, and of text that means another file. */
const HEAD_BYTES = 4096

/**
 * Opens a disk file once and judges it by its headers and tables, in bounded reads, before any other
 * program may read it: it stands alone, is whole as far as it tells, and is not absurd.
 *
 * @param check is called with where the file really is, before anything of it is read, and may throw.
 * @throws DiskFormatError with a sentence about the file that says what to do.
 */
export async function inspectDiskFile(file: string, check: (realPath: string) => void = () => {}): Promise<DiskFile> {
  const handle = await openPlain(file)
  try {
    // What is open, and not what has its name by now.
    const realPath = await readlink(`/proc/self/fd/${handle.fd}`)
    check(realPath)
    const stats = await handle.stat()
    if (!stats.isFile()) throw new DiskFormatError(`${file} is not a plain file`)
    const bounded = new BoundedFile(handle, stats.size)
    const { format, virtualSizeBytes } = await inspectDisk(bounded).catch((error: unknown) => {
      throw error instanceof DiskFormatError ? new DiskFormatError(`${file} cannot be used: ${error.message}`) : error
    })
    return {
      path: realPath, format, virtualSizeBytes,
      identity: { device: stats.dev, inode: stats.ino, sizeBytes: stats.size, modifiedMs: stats.mtimeMs },
    }
  } finally {
    await handle.close()
  }
}

/** Whether two looks saw the same file with the same content. */
export function isSameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.device === b.device && a.inode === b.inode && a.sizeBytes === b.sizeBytes && a.modifiedMs === b.modifiedMs
}

/** Format and size of the disk in a file. @throws DiskFormatError */
export async function inspectDisk(file: BoundedFile): Promise<{ format: DiskFormat; virtualSizeBytes: number }> {
  if (file.size === 0) throw new DiskFormatError('it is empty')
  const head = await file.readUpTo(0, HEAD_BYTES, 'its head')
  const end = await file.readUpTo(Math.max(0, file.size - SECTOR_BYTES), SECTOR_BYTES, 'its end')
  refuseVmdkParts(head)
  refuseOthers(head, end)
  const found = await inspectKnown(file, head, end) ?? { format: 'raw' as const, virtualSizeBytes: rawSize(file) }
  const { virtualSizeBytes } = found
  if (virtualSizeBytes === 0) throw new DiskFormatError('the disk in it has no size')
  if (virtualSizeBytes % SECTOR_BYTES !== 0) throw new DiskFormatError('the size of the disk in it is not a number of sectors')
  if (virtualSizeBytes > MOST_DISK_BYTES) {
    throw new DiskFormatError(`the disk in it is of ${Math.ceil(virtualSizeBytes / 1024 ** 4)} TiB, and volumes have at most 64`)
  }
  return found
}

async function inspectKnown(
  file: BoundedFile,
  head: Buffer,
  end: Buffer,
): Promise<{ format: DiskFormat; virtualSizeBytes: number } | undefined> {
  if (isQcow2(head)) return { format: 'qcow2', virtualSizeBytes: await inspectQcow2(file) }
  if (isVmdk(head)) return { format: 'vmdk', virtualSizeBytes: await inspectVmdk(file) }
  if (isVhdx(head)) return { format: 'vhdx', virtualSizeBytes: await inspectVhdx(file) }
  if (isVhd(head) || isVhd(end)) return { format: 'vpc', virtualSizeBytes: await inspectVhd(file) }
  return undefined
}

function rawSize(file: BoundedFile): number {
  if (file.size % SECTOR_BYTES === 0) return file.size
  throw new DiskFormatError(
    'it is of no known format, and as a raw disk not a whole number of sectors: it is truncated, or no disk')
}

/** Opens without following a link and without waiting, as a pipe would make one wait. */
async function openPlain(file: string): Promise<FileHandle> {
  try {
    return await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? ''
    if (code === 'ELOOP') throw new DiskFormatError(`${file} is a symbolic link; name the file itself`)
    if (code === 'ENXIO') throw new DiskFormatError(`${file} is not a plain file`)
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new DiskFormatError(`there is no file ${file}`)
    if (code === 'EACCES' || code === 'EPERM') throw new DiskFormatError(`${file} may not be read`)
    if (code === 'ENAMETOOLONG' || code === 'ERR_INVALID_ARG_VALUE') throw new DiskFormatError('that is not the name of a file')
    throw error
  }
}
