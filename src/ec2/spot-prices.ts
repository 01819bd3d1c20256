import type { Db } from '../store/store.ts'

/** A price of a type in a zone from then on, micro-dollars per hour. */
export interface SpotPricePoint {
  atMs: number
  priceMicroUsd: number
}

/** What spot costs and has cost in a region, as it stands in the database. */
export interface SpotPrices {
  /**
   * Micro-dollars per hour of a type in a zone, now or at a time of the last 90 days; undefined for a type that is not had on
   * spot. What `hearth market set-price` said, else the higher of what the market of others and own demand make of it.
   */
  priceMicroUsd(instanceType: string, zone: string, atMs?: number): number | undefined
  /** The changes of a price, oldest first: the one that was in force at `fromMs`, and those after it until `untilMs`. */
  points(instanceType: string, zone: string, fromMs: number, untilMs: number): SpotPricePoint[]
}

/** Reads what prices are made of; `fromMs` is the earliest time that anything will be asked of, now unless given. */
export async function loadSpotPrices(_db: Db, _region: string, _nowMs: number, _fromMs?: number): Promise<SpotPrices> {
  throw new Error('not there yet')
}
