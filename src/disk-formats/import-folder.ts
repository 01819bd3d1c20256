import { realpath, rm } from 'node:fs/promises'
import path from 'node:path'
import { messageOf } from '../core/errors.ts'
import { formatName } from '../model/import-task.ts'
import type { DiskFormat } from '../volumes/driver.ts'
import { DiskFormatError, inspectDiskFile, type DiskFile } from './inspect.ts'

/** Where an agent finds the disk files that callers of the API may import. */
export interface ImportFiles {
  /**
   * Looks at a disk file; `format` is what its caller says that it is, or null.
   *
   * @throws DiskFormatError for one that is not there, not to be read, or something else.
   */
  inspect(file: string, format: DiskFormat | null): Promise<DiskFile>
  /** Deletes a copy that was made for an import; of what is elsewhere, or gone, nothing happens. */
  discard(file: string): Promise<void>
}

/** Endings of names that say what a file is; `.img` says nothing. */
const ENDINGS: Record<string, DiskFormat> = { '.qcow2': 'qcow2', '.vmdk': 'vmdk', '.vhd': 'vpc', '.vhdx': 'vhdx' }

/**
 * The files of one folder, and of folders in it. What leads out of it, by name or by link, is not there:
 * who may call the API must not choose what the agent reads, nor find out what else there is.
 */
export function createImportFolder(folder: string): ImportFiles {
  return {
    async inspect(file, format) {
      const isInside = isWithin(folder, path.resolve(file))
      const root = await realpath(folder).catch(() => undefined)
      const outside = () => new DiskFormatError(`there is no file ${file} in the folder that disks are imported from (${folder})`)
      if (!isInside || root === undefined) throw outside()
      const found = await inspectDiskFile(path.resolve(file), (real) => {
        if (!isWithin(root, real)) throw outside()
      }).catch((error: unknown) => {
        throw error instanceof DiskFormatError ? error : new DiskFormatError(`${file} cannot be read: ${messageOf(error)}`)
      })
      checkExpected(found, format)
      return found
    },
    async discard(file) {
      if (isWithin(folder, path.resolve(file))) await rm(path.resolve(file), { force: true })
    },
  }
}

/**
 * Refuses a file that is not what it is said to be: by its caller, or by its name. A VHD of fixed size that
 * lost its end would else pass for a raw disk.
 *
 * @throws DiskFormatError
 */
export function checkExpected(found: Pick<DiskFile, 'path' | 'format'>, format: DiskFormat | null): void {
  const expected = format ?? ENDINGS[path.extname(found.path).toLowerCase()]
  if (expected === undefined || expected === found.format) return
  const is = found.format === 'raw' ? 'none' : formatName(found.format)
  throw new DiskFormatError(`${found.path} is said to be ${formatName(expected)}, and is ${is}`)
}

function isWithin(folder: string, file: string): boolean {
  return file.startsWith(folder.endsWith('/') ? folder : `${folder}/`)
}
