import { setMaxListeners } from 'node:events'
import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'

/** Shortest and longest duration in milliseconds; [0, 0] is at once, without a timer. */
export type DelayRange = [minMs: number, maxMs: number]

/** One of a range. */
export function draw(random: Random, [minMs, maxMs]: DelayRange): number {
  return maxMs > minMs ? minMs + random.int(maxMs - minMs + 1) : minMs
}

/**
 * The pauses of one simulated driver. After `close` none of them ends well: a driver of an agent
 * that died must not go on acting on the world.
 */
export function createPauses(clock: Clock, random: Random): {
  /** Rejects with `signal.reason` when that aborts first. */
  pause(range: DelayRange, signal?: AbortSignal): Promise<void>
  close(): void
} {
  const closed = new AbortController()
  // As many calls may pause at once as the agent makes.
  setMaxListeners(0, closed.signal)
  return {
    async pause(range, signal) {
      closed.signal.throwIfAborted()
      const delayMs = draw(random, range)
      if (delayMs > 0) await clock.sleep(delayMs, signal ? AbortSignal.any([closed.signal, signal]) : closed.signal)
    },
    close: () => closed.abort(new Error('this simulated driver is closed')),
  }
}
