import type { Clock, Timer } from '../core/clock.ts'
import { CrashError, messageOf } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { HostLostError } from '../model/host.ts'
import type { WorkKind, WorkTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import type { Db } from '../store/store.ts'
import { completeWork, nextWork, postponeWork } from '../store/work.ts'

/** What a run saw or did, to be written in the transaction that also ends its work. */
export interface Observation {
  /** Name of the transaction, for its crash points. */
  name: string
  write: (db: Db) => Promise<unknown>
}

/** How a run of a reconciler ended. A failure is thrown, and tried again with growing pauses. */
export type Outcome = { observed?: Observation } & (
  | { kind: 'done' }
  /** Look again after `afterMs`, or sooner when something asks for it. */
  | { kind: 'again'; afterMs: number }
)

export const DONE: Outcome = { kind: 'done' }
export const again = (afterMs: number): Outcome => ({ kind: 'again', afterMs })
/** The outcome, with what must be written down along with it. */
export const recording = (name: string, write: Observation['write'], outcome: Outcome = DONE): Outcome =>
  ({ ...outcome, observed: { name, write } })

/** Makes one thing of its kind as it should be. May crash anywhere and run again. */
export interface Reconciler {
  reconcile(id: string): Promise<Outcome>
}

export interface LoopOptions {
  store: Store
  clock: Clock
  log: Logger
  hostId: string
  reconcilers: Record<WorkKind, Reconciler>
  /** Called when the loop met an error that it must not survive: a crash point, or a lost host. */
  onFatal: (error: unknown) => void
  concurrency?: number
  /** Longest time without a look at the table, hint or not; a second unless given. */
  scanIntervalMs?: number
}

const SCAN_INTERVAL_MS = 1000
const BACKOFF_MS = { first: 200, most: 30_000 }

/**
 * Runs reconcilers for the host's due work: woken by hints (commits, drivers) and by a timer, each
 * thing by one run at a time.
 */
export class ReconcileLoop {
  readonly #options: LoopOptions
  readonly #inFlight = new Map<string, Promise<void>>()
  /** Whose run has ended since the last scan began to read: what it read of them may be of before that. */
  readonly #endedSinceScan = new Set<string>()
  readonly #idleWaiters: (() => void)[] = []
  #timer: Timer | undefined
  #scanning = false
  #scanAgain = false
  #isHinted = false
  /** When the first thing was due, as the last scan saw it. */
  #nextDueMs: number | undefined
  #stopped = false

  constructor(options: LoopOptions) {
    this.#options = options
  }

  start(): void {
    const { store, hostId } = this.#options
    store.onCommit((hostIds) => {
      if (!hostIds || hostIds.has(hostId)) this.hint()
    })
    this.hint()
  }

  /** Something may be due: look soon. Hints that come before that look are one. */
  hint(): void {
    if (this.#stopped || this.#isHinted) return
    this.#isHinted = true
    this.#options.clock.soon(() => {
      this.#isHinted = false
      if (!this.#stopped) this.#startScan()
    })
  }

  #startScan(): void {
    if (this.#scanning) {
      this.#scanAgain = true
      return
    }
    this.#scanning = true
    this.#scan().then(
      () => this.#afterScan(),
      (error: unknown) => {
        this.#afterScan()
        if (isFatal(error)) this.#options.onFatal(error)
        else if (!this.#stopped) this.#options.log.error('scan failed', { error: messageOf(error) })
      },
    )
  }

  /** Takes no more work and waits for what runs. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await Promise.allSettled(this.#inFlight.values())
  }

  /** Stops at once, as a killed process does: nothing is waited for. */
  abandon(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  /** Resolves when nothing runs and nothing is due within `horizonMs`. */
  async settled(horizonMs: number): Promise<void> {
    while (!this.isSettled(horizonMs)) {
      // Every scan and every run wakes the waiters, and a scan comes when the next is due.
      await new Promise<void>((resolve) => this.#idleWaiters.push(resolve))
    }
  }

  /** Whether nothing runs and nothing is due within `horizonMs`. */
  isSettled(horizonMs: number): boolean {
    if (this.#stopped) return true
    // Nothing was committed since the last scan: it would have been a hint.
    return this.#isIdle() && (this.#nextDueMs === undefined || this.#nextDueMs > this.#options.clock.now() + horizonMs)
  }

  #isIdle(): boolean {
    return this.#inFlight.size === 0 && !this.#scanning && !this.#isHinted
  }

  #afterScan(): void {
    this.#scanning = false
    if (this.#scanAgain) {
      this.#scanAgain = false
      this.hint()
    }
    this.#wakeIdleWaiters()
  }

  #wakeIdleWaiters(): void {
    for (const wake of this.#idleWaiters.splice(0)) wake()
  }

  async #scan(): Promise<void> {
    const { store, clock, hostId, concurrency = 16, scanIntervalMs = SCAN_INTERVAL_MS } = this.#options
    this.#timer?.cancel()
    const limit = concurrency + this.#inFlight.size
    this.#endedSinceScan.clear()
    const nowMs = clock.now()
    const next = await store.read((db) => nextWork(db, hostId, nowMs, limit))
    if (this.#stopped) return
    const due = next.filter((row) => row.due_ms <= nowMs)
    for (const row of due) {
      const key = `${row.kind} ${row.id}`
      if (this.#inFlight.has(key) || this.#inFlight.size >= concurrency) continue
      // A row of before that run's end may be gone and asked for anew, with a generation that begins
      // anew too: a run for the old one would end the new one. The next scan, which is due, sees it.
      if (this.#endedSinceScan.has(key)) continue
      const run = this.#run(row).finally(() => {
        this.#inFlight.delete(key)
        this.#endedSinceScan.add(key)
        this.hint()
        this.#wakeIdleWaiters()
      })
      this.#inFlight.set(key, run)
    }
    this.#nextDueMs = next[0]?.due_ms
    // What is due and was not taken is taken when a run ends; only what is not due yet needs the clock.
    const nextMs = due.length > 0 ? undefined : next[0]?.due_ms
    const delayMs = nextMs === undefined ? scanIntervalMs : Math.min(scanIntervalMs, nextMs - nowMs)
    this.#timer?.cancel()
    this.#timer = clock.after(Math.max(0, delayMs), () => this.hint())
  }

  async #run(row: WorkTable): Promise<void> {
    const { store, clock, log, reconcilers } = this.#options
    try {
      const outcome = await reconcilers[row.kind].reconcile(row.id)
      await store.transaction(outcome.observed?.name ?? 'work', async (db) => {
        await outcome.observed?.write(db)
        if (outcome.kind === 'done') await completeWork(db, row)
        else await postponeWork(db, row, clock.now() + outcome.afterMs, null)
      })
    } catch (error) {
      if (this.#stopped) return
      if (isFatal(error)) return this.#options.onFatal(error)
      const pauseMs = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** Math.min(row.attempts, 20))
      log.warn('reconcile failed', { kind: row.kind, id: row.id, attempt: row.attempts + 1, error: messageOf(error) })
      await this.#postpone(row, clock.now() + pauseMs, messageOf(error))
    }
  }

  async #postpone(row: WorkTable, dueMs: number, error: string): Promise<void> {
    try {
      await this.#options.store.transaction('work', (db) => postponeWork(db, row, dueMs, error))
    } catch (failure) {
      if (isFatal(failure)) this.#options.onFatal(failure)
      else this.#options.log.error('cannot record a failure', { kind: row.kind, id: row.id, error: messageOf(failure) })
    }
  }
}

/** Errors that the process must not survive: told to crash, or fenced by another agent. */
export function isFatal(error: unknown): boolean {
  return error instanceof CrashError || error instanceof HostLostError
}
