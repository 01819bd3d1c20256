import { describe, expect, it } from 'vitest'
import { readDuration } from '../core/duration.ts'
import { readMoment } from './moment.ts'

const NOW_MS = Date.UTC(2026, 0, 1)

describe('a length of time', () => {
  it.each([['90s', 90_000], ['10m', 600_000], ['1.5h', 5_400_000], [' 7d ', 604_800_000], ['0s', 0]])('may be %s', (text, ms) => {
    expect(readDuration(text)).toBe(ms)
  })

  it.each(['', '10', 'm', '-1m', '10 minutes', '1h30m'])('is not "%s"', (text) => {
    expect(() => readDuration(text)).toThrow(/is not a length of time/)
  })
})

describe('a moment', () => {
  it.each([
    ['10m', NOW_MS + 600_000], ['2026-01-31T10:00Z', Date.UTC(2026, 0, 31, 10)], ['2026-01-31T10:00:30+02:00', Date.UTC(2026, 0, 31, 8, 0, 30)],
    ['2026-01-31 10:00', Date.UTC(2026, 0, 31, 10)], ['2026-01-31', Date.UTC(2026, 0, 31)], ['2026-01-31T10:00:00.250Z', Date.UTC(2026, 0, 31, 10, 0, 0, 250)],
  ])('may be %s', (text, ms) => {
    expect(readMoment(text, NOW_MS)).toBe(ms)
  })

  it.each(['tomorrow', '10:00', '2026-13-01', '2026-01-31T25:00Z', '1'])('is not "%s"', (text) => {
    expect(() => readMoment(text, NOW_MS)).toThrow(/is not a time/)
  })
})
