import type { Clock, Timer } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { hasMore } from '../model/event-feed.ts'
import { listTargets, targetDoc, targetPosition, wakeTarget } from '../model/event-target.ts'
import { isFatal } from '../reconcile/loop.ts'
import type { Store } from '../store/store.ts'

/** Commits of so long are looked at together. */
const GATHER_MS = 20

/** Commits of other processes that mark no work are heard of by nobody, and so looked for. */
const LOOK_MS = 1000

/**
 * Wakes targets for which there is something new. Whoever writes an event does nothing for that: a launch would pay for it, and launches
 * that mark the same row due would undo one another on PostgreSQL. While there is no target nothing is looked for.
 */
export class EventWatch {
  readonly #options: { store: Store; clock: Clock; log: Logger }
  readonly #running = new Map<string, { isLate: boolean }>()
  #hasTargets = false
  #isStopped = false
  #timer: { timer: Timer; atMs: number } | undefined

  constructor(options: { store: Store; clock: Clock; log: Logger }) {
    this.#options = options
    options.store.onCommit(() => {
      if (!this.#hasTargets || this.#isStopped) return
      for (const run of this.#running.values()) run.isLate = true
      this.#lookIn(GATHER_MS)
    })
  }

  /** There is a target, and a run for it: that looks by itself whether there is more until it ends. */
  begin(name: string): { isLate: boolean } {
    const run = { isLate: false }
    this.#running.set(name, run)
    this.#hasTargets = true
    this.#lookIn(LOOK_MS)
    return run
  }

  end(name: string): void {
    this.#running.delete(name)
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.timer.cancel()
  }

  #lookIn(delayMs: number): void {
    if (this.#isStopped) return
    const { clock } = this.#options
    const atMs = clock.now() + delayMs
    if (this.#timer && this.#timer.atMs <= atMs) return
    this.#timer?.timer.cancel()
    this.#timer = { atMs, timer: clock.after(delayMs, () => void this.#look()) }
  }

  async #look(): Promise<void> {
    this.#timer = undefined
    const { store, clock, log } = this.#options
    try {
      const { due, count } = await store.read(async (db) => {
        const targets = await listTargets(db)
        const due: string[] = []
        for (const row of targets) {
          const { failure } = targetDoc(row)
          // One that is left alone for a while is due at the end of that anyway.
          if (this.#running.has(row.name) || (failure && failure.retryMs > clock.now())) continue
          if (await hasMore(db, targetPosition(row))) due.push(row.name)
        }
        return { due, count: targets.length }
      })
      this.#hasTargets = count > 0
      if (this.#isStopped) return
      if (due.length > 0) await store.transaction('event-target.wake', async (db) => {
        for (const name of due) await wakeTarget(db, name, clock.now())
      })
    } catch (error) {
      // Where the agent has lost its node, its loop ends it.
      if (isFatal(error)) return this.stop()
      if (!this.#isStopped) log.warn('cannot look for new events', { error: messageOf(error) })
    }
    if (this.#hasTargets) this.#lookIn(LOOK_MS)
  }
}
