import { forecastNotices } from '../market/forecast.ts'
import { instanceDoc } from '../model/instance.ts'
import { capSupply, freezeMarket, pinPrice } from '../model/market-orders.ts'
import { giveNotice } from '../model/spot-interruption.ts'
import { loadMarket, NOTICE_MS, wakeMarket } from '../model/spot-market.ts'
import type { Db, Store } from '../store/store.ts'
import { findInstance, listInstances } from './instances.ts'
import { checkType, findZone } from './market-view.ts'
import { listZones } from './zones.ts'

/** What an order has done; times as ISO 8601. */
export interface OrderResult {
  /** As a sentence for people, without its end. */
  done: string
  hasChanged: boolean
  /** Instances that get notice because of it; null where that is out of the question. */
  noticed: string[] | null
}

export interface MarketOrders {
  store: Store
  region: string
  /** Letters of the region's zones, for a home without hosts yet. */
  zones: readonly string[]
  nowMs: number
}

/** @throws Error for a zone that there is not. */
async function zoneNamed({ store, region, zones }: MarketOrders, wanted: string): Promise<string> {
  return findZone((await listZones(store, { region, zones })).map(({ zone }) => zone), wanted)
}

/** "0.05", "$0.05", as whole micro-dollars. @throws Error on anything else. */
export function readUsd(text: string): number {
  const [, dollars] = /^\$?(\d{1,6}(?:\.\d{1,6})?)$/.exec(text.trim()) ?? []
  if (dollars === undefined) throw new Error(`"${text}" is not a price; write US dollars per hour, like 0.05, with at most six decimals, or auto`)
  return Math.round(Number(dollars) * 1_000_000)
}

/** "50", "50%", "12.5 %" as parts per million. @throws Error on anything else. */
export function readPercent(text: string): number {
  const [, number] = /^(\d{1,3}(?:\.\d{1,4})?)\s*%?$/.exec(text.trim()) ?? []
  const ppm = Math.round(Number(number) * 10_000)
  if (number === undefined || ppm > 1_000_000) throw new Error(`"${text}" is no part of a zone; write per cent from 0 to 100, or auto`)
  return ppm
}

/** `hearth market set-price TYPE ZONE USD|auto`. */
export async function setPrice(market: MarketOrders, [type, wanted, price]: [string, string, string]): Promise<OrderResult & { zone: string }> {
  checkType(type)
  const zone = await zoneNamed(market, wanted)
  const priceMicroUsd = price === 'auto' ? null : readUsd(price)
  await market.store.transaction('market.set-price', (db) => pinPrice(db, { zone, instanceType: type, priceMicroUsd }, market.nowMs))
  const what = priceMicroUsd === null ? 'follows the market again' : `costs $${priceMicroUsd / 1_000_000} per hour from now on`
  return { zone, done: `${type} in ${zone} ${what}`, hasChanged: true, noticed: await whoHasToGo(market, zone) }
}

/** `hearth market set-supply ZONE PERCENT|auto`. */
export async function setSupply(market: MarketOrders, [wanted, part]: [string, string]): Promise<OrderResult & { zone: string }> {
  const zone = await zoneNamed(market, wanted)
  const capPpm = part === 'auto' ? null : readPercent(part)
  await market.store.transaction('market.set-supply', (db) => capSupply(db, { zone, capPpm }, market.nowMs))
  const what = capPpm === null ? 'what is free of it' : `at most ${capPpm / 10_000} % of it`
  return { zone, done: `spot instances may have ${what} in ${zone}`, hasChanged: true, noticed: await whoHasToGo(market, zone) }
}

/** `hearth market freeze|unfreeze`. */
export async function setFrozen({ store, region, nowMs }: MarketOrders, isFrozen: boolean): Promise<OrderResult> {
  const hasChanged = await store.transaction('market.freeze', (db) => freezeMarket(db, region, isFrozen, nowMs))
  const state = isFrozen ? 'is frozen: prices hold, and nobody has to go because of them' : 'goes on from where it stood'
  return { done: hasChanged ? `the market of ${region} ${state}` : `the market of ${region} ${isFrozen ? 'is frozen' : 'is not frozen'} already`, hasChanged, noticed: null }
}

/**
 * `hearth market interrupt ID`: gives an instance notice now, as if its room were needed.
 *
 * @throws Error for one that is not on spot, does not run, or has been told already.
 */
export async function interruptInstance(
  { store, region, nowMs }: MarketOrders,
  wanted: string,
  inMs: number | undefined,
): Promise<OrderResult & { instanceId: string; action: string; goesAt: string }> {
  const { instanceId, name } = findInstance(await listInstances(store), wanted)
  const label = name === null ? instanceId : `${instanceId} (${name})`
  return store.transaction('market.interrupt', async (db) => {
    const row = await db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId).executeTakeFirstOrThrow()
    if (row.lifecycle !== 'spot') throw new Error(`${label} is not a spot instance; what is on demand is not interrupted`)
    if (row.state !== 'running' && row.state !== 'pending') throw new Error(`${label} is ${row.state}; only what runs can be interrupted`)
    const known = instanceDoc(row).spot?.interruption
    if (known) throw new Error(`${label} has had notice already: ${known.action} at ${isoTime(known.actionMs)}`)
    const noticeMs = inMs ?? (await loadMarket(db, region))?.noticeMs ?? NOTICE_MS
    if (!(await giveNotice(db, row, { cause: 'no-capacity', noticeMs, nowMs }))) throw new Error(`${label} cannot be interrupted now`)
    await wakeMarket(db, nowMs)
    const action = instanceDoc(row).spot?.behavior ?? 'terminate'
    const goesAt = isoTime(nowMs + noticeMs)
    return { instanceId, action, goesAt, done: `${label} has had notice: ${action} at ${goesAt}`, hasChanged: true, noticed: [instanceId] }
  })
}

/** Those whom the market will tell to go, and those whom it has told since: it may have looked already. */
function whoHasToGo({ store, region, nowMs }: MarketOrders, zone: string): Promise<string[]> {
  return store.read(async (db) => [...new Set([...await toldSince(db, zone, nowMs), ...await forecastNotices(db, region, zone, nowMs)])].toSorted())
}

async function toldSince(db: Db, zone: string, sinceMs: number): Promise<string[]> {
  const rows = await db
    .selectFrom('instances').select(['instance_id', 'doc']).where('zone', '=', zone).where('lifecycle', '=', 'spot')
    .where('holds_capacity', '=', 1).execute()
  return rows.filter((row) => (instanceDoc(row).spot?.interruption?.noticeMs ?? -1) >= sinceMs).map((row) => row.instance_id)
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}
