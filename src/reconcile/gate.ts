import type { HostZone } from '../model/zone.ts'

/**
 * Whether the agent of a host does anything. It does not while the host's zone has failed: what was asked for waits until
 * that is healed. Kept in memory; set from the rows before an agent begins, and by the reconciler of zones after.
 */
export class Gate {
  #isClosed = false
  #openSinceMs = 0
  readonly #listeners: (() => void)[] = []

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** When the zone was healed last: deadlines of guests that were under way begin anew then. */
  get openSinceMs(): number {
    return this.#openSinceMs
  }

  /** As it has to be for an agent that begins. */
  begin({ isSettled, sinceMs }: HostZone): void {
    if (isSettled) this.open(sinceMs)
    else this.close()
  }

  close(): void {
    this.#isClosed = true
  }

  open(sinceMs: number): void {
    this.#isClosed = false
    this.#openSinceMs = sinceMs
    for (const listener of this.#listeners) listener()
  }

  /** Calls `listener` whenever it is opened. */
  onOpen(listener: () => void): void {
    this.#listeners.push(listener)
  }
}
