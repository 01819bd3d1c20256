import { constants } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import type { DiskFormat } from '../driver.ts'
import { foreignFile } from './blocks.ts'
import { writeAll } from './files.ts'
import { readHeader } from './header.ts'
import { runQemuImg, type Ended } from './sandbox.ts'

/** Something is wrong with a source that no further try mends. */
export class BadSourceError extends Error {}

/** Formats that QEMU can check: whether everything that the file's tables name is there. */
const CHECKED: readonly DiskFormat[] = ['qcow2', 'vmdk', 'vhdx']
const LIMITS = { cpuSeconds: 300, fileBytes: 0 }
const NO_CHECK = 63

/**
 * Whether a disk file from elsewhere stands alone, is whole as far as can be told, and not larger than
 * the disk that it is for. All but its first bytes is read in the sandbox.
 *
 * @throws BadSourceError when not.
 */
export async function checkForeign(
  file: string, format: DiskFormat, options: { uid: number | null; mostBytes: number; signal: AbortSignal },
): Promise<void> {
  if (format === 'qcow2') checkQcow2(file)
  if (format === 'vpc') await checkVhd(file)
  const run = (words: (name: string) => string[]) => runQemuImg({
    uid: options.uid, reads: [file], writes: null, secrets: [], limits: LIMITS, isBackground: true, signal: options.signal,
    words: ({ reads: [name = ''] }) => words(foreignFile(name, format)),
  })
  const info = await run((name) => ['info', '--output=json', name])
  if (info.code !== 0) throw new BadSourceError(complaintOf(info))
  const facts = JSON.parse(info.output) as Record<string, unknown> & { 'format-specific'?: { data?: Record<string, unknown> } }
  const reference = facts['backing-filename'] ?? facts['format-specific']?.data?.['data-file']
  if (reference !== undefined) throw refersTo(String(reference))
  const sizeBytes = Number(facts['virtual-size'])
  if (!(sizeBytes > 0)) throw new BadSourceError('the disk in it has no size')
  if (sizeBytes > options.mostBytes) {
    throw new BadSourceError(`the disk in it has ${sizeBytes} bytes, more than the ${options.mostBytes} that it is to have`)
  }
  if (!CHECKED.includes(format)) return
  const check = await run((name) => ['check', '-q', name])
  // 3: blocks that are in use by nothing, which harms nobody.
  if (![0, 3, NO_CHECK].includes(check.code ?? -1)) {
    throw new BadSourceError(`it is damaged or cut off: ${complaintOf(check)}`)
  }
}

function checkQcow2(file: string): void {
  const header = badUnless(() => readHeader(file))
  const reference = header.backing ?? header.dataFile
  if (reference !== null) throw refersTo(reference)
  if (header.isEncrypted) throw new BadSourceError('it is encrypted under a key that is not known here')
}

function badUnless<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== undefined) throw error
    throw new BadSourceError('it is not a qcow2 image')
  }
}

/** QEMU finds a VHD's blocks by the copy of its footer in front, and would take what is missing for zeros. */
async function checkVhd(file: string): Promise<void> {
  const handle = await open(file, 'r')
  try {
    const { size } = await handle.stat()
    const end = Buffer.alloc(512)
    await handle.read(end, 0, 512, Math.max(0, size - 512))
    // Footers of 511 bytes were made by the first programs that wrote this format.
    if (![end.toString('latin1', 0, 8), end.toString('latin1', 1, 9)].includes('conectix')) {
      throw new BadSourceError('it is no VHD, or cut off: its footer is missing')
    }
  } finally {
    await handle.close()
  }
}

function refersTo(reference: string): BadSourceError {
  return new BadSourceError(`it refers to another file (${reference}); flatten it with qemu-img convert`)
}

/** What qemu-img said of its failure, or what ended it. */
export function complaintOf({ code, signal, complaint }: Ended): string {
  if (signal === 'SIGXCPU') return 'it takes more processor time than a file of its size may'
  const lines = complaint.trim().split('\n').map((line) => line.replace(/^qemu-img: /, ''))
  return lines.filter(Boolean).slice(-3).join('; ') || (signal ? `qemu-img was ended by ${signal}` : `qemu-img ended with code ${code}`)
}

/**
 * Copies a file that the sandbox's user may not read to where it may.
 *
 * @throws BadSourceError for what is not a plain file.
 */
export async function copyPlainFile(from: string, to: string, signal: AbortSignal): Promise<void> {
  // Not through a link that took the file's place since it was looked at.
  const source = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    if (!(await source.stat()).isFile()) throw new BadSourceError(`${from} is not a plain file`)
    const target = await open(to, 'wx', 0o600)
    try {
      const [buffer, zeros] = [Buffer.alloc(1024 ** 2), Buffer.alloc(1024 ** 2)]
      for (let at = 0; ;) {
        signal.throwIfAborted()
        const { bytesRead } = await source.read(buffer, 0, buffer.length, at)
        const content = buffer.subarray(0, bytesRead)
        // Holes stay holes.
        if (!content.equals(zeros.subarray(0, bytesRead))) await writeAll(target, content, at)
        at += bytesRead
        if (bytesRead === 0) {
          await target.truncate(at)
          break
        }
      }
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

/** @throws BadSourceError when there is no such plain file. */
export async function modeOfPlainFile(file: string): Promise<number> {
  const stat = await lstat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') throw new BadSourceError(`there is no file ${file}`)
    throw error
  })
  if (!stat.isFile()) throw new BadSourceError(`${file} is not a plain file`)
  return stat.mode
}
