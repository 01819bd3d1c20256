import type { Cidr } from '../core/cidr.ts'
import type { Random } from '../core/random.ts'
import type { Settings } from '../settings.ts'
import type { Db } from '../store/store.ts'

/**
 * What a handler may use. A handler is a pure transaction: it awaits nothing but `db`, may be run
 * again from the start, and everything it decides follows from these and its input.
 */
export interface Context {
  /** The transaction (operations that change something) or snapshot (those that do not). */
  db: Db
  account: string
  region: string
  /** Names of all regions of this cloud, the home's first. */
  regions: readonly string[]
  /** What the caller takes this region for: a cloud of one region serves whatever region a call is signed for as that one. */
  calledAs?: string
  /** The region's Availability Zones by name, in order. */
  zones: readonly string[]
  /** Over which of the zones and hosts that would do instances go: over all, or over as few as possible. */
  placement: Settings['placement']
  /** When the call began, milliseconds since the epoch. */
  nowMs: number
  random: Random
  requestId: string
  /** Who signed the call; null in permissive mode without a key. */
  accessKeyId: string | null
  /** Puts a sentence into the log line of the call; the same one twice is one. */
  remark?: (text: string) => void
  /** Block that automatic public addresses come from. */
  publicPool: Cidr
}
