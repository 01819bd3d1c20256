const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** What a length of time looks like. */
export const DURATION = /^(\d+(?:\.\d+)?)(s|m|h|d)$/

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
