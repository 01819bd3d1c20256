import type { Context } from '../ec2/context.ts'
import type { FleetOutcome } from '../ec2/create-fleet-fulfil.ts'
import type { Pool } from '../ec2/create-fleet-pools.ts'
import { launchOnDemand, type LaunchingFleet } from '../ec2/fleet-launch.ts'
import { launchSpot } from '../ec2/fleet-launch-spot.ts'
import { dollars } from '../ec2/spot-places.ts'
import type { SpotPrices } from '../ec2/spot-prices.ts'
import { noteFleetEvent, type FleetEvent } from '../model/fleet-history.ts'
import type { FleetProgress } from '../model/fleet-spec.ts'
import type { FleetTable } from '../store/schema.ts'
import { priceOf, type FleetAtHand } from './fleet-members.ts'
import { countsAsLiving, type FleetMember, type FleetPlan, type Shares } from './fleet-plan.ts'

/** How many instances one transaction launches: others wait for it to end. */
const MOST_AT_ONCE = 100
/** Pauses after launches that failed: nothing tells a fleet that there is room again. */
const BACKOFF_MS = { first: 15_000, most: 120_000 }

/** Launches what a plan misses, or a part of it. @returns how far the fleet is then, and whether more is to be launched at once. */
export async function launchMissing(
  context: Context,
  { row, doc: { spec }, members }: FleetAtHand,
  { plan, pools, prices }: { plan: FleetPlan; pools: readonly Pool[]; prices: SpotPrices },
): Promise<{ progress: FleetProgress; isPartial: boolean }> {
  const fleet: LaunchingFleet = { fleetId: row.fleet_id, kind: row.kind, spec, pools }
  const wanted = atOnce(plan.missing, pools)
  const living = members.filter(countsAsLiving)
  const spent = (lifecycle: FleetMember['lifecycle']) =>
    living.reduce((sum, each) => (each.lifecycle === lifecycle ? sum + priceOf(each, prices) : sum), 0)
  const heldUnits = (typeName: string, zone: string) => living.reduce((sum, each) =>
    (each.lifecycle === 'spot' && each.typeName === typeName && each.zone === zone ? sum + each.weight : sum), 0)
  const onDemand = wanted.onDemand > 0
    ? await launchOnDemand(context, fleet, { wanted: wanted.onDemand, spentMicroUsd: spent('on-demand') }) : NOTHING
  const spot = wanted.spot > 0
    ? await launchSpot(context, fleet, { wanted: wanted.spot, spentMicroUsd: spent('spot'), prices, heldUnits }) : NOTHING
  const { progress } = plan
  const launched: FleetProgress = {
    ...progress,
    fulfilledOnDemand: progress.fulfilledOnDemand + onDemand.fulfilled, fulfilledSpot: progress.fulfilledSpot + spot.fulfilled,
    launchedOnDemand: progress.launchedOnDemand + onDemand.fulfilled, launchedSpot: progress.launchedSpot + spot.fulfilled,
  }
  const isShort = onDemand.fulfilled < wanted.onDemand || spot.fulfilled < wanted.spot
  if (isShort) {
    const isNothing = onDemand.fulfilled + spot.fulfilled === 0
    return { progress: await tellErrors(context, row, launched, { events: eventsOf([...onDemand.errors, ...spot.errors]), isNothing }), isPartial: false }
  }
  const isPartial = wanted.onDemand < plan.missing.onDemand || wanted.spot < plan.missing.spot
  return { progress: { ...launched, backoff: null, activity: isPartial ? 'pending_fulfillment' : 'fulfilled' }, isPartial }
}

const NOTHING: FleetOutcome = { fulfilled: 0, launched: new Map(), errors: [] }

/** So much of what is missing as no more instances than one transaction may launch make. */
function atOnce(missing: Shares, pools: readonly Pool[]): Shares {
  const most = MOST_AT_ONCE * Math.max(1, Math.min(...pools.map(({ weight }) => weight)))
  const onDemand = Math.min(missing.onDemand, most)
  return { onDemand, spot: Math.min(missing.spot, most - onDemand) }
}

/** Writes down why launches failed, each reason once as long as they fail; and when they are tried again. */
export async function tellErrors(
  { db, region, nowMs }: Context,
  row: FleetTable,
  progress: FleetProgress,
  { events, isNothing }: { events: FleetEvent[]; isNothing: boolean },
): Promise<FleetProgress> {
  const failures = isNothing ? (progress.backoff?.failures ?? 0) + 1 : 1
  const told = new Set(progress.backoff?.told)
  for (const event of events) {
    const key = `${event.subType} ${event.description ?? ''}`
    if (!told.has(key)) await noteFleetEvent(db, row, region, event, nowMs)
    told.add(key)
  }
  const pauseMs = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** Math.min(20, failures - 1))
  return { ...progress, activity: 'error', backoff: { failures, untilMs: nowMs + pauseMs, told: [...told].slice(-MOST_TOLD) } }
}

/** More reasons than that are told again. */
const MOST_TOLD = 300

/**
 * Errors of launches as a fleet's history tells them.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-event-types.html
 */
function eventsOf(errors: FleetOutcome['errors']): FleetEvent[] {
  const events = errors.map(({ pool, error }): FleetEvent => {
    const { typeName, zone, input } = pool
    const place = `${typeName}, ${input.ImageId ?? ''}, Linux/UNIX${zone === null ? '' : `, ${zone}`}`
    if (error.code === 'SpotMaxPriceTooLow') {
      return { type: 'information', subType: 'launchSpecUnusable', description: `${place}, ${tooLow(error.message)}` }
    }
    if (error.code === 'MaxSpotInstanceCountExceeded') {
      return { type: 'error', subType: 'spotInstanceCountLimitExceeded', description: `${place}: ${error.message}` }
    }
    if (/Capacity|Addresses|LimitExceeded/.test(error.code)) {
      return { type: 'information', subType: 'launchSpecTemporarilyBlacklisted', description: `${place}: ${error.message}` }
    }
    return { type: 'error', subType: 'spotFleetRequestConfigurationInvalid', description: `${place}: ${error.message}` }
  })
  const all = (subType: string) => events.length > 0 && events.every((each) => each.subType === subType)
  if (all('launchSpecUnusable')) events.push({ type: 'information', subType: 'fleetProgressHalted' })
  if (all('launchSpecTemporarilyBlacklisted')) {
    events.push({
      type: 'error', subType: 'allLaunchSpecsTemporarilyBlacklisted',
      description: 'Several attempts to launch instances have failed. Either the request could not be satisfied or the configuration is not valid. We will retry the request again later.',
    })
  }
  return events
}

/** EC2's sentence for the history, with the price of the other sentence. */
function tooLow(message: string): string {
  const price = /price of ([\d.]+)\.$/.exec(message)?.[1] ?? dollars(0)
  return `Spot price in either SpotFleetRequestConfigData or SpotFleetLaunchSpecification or LaunchTemplate or LaunchTemplateOverrides is less than Spot market price $${price}`
}
