/** A pending timer; `cancel` is safe to call twice. */
export interface Timer {
  cancel(): void
}

/**
 * Time, injected. Everything outside core takes a Clock, so that the simulator can run the whole
 * control plane on virtual time and replay it from a seed.
 */
export interface Clock {
  /** Wall-clock time, milliseconds since the epoch. */
  now(): number
  /** Calls `run` once after `delayMs`. The timer keeps the process alive. */
  after(delayMs: number, run: () => void): Timer
  /** Calls `run` once what can run now has run: I/O that is ready, and promises. */
  soon(run: () => void): void
  /** Resolves after `delayMs`; rejects with `signal.reason` when the signal aborts first. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs)
    return { cancel: () => clearTimeout(handle) }
  },
  soon: (run) => void setImmediate(run),
  sleep: (delayMs, signal) => sleepOn(systemClock, delayMs, signal),
}

/** `sleep` in terms of `after`, for every implementation of Clock. */
export function sleepOn(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      timer.cancel()
      reject(signal?.reason)
    }
    const timer = clock.after(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/**
 * Polls `check` until it returns something other than undefined or false, or `timeoutMs` is over.
 *
 * @throws Error that says what was waited for.
 */
export async function waitFor<T>(
  clock: Clock,
  what: string,
  timeoutMs: number,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  intervalMs = 50,
): Promise<T> {
  const deadline = clock.now() + timeoutMs
  for (;;) {
    const found = await check()
    if (found !== undefined && found !== false) return found
    if (clock.now() >= deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`)
    await clock.sleep(intervalMs)
  }
}
