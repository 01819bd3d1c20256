import type { SpotMarketDoc } from './spot-market.ts'

type Freezes = SpotMarketDoc['freezes']

/**
 * What time it is for the market: its clock stands still while it is frozen, and goes on from there, so that no price jumps when
 * it thaws.
 */
export function marketTime(freezes: Freezes, atMs: number): number {
  return freezes.reduce((timeMs, { fromMs, untilMs }) => timeMs - Math.max(0, Math.min(untilMs ?? atMs, atMs) - fromMs), atMs)
}

/** The first moment at which it is `marketMs` for the market; never (Infinity) beyond a freeze that goes on. */
export function realTime(freezes: Freezes, marketMs: number): number {
  let realMs = marketMs
  for (const { fromMs, untilMs } of freezes.toSorted((a, b) => a.fromMs - b.fromMs)) {
    if (fromMs >= realMs) break
    if (untilMs === null) return Infinity
    realMs += untilMs - fromMs
  }
  return realMs
}

/** Whether the market stands still at a time. */
export function isFrozen(freezes: Freezes, atMs: number): boolean {
  return freezes.some(({ fromMs, untilMs }) => fromMs <= atMs && (untilMs === null || atMs < untilMs))
}
