import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { InterruptionBehavior } from './spot-request.ts'

/** Why a spot instance is taken away: the words of a request's status. */
export type InterruptionCause = 'by-price' | 'no-capacity' | 'launch-group-constraint'

/** What an instance's doc says of its being on spot. */
export interface SpotInstanceDoc {
  behavior: InterruptionBehavior
  /** When it was told that it is likely to be interrupted (metadata: events/recommendations/rebalance). */
  rebalanceMs: number | null
  /** It was told that it will be interrupted: when, and when that comes about. */
  interruption: { action: InterruptionBehavior; cause: InterruptionCause; noticeMs: number; actionMs: number } | null
  /** Instances that its room was promised to: they start when its machine has ended. */
  promisedTo?: string[]
}

/**
 * Tells a running spot instance that it will be interrupted in `noticeMs`, once: metadata, event, status of its request. What
 * comes then is the reconciler's of its request.
 *
 * @returns false where it has been told already, or runs no more.
 */
export async function giveNotice(
  _db: Db,
  _instance: InstanceTable,
  _notice: { cause: InterruptionCause; noticeMs: number; nowMs: number },
): Promise<boolean> {
  throw new Error('not there yet')
}

/** Tells a running spot instance that it is likely to be interrupted, once. */
export async function recommendRebalance(_db: Db, _instance: InstanceTable, _nowMs: number): Promise<boolean> {
  throw new Error('not there yet')
}
