import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import { giveToFolderOwner } from '../core/file-owner.ts'
import { flushFolderOf } from '../core/write-durably.ts'
import type { Delivery, Post, PostReply } from './delivery.ts'

/** A webhook that takes longer has failed: EventBridge waits five seconds for API destinations. */
const TIMEOUT_MS = 5000

/** Delivery over this machine's network and into its files. */
export const systemDelivery: Delivery = { post, append }

/** By Node's own requests: fetch does not connect to a hundred ports that browsers must not be sent to. Redirects are not followed. */
function post({ url, headers, body }: Post, signal?: AbortSignal): Promise<PostReply> {
  const late = AbortSignal.timeout(TIMEOUT_MS)
  const place = new URL(url)
  const { request } = place.protocol === 'https:' ? https : http
  return new Promise((resolve, reject) => {
    const call = request(place, {
      method: 'POST', headers: { ...headers, 'content-length': Buffer.byteLength(body) }, signal: signal ? AbortSignal.any([late, signal]) : late,
    })
    // What comes after the answer is its body, which nobody reads.
    call.on('error', (error) => reject(new Error(late.aborted ? `no answer within ${TIMEOUT_MS / 1000} s` : reasonOf(error), { cause: error })))
    call.once('response', (response) => {
      response.on('error', () => {}).resume()
      resolve({ status: response.statusCode ?? 0, retryAfterMs: secondsToMs(response.headers['retry-after'] ?? null) })
    })
    call.end(body)
  })
}

/** The first line that says anything: OpenSSL's words have several, and an error of two addresses has none of its own. */
function reasonOf(error: NodeJS.ErrnoException): string {
  return error.message.split('\n').find((line) => line.trim() !== '') ?? error.code ?? 'it failed'
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
