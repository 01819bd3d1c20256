import { sleepOn, type Clock, type Timer } from './clock.ts'
import type { Random } from './random.ts'

interface Entry {
  atMs: number
  order: number
  run: () => void
}

/** So many timers at one moment, and what sets them off goes round in circles: a day's worth of a market is far less. */
const MOST_AT_ONCE = 300_000

/**
 * A clock that moves only when told. Timers that are due at the same moment run in an order drawn
 * from `random`, which is how the simulator explores interleavings; the same seed gives the same
 * order.
 */
export class VirtualClock implements Clock {
  #nowMs: number
  #entries = new Set<Entry>()
  #atOnce = 0
  readonly #random: Random
  readonly #settle: () => Promise<void>

  /** `settle` resolves when all that a timer has set off has come to rest. */
  constructor(random: Random, startMs = Date.UTC(2026, 0, 1), settle = settlePromises) {
    this.#random = random
    this.#nowMs = startMs
    this.#settle = settle
  }

  now(): number {
    return this.#nowMs
  }

  after(delayMs: number, run: () => void): Timer {
    const entry = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#random.next(), run }
    this.#entries.add(entry)
    return { cancel: () => void this.#entries.delete(entry) }
  }

  soon(run: () => void): void {
    this.after(0, run)
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, delayMs, signal)
  }

  /** When the next timer is due, in milliseconds since the epoch; undefined when none is set. */
  nextAt(): number | undefined {
    return this.#earliest()?.atMs
  }

  /**
   * Moves to the next timer and runs it; false when none is due at or before `untilMs`.
   *
   * @throws Error where time stands still: something is due again and again, at once.
   */
  step(untilMs = Infinity): boolean {
    const entry = this.#earliest()
    if (!entry || entry.atMs > untilMs) return false
    this.#entries.delete(entry)
    this.#atOnce = entry.atMs > this.#nowMs ? 0 : this.#atOnce + 1
    if (this.#atOnce > MOST_AT_ONCE) throw new Error(`time stands still at ${new Date(this.#nowMs).toISOString()}: something is due again and again`)
    this.#nowMs = Math.max(this.#nowMs, entry.atMs)
    entry.run()
    return true
  }

  /** Runs everything due within `ms`, letting promises settle after each timer, and ends there. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms
    await this.#settle()
    while (this.step(untilMs)) await this.#settle()
    this.#nowMs = Math.max(this.#nowMs, untilMs)
  }

  /** The machine is asleep for `ms`: time passes, and timers do not run down. */
  suspend(ms: number): void {
    this.#nowMs += ms
    for (const entry of this.#entries) entry.atMs += ms
  }

  #earliest(): Entry | undefined {
    let best: Entry | undefined
    for (const entry of this.#entries) {
      if (!best || entry.atMs < best.atMs || (entry.atMs === best.atMs && entry.order < best.order)) best = entry
    }
    return best
  }
}

/** Lets every promise chain that needs no I/O run to its end. */
export function settlePromises(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
