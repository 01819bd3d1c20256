import { open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { giveToFolderOwner } from './file-owner.ts'

/**
 * Writes a file for its owner alone that a reader sees whole or not at all, and that is on the disk
 * for good before this resolves.
 */
export async function writeDurably(file: string, content: string): Promise<void> {
  const temporary = `${file}.new`
  await rm(temporary, { force: true })
  await writeAndFlush(temporary, 'wx', content)
  giveToFolderOwner(temporary)
  await rename(temporary, file)
  await flushFolderOf(file)
}

/** Puts on the disk for good which names the file's folder holds. */
export async function flushFolderOf(file: string): Promise<void> {
  await writeAndFlush(path.dirname(file), 'r')
}

async function writeAndFlush(target: string, flags: string, content?: string): Promise<void> {
  const handle = await open(target, flags, 0o600)
  try {
    if (content !== undefined) await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
}
