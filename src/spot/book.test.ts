import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Bid, Book, compareBids } from './book.ts'

const TYPES = ['m5.large', 'c5.large', 'r5.xlarge']

const bids = fc.record({
  id: fc.integer({ min: 0, max: 30 }).map((id) => `sir-${id}`),
  instanceType: fc.constantFrom(...TYPES),
  // Few values, so that bids are often equal.
  bidPpm: fc.integer({ min: 0, max: 10 }).map((tenths) => tenths * 100_000),
  units: fc.integer({ min: 1, max: 12 }),
  isIncumbent: fc.boolean(),
  arrivedMs: fc.integer({ min: 0, max: 3 }),
})

const steps = fc.array(fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('put' as const), bid: bids }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('remove' as const), id: bids.map((bid) => bid.id) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('floor' as const), type: fc.constantFrom(...TYPES), ppm: fc.nat(1_000_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('largest' as const), units: fc.nat(13) }) },
), { maxLength: 80 })
type Step = typeof steps extends fc.Arbitrary<(infer Each)[]> ? Each : never

/** A book as one would write it down: a list that is sorted each time. */
class NaiveBook {
  readonly bids = new Map<string, Bid>()
  readonly floors = new Map<string, number>()
  largest = Infinity

  do(step: Step): void {
    if (step.kind === 'put') this.bids.set(step.bid.id, step.bid)
    else if (step.kind === 'remove') this.bids.delete(step.id)
    else if (step.kind === 'largest') this.largest = step.units
    else this.floors.set(step.type, step.ppm)
    for (const type of this.floors.keys()) if (!this.all.some((bid) => bid.instanceType === type)) this.floors.delete(type)
  }

  get all(): Bid[] {
    return [...this.bids.values()].toSorted(compareBids)
  }

  get clearing(): Bid[] {
    return this.all.filter((bid) => bid.bidPpm >= (this.floors.get(bid.instanceType) ?? 0) && bid.units <= this.largest)
  }

  winners(supplyUnits: number): Bid[] {
    let units = 0
    const end = this.clearing.findIndex((bid) => (units += bid.units) > supplyUnits)
    return end === -1 ? this.clearing : this.clearing.slice(0, end)
  }
}

function act(book: Book, step: Step): void {
  if (step.kind === 'put') book.put(step.bid)
  else if (step.kind === 'remove') book.remove(step.id)
  else if (step.kind === 'largest') book.setLargest(step.units)
  else book.setFloor(step.type, step.ppm)
}

const unitsOfAll = (bids: readonly Bid[]) => bids.reduce((sum, bid) => sum + bid.units, 0)
const waiting = (bid: Bid) => !bid.isIncumbent
const incumbent = (bid: Bid) => bid.isIncumbent

function expectSame(book: Book, naive: NaiveBook, supplyUnits: number): void {
  const winners = naive.winners(supplyUnits)
  const losers = naive.clearing.slice(winners.length)
  expect(book.size).toBe(naive.bids.size)
  expect(book.clear(supplyUnits)).toEqual({
    highestLosingPpm: losers[0]?.bidPpm ?? null, winningUnits: unitsOfAll(winners), firstLoser: losers[0],
  })
  expect([...book.winnersWaiting(supplyUnits)]).toEqual(winners.filter(waiting))
  expect([...book.losingIncumbents(supplyUnits)]).toEqual(losers.filter(incumbent).toReversed())
  expect([...book.incumbentsFromLast()]).toEqual(naive.all.filter(incumbent).toReversed())
  expect([...book.waitingFromFirst()]).toEqual(naive.clearing.filter(waiting))
  expect(book.incumbentUnits).toBe(unitsOfAll(naive.all.filter(incumbent)))
  expect([...book.types()].toSorted()).toEqual([...new Set(naive.all.map((bid) => bid.instanceType))].toSorted())
  for (const type of TYPES) expectSameOf(type, book, naive.all.filter((bid) => bid.instanceType === type))
}

function expectSameOf(type: string, book: Book, all: readonly Bid[]): void {
  expect(book.nextWaitingOf(type)).toEqual(all.find(waiting))
  for (const bid of all) expect(book.nextWaitingOf(type, bid)).toEqual(all.slice(all.indexOf(bid) + 1).find(waiting))
  const last = all.filter(incumbent).toReversed()
  expect([...book.incumbentsBelow(type, 500_000)]).toEqual(last.filter((bid) => bid.bidPpm < 500_000))
  expect([...book.incumbentsLarger(type, 6)]).toEqual(last.filter((bid) => bid.units > 6))
}

describe('a book of bids', () => {
  it('is the same as a sorted list, whatever came and went', () => {
    fc.assert(fc.property(steps, fc.array(fc.nat(60), { minLength: 1, maxLength: 4 }), (steps, supplies) => {
      const [book, naive] = [new Book(), new NaiveBook()]
      for (const step of steps) {
        act(book, step)
        naive.do(step)
      }
      for (const supply of supplies) expectSame(book, naive, supply)
    }), { numRuns: 500 })
  })

  it('may change while its bids are listed', () => {
    const book = new Book()
    const bid = (id: string): Bid => ({ id, instanceType: 'm5.large', bidPpm: 1, units: 1, isIncumbent: false, arrivedMs: 0 })
    for (const id of ['a', 'b', 'c', 'd']) book.put(bid(id))
    const listed: string[] = []
    for (const { id } of book.waitingFromFirst()) {
      listed.push(id)
      book.remove(id)
      if (id === 'b') book.remove('c')
    }
    expect(listed).toEqual(['a', 'b', 'd'])
  })

  it('is as deep as a balanced one would be, within a small factor, whatever the order of arrival', () => {
    const book = new Book()
    for (let at = 0; at < 20_000; at++) book.put({ id: `sir-${at}`, instanceType: 't', bidPpm: at, units: 1, isIncumbent: false, arrivedMs: at })
    // A list of that depth would end the stack.
    for (let at = 0; at < 20_000; at++) book.put({ id: `sir-${at}`, instanceType: 't', bidPpm: 1, units: 1, isIncumbent: at % 2 === 0, arrivedMs: -at })
    expect(book.clear(10_000)).toMatchObject({ highestLosingPpm: 1, winningUnits: 10_000 })
    expect(book.clear(10_000).firstLoser?.isIncumbent).toBe(false)
  })
})
