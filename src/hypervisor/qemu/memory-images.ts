import { constants } from 'node:fs'
import { lstat, open, readdir, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'

const PREFIX = 'memory-'
const PART = '.part'

/** The file of a whole image in a machine's folder. @throws Error for an id that might lead elsewhere. */
export function imageFile(folder: string, memoryId: string): string {
  if (!/^[\w-]{1,64}$/.test(memoryId)) throw new Error(`not an id of saved memory: ${memoryId}`)
  return join(folder, `${PREFIX}${memoryId}`)
}

/** What an image is written to until it is whole. */
export function partFile(folder: string, memoryId: string): string {
  return `${imageFile(folder, memoryId)}${PART}`
}

/** Makes the image of a written part, durably. */
export async function completeImage(folder: string, memoryId: string): Promise<void> {
  await rename(partFile(folder, memoryId), imageFile(folder, memoryId))
  await syncFolder(folder)
}

/** Whether that image is there, whole; it is durable then, also when whoever made it died before it was. */
export async function hasImage(folder: string, memoryId: string): Promise<boolean> {
  const found = await lstat(imageFile(folder, memoryId)).catch(unlessMissing)
  if (!found?.isFile()) return false
  await syncFolder(folder)
  return true
}

/** Deletes all images and parts of a machine but that one, durably also when an earlier call has deleted them. */
export async function deleteImages(folder: string, exceptId?: string): Promise<void> {
  const kept = exceptId === undefined ? undefined : imageFile(folder, exceptId)
  const names = await readdir(folder).catch(unlessMissing)
  if (names === undefined) return
  for (const file of names.filter((name) => name.startsWith(PREFIX)).map((name) => join(folder, name))) {
    if (file !== kept) await unlink(file).catch(unlessNoFile)
  }
  await syncFolder(folder)
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  await handle.sync().finally(() => handle.close())
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

/**
 * A folder is none of ours, and stays: while the machine's user may put links to other folders in it, nobody can delete what
 * it holds without the risk of deleting what they lead to.
 */
function unlessNoFile(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EISDIR') unlessMissing(error)
}
