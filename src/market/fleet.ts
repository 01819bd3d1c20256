import type { Context } from '../ec2/context.ts'
import { poolsOf, type Pool } from '../ec2/create-fleet-pools.ts'
import { startInstances, terminateInstances } from '../ec2/instance-lifecycle.ts'
import { freeUnitsOf } from '../ec2/fleet-launch-spot.ts'
import { loadSpotPrices, type SpotPrices } from '../ec2/spot-prices.ts'
import { loadSpotSupplies } from '../ec2/spot-supply.ts'
import { ApiError } from '../core/errors.ts'
import { findFleet, type FleetState } from '../model/fleet.ts'
import { noteFleetEvent } from '../model/fleet-history.ts'
import type { EngineDoc, FleetProgress, FleetSpec } from '../model/fleet-spec.ts'
import { giveNotice } from '../model/spot-interruption.ts'
import { loadMarket, NOTICE_MS, standstillLeftMs } from '../model/spot-market.ts'
import { again, DONE, type Outcome, type Reconciler } from '../reconcile/loop.ts'
import { attempt } from '../store/savepoint.ts'
import { contextFor } from './context.ts'
import { launchMissing, tellErrors } from './fleet-launch.ts'
import { loadMembers, priceOf, wakeStoppedMembers, type FleetAtHand } from './fleet-members.ts'
import { chooseExcess, countsAsLiving, isAny, planFleet, type ExcessOrder, type FleetMember, type FleetPlan } from './fleet-plan.ts'
import type { RegionalOptions } from './index.ts'
import type { WaitingFleets } from './waiting-fleets.ts'

/** How soon it is looked again whether the cloud goes down. */
const REST_MS = 1000
/** How soon an instance is asked again to go that may not be terminated. */
const PROTECTED_RETRY_MS = 60_000

/**
 * The reconciler of fleets of type `request` and `maintain`, of CreateFleet and of RequestSpotFleet alike. Each look is one
 * transaction, in which it reads the fleet and its instances, and launches and terminates so much as one transaction may: what a crash
 * leaves is either before or after it.
 */
export function createFleetReconciler(options: RegionalOptions, waiting: WaitingFleets): Reconciler {
  const { store, clock } = options
  return {
    reconcile: async (id) => {
      const hopes = waiting.takeHope(id)
      return store.transaction('fleet.look', async (db) => {
        const row = await findFleet(db, id)
        waiting.forget(id)
        if (!row || row.type === 'instant') return DONE
        const context = contextFor(options, db, row.account_id, clock.now())
        const stillMs = standstillLeftMs(await loadMarket(db, options.region), context.nowMs)
        if (stillMs > 0) return again(Math.min(stillMs, REST_MS))
        const doc = JSON.parse(row.doc) as EngineDoc
        if (hopes && doc.progress.backoff) doc.progress.backoff.untilMs = context.nowMs
        return look(context, waiting, { row, doc, members: await loadMembers(db, { fleetId: id, nowMs: context.nowMs, spec: doc.spec }) })
      })
    },
  }
}

async function look(context: Context, waiting: WaitingFleets, fleet: FleetAtHand): Promise<Outcome> {
  const { row, doc, members } = fleet
  const { db, nowMs, region } = context
  const plan = planFleet({ state: row.state as FleetState, spec: doc.spec, progress: doc.progress, members, nowMs })
  if (plan.isExpired) await noteFleetEvent(db, row, region, { type: 'fleetRequestChange', subType: 'expired' }, nowMs)
  for (const { subType } of plan.moves) await noteFleetEvent(db, row, region, { type: 'fleetRequestChange', subType }, nowMs)
  const kept = await terminate(context, plan.end)
  const { progress, isPartial } = await resize(context, waiting, { fleet, plan })
  if (plan.missing.spot > 0 && progress.fulfilledSpot < doc.spec.target.spot) await wakeStoppedMembers(db, row.fleet_id, nowMs)
  await db.updateTable('fleets').set({
    state: plan.moves.at(-1)?.to ?? row.state,
    doc: JSON.stringify({ ...doc, progress, ...(plan.isExpired ? { deletedMs: nowMs } : {}) }),
  }).where('fleet_id', '=', row.fleet_id).execute()
  const nextMs = [plan.nextMs, progress.backoff?.untilMs, kept ? nowMs + PROTECTED_RETRY_MS : null, isPartial ? nowMs : null]
    .filter((time) => time !== null && time !== undefined)
  return nextMs.length === 0 ? DONE : again(Math.max(0, Math.min(...nextMs) - nowMs))
}

/** Terminates what is too much and launches what is missing. @returns how far it is then, and whether more of that is to be done at once. */
async function resize(context: Context, waiting: WaitingFleets, { fleet, plan }: { fleet: FleetAtHand; plan: FleetPlan }): Promise<{ progress: FleetProgress; isPartial: boolean }> {
  const { row, doc: { spec } } = fleet
  if (!isAny(plan.missing) && !isAny(plan.excess)) return { progress: plan.progress, isPartial: false }
  const prices = await loadSpotPrices(context.db, context.region, context.nowMs)
  const pools = await attempt(context.db, () => poolsOf(context, spec, spec.target.spot > 0 ? prices : null))
  if (isAny(plan.excess)) {
    const chosen = await excessOf(context, fleet, { plan, pools: pools instanceof ApiError ? [] : pools, prices })
    const { noticeMs = NOTICE_MS } = await loadMarket(context.db, context.region) ?? {}
    for (const { instanceId, lifecycle } of chosen) {
      await noteFleetEvent(context.db, row, context.region, { type: 'instanceChange', subType: 'termination_notified', instanceId }, context.nowMs)
      if (lifecycle === 'spot') await giveNotice(context.db, { instance_id: instanceId }, { cause: 'fleet-excess', noticeMs, nowMs: context.nowMs })
    }
    await terminate(context, chosen.filter(({ lifecycle }) => lifecycle === 'on-demand').map(({ instanceId }) => instanceId))
  }
  if (!isAny(plan.missing)) return { progress: plan.progress, isPartial: false }
  if (await startRested(context, fleet, plan)) return { progress: plan.progress, isPartial: true }
  if (pools instanceof ApiError) {
    return { progress: await tellErrors(context, row, plan.progress, { events: [invalid(pools)], isNothing: true }), isPartial: false }
  }
  const launched = await launchMissing(context, fleet, { plan, pools, prices })
  if (plan.missing.spot > 0 && launched.progress.backoff !== null) {
    waiting.wait(row.fleet_id, pools, { prices, supplies: await loadSpotSupplies(context.db, context.region) })
  }
  return launched
}

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EventInformation.html */
function invalid(error: ApiError) {
  return { type: 'error', subType: 'spotFleetRequestConfigurationInvalid', description: error.message } as const
}

/** Starts instances again that `hearth down` has stopped, before others are launched in their place. @returns whether any is starting. */
async function startRested(context: Context, { members }: FleetAtHand, { missing }: FleetPlan): Promise<boolean> {
  const left = { 'on-demand': missing.onDemand, spot: missing.spot }
  let isAnyStarting = false
  for (const { instanceId, lifecycle, weight, rests } of members) {
    if (rests !== 'by-down' || left[lifecycle] <= 0) continue
    const started = await attempt(context.db, () => startInstances(context, { InstanceIds: [instanceId] }))
    if (started instanceof ApiError) continue
    left[lifecycle] -= weight
    isAnyStarting = true
  }
  return isAnyStarting
}

/** @returns whether one of them may not be terminated. */
async function terminate(context: Context, instanceIds: readonly string[]): Promise<boolean> {
  let isKept = false
  for (const id of instanceIds) {
    const result = await attempt(context.db, () => terminateInstances(context, { InstanceIds: [id] }))
    isKept ||= result instanceof ApiError
  }
  return isKept
}

/**
 * Who goes when there are too many: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/modify-ec2-fleet.html. Who is about to go
 * anyway does not count.
 */
async function excessOf(
  context: Context,
  { doc: { spec }, members }: FleetAtHand,
  { plan, pools, prices }: { plan: FleetPlan; pools: readonly Pool[]; prices: SpotPrices },
): Promise<FleetMember[]> {
  const free = freeUnitsOf(await loadSpotSupplies(context.db, context.region))
  const there = members.filter((each) => countsAsLiving(each) && each.notice === null && !plan.end.includes(each.instanceId) && plan.progress.replacedMs[each.instanceId] === undefined)
  const priorityOf = ({ typeName, zone }: FleetMember) =>
    pools.find((pool) => pool.typeName === typeName && pool.zone === zone)?.priority ?? Number.POSITIVE_INFINITY
  const dearest = (member: FleetMember) => -priceOf(member, prices) / member.weight
  const freeIn = ({ zone }: FleetMember) => free.get(zone) ?? 0
  const orders: Record<FleetSpec['spot']['strategy'], ExcessOrder> = {
    'lowest-price': (member) => [dearest(member)],
    diversified: (_member, heldUnits) => [-heldUnits],
    'capacity-optimized': (member) => [freeIn(member)],
    'capacity-optimized-prioritized': (member) => [freeIn(member), -priorityOf(member)],
    'price-capacity-optimized': (member) => [freeIn(member), dearest(member)],
  }
  const onDemand: ExcessOrder = spec.onDemand.strategy === 'prioritized' ? (member) => [-priorityOf(member)] : (member) => [dearest(member)]
  return [
    ...chooseExcess(there.filter((each) => each.lifecycle === 'on-demand'), plan.excess.onDemand, onDemand),
    ...chooseExcess(there.filter((each) => each.lifecycle === 'spot'), plan.excess.spot, orders[spec.spot.strategy]),
  ]
}
