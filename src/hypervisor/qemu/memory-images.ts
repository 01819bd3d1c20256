import { constants } from 'node:fs'
import { open, readdir, rename, rm } from 'node:fs/promises'
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

/** Whether there is an image, or a part of one. */
export async function hasImages(folder: string): Promise<boolean> {
  return (await readdir(folder).catch(unlessMissing))?.some((name) => name.startsWith(PREFIX)) ?? false
}

/** Deletes all images and parts of a machine but that one, durably also when an earlier call has deleted them. */
export async function deleteImages(folder: string, exceptId?: string): Promise<void> {
  const kept = exceptId === undefined ? undefined : imageFile(folder, exceptId)
  const names = await readdir(folder).catch(unlessMissing)
  if (names === undefined) return
  for (const file of names.filter((name) => name.startsWith(PREFIX)).map((name) => join(folder, name))) {
    // Whatever the machine's user may have put there by that name.
    if (file !== kept) await rm(file, { recursive: true, force: true })
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
