import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { link, open, unlink, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isWellFormedId } from '../../core/ids.ts'

export const BYTES_PER_GIB = 1024 ** 3

/**
 * Where a layer's file is in the home. Layers that an earlier version made have the ids of their volume or
 * snapshot, and their files' names.
 *
 * @throws Error for what is not such an id (and might lead out of the folder).
 */
export function relativePath(layerId: string): string {
  if (isWellFormedId('vol', layerId)) return `volumes/${layerId}.qcow2`
  if (isWellFormedId('lay', layerId) || isWellFormedId('snap', layerId)) return `layers/${layerId}.qcow2`
  throw new Error(`not a layer's id: ${layerId}`)
}

/** Ids of the layers whose files are in a folder. */
export function idsIn(folder: string, prefix: 'vol' | 'snap' | 'lay'): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.qcow2'))
    .map((name) => name.slice(0, -'.qcow2'.length))
    .filter((id) => isWellFormedId(prefix, id))
    .toSorted()
}

let lastTemporary = 0

/**
 * A new name for what is not finished. It tells which process makes it, and by when that began, since a
 * later process may have its pid: after a restart of the host very likely so.
 */
export function temporaryName(folder: string, layerId: string): string {
  return join(folder, `.${layerId}.${process.pid}.${startOf(process.pid)}-${++lastTemporary}.tmp`)
}

/** Deletes the unfinished files of a layer whose makers are no more. */
export function sweep(folder: string, layerId: string): void {
  for (const name of readdirSync(folder)) {
    const [, id, pid, start] = /^\.(.+)\.(\d+)\.(?:(\d+)-)?\d+\.tmp$/.exec(name) ?? []
    if (id !== layerId) continue
    const present = startOf(Number(pid))
    if (present === undefined || present !== start) rmSync(join(folder, name), { force: true })
  }
}

/** When the process with that pid began, in ticks since the host did; undefined without one. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

/** Gives a finished file its name, for good, unless another one has it: by link, since rename would replace. */
export async function publish(temporary: string, file: string): Promise<void> {
  await flush(temporary)
  try {
    await link(temporary, file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  await unlink(temporary)
  await flush(dirname(file))
}

/** Puts all of a file, or which names a folder has, on the disk for good. Not on this thread: it may take a while. */
export async function flush(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Says of an error for want of space what is full; others stay as they are. */
export function explained(error: unknown, layerId: string, folder: string): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error
  return outOfSpace(layerId, folder, error)
}

export function outOfSpace(layerId: string, folder: string, cause?: unknown): Error {
  return new Error(`${layerId}: no space left on the disk that holds ${folder}`, { cause })
}

/** All of it: a disk that is nearly full takes a part without an error, and refuses the next. */
export async function writeAll(handle: FileHandle, content: Buffer, position: number): Promise<void> {
  for (let done = 0; done < content.length;) {
    done += (await handle.write(content, done, content.length - done, position + done)).bytesWritten
  }
}
