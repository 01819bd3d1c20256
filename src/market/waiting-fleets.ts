import type { Pool } from '../ec2/create-fleet-pools.ts'
import { isOpenOnSpot, type SpotGround } from '../ec2/fleet-launch-spot.ts'

/**
 * Fleets whose launches on spot have failed and that wait until they try again, with the pools that were closed to them, by price or
 * for want of room: when one of these opens, the market wakes them before their time. What of that is lost in a crash only costs time.
 */
export class WaitingFleets {
  readonly #closed = new Map<string, readonly Pool[]>()
  readonly #hoping = new Set<string>()

  get size(): number {
    return this.#closed.size
  }

  /** It waits; pools that are open now have failed for another reason, and are no hope. */
  wait(fleetId: string, pools: readonly Pool[], ground: SpotGround): void {
    this.#closed.set(fleetId, pools.filter((pool) => pool.serves.spot && !isOpenOnSpot(pool, ground)))
  }

  forget(fleetId: string): void {
    this.#closed.delete(fleetId)
  }

  /** Those for which a pool has opened: each is named once. */
  hopeful(ground: SpotGround): string[] {
    const ids = [...this.#closed].filter(([, pools]) => pools.some((pool) => isOpenOnSpot(pool, ground))).map(([id]) => id)
    for (const id of ids) {
      this.#closed.delete(id)
      this.#hoping.add(id)
    }
    return ids
  }

  /** Whether it may try again at once. */
  takeHope(fleetId: string): boolean {
    return this.#hoping.delete(fleetId)
  }
}
