import type { FailedChecks } from './instance.ts'

/** How often each running instance is checked. EC2's pace. */
export const CHECK_INTERVAL_MS = 60_000

/**
 * Checks that fail in a row until the instance is `impaired`. One answer may be lost, or late on a host that is busy for a
 * moment; with EC2's pace the second failure comes within the time after which EC2's own alarms usually go off.
 */
export const FAILURES_UNTIL_IMPAIRED = 2

/** System checks that fail in a row until the machine is replaced, its memory lost: this takes longer to be sure of. */
export const FAILURES_UNTIL_RECOVERY = 5

/** A machine that hangs again and again is not replaced for ever. EC2 tries three times a day. */
export const MOST_RECOVERIES = 3
const RECOVERIES_COUNT_MS = 24 * 60 * 60 * 1000

/** How long a guest may take to boot before it counts as impaired; emulated ones take minutes. */
export const BOOT_DEADLINE_MS = 10 * 60 * 1000

/** Failures in a row, and when the first of them was. */
export interface Streak {
  failures: number
  sinceMs: number
}

/** What is remembered of the checks of an instance while any of them fails. */
export interface CheckRecord {
  system: Streak | null
  instance: Streak | null
}

/** What one round has found; null where nothing can be said. */
export interface CheckResult {
  hasSystemPassed: boolean | null
  hasInstancePassed: boolean | null
}

/** What is known of an instance of which only its row is known. */
export function recordOf(checks: FailedChecks | null | undefined): CheckRecord {
  const streak = (sinceMs: number | null | undefined) => (sinceMs == null ? null : { failures: FAILURES_UNTIL_IMPAIRED, sinceMs })
  return { system: streak(checks?.systemSinceMs), instance: streak(checks?.instanceSinceMs) }
}

/** The record after one more round. */
export function afterRound(record: CheckRecord, { hasSystemPassed, hasInstancePassed }: CheckResult, nowMs: number): CheckRecord {
  return { system: extended(record.system, hasSystemPassed, nowMs), instance: extended(record.instance, hasInstancePassed, nowMs) }
}

function extended(streak: Streak | null, hasPassed: boolean | null, nowMs: number): Streak | null {
  if (hasPassed === null) return streak
  if (hasPassed) return null
  return { failures: (streak?.failures ?? 0) + 1, sinceMs: streak?.sinceMs ?? nowMs }
}

/** What DescribeInstanceStatus is to say of it; null while all is well. */
export function failedChecks({ system, instance }: CheckRecord): FailedChecks | null {
  const sinceMs = (streak: Streak | null) => (streak && streak.failures >= FAILURES_UNTIL_IMPAIRED ? streak.sinceMs : null)
  const failed = { systemSinceMs: sinceMs(system), instanceSinceMs: sinceMs(instance) }
  return failed.systemSinceMs === null && failed.instanceSinceMs === null ? null : failed
}

/** The earlier recoveries that still count. */
export function recentRecoveries(recoveredMs: readonly number[] | undefined, nowMs: number): number[] {
  return (recoveredMs ?? []).filter((each) => each > nowMs - RECOVERIES_COUNT_MS)
}

/** Whether a machine that fails its system check so long is to be replaced. */
export function mayRecover(
  { system }: CheckRecord,
  doc: { options: { autoRecovery: 'default' | 'disabled' }; recoveredMs?: number[] },
  nowMs: number,
): boolean {
  return system !== null && system.failures >= FAILURES_UNTIL_RECOVERY && doc.options.autoRecovery === 'default'
    && recentRecoveries(doc.recoveredMs, nowMs).length < MOST_RECOVERIES
}
