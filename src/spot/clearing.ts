/** Parts per million: what a price, or a part of a zone, is measured in. */
export const WHOLE_PPM = 1_000_000

/**
 * What an instance takes of a zone: the larger of its parts of the zone's vCPUs and of its memory, parts per million, rounded up.
 *
 * @throws RangeError for a zone that promises nothing.
 */
export function unitsOf(size: { vcpus: number; memoryMib: number }, zone: { vcpus: number; memoryMib: number }): number {
  if (zone.vcpus <= 0 || zone.memoryMib <= 0) throw new RangeError('a zone without capacity has no units')
  return Math.ceil(Math.max(size.vcpus / zone.vcpus, size.memoryMib / zone.memoryMib) * WHOLE_PPM)
}

/**
 * What own demand makes of a zone's price: the highest bid that has no room, which is nothing where all have, at most the price
 * on demand.
 */
export function auctionPpm(highestLosingPpm: number | null): number {
  return Math.min(WHOLE_PPM, highestLosingPpm ?? 0)
}

/** Prices that are smoothed are multiples of this: the trace's step is a ten-thousandth of a dollar, 1,042 ppm of an m5.large. */
const STEP_PPM = 1_000
/** The largest step of the trace, and the shortest time that EC2 took between two (docs/spot-prices.md). */
const LARGEST_STEP_PPM = 3_000
const LARGEST_STEP_MS = 5 * 3_600_000
/** About how often EC2 looked again in the trace. */
const AVERAGED_MS = 6 * 3_600_000

/** The typical price where nobody has to be kept out: the saving is 66 % for half of all types in us-east-1 (spot-advisor.json). */
export const TYPICAL_PPM = 340_000

/** The average of what a target was over the last hours, `elapsedMs` after it was `averagePpm`; not rounded. */
export function averagedPpm(averagePpm: number, targetPpm: number, elapsedMs: number): number {
  return averagePpm + (targetPpm - averagePpm) * (elapsedMs / (elapsedMs + AVERAGED_MS))
}

/**
 * What follows a price that has been in force for `elapsedMs`, smoothed as EC2 has done it since 2017: it goes towards
 * `averagePpm` in steps of whole thousandths of the price on demand, at most three of them in five hours, however much demand
 * there is.
 */
export function smoothedPpm(previousPpm: number, averagePpm: number, elapsedMs: number): number {
  const goalPpm = Math.min(WHOLE_PPM, Math.round(averagePpm / STEP_PPM) * STEP_PPM)
  const mostPpm = Math.floor((Math.min(elapsedMs, LARGEST_STEP_MS) / LARGEST_STEP_MS) * LARGEST_STEP_PPM)
  const way = Math.max(-mostPpm, Math.min(mostPpm, goalPpm - previousPpm))
  return Math.abs(way) < Math.min(STEP_PPM, Math.abs(goalPpm - previousPpm)) ? previousPpm : previousPpm + way
}
