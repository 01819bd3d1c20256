import type { Socket } from 'node:net'
import type { Clock } from '../../core/clock.ts'
import type { Random } from '../../core/random.ts'
import type { MemoryImage } from '../driver.ts'
import type { Qemu } from './devices.ts'
import { MEMORY_SOCKET } from './folder.ts'
import { writeMemoryFile } from './memory-file.ts'
import { listenForMemory, LONG_TIMEOUT_MS, migrationOf, POLL_MS } from './migration.ts'

/** Far more than any memory: QEMU holds itself back by default. */
const MAX_BANDWIDTH_BYTES = 2 ** 40
/** When nothing has come for so long, nothing comes any more. */
const STALL_TIMEOUT_MS = 60_000
/** A longer time between two looks is this process's or the host's own: it was busy, or asleep. */
const MAX_LOOK_MS = 1000

/** Who sends memory, and what it takes to write it. */
export interface Receiving {
  qemu: Qemu
  clock: Clock
  random: Random
}

/**
 * Has QEMU send its memory, and writes it to a new file, durably.
 *
 * @throws Error when it cannot be sent or written, `signal.reason` when it is aborted. Then nobody takes it any more.
 */
export async function receiveMemory(
  { qemu: { execute, folder, uid }, clock, random }: Receiving, path: string, image: MemoryImage, about: unknown, signal?: AbortSignal,
): Promise<void> {
  const listener = await listenForMemory(folder, uid)
  const incoming = new Incoming()
  const abort = () => incoming.fail(signal?.reason)
  const written = listener.connection.then(async (socket) => {
    if (!incoming.accept(socket)) return
    await writeMemoryFile(path, image, about, incoming.pieces(socket), random)
    incoming.isWritten = true
  }).catch((error: unknown) => incoming.fail(error))
  try {
    signal?.throwIfAborted()
    signal?.addEventListener('abort', abort, { once: true })
    await execute('migrate-set-parameters', { 'max-bandwidth': MAX_BANDWIDTH_BYTES })
    await execute('migrate', { uri: `unix:${MEMORY_SOCKET}` }, LONG_TIMEOUT_MS)
    await allSent(async () => {
      const { status = 'none', 'error-desc': why } = await migrationOf(execute)
      if (status === 'failed' || status === 'cancelled') throw new Error(`QEMU could not send its memory${why === undefined ? '' : `: ${why}`}`)
      return status === 'completed'
    }, incoming, clock)
  } catch (error) {
    incoming.fail(error)
  } finally {
    signal?.removeEventListener('abort', abort)
    listener.close()
  }
  // The file is closed then. Without a connection there is nothing to wait for.
  if (incoming.isConnected) await written
  if (incoming.failure) throw incoming.failure.error
}

/** Waits until QEMU has sent all and it is written, or that has failed. @throws Error when nothing comes any more. */
async function allSent(isSent: () => Promise<boolean>, incoming: Incoming, clock: Clock): Promise<void> {
  let [last, lastMs, idleMs] = [0, clock.now(), 0]
  while (!incoming.failure) {
    if ((await isSent()) && incoming.isWritten) return
    const nowMs = clock.now()
    const isIdle = incoming.isAwaited && incoming.bytes === last
    idleMs = isIdle ? idleMs + Math.min(Math.max(nowMs - lastMs, 0), MAX_LOOK_MS) : 0
    if (idleMs > STALL_TIMEOUT_MS) throw new Error('QEMU does not send its memory')
    ;[last, lastMs] = [incoming.bytes, nowMs]
    await clock.sleep(POLL_MS)
  }
}

/** What comes from QEMU: nothing until it connects. */
class Incoming {
  /** Why it is not taken any more. */
  failure: { error: unknown } | undefined
  isWritten = false
  /** Whether there is somebody who waits for more of it, and not for a disk. */
  isAwaited = true
  #socket: Socket | undefined

  get bytes(): number {
    return this.#socket?.bytesRead ?? 0
  }

  get isConnected(): boolean {
    return this.#socket !== undefined
  }

  /** @returns whether that connection is wanted still. */
  accept(socket: Socket): boolean {
    if (this.failure) {
      socket.destroy()
      return false
    }
    this.#socket = socket
    this.isAwaited = false
    return true
  }

  async *pieces(socket: Socket): AsyncGenerator<Buffer> {
    this.isAwaited = true
    for await (const piece of socket as AsyncIterable<Buffer>) {
      this.isAwaited = false
      yield piece
      this.isAwaited = true
    }
    this.isAwaited = false
  }

  fail(error: unknown): void {
    this.failure ??= { error }
    this.#socket?.destroy()
  }
}
