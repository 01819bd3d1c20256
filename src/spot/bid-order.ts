/** What one request offers for one instance, in one zone. */
export interface Bid {
  /** The request's id. */
  readonly id: string
  /** What it bids for. All bids of a type cost the same in a zone. */
  readonly instanceType: string
  /** The most that it pays, parts per million of its type's price on demand. */
  readonly bidPpm: number
  /** What it takes of the zone, see `unitsOf`. */
  readonly units: number
  /** Whether its instance holds its place already. */
  readonly isIncumbent: boolean
  /** When the request was made. */
  readonly arrivedMs: number
}

/**
 * The bids of a zone, the first of them the last to lose: by what they pay, incumbents before others, then by arrival and id.
 */
export function compareBids(a: Bid, b: Bid): number {
  return b.bidPpm - a.bidPpm || Number(b.isIncumbent) - Number(a.isIncumbent) || a.arrivedMs - b.arrivedMs || (a.id < b.id ? -1 : Number(a.id > b.id))
}
