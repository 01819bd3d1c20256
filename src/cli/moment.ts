const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

const DURATION = /^(\d+(?:\.\d+)?)(s|m|h|d)$/

/**
 * A length of time as people write it: 90s, 10m, 2h, 7d.
 *
 * @throws Error on anything else.
 */
export function readDuration(text: string): number {
  const [, count, unit] = DURATION.exec(text.trim()) ?? []
  if (count === undefined || unit === undefined) {
    throw new Error(`"${text}" is not a length of time; write one like 90s, 10m, 2h or 7d`)
  }
  return Math.round(Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS])
}

/** 2026-01-31, 2026-01-31T10:00, with or without seconds and a zone. */
const TIME = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:?\d\d)?)?$/

/**
 * A moment as people write it: a time, which is UTC where it has no zone, or how long it is from now.
 *
 * @throws Error on anything else.
 */
export function readMoment(text: string, nowMs: number): number {
  const trimmed = text.trim()
  if (DURATION.test(trimmed)) return nowMs + readDuration(trimmed)
  const [match, , , , zone] = TIME.exec(trimmed) ?? []
  const atMs = match === undefined ? NaN : Date.parse(zone === undefined && match.length > 10 ? `${match}Z` : match)
  if (Number.isNaN(atMs)) {
    throw new Error(`"${text}" is not a time; write one like 2026-01-31T10:00Z, or how long from now, like 10m`)
  }
  return atMs
}
