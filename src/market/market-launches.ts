import { ApiError, messageOf } from '../core/errors.ts'
import { fulfilSpotRequest, groupOf, OF_ROOM } from '../ec2/spot-fulfil.ts'
import { noSpotCapacity } from '../ec2/spot-places.ts'
import { loadSpotPrices, type SpotPrices } from '../ec2/spot-prices.ts'
import { returnSpotInstance } from '../ec2/spot-return.ts'
import { loadSpotSupplies, spotRoom, type ZoneSupply } from '../ec2/spot-supply.ts'
import { isFatal } from '../reconcile/loop.ts'
import { compareBids, type Bid } from '../spot/book.ts'
import type { ZoneDecision } from '../spot/zone-market.ts'
import type { SpotRequestTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { contextFor } from './context.ts'
import { wantsBack } from './fleet-members.ts'
import type { RegionalOptions } from './index.ts'
import { explainWaiting, rowsOf } from './market-acts.ts'
import type { Market, Participant } from './market.ts'
import { isEnding } from './spot-request.ts'

/** Launches in one look at the market: then it looks anew at supplies and prices. */
const MOST_LAUNCHES = 200

/** Where launches may go, and what they cost there. */
export interface LaunchGround {
  supplies: ReadonlyMap<string, ZoneSupply>
  prices: SpotPrices
  zones: ReadonlyMap<string, { decision: ZoneDecision }>
}

type Attempt = 'launched' | 'gone' | Error

/** After so many failures that have nothing to do with the request, in about ten minutes, it is told of a system error. */
const MOST_FAILURES = 5

/**
 * Launches requests that wait and starts instances that are to come back, in order of their bids over all zones. One that several
 * zones have room for goes to the cheapest of them, then to the one with most room, then by name.
 *
 * @returns how many.
 */
export async function launchInOrder(options: RegionalOptions, market: Market, ground: LaunchGround): Promise<number> {
  const heads = new Map<string, Bid>()
  const seen = new Set<string>()
  const advance = (zone: string) => {
    const queue = ground.zones.get(zone)?.decision.launches
    for (let bid = queue?.next(); ; bid = queue?.next()) {
      if (bid === undefined) return void heads.delete(zone)
      if (!seen.has(bid.id) && !market.isPutOff(bid.id, options.clock.now())) return void heads.set(zone, bid)
    }
  }
  for (const zone of ground.zones.keys()) advance(zone)
  const free = new Map([...ground.supplies.values()].map((each) => [each.zone, each.supplyUnits - each.heldUnits]))
  let launched = 0
  while (heads.size > 0 && launched < MOST_LAUNCHES) {
    const [first] = [...heads.values()].toSorted(compareBids)
    const participant = first && market.get(first.id)
    if (!first) break
    const zones = [...heads].filter(([, bid]) => bid.id === first.id).map(([zone]) => zone)
    seen.add(first.id)
    const zone = participant && await launchOne(options, market, participant, inOrderOfPrice(zones, participant, ground.prices, free), (full) => {
      const bid = heads.get(full)
      if (bid) ground.zones.get(full)?.decision.launches.noHost(bid)
    })
    if (zone !== undefined) {
      launched += 1
      const bid = heads.get(zone) ?? first
      ground.zones.get(zone)?.decision.launches.took(bid)
      free.set(zone, (free.get(zone) ?? 0) - bid.units)
    }
    await options.store.read((db) => market.refresh(db, first.id))
    for (const each of zones) advance(each)
  }
  return launched
}

function inOrderOfPrice(zones: readonly string[], { instanceType }: Participant, prices: SpotPrices, free: ReadonlyMap<string, number>): string[] {
  const price = (zone: string) => prices.priceMicroUsd(instanceType, zone) ?? Infinity
  return zones.toSorted((a, b) => price(a) - price(b) || (free.get(b) ?? 0) - (free.get(a) ?? 0) || (a < b ? -1 : 1))
}

/** Tries one zone after another; what fails in all of them is told to the request. The zone that it was launched in. */
async function launchOne(
  options: RegionalOptions,
  market: Market,
  participant: Participant,
  zones: readonly string[],
  noHost: (zone: string) => void,
): Promise<string | undefined> {
  let failure: Error | undefined
  for (const zone of zones) {
    const outcome = await tryIn(options, participant, zone)
    if (outcome === 'launched') return zone
    if (outcome === 'gone') return undefined
    failure ??= outcome
    if (isUnexpected(outcome)) {
      options.log.warn('a spot request could not be fulfilled', { request: participant.id, error: messageOf(outcome) })
      if (market.putOff(participant.id, options.clock.now()) < MOST_FAILURES) return undefined
    }
    if (!(outcome instanceof ApiError && outcome.code === 'InsufficientInstanceCapacity')) break
    noHost(zone)
  }
  if (failure && participant.part === 'waiting') await quietly(options, participant, () => explainWaiting(options, participant, failure))
  return undefined
}

/** One transaction: all of it, or nothing where it fails. */
function tryIn(options: RegionalOptions, participant: Participant, zone: string): Promise<Attempt> {
  const { store, clock } = options
  return store.transaction('market.launch', async (db): Promise<Attempt> => {
    const { request, instance } = await rowsOf(db, participant)
    if (!request) return 'gone'
    const context = contextFor(options, db, request.account_id, clock.now())
    if (participant.part === 'waiting') {
      if (request.state !== 'open') return 'gone'
      await fulfilSpotRequest(context, request, zone)
      return 'launched'
    }
    if (request.state !== 'disabled' || instance?.state !== 'stopped') return 'gone'
    if (request.fleet_id !== null && !(await wantsBack(db, request.fleet_id))) return 'gone'
    if (await isGroupGoing(db, request)) return 'gone'
    await requireRoom(options, db, participant, { zone, maxPriceMicroUsd: request.max_price_micro_usd })
    await returnSpotInstance(context, request, instance)
    return 'launched'
  }).catch((error: unknown) => {
    if (isFatal(error)) throw error
    return error instanceof Error ? error : new Error(String(error))
  })
}

/** Whether a launch failed for nothing that its request asks for: a fault, or a database that has no turn for it now. */
function isUnexpected(error: Error): boolean {
  return !(error instanceof ApiError) || (error.httpStatus >= 500 && !OF_ROOM.has(error.code))
}

/**
 * Whether others of its launch group are on their way to a stop: whoever came back before they have stopped would be taken for one that
 * ran with them, and would have to go with them again.
 */
async function isGroupGoing(db: Db, { account_id: account, launch_group: group, request_id: id }: SpotRequestTable): Promise<boolean> {
  if (group === null) return false
  for (const mate of await groupOf(db, account, group)) {
    if (mate.request_id === id || mate.state !== 'active') continue
    const instance = await db.selectFrom('instances').select(['state', 'doc']).where('instance_id', '=', mate.instance_id ?? '').executeTakeFirst()
    if (isEnding(instance)) return true
  }
  return false
}

/** What comes back has to have a price and room as what is launched. */
async function requireRoom(
  { region, clock }: RegionalOptions,
  db: Db,
  { instanceType, size }: Participant,
  { zone, maxPriceMicroUsd }: { zone: string; maxPriceMicroUsd: number },
): Promise<void> {
  const nowMs = clock.now()
  const price = (await loadSpotPrices(db, region, nowMs)).priceMicroUsd(instanceType, zone)
  if (price === undefined || price > maxPriceMicroUsd) throw new ApiError('SpotMaxPriceTooLow', 'The price is above the offer.')
  if (spotRoom((await loadSpotSupplies(db, region)).get(zone), size) < 1) throw noSpotCapacity()
}

/** A failure of one is not that of others. */
async function quietly({ log }: RegionalOptions, { id }: Participant, body: () => Promise<unknown>): Promise<void> {
  try {
    await body()
  } catch (error) {
    if (isFatal(error)) throw error
    log.warn('a spot request could not be fulfilled', { request: id, error: messageOf(error) })
  }
}
