import { messageOf } from '../core/errors.ts'
import { noteFulfilmentFailure } from '../ec2/spot-fulfil.ts'
import { loadSpotPrices } from '../ec2/spot-prices.ts'
import { loadSpotSupplies } from '../ec2/spot-supply.ts'
import { giveNotice, recommendRebalance } from '../model/spot-interruption.ts'
import { isFatal } from '../reconcile/loop.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { contextFor } from './context.ts'
import type { RegionalOptions } from './index.ts'
import { UNEXPLAINED, type Market, type Participant } from './market.ts'

/** What the market does to one request: a transaction that looks at its rows again, for the books may be older than these. */

/** The request and its instance as they are in this transaction. */
export async function rowsOf(db: Db, { id }: Pick<Participant, 'id'>): Promise<{ request?: SpotRequestTable; instance?: InstanceTable }> {
  const request = await db.selectFrom('spot_requests').selectAll().where('request_id', '=', id).executeTakeFirst()
  const instanceId = request?.instance_id ?? null
  const instance = instanceId === null
    ? undefined : await db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId).executeTakeFirst()
  // One that was restored after its termination is nobody's any more.
  return { ...(request ? { request } : {}), ...(instance?.spot_request_id === id ? { instance } : {}) }
}

/** Tells an instance that it has to go; for want of room only while there is none, by price only while it offers no more than that. */
export async function noticeInstance(
  { store, clock, region }: RegionalOptions,
  participant: Participant,
  { cause, noticeMs }: { cause: 'by-price' | 'no-capacity'; noticeMs: number },
): Promise<void> {
  await store.transaction('market.notice', async (db) => {
    const nowMs = clock.now()
    const { request, instance } = await rowsOf(db, participant)
    if (!request || !instance || instance.instance_id !== participant.instanceId) return
    if (cause === 'by-price') {
      // Of equal offers an auction has some lose: only one above the price stays whatever others offer.
      const price = (await loadSpotPrices(db, region, nowMs)).pricePpm(instance.instance_type, instance.zone)
      if (price !== undefined && request.bid_ppm > price) return
    }
    if (cause === 'no-capacity') {
      const supply = (await loadSpotSupplies(db, region)).get(instance.zone)
      if (supply && supply.keptUnits <= supply.supplyUnits) return
    }
    await giveNotice(db, instance, { cause, noticeMs, nowMs })
  })
}

/** Tells an instance that it is at an elevated risk. */
export async function adviseInstance({ store, clock }: RegionalOptions, participant: Participant): Promise<void> {
  await store.transaction('market.rebalance', async (db) => {
    const { instance } = await rowsOf(db, participant)
    if (instance && instance.instance_id === participant.instanceId) await recommendRebalance(db, instance, clock.now())
  })
}

/** Tells a request why it waits; with `onlyOnce` unless it has been told something already. */
export async function explainWaiting(
  options: RegionalOptions,
  participant: Participant,
  why: Error,
  { onlyOnce = false } = {},
): Promise<void> {
  await options.store.transaction('market.explain', async (db) => {
    const { request } = await rowsOf(db, participant)
    if (request && !(onlyOnce && !UNEXPLAINED.includes(request.status_code))) await noteFulfilmentFailure(contextFor(options, db, request.account_id, options.clock.now()), request, why)
  })
}

/** Runs what concerns one request, whose failure is not that of others, and takes note of what has become of it. */
export async function contained(
  { store, log }: RegionalOptions,
  market: Market,
  { what, id }: { what: string; id: string },
  body: () => Promise<unknown>,
): Promise<void> {
  try {
    await body()
  } catch (error) {
    if (isFatal(error)) throw error
    log.warn('the spot market could not do that', { what, request: id, error: messageOf(error) })
  }
  await store.read((db) => market.refresh(db, id))
}
