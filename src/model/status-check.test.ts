import { describe, expect, test } from 'vitest'
import {
  afterRound, failedChecks, FAILURES_UNTIL_IMPAIRED, FAILURES_UNTIL_RECOVERY, mayRecover, recordOf, type CheckRecord, type CheckResult,
} from './status-check.ts'

const NONE: CheckRecord = { system: null, instance: null }
const MINUTE = 60_000

/** The record after rounds a minute apart, one for each result. */
function after(results: CheckResult[], record = NONE): CheckRecord {
  return results.reduce((last, result, index) => afterRound(last, result, index * MINUTE), record)
}
const system = (hasSystemPassed: boolean | null): CheckResult => ({ hasSystemPassed, hasInstancePassed: null })
const instance = (hasInstancePassed: boolean | null): CheckResult => ({ hasSystemPassed: true, hasInstancePassed })

describe('status checks', () => {
  test('fail an instance when they fail twice in a row, since the first time', () => {
    expect(failedChecks(after([system(false)]))).toBeNull()
    expect(failedChecks(after([system(true), system(false), system(false), system(false)]))).toEqual({ systemSinceMs: MINUTE, instanceSinceMs: null })
    expect(failedChecks(after([instance(false), instance(true), instance(false)]))).toBeNull()
    expect(failedChecks(after([instance(false), instance(false)]))).toEqual({ systemSinceMs: null, instanceSinceMs: 0 })
    expect(failedChecks(after([instance(false), instance(false), instance(true)]))).toBeNull()
  })

  test('that say nothing change nothing', () => {
    expect(after([system(null), instance(null)])).toEqual(NONE)
    const failing = after([system(false), system(false)])
    expect(after([system(null)], failing).system).toEqual(failing.system)
  })

  test('go on from what a row says', () => {
    const checks = { systemSinceMs: -5 * MINUTE, instanceSinceMs: null }
    expect(failedChecks(recordOf(checks))).toEqual(checks)
    expect(failedChecks(after([system(false)], recordOf(checks)))).toEqual(checks)
    expect(recordOf(null)).toEqual(NONE)
    expect(recordOf(undefined)).toEqual(NONE)
  })
})

describe('automatic recovery', () => {
  const doc = { options: { autoRecovery: 'default' as const } }
  const failing = (rounds: number) => after(Array.from({ length: rounds }, () => system(false)))

  test('comes some rounds after the instance is impaired', () => {
    expect(FAILURES_UNTIL_RECOVERY).toBeGreaterThan(FAILURES_UNTIL_IMPAIRED)
    expect(mayRecover(failing(FAILURES_UNTIL_RECOVERY - 1), doc, 0)).toBe(false)
    expect(mayRecover(failing(FAILURES_UNTIL_RECOVERY), doc, 0)).toBe(true)
  })

  test('is for machines that hang, not for guests that do', () => {
    expect(mayRecover(after(Array.from({ length: 60 }, () => instance(false))), doc, 0)).toBe(false)
  })

  test('is not where it is disabled, and comes three times a day at most', () => {
    expect(mayRecover(failing(60), { options: { autoRecovery: 'disabled' } }, 0)).toBe(false)
    const day = 24 * 60 * MINUTE
    const recoveredMs = [0, 1, 2]
    expect(mayRecover(failing(60), { ...doc, recoveredMs }, day - 1)).toBe(false)
    expect(mayRecover(failing(60), { ...doc, recoveredMs }, day)).toBe(true)
  })
})
