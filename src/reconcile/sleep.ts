import type { Clock } from '../core/clock.ts'

/** How often the clock is looked at, and how much later than asked for a look may come. */
const LOOK_INTERVAL_MS = 5_000
const LATE_MS = 20_000

/** Tells when the machine was asleep. */
export interface SleepWatch {
  /** When it last woke, milliseconds since the epoch; 0 while it has not slept under this watch. */
  awakeSinceMs(): number
  stop(): void
}

/**
 * Notices that the machine slept (a laptop's lid): wall-clock time went on and timers did not.
 * Guests slept too, so a deadline that began before must begin anew.
 */
export function watchSleep(clock: Clock, onWake: (sleptMs: number) => void): SleepWatch {
  let lastMs = clock.now()
  let awakeSinceMs = 0
  const look = () => {
    const nowMs = clock.now()
    const sleptMs = nowMs - lastMs - LOOK_INTERVAL_MS
    lastMs = nowMs
    timer = clock.after(LOOK_INTERVAL_MS, look)
    if (sleptMs < LATE_MS) return
    awakeSinceMs = nowMs
    onWake(sleptMs)
  }
  let timer = clock.after(LOOK_INTERVAL_MS, look)
  return { awakeSinceMs: () => awakeSinceMs, stop: () => timer.cancel() }
}
