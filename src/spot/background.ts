import { WHOLE_PPM } from './clearing.ts'

/** What the market of everybody else is for one type in one zone. */
export interface BackgroundKey {
  /** The market's seed: the same one gives the same prices. */
  seed: number
  /** When its series begin. */
  originMs: number
  zone: string
  instanceType: string
  /** Of spot-advisor.json: typical saving over on demand in per cent, and how often it interrupts, 0 to 4. */
  savingPercent: number
  band: number
}

/** A price from then on, parts per million of the price on demand. */
export interface PricePoint {
  atMs: number
  ppm: number
}

/**
 * The prices that a simulated market of others makes, in order, from its beginning until `untilMs`: a series that reverts to
 * on demand x (1 - saving). Later calls go on where earlier ones ended, and never change what was told.
 */
export function backgroundPoints(key: BackgroundKey, untilMs: number): readonly PricePoint[] {
  if (untilMs < key.originMs) return []
  return [{ atMs: key.originMs, ppm: Math.round(WHOLE_PPM * (1 - key.savingPercent / 100)) }]
}
