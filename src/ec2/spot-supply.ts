import type { Db } from '../store/store.ts'

/** What spot may have of a zone, and has. Units are those of spot/clearing.ts, `unitsOf`. */
export interface ZoneSupply {
  zone: string
  /** What all hosts of the zone promise together. */
  vcpus: number
  memoryMib: number
  /** What on demand, reservations, dedicated hosts and the buffer leave, at most what `set-supply` allows; 0 while the zone has failed. */
  supplyUnits: number
  /** What spot instances hold, those that have had notice included: their room is free when they have ended. */
  heldUnits: number
  /** Of these, what those hold that have had no notice. */
  keptUnits: number
}

/** The supplies of a region's zones, by zone, as they are in this transaction. */
export async function loadSpotSupplies(_db: Db, _region: string, _nowMs: number): Promise<Map<string, ZoneSupply>> {
  throw new Error('not there yet')
}
