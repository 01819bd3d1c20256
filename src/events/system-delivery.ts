import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { giveToFolderOwner } from '../core/file-owner.ts'
import { messageOf } from '../core/errors.ts'
import { flushFolderOf } from '../core/write-durably.ts'
import type { Delivery, Post, PostReply } from './delivery.ts'

/** A webhook that takes longer has failed: EventBridge waits five seconds for API destinations. */
const TIMEOUT_MS = 5000

/** Delivery over this machine's network and into its files. */
export const systemDelivery: Delivery = { post, append }

async function post({ url, headers, body }: Post): Promise<PostReply> {
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  try {
    // Where a webhook is moves nowhere by what it answers.
    const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal })
    await response.body?.cancel()
    return { status: response.status, retryAfterMs: secondsToMs(response.headers.get('retry-after')) }
  } catch (error) {
    if (signal.aborted) throw new Error(`no answer within ${TIMEOUT_MS / 1000} s`, { cause: error })
    throw new Error(reasonOf(error), { cause: error })
  }
}

/** fetch says "fetch failed", and the reason in its cause. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  const code = (cause as { code?: unknown } | undefined)?.code
  const message = cause instanceof Error && cause.message !== '' ? cause.message : typeof code === 'string' ? code : messageOf(error)
  return message
}

function secondsToMs(text: string | null): number | null {
  return text !== null && /^\d{1,6}$/.test(text) ? Number(text) * 1000 : null
}

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDWR } = constants

/** For the owner alone: events name what an account has. A link is not followed, and nothing but a file is written to. */
async function append(file: string, lines: readonly string[]): Promise<void> {
  const handle = await open(file, O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_RDWR, 0o600).catch(explain)
  try {
    const before = await handle.stat()
    if (!before.isFile()) throw new Error('it is not a regular file')
    if (before.size === 0) {
      giveToFolderOwner(file)
      await flushFolderOf(file)
    }
    const text = Buffer.from(`${await isTorn(handle, before.size) ? '\n' : ''}${lines.map((line) => `${line}\n`).join('')}`)
    await writeAll(handle, text, before.size)
    await handle.datasync()
  } finally {
    await handle.close()
  }
}

/** All or nothing: a part of a line on a full disk would spoil the one that comes after it. */
async function writeAll(handle: FileHandle, text: Buffer, sizeBefore: number): Promise<void> {
  try {
    for (let written = 0; written < text.length;) written += (await handle.write(text, written)).bytesWritten
  } catch (error) {
    await handle.truncate(sizeBefore)
    throw error
  }
}

/** A power cut may leave half a line, which the next one must not be added to. */
async function isTorn(handle: FileHandle, size: number): Promise<boolean> {
  if (size === 0) return false
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, size - 1)
  return buffer.toString() !== '\n'
}

function explain(error: NodeJS.ErrnoException): never {
  if (error.code === 'ELOOP') throw new Error('it is a link, and links are not followed', { cause: error })
  if (error.code === 'ENOENT') throw new Error('its folder is not there', { cause: error })
  if (error.code === 'ENXIO') throw new Error('it is not a regular file', { cause: error })
  throw error
}
