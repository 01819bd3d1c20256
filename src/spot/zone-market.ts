import type { SpotPricing } from '../model/spot-market.ts'
import type { Bid, Book } from './book.ts'
import { auctionPpm, smoothedPpm } from './clearing.ts'

/** What own demand has made of a zone's price so far. */
export interface ZonePrice {
  /** In force since `changedMs`. */
  clearingPpm: number
  changedMs: number
  /** What it follows where it is smoothed: the average of the auction's over the last hours, as it was at `averagedMs`. */
  averagePpm: number
  averagedMs: number
}

/** One zone at one tick. */
export interface ZoneTick {
  book: Book
  pricing: SpotPricing
  nowMs: number
  /** As `ZoneSupply` has them: what spot may have, what its instances hold, and of that what those without notice hold. */
  supplyUnits: number
  heldUnits: number
  keptUnits: number
  price: ZonePrice
  /**
   * What a type costs where own demand makes `clearingPpm` of it: what was pinned, else the higher of background and clearing;
   * parts per million of its price on demand. Undefined for a type that is not had here: its bids stay where they are.
   */
  pricePpm: (instanceType: string, clearingPpm: number) => number | undefined
}

/** An instance that has to go. */
export interface Notice {
  bid: Bid
  cause: 'no-capacity' | 'by-price'
}

export interface ZoneDecision {
  /** What to keep, and to give to the next tick; `clearingPpm` and `changedMs` differ from before only where the price changed. */
  price: ZonePrice
  /** Who gets notice, those for capacity first. They leave the book, and are no longer in `keptUnits`, from then on. */
  notices: Notice[]
  /** Who stays for now, but is at an elevated risk: next in line for capacity, or near the most that they pay. */
  rebalance: Bid[]
  launches: LaunchQueue
}

/** Waiting bids that may be fulfilled now, one after another; each is asked for only after it is known what became of the last. */
export interface LaunchQueue {
  /** The next one that has room; undefined when there is none. */
  next(): Bid | undefined
  /** It was launched: its room is taken. */
  took(bid: Bid): void
  /** No host has room for it: others of its type are not tried any more. */
  noHost(bid: Bid): void
}

/** What a zone's market does now. The book is not changed; whoever acts on this keeps it up. */
export function decideZone(tick: ZoneTick): ZoneDecision {
  const { book, pricing, nowMs, supplyUnits, keptUnits, price } = tick
  const targetPpm = auctionPpm(book.clear(supplyUnits).highestLosingPpm)
  const clearingPpm = pricing === 'auction' ? targetPpm : smoothedPpm(price.clearingPpm, targetPpm, nowMs - price.changedMs)
  const isBelow = (bid: Bid) => bid.bidPpm < (tick.pricePpm(bid.instanceType, clearingPpm) ?? 0)
  const notices: Notice[] = []
  let over = keptUnits - supplyUnits
  for (const bid of book.incumbentsFromLast()) {
    if (over <= 0) break
    notices.push({ bid, cause: 'no-capacity' })
    over -= bid.units
  }
  const gone = new Set(notices.map(({ bid }) => bid.id))
  const losers = pricing === 'auction' ? new Set([...book.losingIncumbents(supplyUnits)].map((bid) => bid.id)) : new Set<string>()
  for (const bid of book.incumbentsFromLast()) {
    if (!gone.has(bid.id) && (losers.has(bid.id) || isBelow(bid))) notices.push({ bid, cause: 'by-price' })
  }
  const waiting = (pricing === 'auction' ? book.winnersWaiting(supplyUnits) : book.waitingFromFirst())
  let freeUnits = supplyUnits - tick.heldUnits
  const without = new Set<string>()
  return {
    price: { clearingPpm, changedMs: clearingPpm === price.clearingPpm ? price.changedMs : nowMs, averagePpm: targetPpm, averagedMs: nowMs },
    notices,
    rebalance: [],
    launches: {
      next: () => {
        for (let step = waiting.next(); !step.done; step = waiting.next()) {
          const bid = step.value
          if (bid.units <= freeUnits && !without.has(bid.instanceType) && !isBelow(bid)) return bid
        }
        return undefined
      },
      took: (bid) => void (freeUnits -= bid.units),
      noHost: (bid) => void without.add(bid.instanceType),
    },
  }
}
