import type { Clock } from '../core/clock.ts'
import type { InstanceTable } from '../store/schema.ts'
import { again, type Outcome } from './loop.ts'

/** As much memory is saved or loaded at the same time; more would only take turns at the disk, and keep all else waiting. */
const MOST_AT_ONCE = 2

/** How often one that waits for its turn asks again. */
const INTERVAL_MS = 500

/** Who has not asked for so long does not wait any more: something else is wanted of it, or it does not come so far. */
const GONE_AFTER_MS = 10 * INTERVAL_MS

type Instance = Pick<InstanceTable, 'instance_id' | 'state_ms'>

/** Has memory saved and loaded for a few instances at a time, in the order in which they asked. */
export class MemoryTurns {
  readonly #clock: Clock
  readonly #underWay = new Set<string>()
  readonly #waiting = new Map<string, { sinceMs: number; askedMs: number }>()
  /** Since when each fails to be brought to the state that it was asked for at `stateMs`. */
  readonly #failing = new Map<string, { stateMs: number; sinceMs: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Does `work` when it is the instance's turn; until then it is to be looked at again. */
  async take({ instance_id: id }: Instance, work: () => Promise<Outcome>): Promise<Outcome> {
    if (!this.#begins(id)) return again(INTERVAL_MS)
    this.#underWay.add(id)
    try {
      return await work()
    } finally {
      this.#underWay.delete(id)
    }
  }

  /**
   * Notes a failure.
   *
   * @returns for how long it has failed since its first failure, or since `fromMs`, without the time that it waited for turns.
   */
  failedForMs({ instance_id: id, state_ms: stateMs }: Instance, fromMs: number): number {
    const nowMs = this.#clock.now()
    const known = this.#failing.get(id)
    const sinceMs = known?.stateMs === stateMs ? Math.max(known.sinceMs, fromMs) : nowMs
    this.#failing.set(id, { stateMs, sinceMs })
    return nowMs - sinceMs
  }

  #begins(id: string): boolean {
    const nowMs = this.#clock.now()
    for (const [other, { askedMs }] of this.#waiting) if (nowMs - askedMs > GONE_AFTER_MS) this.#waiting.delete(other)
    const { sinceMs = nowMs } = this.#waiting.get(id) ?? {}
    this.#waiting.set(id, { sinceMs, askedMs: nowMs })
    const place = [...this.#waiting.keys()].indexOf(id)
    if (place >= MOST_AT_ONCE - this.#underWay.size) return false
    this.#waiting.delete(id)
    const failing = this.#failing.get(id)
    if (failing) failing.sinceMs += nowMs - sinceMs
    return true
  }
}
