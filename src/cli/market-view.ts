import { onDemandMicroUsd } from '../catalogue/on-demand-prices.ts'
import { loadSpotPrices, type SpotPricePoint, type SpotPrices } from '../ec2/spot-prices.ts'
import { loadSpotSupplies } from '../ec2/spot-supply.ts'
import { instanceDoc } from '../model/instance.ts'
import { frozenSince } from '../model/market-orders.ts'
import { loadMarket } from '../model/spot-market.ts'
import { LIVING_STATES, spotRequestDoc } from '../model/spot-request.ts'
import { zoneStates } from '../model/zone.ts'
import { inBatches } from '../store/batch.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'

/** What one type costs in one zone; money in micro-dollars per hour. */
export interface PriceView {
  type: string
  zone: string
  priceMicroUsd: number
  onDemandMicroUsd: number
  /** By `hearth market set-price`. */
  isPinned: boolean
  /** What it has changed by since the beginning of the points, in per cent. */
  changePercent: number
  points: SpotPricePoint[]
}

/** What of a zone is whose, in per cent of it. */
export interface SupplyView {
  zone: string
  state: string
  vcpus: number
  memoryMib: number
  /** What spot may have, and what its instances hold, those that are told to go included. */
  supplyPercent: number
  heldPercent: number
  /** Of what spot may have, what nobody holds. */
  freePercent: number
  /** What on demand, reservations and dedicated hosts have: of vCPUs or of memory, whichever is more. */
  othersPercent: number
  /** By `hearth market set-supply`; null for whatever is free. */
  capPercent: number | null
  /** What own demand makes of prices, in per cent of those on demand. */
  clearingPercent: number
}

export interface BidView {
  /** Its place among all: the first is the last to go. */
  place: number
  requestId: string
  state: SpotRequestTable['state']
  status: string
  message: string
  type: string
  zone: string | null
  maxPriceMicroUsd: number
  instanceId: string | null
  name: string | null
  /** When an instance that was told to go does so, as ISO 8601. */
  goesAt: string | null
}

/** What `hearth market --json` prints. */
export interface MarketView {
  region: string
  asOf: string
  pricing: 'smoothed' | 'auction'
  background: boolean
  noticeMs: number
  frozenSince: string | null
  since: string
  prices: PriceView[]
  supplies: SupplyView[]
  bids: BidView[]
  /** Of all bids, with those that are not listed. */
  bidCount: { running: number; waiting: number }
}

/** What is shown where nobody has, or wants, anything. */
const COMMON_TYPES = ['t3.micro', 'm5.large', 'c5.large', 'r5.large']
const MOST_TYPES = 8
const MOST_BIDS = 30

export interface MarketQuestion {
  /** Those in use or asked for, and a few common ones, unless given. */
  types: readonly string[]
  zone: string | undefined
  sinceMs: number
}

/** @throws Error before the market has begun, and for a type or a zone that it does not have. */
export async function readMarket(db: Db, region: string, { types, zone, sinceMs }: MarketQuestion, nowMs: number): Promise<MarketView> {
  const market = await loadMarket(db, region)
  if (!market) throw new Error(`the market of ${region} has not begun yet; it does with the first hearth up`)
  const supplies = await loadSpotSupplies(db, region)
  const zones = zone === undefined ? [...supplies.keys()] : [findZone([...supplies.keys()], zone)]
  for (const type of types) checkType(type)
  const prices = await loadSpotPrices(db, region, nowMs, sinceMs)
  const shown = types.length > 0 ? types : await typesInUse(db)
  const pins = await pinnedNow(db)
  const states = await zoneStates(db)
  const own = new Map((await db.selectFrom('spot_zones').selectAll().execute()).map((row) => [row.zone, row]))
  const others = await readOthers(db, region)
  const frozenMs = frozenSince(market)
  return {
    region, asOf: isoTime(nowMs), pricing: market.pricing, background: market.background, noticeMs: market.noticeMs,
    frozenSince: frozenMs === null ? null : isoTime(frozenMs), since: isoTime(sinceMs),
    prices: shown.flatMap((type) => zones.flatMap((each) => priceView(prices, pins, { type, zone: each, sinceMs, nowMs }) ?? [])),
    supplies: zones.flatMap((each) => {
      const found = supplies.get(each)
      if (!found) return []
      const percent = (units: number) => units / 10_000
      const { vcpus, memoryMib, supplyUnits, heldUnits } = found
      const row = own.get(each)
      const capPpm = row?.supply_cap_ppm ?? null
      return [{
        zone: each, state: states.get(each)?.state ?? 'available', vcpus, memoryMib, supplyPercent: percent(supplyUnits),
        heldPercent: percent(heldUnits), freePercent: percent(Math.max(0, supplyUnits - heldUnits)),
        othersPercent: others.get(each) ?? 0,
        capPercent: capPpm === null ? null : percent(capPpm), clearingPercent: percent(row?.clearing_ppm ?? 0),
      }]
    }),
    ...await readBids(db, zone === undefined ? undefined : zones[0], types),
  }
}

/** What others than spot have of zones, in per cent. */
async function readOthers(db: Db, region: string): Promise<Map<string, number>> {
  const hosts = await db
    .selectFrom('hosts').where('region', '=', region).where('zone', 'is not', null).groupBy('zone')
    .select((eb) => [
      'zone', eb.fn.sum<number>('vcpus').as('vcpus'), eb.fn.sum<number>('memory_mib').as('memoryMib'),
      eb.fn.sum<number>('vcpus_used').as('vcpusUsed'), eb.fn.sum<number>('memory_mib_used').as('memoryMibUsed'),
    ]).execute()
  const spot = new Map((await db
    .selectFrom('instances').where('lifecycle', '=', 'spot').where('holds_capacity', '=', 1)
    .where('dedicated_host_id', 'is', null).where('capacity_reservation_id', 'is', null).groupBy('zone')
    .select((eb) => ['zone', eb.fn.sum<number>('vcpus').as('vcpus'), eb.fn.sum<number>('memory_mib').as('memoryMib')])
    .execute()).map((row) => [row.zone, row]))
  return new Map(hosts.map((row) => {
    const held = spot.get(row.zone ?? '')
    const part = (used: number, onSpot: number, all: number) => (all <= 0 ? 0 : (used - onSpot) / all)
    const parts = [
      part(Number(row.vcpusUsed), Number(held?.vcpus ?? 0), Number(row.vcpus)),
      part(Number(row.memoryMibUsed), Number(held?.memoryMib ?? 0), Number(row.memoryMib)),
    ]
    return [row.zone ?? '', Math.round(Math.max(...parts) * 1_000_000) / 10_000]
  }))
}

/** The zone that is meant, by its name or its letter. @throws Error that names those that there are. */
export function findZone(zones: readonly string[], wanted: string): string {
  const found = zones.find((zone) => zone === wanted || zone.slice(-1) === wanted)
  if (found !== undefined) return found
  throw new Error(`there is no zone "${wanted}" here; there are: ${zones.join(', ')}`)
}

/** @throws Error for a type that is not had on spot. */
export function checkType(type: string): void {
  if (onDemandMicroUsd(type) === undefined) throw new Error(`"${type}" is no instance type that is had on spot; its price on demand is not known`)
}

function priceView(
  prices: SpotPrices,
  pins: ReadonlySet<string>,
  { type, zone, sinceMs, nowMs }: { type: string; zone: string; sinceMs: number; nowMs: number },
): PriceView | undefined {
  const priceMicroUsd = prices.priceMicroUsd(type, zone)
  const onDemand = onDemandMicroUsd(type)
  if (priceMicroUsd === undefined || onDemand === undefined) return undefined
  const points = prices.points(type, zone, sinceMs, nowMs)
  const before = points[0]?.priceMicroUsd ?? priceMicroUsd
  return {
    type, zone, priceMicroUsd, onDemandMicroUsd: onDemand, isPinned: pins.has(`${zone} ${type}`),
    changePercent: Math.round((priceMicroUsd / before - 1) * 1000) / 10, points,
  }
}

async function pinnedNow(db: Db): Promise<Set<string>> {
  const pinned = new Set<string>()
  for (const row of await db.selectFrom('spot_pins').selectAll().orderBy('at_ms').execute()) {
    const key = `${row.zone} ${row.instance_type}`
    if (row.price_micro_usd === null) pinned.delete(key)
    else pinned.add(key)
  }
  return pinned
}

async function typesInUse(db: Db): Promise<string[]> {
  const rows = await db
    .selectFrom('spot_requests').where('state', 'in', LIVING_STATES).groupBy('instance_type')
    .select((eb) => ['instance_type', eb.fn.countAll<number>().as('count')]).execute()
  const used = rows.toSorted((a, b) => Number(b.count) - Number(a.count)).map((row) => row.instance_type)
  return [...new Set([...used.filter((type) => onDemandMicroUsd(type) !== undefined).slice(0, MOST_TYPES), ...COMMON_TYPES])].slice(0, MOST_TYPES)
}

/** The first bids in their order: what they offer, those that run first, then as they came. */
async function readBids(db: Db, zone: string | undefined, types: readonly string[]): Promise<Pick<MarketView, 'bids' | 'bidCount'>> {
  let query = db
    .selectFrom('spot_requests').leftJoin('instances', 'instances.instance_id', 'spot_requests.instance_id')
    .where('spot_requests.state', 'in', LIVING_STATES)
  if (types.length > 0) query = query.where('spot_requests.instance_type', 'in', types)
  if (zone !== undefined) {
    query = query.where((eb) => eb.or([
      eb('instances.zone', '=', zone), eb.and([eb('instances.zone', 'is', null), eb.or([eb('spot_requests.zone', '=', zone), eb('spot_requests.zone', 'is', null)])]),
    ]))
  }
  const counts = await query.groupBy('spot_requests.state').select((eb) => ['spot_requests.state', eb.fn.countAll<number>().as('count')]).execute()
  // `active` comes before the others by its name.
  const rows = await query.selectAll('spot_requests')
    .orderBy('bid_ppm', 'desc').orderBy('spot_requests.state').orderBy('spot_requests.created_ms').orderBy('request_id').limit(MOST_BIDS).execute()
  const ids = rows.flatMap((row) => row.instance_id ?? [])
  const instances = new Map((await inBatches(ids, (batch) =>
    db.selectFrom('instances').selectAll().where('instance_id', 'in', batch).execute())).map((row) => [row.instance_id, row]))
  const names = new Map((await inBatches(ids, (batch) =>
    db.selectFrom('tags').selectAll().where('resource_type', '=', 'instance').where('key', '=', 'Name').where('resource_id', 'in', batch).execute()))
    .map((tag) => [tag.resource_id, tag.value]))
  const countOf = (isRunning: boolean) =>
    counts.filter(({ state }) => (state === 'active') === isRunning).reduce((sum, { count }) => sum + Number(count), 0)
  return {
    bids: rows.map((row, index) => bidView(row, index + 1, instances.get(row.instance_id ?? ''), names.get(row.instance_id ?? '') ?? null)),
    bidCount: { running: countOf(true), waiting: countOf(false) },
  }
}

function bidView(row: SpotRequestTable, place: number, instance: InstanceTable | undefined, name: string | null): BidView {
  // What has come about says so by its status.
  const actionMs = instance && ['pending', 'running'].includes(instance.state) ? instanceDoc(instance).spot?.interruption?.actionMs : undefined
  return {
    place, requestId: row.request_id, state: row.state, status: row.status_code, message: spotRequestDoc(row).statusMessage,
    type: row.instance_type, zone: instance?.zone ?? row.zone, maxPriceMicroUsd: row.max_price_micro_usd, instanceId: row.instance_id, name,
    goesAt: actionMs === undefined ? null : isoTime(actionMs),
  }
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}
