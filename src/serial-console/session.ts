import type { Duplex } from 'node:stream'
import type { ServerChannel } from 'ssh2'
import type { Clock, Timer } from '../core/clock.ts'

/** What a client may leave unread; then it misses some, since a guest must not wait for it. */
const MAX_UNREAD_BYTES = 1024 * 1024

/**
 * Joins somebody's terminal and a machine's serial console until one of them ends, or nothing was said for `idleMs`.
 *
 * @returns why it ended, for people.
 */
export function join(
  channel: ServerChannel,
  serial: Duplex,
  { clock, idleMs, left, unsentBytes }: {
    clock: Clock
    idleMs: number
    left: AbortSignal
    /** What waits for the network: a client may allow us any number of bytes and read none. */
    unsentBytes: () => number
  },
): Promise<string> {
  return new Promise((resolve) => {
    let idle: Timer | undefined
    const end = (why: string) => {
      idle?.cancel()
      serial.destroy()
      resolve(why)
    }
    const rest = () => {
      idle?.cancel()
      idle = clock.after(idleMs, () => end('nothing was said for too long'))
    }
    serial.on('error', () => {})
    serial.on('data', (chunk: Buffer) => {
      rest()
      if (channel.writableLength + unsentBytes() <= MAX_UNREAD_BYTES) channel.write(chunk)
    })
    serial.once('end', () => end('the machine has ended'))
    serial.once('close', () => end('the machine has ended'))
    channel.on('data', (chunk: Buffer) => {
      rest()
      // A guest that does not read keeps the client waiting, not us.
      if (serial.writable && !serial.write(chunk)) {
        channel.pause()
        serial.once('drain', () => channel.resume())
      }
    })
    const leave = () => end('the client has left')
    channel.once('end', leave)
    channel.once('close', leave)
    left.addEventListener('abort', leave, { once: true })
    rest()
    if (left.aborted) leave()
  })
}
