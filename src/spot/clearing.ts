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

/**
 * The same, smoothed as EC2 has done it since 2017: the price goes towards `targetPpm` in steps that are limited, however much
 * demand there is.
 */
export function smoothedPpm(previousPpm: number, targetPpm: number, elapsedMs: number): number {
  const mostPpm = Math.ceil((elapsedMs / 3_600_000) * 50_000)
  return previousPpm + Math.max(-mostPpm, Math.min(mostPpm, targetPpm - previousPpm))
}
