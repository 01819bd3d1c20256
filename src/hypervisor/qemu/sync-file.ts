import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

/** Waits until what was written into a file is on its disk. Nothing happens to what is no plain file. */
export async function syncFile(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    if ((await handle.stat()).isFile()) await handle.datasync()
  } finally {
    await handle.close()
  }
}
