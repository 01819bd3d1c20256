import net from 'node:net'
import { systemClock, type Timer } from '../src/core/clock.ts'

const ATTEMPT_INTERVAL_MS = 25
/** A SYN that was lost is sent again by the kernel after a second: a new attempt is quicker. */
const CONNECT_TIMEOUT_MS = 500
const BANNER_TIMEOUT_MS = 120_000

/**
 * Waits for the first bytes of an SSH server at `address` and answers when they came, as
 * performance.now(). Attempts overlap, so that the answer is at most one interval late; while one
 * is connected no other is made, since each costs the guest a process.
 *
 * @throws Error after two minutes, or with the signal's reason.
 */
export function awaitBanner(address: string, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const deadlineMs = performance.now() + BANNER_TIMEOUT_MS
    const sockets = new Map<net.Socket, { isConnected: boolean }>()
    let timer: Timer | undefined
    const finish = (act: () => void) => {
      timer?.cancel()
      signal.removeEventListener('abort', onAbort)
      for (const socket of sockets.keys()) socket.destroy()
      act()
    }
    const onAbort = () => finish(() => reject(signal.reason))

    const attempt = () => {
      const state = { isConnected: false }
      const socket = net.connect({ host: address, port: 22 })
      const patience = systemClock.after(CONNECT_TIMEOUT_MS, () => {
        if (!state.isConnected) socket.destroy()
      })
      sockets.set(socket, state)
      socket.on('connect', () => (state.isConnected = true))
      socket.on('data', (bytes) => {
        const nowMs = performance.now()
        if (bytes.toString('latin1').startsWith('SSH-')) finish(() => resolve(nowMs))
      })
      socket.on('error', () => {})
      socket.on('close', () => {
        patience.cancel()
        sockets.delete(socket)
      })
    }
    const tick = () => {
      if (performance.now() >= deadlineMs) {
        return finish(() => reject(new Error(`no SSH server answered at ${address} within ${BANNER_TIMEOUT_MS / 1000} s`)))
      }
      if (![...sockets.values()].some((state) => state.isConnected)) attempt()
      timer = systemClock.after(ATTEMPT_INTERVAL_MS, tick)
    }
    if (signal.aborted) return reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    tick()
  })
}
