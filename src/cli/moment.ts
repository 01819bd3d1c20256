import { DURATION, readDuration } from '../core/duration.ts'

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
