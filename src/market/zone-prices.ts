import { PRICE_HISTORY_MS, type SpotZoneDoc } from '../model/spot-market.ts'
import type { ZonePrice } from '../spot/zone-market.ts'
import type { Db, Store } from '../store/store.ts'
import type { Look } from './market-tick.ts'

/** What of a zone's price is written down. */
export type KeptPrice = ZonePrice

/** The prices of zones as own demand has made them. */
export async function loadZonePrices(db: Db, nowMs: number): Promise<Map<string, KeptPrice>> {
  const rows = await db.selectFrom('spot_zones').selectAll().execute()
  return new Map(rows.map((row) => {
    const { averagePpm = row.clearing_ppm, averagedMs = nowMs } = JSON.parse(row.doc) as SpotZoneDoc
    return [row.zone, { clearingPpm: row.clearing_ppm, changedMs: row.updated_ms, averagePpm, averagedMs }]
  }))
}

/** How old the word of an average may be that has not changed. */
const AVERAGE_KEPT_MS = 30_000

/** Writes down what zones cost from now on. While the market is frozen nothing changes. */
export async function publishPrices(store: Store, { nowMs, zones, isFrozen }: Look, of: readonly string[]): Promise<void> {
  if (isFrozen) return
  const news = of.flatMap((zone) => {
    const found = zones.get(zone)
    if (!found) return []
    const { kept, decision: { price } } = found
    return isNews(kept, price) ? [{ zone, price, isNew: price.clearingPpm !== kept.clearingPpm }] : []
  })
  if (news.length === 0) return
  await store.transaction('market.prices', async (db) => {
    for (const { zone, price, isNew } of news) await keepPrice(db, zone, price, isNew, nowMs)
  })
}

function isNews(kept: KeptPrice, price: ZonePrice): boolean {
  return price.clearingPpm !== kept.clearingPpm || price.averagePpm !== kept.averagePpm || price.averagedMs - kept.averagedMs >= AVERAGE_KEPT_MS
}

async function keepPrice(db: Db, zone: string, { clearingPpm, changedMs, averagePpm, averagedMs }: ZonePrice, isNew: boolean, nowMs: number): Promise<void> {
  const known = await db.selectFrom('spot_zones').select('doc').where('zone', '=', zone).executeTakeFirst()
  const own: SpotZoneDoc = { averagePpm, averagedMs }
  const doc = JSON.stringify({ ...(known ? JSON.parse(known.doc) as object : {}), ...own })
  const columns = { clearing_ppm: clearingPpm, updated_ms: changedMs, doc }
  if (known) await db.updateTable('spot_zones').set(columns).where('zone', '=', zone).execute()
  else await db.insertInto('spot_zones').values({ zone, supply_cap_ppm: null, ...columns }).execute()
  if (!isNew) return
  await db
    .insertInto('spot_clearings').values({ zone, at_ms: nowMs, clearing_ppm: clearingPpm })
    .onConflict((conflict) => conflict.columns(['zone', 'at_ms']).doUpdateSet({ clearing_ppm: clearingPpm })).execute()
  await forgetOld(db, zone, nowMs - PRICE_HISTORY_MS)
}

/** Changes of before then are told no more; the last one of them is in force until the next. */
async function forgetOld(db: Db, zone: string, beforeMs: number): Promise<void> {
  const last = await db
    .selectFrom('spot_clearings').select((eb) => eb.fn.max('at_ms').as('at_ms')).where('zone', '=', zone).where('at_ms', '<=', beforeMs)
    .executeTakeFirst()
  if (last?.at_ms === null || last === undefined) return
  await db.deleteFrom('spot_clearings').where('zone', '=', zone).where('at_ms', '<', last.at_ms).execute()
}
