import type { SnapshotTable } from '../store/schema.ts'
import { snapshotDoc } from './snapshot.ts'

/** What LockSnapshot asked for; exactly one of duration and expiration is set. */
export interface SnapshotLock {
  mode: 'governance' | 'compliance'
  createdMs: number
  /** In days, from when the snapshot was locked and complete. */
  durationDays?: number
  expirationMs?: number
  /** How long a compliance lock may still be undone, in hours from `coolOffFromMs`. */
  coolOffHours?: number
  coolOffFromMs?: number
}

const LOCK_STATES = ['compliance-cooloff', 'governance', 'compliance', 'expired'] as const
export type LockState = (typeof LOCK_STATES)[number]

/** A lock at some moment. */
export interface LockView {
  lock: SnapshotLock
  state: LockState
  /** When its duration began; undefined while the snapshot is pending. */
  startMs: number | undefined
  /** When it ends; undefined while that is not known. */
  expiresMs: number | undefined
  coolOffEndsMs: number | undefined
}

const HOUR_MS = 60 * 60 * 1000
const DAY_MS = 24 * HOUR_MS

/** The lock of a snapshot, in force or expired; undefined for one that was never locked, or was unlocked. */
export function lockOf(row: Pick<SnapshotTable, 'doc' | 'state'>, nowMs: number): LockView | undefined {
  const { lock, completedMs = 0 } = snapshotDoc(row)
  return lock && viewLock(lock, row.state === 'pending' ? undefined : completedMs, nowMs)
}

/** A lock of a snapshot that was complete at `completedMs`, or is not yet. */
export function viewLock(lock: SnapshotLock, completedMs: number | undefined, nowMs: number): LockView {
  const startMs = completedMs === undefined ? undefined : Math.max(lock.createdMs, completedMs)
  const afterDuration = startMs === undefined ? undefined : startMs + (lock.durationDays ?? 0) * DAY_MS
  const expiresMs = lock.expirationMs ?? afterDuration
  const coolOffEndsMs =
    lock.coolOffHours === undefined ? undefined : (lock.coolOffFromMs ?? lock.createdMs) + lock.coolOffHours * HOUR_MS
  const isExpired = expiresMs !== undefined && nowMs >= expiresMs
  const isCooling = lock.mode === 'compliance' && coolOffEndsMs !== undefined && nowMs < coolOffEndsMs
  return {
    lock, state: isExpired ? 'expired' : isCooling ? 'compliance-cooloff' : lock.mode, startMs, expiresMs, coolOffEndsMs,
  }
}
