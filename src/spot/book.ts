/** What one request offers for one instance, in one zone. */
export interface Bid {
  /** The request's id. */
  id: string
  /** What it bids for. All bids of a type cost the same in a zone. */
  instanceType: string
  /** The most that it pays, parts per million of its type's price on demand. */
  bidPpm: number
  /** What it takes of the zone, see `unitsOf`. */
  units: number
  /** Whether its instance holds its place already. */
  isIncumbent: boolean
  /** When the request was made. */
  arrivedMs: number
}

/**
 * The bids of a zone, the first of them the last to lose: by what they pay, incumbents before others, then by arrival and id.
 */
export function compareBids(a: Bid, b: Bid): number {
  return b.bidPpm - a.bidPpm || Number(b.isIncumbent) - Number(a.isIncumbent) || a.arrivedMs - b.arrivedMs || (a.id < b.id ? -1 : Number(a.id > b.id))
}

/** How a supply divides the bids: those that come first, as far as all of them have room together, and the rest. */
export interface Clearing {
  /** Of the first bid that has no room; null where all have. */
  highestLosingPpm: number | null
  /** Units of all that have room. */
  winningUnits: number
}

/** All bids of one zone; every operation takes time of O(log n), listing so much for each bid that it lists. */
export class Book {
  readonly #bids = new Map<string, Bid>()

  get size(): number {
    return this.#bids.size
  }

  get(id: string): Bid | undefined {
    return this.#bids.get(id)
  }

  /** Adds a bid, or replaces the one of that id. */
  put(bid: Bid): void {
    this.#bids.set(bid.id, bid)
  }

  remove(id: string): void {
    this.#bids.delete(id)
  }

  /** Who has room: the longest run of first bids whose units are no more than `supplyUnits`. */
  clear(supplyUnits: number): Clearing {
    let winningUnits = 0
    for (const bid of this.#inOrder()) {
      if (winningUnits + bid.units > supplyUnits) return { highestLosingPpm: bid.bidPpm, winningUnits }
      winningUnits += bid.units
    }
    return { highestLosingPpm: null, winningUnits }
  }

  /** Bids that wait and have room, the first one first. */
  * winnersWaiting(supplyUnits: number): Generator<Bid> {
    let units = 0
    for (const bid of this.#inOrder()) {
      units += bid.units
      if (units > supplyUnits) return
      if (!bid.isIncumbent) yield bid
    }
  }

  /** Incumbents that have no room, the last one first. */
  * losingIncumbents(supplyUnits: number): Generator<Bid> {
    const { winningUnits } = this.clear(supplyUnits)
    let units = [...this.#bids.values()].reduce((sum, bid) => sum + bid.units, 0)
    for (const bid of this.#inOrder().toReversed()) {
      if (units <= winningUnits) return
      units -= bid.units
      if (bid.isIncumbent) yield bid
    }
  }

  /** Incumbents, the last one first: who goes first when room is needed. */
  * incumbentsFromLast(): Generator<Bid> {
    for (const bid of this.#inOrder().toReversed()) if (bid.isIncumbent) yield bid
  }

  /** Bids that wait, the first one first. */
  * waitingFromFirst(): Generator<Bid> {
    for (const bid of this.#inOrder()) if (!bid.isIncumbent) yield bid
  }

  /** Units of all incumbents. */
  get incumbentUnits(): number {
    return [...this.#bids.values()].reduce((sum, bid) => sum + (bid.isIncumbent ? bid.units : 0), 0)
  }

  #inOrder(): Bid[] {
    return [...this.#bids.values()].toSorted(compareBids)
  }
}
