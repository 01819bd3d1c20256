import type { SpotPricing } from '../model/spot-market.ts'
import { type Bid, type Book, compareBids } from './book.ts'
import { auctionPpm, averagedPpm, smoothedPpm, TYPICAL_PPM, WHOLE_PPM } from './clearing.ts'
import { LaunchQueue } from './launch-queue.ts'

/** What own demand has made of a zone's price so far. */
export interface ZonePrice {
  /** In force since `changedMs`. */
  clearingPpm: number
  changedMs: number
  /** What it follows where it is smoothed: the average of the auction's over the last hours, as it was at `averagedMs`. */
  averagePpm: number
  averagedMs: number
}

/** The price of a zone of which only that is known what is stored. */
export function zonePriceOf(clearingPpm: number, changedMs: number): ZonePrice {
  return { clearingPpm, changedMs, averagePpm: clearingPpm, averagedMs: changedMs }
}

/** One zone at one tick. */
export interface ZoneTick {
  /** Without those that have had notice. */
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
  /** Where a smoothed price begins when there is too little for all; the typical one unless given. */
  startPpm?: number
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

/** With less than this part of what spot may have to spare, those that it would lose first are at risk: a twentieth. */
const SPARE_PART = 20
/** So near the price, parts per million of the price on demand, an offer is at risk: two weeks of the steepest smoothed way. */
const NEAR_PPM = 20_000

/**
 * What a zone's market does now, see docs/spot-market.md. Of the book only the lines are moved beyond which bids take no part in
 * the clearing; whoever acts on the decision keeps it up.
 *
 * Takes O(log n) of all bids, beside what it tells of and a look at each type that there are bids for.
 */
export function decideZone(tick: ZoneTick): ZoneDecision {
  const { book, pricing, supplyUnits, heldUnits } = tick
  drawLines(tick)
  const { highestLosingPpm, firstLoser } = book.clear(supplyUnits)
  const price = nextPrice(tick, auctionPpm(highestLosingPpm))
  const priceOf = (instanceType: string) => tick.pricePpm(instanceType, price.clearingPpm)
  const beyond = pricing === 'auction' ? firstLoser : undefined
  const notices = noticesOf(tick, priceOf)
  return {
    price,
    notices,
    rebalance: atRisk(tick, priceOf, notices),
    launches: new LaunchQueue({ book, freeUnits: supplyUnits - heldUnits, largestUnits: supplyUnits, beyond, priceOf }),
  }
}

/**
 * Who takes no part: those that offer less than their type costs however little is asked for, and those that are larger than
 * all that spot may have, which would only keep others out. With nothing to be had all take part, and all lose.
 */
function drawLines({ book, supplyUnits, pricePpm }: ZoneTick): void {
  for (const type of book.types()) book.setFloor(type, pricePpm(type, 0) ?? Infinity)
  book.setLargest(supplyUnits > 0 ? supplyUnits : Infinity)
}

function nextPrice({ pricing, nowMs, price, startPpm = TYPICAL_PPM }: ZoneTick, targetPpm: number): ZonePrice {
  // Below where a smoothed price begins nobody sees it; 0 says that it is there.
  const averagePpm = averagedPpm(Math.max(price.averagePpm, startPpm), Math.max(targetPpm, startPpm), nowMs - price.averagedMs)
  const from = Math.max(price.clearingPpm, startPpm)
  const smoothed = Math.max(smoothedPpm(from, averagePpm, nowMs - price.changedMs), startPpm)
  const clearingPpm = pricing === 'auction' ? targetPpm : smoothed === startPpm ? 0 : smoothed
  const changedMs = clearingPpm === price.clearingPpm ? price.changedMs : nowMs
  return { clearingPpm, changedMs, averagePpm: pricing === 'auction' ? targetPpm : averagePpm, averagedMs: nowMs }
}

/** Who has to go: who cannot stay anyway, whose room counts first where it is short; then the last of all, as far as it is short. */
function noticesOf({ book, pricing, supplyUnits, keptUnits }: ZoneTick, priceOf: (type: string) => number | undefined): Notice[] {
  const tooLarge = new Map<string, Bid>()
  const others = new Map<string, Bid>()
  for (const type of book.types()) {
    for (const bid of book.incumbentsLarger(type, supplyUnits)) tooLarge.set(bid.id, bid)
    for (const bid of book.incumbentsBelow(type, priceOf(type) ?? 0)) if (!tooLarge.has(bid.id)) others.set(bid.id, bid)
  }
  if (pricing === 'auction') for (const bid of book.losingIncumbents(supplyUnits)) if (!tooLarge.has(bid.id)) others.set(bid.id, bid)
  const forCapacity: Notice[] = []
  const byPrice: Notice[] = []
  let shortUnits = keptUnits - supplyUnits
  const go = (bid: Bid, isTooLarge: boolean) => {
    // One that pays more than its type costs, where that was pinned, loses its room to others and not to the price.
    const isForRoom = isTooLarge || shortUnits > 0 || bid.bidPpm > (priceOf(bid.instanceType) ?? 0)
    if (isForRoom) forCapacity.push({ bid, cause: 'no-capacity' })
    else byPrice.push({ bid, cause: 'by-price' })
    shortUnits -= bid.units
  }
  for (const bid of [...tooLarge.values()].toSorted((a, b) => compareBids(b, a))) go(bid, true)
  for (const bid of [...others.values()].toSorted((a, b) => compareBids(b, a))) go(bid, false)
  for (const bid of book.incumbentsFromLast()) {
    if (shortUnits <= 0) break
    if (!tooLarge.has(bid.id) && !others.has(bid.id)) go(bid, false)
  }
  return [...forCapacity, ...byPrice]
}

function atRisk({ book, supplyUnits, keptUnits }: ZoneTick, priceOf: (type: string) => number | undefined, notices: readonly Notice[]): Bid[] {
  const found = new Map<string, Bid>()
  const gone = new Set(notices.map(({ bid }) => bid.id))
  const freedUnits = notices.reduce((sum, { bid }) => sum + bid.units, 0)
  let missingUnits = Math.floor(supplyUnits / SPARE_PART) - (supplyUnits - (keptUnits - freedUnits))
  for (const bid of book.incumbentsFromLast()) {
    if (missingUnits <= 0) break
    if (gone.has(bid.id)) continue
    found.set(bid.id, bid)
    missingUnits -= bid.units
  }
  for (const type of book.types()) {
    const price = priceOf(type)
    if (price === undefined) continue
    // A price never passes that on demand, so nobody who pays that much is at risk by it.
    for (const bid of book.incumbentsBelow(type, Math.min(price + NEAR_PPM, WHOLE_PPM))) if (!gone.has(bid.id)) found.set(bid.id, bid)
  }
  return [...found.values()]
}
