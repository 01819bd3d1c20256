import { ApiError } from '../core/errors.ts'
import { dollars, noSpotCapacity } from '../ec2/spot-places.ts'
import { loadSpotPrices, type SpotPrices } from '../ec2/spot-prices.ts'
import { loadSpotSupplies, type ZoneSupply } from '../ec2/spot-supply.ts'
import { wakeFleet } from '../model/fleet.ts'
import { isFrozen } from '../model/spot-market-time.ts'
import { loadMarket, standstillLeftMs, type SpotMarketDoc } from '../model/spot-market.ts'
import { priceTooLow } from '../model/spot-request.ts'
import { failedZones } from '../model/zone.ts'
import { again, DONE, type Outcome, type Reconciler } from '../reconcile/loop.ts'
import { TYPICAL_PPM } from '../spot/clearing.ts'
import { decideZone, zonePriceOf, type ZoneDecision, type ZonePrice } from '../spot/zone-market.ts'
import type { RegionalOptions } from './index.ts'
import { adviseInstance, contained, explainWaiting, noticeInstance } from './market-acts.ts'
import { launchInOrder } from './market-launches.ts'
import type { Market, Participant } from './market.ts'
import type { WaitingFleets } from './waiting-fleets.ts'
import { loadZonePrices, publishPrices, type KeptPrice } from './zone-prices.ts'

/** How often it is looked whether prices have moved, where anybody is on spot or wants to be. */
const LOOK_MS = 60_000


/** Requests that wait and are told why, in one tick. */
const MOST_EXPLAINED = 200

/** All that one look at the market sees. */
export interface Look {
  nowMs: number
  doc: SpotMarketDoc
  /** Prices hold, and nobody has to go because of them. */
  isFrozen: boolean
  supplies: Map<string, ZoneSupply>
  prices: SpotPrices
  zones: Map<string, { kept: KeptPrice; decision: ZoneDecision }>
}

/** The market of a region: one look at it decides for all of its zones. */
export function createMarketReconciler(options: RegionalOptions, market: Market, waiting: WaitingFleets): Reconciler {
  return { reconcile: () => tick(options, market, waiting) }
}

/**
 * Launches what has room, in order of bids; then, as that leaves it, makes prices, and tells those who have to go. Each act is a
 * transaction of its own that looks at its rows again, so that a crash between two leaves nothing half done, and the next look goes on
 * from there.
 */
async function tick(options: RegionalOptions, market: Market, waiting: WaitingFleets): Promise<Outcome> {
  return market.hold(async () => {
    const seen = await look(options, market, waiting)
    if (!seen) return DONE
    const stillMs = standstillLeftMs(seen.doc, seen.nowMs)
    if (stillMs > 0) return again(stillMs)
    // Who has won at a lower price can be launched at that only.
    await publishPrices(options.store, seen, [...seen.zones].filter(([, { kept, decision }]) => decision.price.clearingPpm < kept.clearingPpm).map(([zone]) => zone))
    // What was launched stands in the books after this look: then prices rise, and those are told who have to go.
    if (await launchInOrder(options, market, seen) > 0) return again(0)
    await publishPrices(options.store, seen, [...seen.zones.keys()])
    await tell(options, market, seen)
    if (waiting.size > 0) await wakeFleets(options, waiting)
    return pauseAfter(market, seen)
  })
}

async function look({ store, clock, region }: RegionalOptions, market: Market, waiting: WaitingFleets): Promise<Look | undefined> {
  const nowMs = clock.now()
  const seen = await store.read(async (db) => {
    const kept = await loadZonePrices(db, nowMs)
    if (market.size === 0 && waiting.size === 0 && [...kept.values()].every(isAtRest)) return undefined
    const doc = await loadMarket(db, region)
    return doc && {
      doc, kept, supplies: await loadSpotSupplies(db, region), prices: await loadSpotPrices(db, region, nowMs), failed: await failedZones(db),
    }
  })
  if (!seen) return undefined
  const { doc, kept, supplies, prices, failed } = seen
  market.measure(supplies)
  const stands = isFrozen(doc.freezes, nowMs)
  const zones: Look['zones'] = new Map()
  for (const supply of supplies.values()) {
    // Who is in a zone that has failed shares its fate.
    if (failed.includes(supply.zone)) continue
    const price = kept.get(supply.zone) ?? zonePriceOf(0, nowMs - LOOK_MS)
    const pricePpm = (type: string, clearingPpm: number) => prices.pricePpm(type, supply.zone, stands ? price.clearingPpm : clearingPpm)
    const decision = decideZone({
      book: market.book(supply.zone), pricing: doc.pricing, nowMs, ...supply, pricePpm,
      // Of what it has not seen it knows nothing.
      price: { ...price, averagedMs: Math.max(price.averagedMs, nowMs - LOOK_MS) },
    })
    zones.set(supply.zone, { kept: price, decision })
  }
  return { nowMs, doc, isFrozen: stands, supplies, prices, zones }
}

/** Fleets that could not launch before, and could now that supplies and prices are others. */
async function wakeFleets({ store, clock, region }: RegionalOptions, waiting: WaitingFleets): Promise<void> {
  const nowMs = clock.now()
  const ground = await store.read(async (db) => ({
    supplies: await loadSpotSupplies(db, region), prices: await loadSpotPrices(db, region, nowMs),
  }))
  const ids = waiting.hopeful(ground)
  if (ids.length === 0) return
  await store.transaction('market.fleets', async (db) => {
    for (const id of ids) await wakeFleet(db, id, nowMs)
  })
}

/** Notices, recommendations, and words to those who wait. */
async function tell(options: RegionalOptions, market: Market, { doc, isFrozen: stands, zones, prices }: Look): Promise<void> {
  const act = async (what: string, id: string, body: (participant: Participant) => Promise<void>) => {
    const participant = market.get(id)
    if (participant) await contained(options, market, { what, id }, () => body(participant))
  }
  for (const { decision } of zones.values()) {
    for (const { bid, cause } of decision.notices) {
      if (stands && cause === 'by-price') continue
      await act('notice', bid.id, (participant) => noticeInstance(options, participant, { cause, noticeMs: doc.noticeMs }))
    }
    for (const bid of decision.rebalance) {
      if (market.get(bid.id)?.isAdvised === false) await act('rebalance', bid.id, (participant) => adviseInstance(options, participant))
    }
  }
  // Who is put off waits for neither price nor room.
  const unexplained = [...market.unexplained].filter((id) => !market.isPutOff(id, options.clock.now()))
  for (const id of unexplained.slice(0, MOST_EXPLAINED)) {
    await act('explain', id, (participant) => explainWaiting(options, participant, whyWaiting(participant, prices), { onlyOnce: true }))
  }
}

/** As its launch would fail: its price, or room. */
function whyWaiting({ instanceType, zones, bidPpm, maxPriceMicroUsd }: Participant, prices: SpotPrices): ApiError {
  if (zones.some((zone) => (prices.pricePpm(instanceType, zone) ?? Infinity) <= bidPpm)) return noSpotCapacity()
  const lowest = Math.min(...zones.map((zone) => prices.priceMicroUsd(instanceType, zone) ?? Infinity))
  return Number.isFinite(lowest) ? new ApiError('SpotMaxPriceTooLow', priceTooLow(dollars(maxPriceMicroUsd), dollars(lowest))) : noSpotCapacity()
}

/** An average this near to where prices rest makes no price. */
const REST_PPM = 500

/** Whether a zone's price is where it is without any demand, and has nothing left to follow. */
function isAtRest({ clearingPpm, averagePpm }: ZonePrice): boolean {
  return clearingPpm === 0 && averagePpm < TYPICAL_PPM + REST_PPM
}

/** Until the market of others changes a price that is bid for, and a minute at most; for good where nobody is on spot. */
function pauseAfter(market: Market, { nowMs, prices, zones }: Look): Outcome {
  if (market.size === 0 && [...zones.values()].every(({ decision }) => isAtRest(decision.price))) return DONE
  let nextMs = nowMs + LOOK_MS
  for (const zone of zones.keys()) {
    for (const type of market.book(zone).types()) nextMs = Math.min(nextMs, prices.nextBackgroundMs(type, zone, nowMs, nextMs) ?? nextMs)
  }
  return again(Math.max(1, nextMs - nowMs))
}
