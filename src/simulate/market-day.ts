import { memoryMibOf, vcpusOf } from '../catalogue/instance-types.ts'
import { spotAdvice } from '../catalogue/spot-advisor.ts'
import { pick, type Random, seededRandom } from '../core/random.ts'
import { NOTICE_MS, type SpotPricing } from '../model/spot-market.ts'
import { backgroundPpmAt } from '../spot/background.ts'
import { MarketZone, type Size } from './market-zone.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const MINUTE_MS = 60_000
const TYPES = ['m5.large', 'm5.xlarge', 'c5.large', 'c5.2xlarge', 'r5.large', 'r5.xlarge', 't3.medium', 'm6i.xlarge']
/** The series that the chart shows. */
const SHOWN_TYPE = 'm5.large'
const ZONES = ['us-east-1a', 'us-east-1b', 'us-east-1c']
/** Instances on demand at the least and the most of the day, of a zone of 40 hosts. */
const ON_DEMAND = { night: 60, day: 215 }

export interface MarketDayOptions {
  seed: number
  requests: number
  pricing: SpotPricing
  /** Hosts of each zone, 64 vCPUs and 256 GiB each. */
  hosts: number
}

/** A zone at one time. */
export interface DaySample {
  atMs: number
  pricePpm: number
  supplyUnits: number
  heldUnits: number
  waiting: number
  /** Notices since the sample before. */
  noCapacity: number
  byPrice: number
}

export interface MarketDay {
  zones: { zone: string; samples: DaySample[] }[]
  requests: number
  fulfilled: number
  noCapacity: number
  byPrice: number
  completed: number
}

interface Wish {
  id: string
  instanceType: string
  zone: string
  bidPpm: number
  arrivesMs: number
  lifetimeMs: number
}

/**
 * A day of a market by itself, minute by minute: requests of mixed types, lifetimes and offers beside what on demand takes, which
 * rises in the morning and falls in the evening. The same options give the same day.
 *
 * @throws Error where spot instances have more than there is, or one keeps running that offers less than it costs.
 */
export function simulateDay({ seed, requests, pricing, hosts }: MarketDayOptions): MarketDay {
  const random = seededRandom(seed)
  const zones = new Map(ZONES.map((name) => [name, zoneOf(name, seed, pricing, hosts)]))
  const wishes = Array.from({ length: requests }, (_, at) => wishOf(at, random)).toSorted((a, b) => a.arrivesMs - b.arrivesMs)
  const lifetimes = new Map(wishes.map((wish) => [wish.id, wish.lifetimeMs]))
  const day: MarketDay = { zones: ZONES.map((zone) => ({ zone, samples: [] })), requests, fulfilled: 0, noCapacity: 0, byPrice: 0, completed: 0 }
  const endings = new Map<number, { zone: MarketZone; id: string }[]>()
  let next = 0
  for (let nowMs = 0; nowMs < DAY_MS; nowMs += MINUTE_MS) {
    for (let wish = wishes[next]; wish && wish.arrivesMs <= nowMs; wish = wishes[++next]) {
      zones.get(wish.zone)?.request(wish.id, wish.instanceType, wish.bidPpm, wish.arrivesMs)
    }
    for (const { zone, id } of endings.get(nowMs) ?? []) {
      if (zone.spot.get(id)?.endsMs === undefined && zone.spot.has(id)) day.completed++
      zone.end(id)
    }
    endings.delete(nowMs)
    for (const { zone: name, samples } of day.zones) {
      const zone = zones.get(name)
      if (!zone) continue
      setOnDemand(zone, Math.round(onDemandAt(nowMs) * (hosts / 40)))
      const { decision, launched, supplyUnits } = zone.tick(nowMs)
      for (const { id } of launched) {
        const atMs = nowMs + Math.max(MINUTE_MS, Math.round((lifetimes.get(id) ?? 0) / MINUTE_MS) * MINUTE_MS)
        endings.set(atMs, [...endings.get(atMs) ?? [], { zone, id }])
      }
      const noCapacity = decision.notices.filter(({ cause }) => cause === 'no-capacity').length
      const byPrice = decision.notices.length - noCapacity
      day.fulfilled += launched.length
      day.noCapacity += noCapacity
      day.byPrice += byPrice
      check(zone, nowMs, supplyUnits)
      const { heldUnits } = zone.held
      samples.push({ atMs: nowMs, pricePpm: zone.pricePpm(SHOWN_TYPE, nowMs), supplyUnits, heldUnits, waiting: zone.book.size - zone.spot.size, noCapacity, byPrice })
    }
  }
  return day
}

function zoneOf(zone: string, seed: number, pricing: SpotPricing, hosts: number): MarketZone {
  // Each tick asks for the same price many times.
  const known = new Map<string, { atMs: number; ppm: number }>()
  const backgroundPpm = (instanceType: string, atMs: number) => {
    const last = known.get(instanceType)
    if (last?.atMs === atMs) return last.ppm
    const ppm = backgroundPpmAt({ seed, originMs: -30 * DAY_MS, zone, instanceType, ...spotAdvice('us-east-1', instanceType) }, atMs) ?? 0
    known.set(instanceType, { atMs, ppm })
    return ppm
  }
  return new MarketZone({
    hosts: Array.from({ length: hosts }, () => ({ vcpus: 64, memoryMib: 262_144 })), pricing, noticeMs: NOTICE_MS, bufferUnits: 50_000, nowMs: 0, sizeOf,
    backgroundPpm,
  })
}

function sizeOf(instanceType: string): Size {
  const [vcpus, memoryMib] = [vcpusOf(instanceType), memoryMibOf(instanceType)]
  if (vcpus === undefined || memoryMib === undefined) throw new Error(`no type ${instanceType}`)
  return { vcpus, memoryMib }
}

/** Most come by day; most want to pay on demand's price if need be, others less; most live for an hour or two, some all day. */
function wishOf(at: number, random: Random): Wish {
  const arrivesMs = Math.floor((random.next() + random.next() + random.next()) * (DAY_MS / 3))
  const bidPpm = random.next() < 0.15 ? 1_000_000 : 350_000 + random.int(650_000)
  const lifetimeMs = MINUTE_MS * (random.next() < 0.1 ? 600 + random.int(840) : 10 + random.int(180))
  return { id: `sir-${at.toString(36).padStart(8, '0')}`, instanceType: pick(random, TYPES), zone: pick(random, ZONES), bidPpm, arrivesMs, lifetimeMs }
}

/** Low until six, high from ten to eighteen, straight in between. */
function onDemandAt(nowMs: number): number {
  const hour = nowMs / 3_600_000
  const share = Math.max(0, Math.min(1, (hour - 6) / 4, (22 - hour) / 4))
  return ON_DEMAND.night + (ON_DEMAND.day - ON_DEMAND.night) * share
}

const ON_DEMAND_SIZE: Size = { vcpus: 8, memoryMib: 32_768 }

/** Instances on demand are numbered; those with the highest numbers come last and go first. */
function setOnDemand(zone: MarketZone, count: number): void {
  for (let at = zone.onDemandCount; at < count; at++) zone.startOnDemand(`i-${at}`, ON_DEMAND_SIZE)
  for (let at = zone.onDemandCount - 1; at >= count; at--) zone.stopOnDemand(`i-${at}`)
}

function check(zone: MarketZone, nowMs: number, supplyUnits: number): void {
  if (zone.held.keptUnits > supplyUnits) throw new Error(`more is kept than there is at ${nowMs}`)
  if (zone.free.some((free) => free.vcpus < 0 || free.memoryMib < 0)) throw new Error(`a host has promised too much at ${nowMs}`)
  for (const { bid, endsMs } of zone.spot.values()) {
    if (endsMs === undefined && bid.bidPpm < zone.pricePpm(bid.instanceType, nowMs)) throw new Error(`${bid.id} offers less than it costs at ${nowMs}`)
  }
}
