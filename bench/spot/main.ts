import { performance } from 'node:perf_hooks'
import { seededRandom } from '../../src/core/random.ts'
import { type Bid, Book, compareBids } from '../../src/spot/book.ts'
import { WHOLE_PPM } from '../../src/spot/clearing.ts'
import { decideZone, zonePriceOf } from '../../src/spot/zone-market.ts'
import { progress, runBench } from '../program.ts'
import { below, atLeast, type GoalReport, isMet, median, render } from '../table.ts'

// `npm run bench -- spot`: how long one arrival takes the market of a zone in which many wait. See docs/performance.md.

const USAGE = `npm run bench -- spot [options]

  --quick          100,000 waiting requests, fewer arrivals
  --json           figures as JSON on standard output
`

const THOROUGH = { waiting: 1_000_000, arrivals: 5_000, naive: 3 }
const QUICK = { waiting: 100_000, arrivals: 1_000, naive: 3 }
const TYPES = 100
/** Of the zone: a hundred places, of which all are taken. */
const UNITS = 10_000
/** Arrivals before those that are measured, in which the places are taken and the code gets warm. */
const WARM = 500

const random = seededRandom(1)

function bidOf(id: number, isIncumbent = false): Bid {
  return {
    id: `sir-${id.toString(36).padStart(8, '0')}`, instanceType: `t${random.int(TYPES)}.large`, bidPpm: 300_000 + random.int(700_001), units: UNITS,
    isIncumbent, arrivedMs: random.int(1_000_000),
  }
}

/** What one arrival took, milliseconds: by the clock, and of processors, collecting garbage included. */
interface Took {
  clockMs: number
  processorMs: number
}

/** One arrival, and what the market decides then; what each of so many took. */
function measureBook(bids: readonly Bid[], arrivals: number): Took[] {
  const book = new Book()
  for (const bid of bids) book.put(bid)
  let price = zonePriceOf(0, 0)
  return Array.from({ length: WARM + arrivals }, (_, at) => {
    const bid = bidOf(bids.length + at)
    const began = process.cpuUsage()
    const beganMs = performance.now()
    book.put(bid)
    const decision = decideZone({
      book, pricing: 'auction', nowMs: at, supplyUnits: WHOLE_PPM, heldUnits: book.incumbentUnits, keptUnits: book.incumbentUnits, price,
      pricePpm: (_type, clearingPpm) => Math.max(250_000, clearingPpm),
    })
    decision.launches.next()
    const clockMs = performance.now() - beganMs
    const { user, system } = process.cpuUsage(began)
    price = decision.price
    // Those that go have gone, and those that come have come, before the next one arrives.
    for (const notice of decision.notices) book.remove(notice.bid.id)
    for (const winner of book.winnersWaiting(WHOLE_PPM)) book.put({ ...winner, isIncumbent: true })
    return { clockMs, processorMs: (user + system) / 1000 }
  }).slice(WARM)
}

/** The value that such a part of all is not above. */
function quantile(values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(part * (values.length - 1))] ?? Number.NaN
}

/** The same by a list that is sorted again. */
function measureNaive(bids: readonly Bid[], rounds: number): number {
  return median(Array.from({ length: rounds }, (_, at) => {
    const list = [...bids]
    const beganMs = performance.now()
    list.push(bidOf(bids.length + at))
    list.sort(compareBids)
    let units = 0
    list.find((bid) => (units += bid.units) > WHOLE_PPM)
    return performance.now() - beganMs
  }))
}

async function measure({ quick }: { quick: boolean }): Promise<GoalReport> {
  const { waiting, arrivals, naive } = quick ? QUICK : THOROUGH
  progress(`${waiting} requests that wait`)
  const bids = Array.from({ length: waiting }, (_, id) => bidOf(id))
  const times = measureBook(bids, arrivals)
  progress('the same by sorting')
  const sortMs = measureNaive(bids.toSorted(compareBids), naive)
  const shuffledMs = measureNaive(bids, 1)
  const at = (part: number) => quantile(times.map(({ clockMs }) => clockMs), part)
  const processorAt = (part: number) => quantile(times.map(({ processorMs }) => processorMs), part)
  return {
    goals: [
      below('an arrival and the decision after it, median', at(0.5), 'ms', 1),
      below('99 of 100 of them within', at(0.99), 'ms', 1),
      atLeast('a list that is sorted again, of the median', sortMs / at(0.5), 'times', 100),
    ],
    notes: [
      `${waiting.toLocaleString('en')} requests wait for ${TYPES} types; ${arrivals.toLocaleString('en')} arrivals, the slowest took ${at(1).toFixed(2)} ms`,
      `Of processors, which others may use meanwhile, half took ${processorAt(0.5).toFixed(2)} ms, 99 of 100 ${processorAt(0.99).toFixed(2)} ms, and the slowest ${processorAt(1).toFixed(2)} ms`,
      `A list that was sorted before takes ${sortMs.toFixed(0)} ms to be sorted again after an arrival, one that was not ${shuffledMs.toFixed(0)} ms`,
    ],
  }
}

await runBench({ usage: USAGE, measure, render, isMet })
