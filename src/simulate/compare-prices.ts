import { readFileSync } from 'node:fs'
import { projectFile } from '../catalogue/project-file.ts'
import { backgroundMeanPpm, backgroundPoints, type BackgroundKey, type PricePoint } from '../spot/background.ts'
import { WHOLE_PPM } from '../spot/clearing.ts'
import { type PriceStatistics, priceStatistics } from '../spot/price-statistics.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const MONTH_MS = 30 * DAY_MS
/** The trace is of this type, which cost so much on demand then. */
const TRACED_TYPE = 'm5.large'
const TRACED_USD = 0.096
/** What m5.large saved when the trace was taken: 2021 was not as 2025. */
const TRACED_SAVING = 58

/** The prices of m5.large that EC2 had in five zones for a month, by zone. */
function readTrace(): Map<string, PricePoint[]> {
  const zones = new Map<string, PricePoint[]>()
  for (const line of readFileSync(projectFile('test/fixtures/spot-trace.m5.large.csv'), 'utf8').trim().split('\n').slice(1)) {
    const [time = '', zone = '', usd = ''] = line.split(',')
    const point = { atMs: Date.parse(time), ppm: Math.round((Number(usd) / TRACED_USD) * WHOLE_PPM) }
    zones.set(zone, [...zones.get(zone) ?? [], point])
  }
  return zones
}

const keyOf = (seed: number, savingPercent: number, band: number): BackgroundKey =>
  ({ seed, originMs: 0, zone: 'us-east-1a', instanceType: TRACED_TYPE, savingPercent, band })

/** An offer that is counted as near the mean: a quarter of the way from there to on demand. */
function offerOf(key: BackgroundKey): number {
  const meanPpm = backgroundMeanPpm(key)
  return meanPpm + (WHOLE_PPM - meanPpm) / 4
}

/** What EC2's prices did, and what so many series of ours do in as long a time where they have no surge. */
export function compareWithTrace(seriesCount: number): { trace: PriceStatistics; series: PriceStatistics } {
  const keys = Array.from({ length: seriesCount }, (_, seed) => keyOf(seed, TRACED_SAVING, 0))
  const calm = keys.flatMap((key) => {
    const points = backgroundPoints(key, MONTH_MS + 31 * DAY_MS).filter((point) => point.atMs >= MONTH_MS)
    return points.some((point) => point.ppm > offerOf(key)) ? [] : [points]
  })
  return { trace: priceStatistics([...readTrace().values()]), series: priceStatistics(calm) }
}

/** Of so many series that are below the offer after a month, the part that is above it at some time of the next. */
export function crossedShare(seriesCount: number, savingPercent: number, band: number): number {
  let [below, crossed] = [0, 0]
  for (let seed = 0; seed < seriesCount; seed++) {
    const key = keyOf(seed, savingPercent, band)
    const [offer, points] = [offerOf(key), backgroundPoints(key, 2 * MONTH_MS)]
    const begin = points.findLast((point) => point.atMs <= MONTH_MS)
    if (!begin || begin.ppm > offer) continue
    below++
    if (points.some((point) => point.atMs > MONTH_MS && point.ppm > offer)) crossed++
  }
  return crossed / below
}
