import { chmodSync, chownSync, closeSync, constants, openSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { waitFor, type Clock } from '../../core/clock.ts'
import type { Execute } from './devices.ts'
import { deleteFile, MEMORY_SOCKET } from './folder.ts'

/** For what QEMU may have to write to its disks before it answers, or is busy with memory. */
export const LONG_TIMEOUT_MS = 60_000
export const POLL_MS = 10

/** How far QEMU is with sending or getting memory; no status when it never did. */
export interface Migration {
  'status'?: string
  'error-desc'?: string
}

export async function migrationOf(execute: Execute): Promise<Migration> {
  return (await execute('query-migrate', undefined, LONG_TIMEOUT_MS)) as Migration
}

/** QEMU's run state. */
export async function statusOf(execute: Execute): Promise<string> {
  return ((await execute('query-status', undefined, LONG_TIMEOUT_MS)) as { status: string }).status
}

/** Ends the sending of memory that another call began, whether it succeeds or not. */
export async function endMigration(execute: Execute, clock: Clock): Promise<void> {
  const isUnderWay = async () => ['setup', 'active', 'device', 'cancelling'].includes((await migrationOf(execute)).status ?? '')
  if (!(await isUnderWay())) return
  await execute('migrate_cancel', undefined, LONG_TIMEOUT_MS)
  await waitFor(clock, 'QEMU to stop sending memory', LONG_TIMEOUT_MS, async () => !(await isUnderWay()), POLL_MS)
}

export interface Listener {
  /** QEMU's connection; there is only one. */
  connection: Promise<Socket>
  close(): void
}

/**
 * Listens on the socket for memory in a machine's folder, for the machine's user and nobody else.
 *
 * @throws Error also when that user has put a folder in its place.
 */
export async function listenForMemory(folder: string, uid: number | null): Promise<Listener> {
  deleteFile(join(folder, MEMORY_SOCKET))
  // A socket's path holds 107 bytes, and a home may be deeper than that.
  const handle = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  const path = `/proc/self/fd/${handle}/${MEMORY_SOCKET}`
  const server = createServer({ highWaterMark: 1024 * 1024 })
  const close = () => {
    if (!server.listening) return closeSync(handle)
    // It deletes the socket by the path.
    server.close(() => closeSync(handle))
  }
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(path, resolve)
    })
    const connection = new Promise<Socket>((resolve) => server.once('connection', (socket) => resolve(socket)))
    server.maxConnections = 1
    // Only root could connect until now.
    chmodSync(path, 0o600)
    if (uid !== null) chownSync(path, uid, uid)
    return { connection, close }
  } catch (error) {
    close()
    throw error
  }
}

/** The same promise, or an error when it takes longer. */
export function within<T>(clock: Clock, timeoutMs: number, what: string, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const deadline = clock.after(timeoutMs, () => reject(new Error(`waited ${timeoutMs} ms in vain for ${what}`)))
    promise.then(resolve, reject).finally(() => deadline.cancel())
  })
}
