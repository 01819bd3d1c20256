import { loadSpotPrices } from '../ec2/spot-prices.ts'
import { loadSpotSupplies } from '../ec2/spot-supply.ts'
import { frozenSince } from '../model/market-orders.ts'
import { loadMarket } from '../model/spot-market.ts'
import { decideZone, zonePriceOf } from '../spot/zone-market.ts'
import type { Db } from '../store/store.ts'
import { Market } from './market.ts'
import { loadZonePrices } from './zone-prices.ts'

/**
 * The instances of a zone that the market would tell to go if it looked now, as the rows stand: what an order at its hand will
 * bring about. Those that have been told are not among them.
 */
export async function forecastNotices(db: Db, region: string, zone: string, nowMs: number): Promise<string[]> {
  const doc = await loadMarket(db, region)
  const supplies = await loadSpotSupplies(db, region)
  const supply = supplies.get(zone)
  if (!doc || !supply) return []
  const market = new Market([...supplies.keys()])
  await market.fill(db)
  market.measure(supplies)
  const prices = await loadSpotPrices(db, region, nowMs)
  const price = (await loadZonePrices(db, nowMs)).get(zone) ?? zonePriceOf(0, nowMs)
  const isFrozen = frozenSince(doc) !== null
  const { notices } = decideZone({
    book: market.book(zone), pricing: doc.pricing, nowMs, ...supply, price,
    pricePpm: (type, clearingPpm) => prices.pricePpm(type, zone, isFrozen ? price.clearingPpm : clearingPpm),
  })
  return notices
    .filter(({ cause }) => !isFrozen || cause !== 'by-price')
    .flatMap(({ bid }) => market.get(bid.id)?.instanceId ?? [])
}
