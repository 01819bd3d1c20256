import { type Bid, type Book, compareBids } from './book.ts'

export interface LaunchQueueOptions {
  book: Book
  /** What spot may have and does not hold. */
  freeUnits: number
  /** Larger bids have no room now or later. */
  largestUnits: number
  /** The first bid that has lost, where only those before it have won. */
  beyond: Bid | undefined
  /** What a type costs; undefined where it is not had. */
  priceOf: (instanceType: string) => number | undefined
}

/**
 * Waiting bids that may be fulfilled now, one after another: in the order of all, those left out that room is too little for.
 * Each is asked for only after it is known what became of the one before. The book may change meanwhile.
 */
export class LaunchQueue {
  readonly #options: LaunchQueueOptions
  /** Of each type that may still have some, the first that is not told of yet; begun when it is first asked. */
  #heads: Map<string, Bid> | undefined
  #freeUnits: number

  constructor(options: LaunchQueueOptions) {
    this.#options = options
    this.#freeUnits = options.freeUnits
  }

  /** The next one that has room; undefined when there is none. */
  next(): Bid | undefined {
    this.#heads ??= this.#begin()
    let first: Bid | undefined
    for (const [type, bid] of this.#heads) {
      // All bids of a type are of one size: with the first one the others have no room.
      if (bid.units > this.#freeUnits) this.#heads.delete(type)
      else if (!first || compareBids(bid, first) < 0) first = bid
    }
    if (first) this.#goOn(first.instanceType, first)
    return first
  }

  /** It was launched: its room is taken. */
  took(bid: Bid): void {
    this.#freeUnits -= bid.units
  }

  /** No host has room for it: others of its type are not tried any more. */
  noHost(bid: Bid): void {
    this.#heads?.delete(bid.instanceType)
  }

  #begin(): Map<string, Bid> {
    this.#heads = new Map()
    if (this.#freeUnits > 0) for (const type of this.#options.book.types()) this.#goOn(type)
    return this.#heads
  }

  /** Makes the next bid of a type, after `told`, its head. */
  #goOn(type: string, told?: Bid): void {
    const { book, largestUnits, beyond, priceOf } = this.#options
    const bid = book.nextWaitingOf(type, told)
    const price = priceOf(type)
    const isOut = !bid || price === undefined || bid.bidPpm < price || bid.units > largestUnits || (beyond && compareBids(bid, beyond) >= 0)
    if (isOut) this.#heads?.delete(type)
    else this.#heads?.set(type, bid)
  }
}
