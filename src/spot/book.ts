import { type Bid, compareBids } from './bid-order.ts'
import { BidTree } from './bid-tree.ts'

export { type Bid, compareBids } from './bid-order.ts'

/** How a supply divides the bids: those that come first, as far as all of them have room together, and the rest. */
export interface Clearing {
  /** Of the first bid that has no room; null where all have. */
  highestLosingPpm: number | null
  /** Units of all that have room. */
  winningUnits: number
  /** The first bid that has no room. */
  firstLoser: Bid | undefined
}

/** All bids of a type, whether or not they take part in the clearing. */
interface TypeBids {
  bids: BidTree
  floorPpm: number
  /** No bid of the type has ever been smaller, or larger. */
  leastUnits: number
  mostUnits: number
  /** The first that waits and the last incumbent; null where there is none, undefined where it has to be looked for. */
  firstWaiting: Bid | null | undefined
  lastIncumbent: Bid | null | undefined
}

/**
 * All bids of one zone. A change of a bid, and a clearing, take O(log n) of all bids; listing takes that for each bid listed.
 *
 * Not all bids take part in the clearing: those below their type's floor pay too little whatever the supply, and those larger
 * than the largest that has room would only keep others out. Moving such a line costs O(log n) for each bid that it passes.
 */
export class Book {
  readonly #bids = new Map<string, Bid>()
  readonly #types = new Map<string, TypeBids>()
  /** Those that take part in the clearing. */
  readonly #clearing = new BidTree()
  readonly #incumbents = new BidTree()
  #largestUnits = Infinity

  get size(): number {
    return this.#bids.size
  }

  get(id: string): Bid | undefined {
    return this.#bids.get(id)
  }

  /** The types that there are bids for. */
  types(): IterableIterator<string> {
    return this.#types.keys()
  }

  /** Adds a bid, or replaces the one of that id. */
  put(bid: Bid): void {
    // Before the one that it replaces goes: its type's floor stays.
    const type = this.#types.get(bid.instanceType) ?? {
      bids: new BidTree(), floorPpm: 0, leastUnits: Infinity, mostUnits: 0, firstWaiting: null, lastIncumbent: null,
    }
    this.remove(bid.id)
    this.#bids.set(bid.id, bid)
    this.#types.set(bid.instanceType, type)
    type.bids.insert(bid)
    type.leastUnits = Math.min(type.leastUnits, bid.units)
    type.mostUnits = Math.max(type.mostUnits, bid.units)
    if (bid.isIncumbent) this.#incumbents.insert(bid)
    const { firstWaiting: first, lastIncumbent: last } = type
    if (!bid.isIncumbent && (first === null || (first && compareBids(bid, first) < 0))) type.firstWaiting = bid
    if (bid.isIncumbent && (last === null || (last && compareBids(bid, last) > 0))) type.lastIncumbent = bid
    if (this.#takesPart(bid, type.floorPpm)) this.#clearing.insert(bid)
  }

  remove(id: string): void {
    const bid = this.#bids.get(id)
    if (!bid) return
    this.#bids.delete(id)
    const type = this.#types.get(bid.instanceType)
    if (type) {
      type.bids.delete(bid)
      if (type.firstWaiting === bid) type.firstWaiting = undefined
      if (type.lastIncumbent === bid) type.lastIncumbent = undefined
      if (type.bids.size === 0) this.#types.delete(bid.instanceType)
    }
    if (bid.isIncumbent) this.#incumbents.delete(bid)
    this.#clearing.delete(bid)
  }

  /** Bids of the type that pay less take no part in the clearing; 0 until said otherwise, and again once none is left. */
  setFloor(instanceType: string, floorPpm: number): void {
    const type = this.#types.get(instanceType)
    if (!type || type.floorPpm === floorPpm) return
    const [low, high] = [Math.min(type.floorPpm, floorPpm), Math.max(type.floorPpm, floorPpm)]
    type.floorPpm = floorPpm
    this.#review(type, low, high)
  }

  /** Bids that take more take no part in the clearing; Infinity until said otherwise. */
  setLargest(largestUnits: number): void {
    if (largestUnits === this.#largestUnits) return
    const [low, high] = [Math.min(largestUnits, this.#largestUnits), Math.max(largestUnits, this.#largestUnits)]
    this.#largestUnits = largestUnits
    for (const type of this.#types.values()) if (type.mostUnits > low && type.leastUnits <= high) this.#review(type, type.floorPpm, Infinity)
  }

  /** Who has room: the longest run of first bids whose units are no more than `supplyUnits`. */
  clear(supplyUnits: number): Clearing {
    const { units, firstBeyond } = this.#clearing.prefix(supplyUnits)
    return { highestLosingPpm: firstBeyond?.bidPpm ?? null, winningUnits: units, firstLoser: firstBeyond }
  }

  /** Bids that wait and have room, the first one first. */
  * winnersWaiting(supplyUnits: number): Generator<Bid> {
    const { firstLoser } = this.clear(supplyUnits)
    for (const bid of this.#clearing.fromFirst('waiting')) {
      if (firstLoser && compareBids(bid, firstLoser) >= 0) return
      yield bid
    }
  }

  /** Incumbents that take part and have no room, the last one first. */
  * losingIncumbents(supplyUnits: number): Generator<Bid> {
    const { firstLoser } = this.clear(supplyUnits)
    for (const bid of this.#clearing.fromLast('incumbent')) {
      if (!firstLoser || compareBids(bid, firstLoser) < 0) return
      yield bid
    }
  }

  /** Incumbents, the last one first: who goes first when room is needed. */
  incumbentsFromLast(): Generator<Bid> {
    return this.#incumbents.fromLast('incumbent')
  }

  /** Bids that wait and take part, the first one first. */
  waitingFromFirst(): Generator<Bid> {
    return this.#clearing.fromFirst('waiting')
  }

  /** The first bid for a type that waits, or the next one after `after`, whether or not it takes part. */
  nextWaitingOf(instanceType: string, after?: Bid): Bid | undefined {
    const type = this.#types.get(instanceType)
    if (!type) return undefined
    if (after) return type.bids.after('waiting', after)
    if (type.firstWaiting === undefined) type.firstWaiting = type.bids.first('waiting') ?? null
    return type.firstWaiting ?? undefined
  }

  /** A type's incumbents that pay less than `ppm`, the last one first. */
  incumbentsBelow(instanceType: string, ppm: number): Iterable<Bid> {
    const type = this.#types.get(instanceType)
    if (!type) return []
    if (type.lastIncumbent === undefined) type.lastIncumbent = type.bids.last('incumbent') ?? null
    return type.lastIncumbent && type.lastIncumbent.bidPpm < ppm ? below(type.bids, ppm) : []
  }

  /** A type's incumbents that take more than `units`: all or none of them where the type's bids are of one size. */
  incumbentsLarger(instanceType: string, units: number): Iterable<Bid> {
    const type = this.#types.get(instanceType)
    return type && type.mostUnits > units ? larger(type.bids, units) : []
  }

  /** Units of all incumbents. */
  get incumbentUnits(): number {
    return this.#incumbents.units
  }

  #takesPart(bid: Bid, floorPpm: number): boolean {
    return bid.bidPpm >= floorPpm && bid.units <= this.#largestUnits
  }

  /** Puts in and takes out of the clearing what of a type has to be; only bids from `lowPpm` to below `highPpm` may have changed. */
  #review(type: TypeBids, lowPpm: number, highPpm: number): void {
    for (const kind of ['waiting', 'incumbent'] as const) {
      for (const bid of type.bids.fromFirst(kind, (each) => each.bidPpm < highPpm)) {
        if (bid.bidPpm < lowPpm) break
        this.#clearing.delete(bid)
        if (this.#takesPart(bid, type.floorPpm)) this.#clearing.insert(bid)
      }
    }
  }
}

function* below(bids: BidTree, ppm: number): Generator<Bid> {
  for (const bid of bids.fromLast('incumbent')) {
    if (bid.bidPpm >= ppm) return
    yield bid
  }
}

function* larger(bids: BidTree, units: number): Generator<Bid> {
  for (const bid of bids.fromLast('incumbent')) if (bid.units > units) yield bid
}
