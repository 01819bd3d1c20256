import { onDemandMicroUsd } from '../catalogue/on-demand-prices.ts'
import type { Db } from '../store/store.ts'
import { loadMarket, PRICE_HISTORY_MS, wakeMarket, type SpotMarketDoc } from './spot-market.ts'

// What somebody who drives the market by hand has it do. Each is one transaction's worth of rows; the market looks at once.

/** Parts per million: what a part of a zone is measured in. */
const WHOLE = 1_000_000

/** An order that makes no sense here: nothing was changed. */
class MarketOrderError extends Error {}

/**
 * Sets the price of a type in a zone from now on, micro-dollars per hour; null has it follow the market again.
 *
 * @throws MarketOrderError for a type that is not had on spot, and for a price that spot cannot have: none, or beyond on demand.
 */
export async function pinPrice(
  db: Db,
  { zone, instanceType, priceMicroUsd }: { zone: string; instanceType: string; priceMicroUsd: number | null },
  nowMs: number,
): Promise<void> {
  const onDemand = onDemandMicroUsd(instanceType)
  if (onDemand === undefined) throw new MarketOrderError(`"${instanceType}" is no instance type that is had on spot; its price on demand is not known`)
  if (priceMicroUsd !== null && !(Number.isSafeInteger(priceMicroUsd) && priceMicroUsd >= 1 && priceMicroUsd <= onDemand)) {
    throw new MarketOrderError(`the price of ${instanceType} on spot can be from $0.000001 to $${onDemand / WHOLE}, its price on demand`)
  }
  await db
    .insertInto('spot_pins').values({ zone, instance_type: instanceType, at_ms: nowMs, price_micro_usd: priceMicroUsd })
    .onConflict((conflict) => conflict.columns(['zone', 'instance_type', 'at_ms']).doUpdateSet({ price_micro_usd: priceMicroUsd })).execute()
  await forgetOldPins(db, { zone, instanceType }, nowMs - PRICE_HISTORY_MS)
  await wakeMarket(db, nowMs)
}

/** What a price was set to before then is told no more; the last of it is in force until the next. */
async function forgetOldPins(db: Db, { zone, instanceType }: { zone: string; instanceType: string }, beforeMs: number): Promise<void> {
  const last = await db
    .selectFrom('spot_pins').select((eb) => eb.fn.max('at_ms').as('at_ms')).where('zone', '=', zone).where('instance_type', '=', instanceType)
    .where('at_ms', '<=', beforeMs).executeTakeFirst()
  if (last?.at_ms === null || last === undefined) return
  await db.deleteFrom('spot_pins').where('zone', '=', zone).where('instance_type', '=', instanceType).where('at_ms', '<', last.at_ms).execute()
}

/**
 * Sets the most of a zone that spot instances may have, parts per million; null for whatever is free.
 *
 * @throws MarketOrderError for more than a whole, or less than nothing.
 */
export async function capSupply(db: Db, { zone, capPpm }: { zone: string; capPpm: number | null }, nowMs: number): Promise<void> {
  if (capPpm !== null && !(Number.isSafeInteger(capPpm) && capPpm >= 0 && capPpm <= WHOLE)) {
    throw new MarketOrderError('spot instances may have from 0 to 100 per cent of a zone')
  }
  const known = await db.selectFrom('spot_zones').select('zone').where('zone', '=', zone).executeTakeFirst()
  if (known) await db.updateTable('spot_zones').set({ supply_cap_ppm: capPpm }).where('zone', '=', zone).execute()
  else await db.insertInto('spot_zones').values({ zone, clearing_ppm: 0, supply_cap_ppm: capPpm, updated_ms: nowMs, doc: '{}' }).execute()
  await wakeMarket(db, nowMs)
}

/** Since when the market stands still; null while it does not. */
export function frozenSince(market: Pick<SpotMarketDoc, 'freezes'> | undefined): number | null {
  const last = market?.freezes.at(-1)
  return last && last.untilMs === null ? last.fromMs : null
}

/**
 * Has the market of a region stand still from now on, or go on where it stood.
 *
 * @returns false where it did so already.
 * @throws MarketOrderError before the market has begun.
 */
export async function freezeMarket(db: Db, region: string, isFrozen: boolean, nowMs: number): Promise<boolean> {
  const market = await loadMarket(db, region)
  if (!market) throw new MarketOrderError(`the market of ${region} has not begun yet; it does with the first hearth up`)
  if ((frozenSince(market) !== null) === isFrozen) return false
  const freezes = isFrozen
    ? [...market.freezes, { fromMs: nowMs, untilMs: null }]
    : market.freezes.map((each) => (each.untilMs === null ? { ...each, untilMs: Math.max(each.fromMs, nowMs) } : each))
  await db.updateTable('spot_market').set({ doc: JSON.stringify({ ...market, freezes }) }).where('region', '=', region).execute()
  await wakeMarket(db, nowMs)
  return true
}
