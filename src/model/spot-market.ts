import type { Random } from '../core/random.ts'
import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'

/** How prices are made, see docs/spot.md. */
export type SpotPricing = 'smoothed' | 'auction'

/** What of a region's market is settled: by the settings of the last `hearth up`, and by `hearth market`. */
export interface SpotMarketDoc {
  /** Of the simulated market of others. */
  seed: number
  /** When the series of that market begin: some time before the region did. */
  originMs: number
  pricing: SpotPricing
  /** Whether there is a simulated market of others. */
  background: boolean
  /** From a notice to the end of the instance. */
  noticeMs: number
  /** What spot leaves free of each zone, for instances on demand to start at once; parts per million. */
  bufferPpm: number
  /** In these times the market stood still; the last one may go on. */
  freezes: { fromMs: number; untilMs: number | null }[]
  /** Until then nothing is launched but by a call: the cloud is being taken down. Absent for never. */
  standsStillUntilMs?: number | undefined
}

/** What of a zone's market SQL never looks into: what its smoothed price follows, see `ZonePrice`. */
export interface SpotZoneDoc {
  averagePpm?: number
  averagedMs?: number
}

/** EC2's two minutes. */
export const NOTICE_MS = 120_000

/** How far back prices are known: DescribeSpotPriceHistory tells 90 days. */
export const PRICE_HISTORY_MS = 90 * 24 * 60 * 60 * 1000

/** What settings say of it. */
export type SpotMarketSettings = Pick<SpotMarketDoc, 'pricing' | 'background' | 'noticeMs'>

export const DEFAULT_SPOT_MARKET: SpotMarketSettings = { pricing: 'smoothed', background: true, noticeMs: NOTICE_MS }

const marketOf = prepared((db, region: string) => db.selectFrom('spot_market').select('doc').where('region', '=', region))

/** The region's market; undefined before it has begun. */
export async function loadMarket(db: Db, region: string): Promise<SpotMarketDoc | undefined> {
  const [row] = await marketOf(db, region)
  return row && (JSON.parse(row.doc) as SpotMarketDoc)
}

/** The region's market as its agent begins: begun now where there is none, with what `settings` say of it. */
export async function ensureMarket(
  db: Db,
  { region, random, nowMs, settings }: { region: string; random: Random; nowMs: number; settings?: SpotMarketSettings | undefined },
): Promise<SpotMarketDoc> {
  const known = await loadMarket(db, region)
  const begun: SpotMarketDoc = known ?? {
    seed: random.int(2 ** 31), originMs: nowMs - PRICE_HISTORY_MS, bufferPpm: 50_000, freezes: [], ...DEFAULT_SPOT_MARKET,
  }
  const market: SpotMarketDoc = { ...begun, ...settings, standsStillUntilMs: undefined }
  const doc = JSON.stringify(market)
  if (known && JSON.stringify(known) === doc) return market
  await db
    .insertInto('spot_market').values({ region, doc })
    .onConflict((conflict) => conflict.column('region').doUpdateSet({ doc })).execute()
  return market
}

/** How long a cloud that is taken down launches nothing, after it was last told: one that is not taken down in the end goes on by itself. */
const STANDSTILL_MS = 30_000

/**
 * For some time neither markets nor fleets launch anything, or start it again: room that is given up now is not to be filled. To be
 * said again while that is so; what begins to run anew goes on.
 */
export async function standStill(db: Db, nowMs: number): Promise<void> {
  for (const { region, doc } of await db.selectFrom('spot_market').selectAll().execute()) {
    const market = JSON.parse(doc) as SpotMarketDoc
    // It is said several times a second.
    if ((market.standsStillUntilMs ?? 0) > nowMs + STANDSTILL_MS / 2) continue
    const standing: SpotMarketDoc = { ...market, standsStillUntilMs: nowMs + STANDSTILL_MS }
    await db.updateTable('spot_market').set({ doc: JSON.stringify(standing) }).where('region', '=', region).execute()
  }
}

/** How much longer nothing is launched, milliseconds; 0 for not at all. */
export function standstillLeftMs(market: Pick<SpotMarketDoc, 'standsStillUntilMs'> | undefined, nowMs: number): number {
  return Math.max(0, (market?.standsStillUntilMs ?? 0) - nowMs)
}

/** The id of the market's work: one for the region, so that one run decides after another. */
export const MARKET_WORK_ID = 'market'

const firstNode = prepared((db) => db.selectFrom('hosts').select('host_id').where('zone', 'is', null).orderBy('host_id').limit(1))

/** The node whose agent runs what there is one of in a region: the market, fleets, deliveries of events. Undefined before any has come. */
export async function leadingNode(db: Db): Promise<string | undefined> {
  const [node] = await firstNode(db)
  return node?.host_id
}

/** The market is to look again, at `dueMs`. */
export async function wakeMarket(db: Db, dueMs: number): Promise<void> {
  const nodeId = await leadingNode(db)
  if (nodeId !== undefined) await enqueue(db, { kind: 'market', id: MARKET_WORK_ID, hostId: nodeId }, dueMs)
}

/** The leading node, where any request lives or any fleet is to be looked at. */
const nodeToWake = prepared((db) =>
  db.selectFrom('hosts').select('hosts.host_id')
    .where('hosts.host_id', '=', (eb) =>
      eb.selectFrom('hosts as nodes').select((node) => node.fn.min('nodes.host_id').as('first')).where('nodes.zone', 'is', null))
    .where((eb) => eb.or([
      eb.exists(eb.selectFrom('spot_requests').select('request_id').where('state', 'in', ['open', 'active', 'disabled'])),
      eb.exists(eb.selectFrom('work').select('work.id').whereRef('work.host_id', '=', 'hosts.host_id').where('work.kind', '=', 'fleet')),
    ])))

/** The same, where the market, or a fleet that waits, has anything to do with what was taken of a zone's room, or given back. */
export async function wakeMarketOfRoom(db: Db, nowMs: number): Promise<void> {
  const [node] = await nodeToWake(db)
  if (node) await enqueue(db, { kind: 'market', id: MARKET_WORK_ID, hostId: node.host_id }, nowMs)
}
