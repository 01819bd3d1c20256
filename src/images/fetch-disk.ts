import { constants, createReadStream } from 'node:fs'
import { copyFile, link, open, realpath, rm, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import { checking, type Checksum } from './checksum.ts'
import { compressionOf, unpack } from './unpack.ts'

export interface FetchOptions {
  clock: Clock
  /** An empty folder for this, on the file system where the disk is to be. */
  work: string
  /** What the file is to be, as it was published; null when nobody says. */
  checksum: Checksum | null
  progress: (line: string) => void
}

/** What stays free on the file system, whatever is fetched. */
const RESERVE_BYTES = 1024 ** 3
const STALL_MS = 60_000
const PROGRESS_MS = 2_000
const MIB = 1024 ** 2

/** Where a disk comes from: an address, or a file of this machine. */
export type DiskSource = { url: URL } | { file: string }

/** @throws Error for addresses of a kind that is not fetched. */
export function parseSource(given: string): DiskSource {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(given)) return { file: path.resolve(given) }
  if (!URL.canParse(given)) throw new Error(`${given} is not an address`)
  const url = new URL(given)
  if (url.protocol === 'file:') return { file: fileURLToPath(url) }
  if (url.protocol === 'http:' || url.protocol === 'https:') return { url }
  throw new Error(`${given}: disks come from files and from http:// and https:// addresses`)
}

/** The last part of its name, as lists of checksums have it. */
export function nameOf(source: DiskSource): string {
  if ('file' in source) return path.basename(source.file)
  try {
    return decodeURIComponent(path.posix.basename(source.url.pathname))
  } catch {
    return path.posix.basename(source.url.pathname)
  }
}

/**
 * Brings a disk file into the work folder, checked and unpacked: downloaded, or as a second name or a
 * copy of a file of this machine. The caller's own files are left as they are.
 *
 * @returns the file in the work folder.
 * @throws Error that says what went wrong and what to do.
 */
export async function fetchDisk(source: DiskSource, options: FetchOptions): Promise<string> {
  const packed = path.join(options.work, 'fetched')
  if ('url' in source) await download(source.url, packed, options)
  else await take(source.file, packed, options)
  const kind = await compressionOf(packed)
  if (!kind) return packed
  const target = path.join(options.work, 'disk')
  const say = paced(options.clock, options.progress)
  try {
    await unpack(packed, kind, target, {
      mostWrittenBytes: await freeBytes(options.work),
      onBytes: (bytes) => say(() => `unpacking (${kind.name}): ${Math.floor(bytes / MIB)} MiB`),
    })
  } catch (error) {
    throw new Error(`${nameOf(source)} cannot be unpacked: ${messageOf(error)}`, { cause: error })
  }
  await rm(packed)
  return target
}

/** A file of this machine: a clone where the file system can, a second name where it is the same one, else a copy. */
async function take(given: string, target: string, options: FetchOptions): Promise<void> {
  const file = await realpath(given).catch(() => {
    throw new Error(`there is no file ${given}`)
  })
  const { size } = await plainFile(file)
  if (options.checksum) await checkFile(file, options)
  for (const make of [() => copyFile(file, target, constants.COPYFILE_FICLONE_FORCE), () => link(file, target)]) {
    const isMade = await make().then(() => true, () => rm(target, { force: true }).then(() => false))
    if (isMade) return
  }
  const mib = Math.ceil(size / MIB)
  if (size > await freeBytes(options.work)) {
    throw new Error(`there is no room for a copy of ${file} (${mib} MiB) in ${options.work}`)
  }
  options.progress(`copying ${file} (${mib} MiB)`)
  await copyFile(file, target, constants.COPYFILE_EXCL)
}

async function plainFile(file: string): Promise<{ size: number }> {
  const found = await stat(file)
  if (found.isFile()) return found
  throw new Error(`${file} is not a plain file`)
}

async function checkFile(file: string, { clock, checksum, progress }: FetchOptions): Promise<void> {
  const sum = checking(checksum)
  const say = paced(clock, progress)
  let bytes = 0
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    sum.add(chunk)
    bytes += chunk.length
    say(() => `reading ${file} for its checksum: ${Math.floor(bytes / MIB)} MiB`)
  }
  sum.check(file)
}

async function download(url: URL, target: string, options: FetchOptions): Promise<void> {
  const { clock, work, checksum } = options
  const sum = checking(checksum)
  const say = paced(clock, options.progress)
  const most = await freeBytes(work)
  const { response, stalled } = await request(url, clock)
  const total = Number(response.headers.get('content-length') ?? Number.NaN)
  if (total > most) {
    stalled.stop()
    await response.body?.cancel()
    throw new Error(`there is no room in ${work} for the ${Math.ceil(total / MIB)} MiB of ${url.href}`)
  }
  options.progress(`downloading ${url.href}${Number.isNaN(total) ? '' : ` (${Math.ceil(total / MIB)} MiB)`}`)
  const handle = await open(target, 'wx', 0o600)
  let bytes = 0
  try {
    for await (const chunk of response.body ?? []) {
      stalled.restart()
      bytes += chunk.length
      if (bytes > most) throw new Error(`there is no more room in ${work}`)
      sum.add(chunk)
      await handle.writeFile(chunk)
      say(() => `downloading: ${Math.floor(bytes / MIB)}${Number.isNaN(total) ? '' : ` of ${Math.ceil(total / MIB)}`} MiB`)
    }
  } catch (error) {
    throw new Error(`the download of ${url.href} broke off after ${bytes} bytes: ${reasonOf(error)}`, { cause: error })
  } finally {
    stalled.stop()
    await handle.close()
  }
  if (!Number.isNaN(total) && bytes !== total && response.headers.get('content-encoding') === null) {
    throw new Error(`the download of ${url.href} broke off: ${bytes} of ${total} bytes came`)
  }
  sum.check(url.href)
}

/** What gives a download up when nothing comes for a while. */
interface Patience {
  restart: () => void
  stop: () => void
}

/** Begins to get what is at an address. */
async function request(url: URL, clock: Clock): Promise<{ response: Response; stalled: Patience }> {
  const controller = new AbortController()
  const wait = () => clock.after(STALL_MS, () => controller.abort(new Error(`nothing came for ${STALL_MS / 1000} s`)))
  let timer = wait()
  const stalled = {
    restart() {
      timer.cancel()
      timer = wait()
    },
    stop: () => timer.cancel(),
  }
  try {
    const response = await fetch(url, { signal: controller.signal, headers: { 'accept-encoding': 'identity' } })
    if (!response.ok) {
      await response.body?.cancel()
      throw new Error(`the server answers ${response.status} ${response.statusText}`.trim())
    }
    return { response, stalled }
  } catch (error) {
    stalled.stop()
    throw new Error(`${url.href} cannot be downloaded: ${reasonOf(error)}`, { cause: error })
  }
}

/** The text of a small file here or elsewhere. @throws Error when it is not there, or larger than that. */
export async function readText(where: string, mostBytes: number, clock: Clock): Promise<string> {
  const source = parseSource(where)
  if ('file' in source) {
    const { size } = await plainFile(source.file).catch((error: unknown) => {
      throw new Error(`cannot read ${where}: ${messageOf(error)}`, { cause: error })
    })
    if (size > mostBytes) throw new Error(`${where} is too large to be a list of checksums`)
    const handle = await open(source.file, 'r')
    return handle.readFile('utf8').finally(() => handle.close())
  }
  const { response, stalled } = await request(source.url, clock)
  try {
    const chunks: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of response.body ?? []) {
      stalled.restart()
      bytes += chunk.length
      if (bytes > mostBytes) throw new Error(`${where} is too large to be a list of checksums`)
      chunks.push(chunk)
    }
    return Buffer.concat(chunks).toString()
  } finally {
    stalled.stop()
  }
}


async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return Math.max(0, bavail * bsize - RESERVE_BYTES)
}

/** Says something at most every few seconds. */
function paced(clock: Clock, say: (line: string) => void): (line: () => string) => void {
  let lastMs = clock.now()
  return (line) => {
    if (clock.now() - lastMs < PROGRESS_MS) return
    lastMs = clock.now()
    say(line())
  }
}

/** What fetch says of a failure is in its cause. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : ''
  return cause === '' ? messageOf(error) : cause
}
