import type { FleetState } from '../model/fleet.ts'
import type { FleetProgress, FleetSpec } from '../model/fleet-spec.ts'
import type { InstanceState } from '../model/instance.ts'

/** An instance of a fleet that is not terminated. */
export interface FleetMember {
  instanceId: string
  lifecycle: 'on-demand' | 'spot'
  typeName: string
  zone: string
  state: InstanceState
  /** Units that it counts for. */
  weight: number
  launchedMs: number
  /** It was told that it is likely to be interrupted, or will be. */
  isAtRisk: boolean
  /** Its status checks fail. */
  isUnhealthy: boolean
  /** It has been told that it will go: by the market, or since its fleet was made smaller. */
  notice: 'of-market' | 'of-fleet' | null
  /** Of one that is stopped, and not by its user: what has stopped it. */
  rests: 'by-interruption' | 'by-down' | null
}

/** A fleet as it is. */
export interface FleetSituation {
  state: FleetState
  spec: FleetSpec
  progress: FleetProgress
  members: readonly FleetMember[]
  nowMs: number
}

/** By how much it is above or below its target, in units. */
export interface Shares {
  onDemand: number
  spot: number
}

/** What is to be done about it. */
export interface FleetPlan {
  /** What it becomes, with what its history tells of that. */
  moves: { to: FleetState; subType: string }[]
  isExpired: boolean
  /** Members that are terminated whatever the strategy. */
  end: string[]
  /** Units of which as many are terminated as goes without falling below the target. */
  excess: Shares
  /** Units that are launched now. */
  missing: Shares
  progress: FleetProgress
  /** When it is to be looked at again, though nothing happens. */
  nextMs: number | null
}

/** How often a fleet is looked at whose instances may be unhealthy. */
const HEALTH_MS = 60_000

/** Members that make capacity. */
export function countsAsLiving({ state }: FleetMember): boolean {
  return state === 'pending' || state === 'running'
}

/**
 * What a fleet of type `request` or `maintain` does next: it begins, launches what is missing (of type `request` what it has never
 * launched), terminates what is too much, replaces what is likely to be interrupted or unhealthy, expires, and ends.
 */
export function planFleet(situation: FleetSituation): FleetPlan {
  const { state, spec, members, nowMs } = situation
  if (state === 'deleted' || state === 'failed') return idle(situation, [])
  if (state === 'deleted_running' || state === 'deleted_terminating') return planEnd(situation, state, [])
  if (spec.validUntilMs !== null && spec.validUntilMs <= nowMs) {
    const to = spec.terminatesWithExpiration ? 'deleted_terminating' : 'deleted_running'
    return { ...planEnd({ ...situation, members }, to, [{ to, subType: to }]), isExpired: true }
  }
  if (state === 'submitted' && spec.validFromMs !== null && spec.validFromMs > nowMs) return { ...idle(situation, []), nextMs: spec.validFromMs }
  return planSize(situation)
}

function idle({ progress, members }: FleetSituation, moves: FleetPlan['moves']): FleetPlan {
  const none = { onDemand: 0, spot: 0 }
  // It launches nothing any more, and waits for no launch: a pause that is over would have it looked at without end.
  return { moves, isExpired: false, end: [], excess: none, missing: none, progress: { ...progress, ...fulfilledBy(members), backoff: null }, nextMs: null }
}

/** Of a fleet that is deleted: its instances go, or stay; when the last of them has gone, so has it. */
function planEnd(situation: FleetSituation, to: FleetState, moves: FleetPlan['moves']): FleetPlan {
  const { members } = situation
  if (members.length === 0) return idle(situation, [...moves, { to: 'deleted', subType: 'deleted' }])
  const plan = idle(situation, moves)
  if (to !== 'deleted_terminating') return plan
  const end = members.filter(({ state }) => state !== 'shutting-down').map(({ instanceId }) => instanceId)
  return { ...plan, end, progress: { ...plan.progress, activity: 'pending_termination' } }
}

function planSize(situation: FleetSituation): FleetPlan {
  const { state, spec, progress, members, nowMs } = situation
  const isMaintained = spec.type === 'maintain'
  const living = members.filter((each) => countsAsLiving(each) && each.notice !== 'of-fleet')
  const unhealthy = isMaintained && spec.replacesUnhealthy ? living.filter((each) => each.isUnhealthy && each.lifecycle === 'spot') : []
  const { rebalance } = spec.spot
  const leaving = isMaintained && rebalance ? living.filter((each) => each.isAtRisk && each.lifecycle === 'spot') : []
  const counted = living.filter((each) => !leaving.includes(each) && !unhealthy.includes(each))
  const have = isMaintained ? sizeOf(counted) : { onDemand: progress.launchedOnDemand, spot: progress.launchedSpot }
  const short = below(spec.target, have)
  const missing = isMaintained && rebalance ? { ...short, spot: Math.min(short.spot, Math.max(0, 2 * spec.target.spot - sizeOf(living).spot)) } : short
  // Who goes anyway is not told once more.
  const staying = counted.filter(({ notice }) => notice === null)
  const excess = isMaintained && spec.terminatesExcess ? below(sizeOf(staying), spec.target) : { onDemand: 0, spot: 0 }
  const replaced = replacements(leaving, situation, short.spot > 0)
  const waits = progress.backoff !== null && progress.backoff.untilMs > nowMs && isAny(missing)
  const isTrimmed = trimmable(staying, excess).length > 0 || members.some(({ notice }) => notice === 'of-fleet')
  return {
    moves: state === 'submitted' ? [{ to: 'active', subType: 'active' }] : state === 'modifying' ? [{ to: 'active', subType: 'modify_succeeded' }] : [],
    isExpired: false, end: [...unhealthy.map(({ instanceId }) => instanceId), ...replaced.due, ...tooManyAtRest(situation)],
    excess, missing: waits ? { onDemand: 0, spot: 0 } : missing,
    progress: {
      ...progress, ...fulfilledBy(members), replacedMs: replaced.replacedMs, backoff: isAny(missing) ? progress.backoff : null,
      activity: activityOf(situation, { missing, isTrimmed }),
    },
    nextMs: earliest([
      spec.validUntilMs, replaced.nextMs, waits ? progress.backoff?.untilMs : null,
      isMaintained && spec.replacesUnhealthy && living.length > 0 ? nowMs + HEALTH_MS : null,
    ]),
  }
}

/**
 * Since when instances have been replaced that are likely to be interrupted, and which of them have had their time. While units are
 * missing, those that were not replaced before are not yet.
 */
function replacements(leaving: readonly FleetMember[], { spec, progress, nowMs }: FleetSituation, isShort: boolean) {
  const replacedMs = Object.fromEntries(leaving.flatMap(({ instanceId: id }) => {
    const sinceMs = progress.replacedMs[id] ?? (isShort ? undefined : nowMs)
    return sinceMs === undefined ? [] : [[id, sinceMs] as const]
  }))
  const delayMs = spec.spot.rebalance?.terminationDelayMs ?? null
  const dueMs = Object.entries(replacedMs).map(([id, sinceMs]) => ({ id, atMs: delayMs === null ? Number.POSITIVE_INFINITY : sinceMs + delayMs }))
  const later = dueMs.filter(({ atMs }) => atMs > nowMs && Number.isFinite(atMs)).map(({ atMs }) => atMs)
  return { replacedMs, due: dueMs.filter(({ atMs }) => atMs <= nowMs).map(({ id }) => id), nextMs: earliest(later) }
}

/**
 * Interrupted instances that are stopped, the oldest, beyond as many as the fleet is to have: each was replaced when it was stopped,
 * and while room comes and goes they would become ever more. Of those that are kept, `wantsBack` lets one go on when one is missing.
 */
function tooManyAtRest({ spec, members }: FleetSituation): string[] {
  if (spec.type !== 'maintain' || !spec.terminatesExcess) return []
  const atRest = members.filter(({ rests }) => rests === 'by-interruption').toSorted((a, b) => b.launchedMs - a.launchedMs)
  let left = spec.target.spot
  return atRest.filter(({ weight }) => {
    const isKept = left > 0
    left -= weight
    return !isKept
  }).map(({ instanceId }) => instanceId)
}

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_FleetData.html, ActivityStatus */
function activityOf({ progress, members }: FleetSituation, { missing, isTrimmed }: { missing: Shares; isTrimmed: boolean }): FleetProgress['activity'] {
  if (isAny(missing)) return progress.backoff ? 'error' : 'pending_fulfillment'
  const isEnding = progress.activity === 'pending_termination' && members.some(({ state }) => state === 'shutting-down')
  return isTrimmed || isEnding ? 'pending_termination' : 'fulfilled'
}

/** Units of members, by how they are paid for. */
export function sizeOf(members: readonly FleetMember[]): Shares {
  const sum = (lifecycle: FleetMember['lifecycle']) =>
    members.reduce((units, each) => (each.lifecycle === lifecycle ? units + each.weight : units), 0)
  return { onDemand: sum('on-demand'), spot: sum('spot') }
}

function fulfilledBy(members: readonly FleetMember[]): Pick<FleetProgress, 'fulfilledOnDemand' | 'fulfilledSpot'> {
  const { onDemand, spot } = sizeOf(members.filter(countsAsLiving))
  return { fulfilledOnDemand: onDemand, fulfilledSpot: spot }
}

/** How far `have` is below `target`. */
function below(target: Shares, have: Shares): Shares {
  return { onDemand: Math.max(0, target.onDemand - have.onDemand), spot: Math.max(0, target.spot - have.spot) }
}

export function isAny({ onDemand, spot }: Shares): boolean {
  return onDemand > 0 || spot > 0
}

function earliest(times: readonly (number | null | undefined)[]): number | null {
  const known = times.filter((time) => time !== null && time !== undefined)
  return known.length === 0 ? null : Math.min(...known)
}

/** Members that are no more than what is too much of their kind. */
function trimmable(members: readonly FleetMember[], excess: Shares): FleetMember[] {
  return members.filter(({ lifecycle, weight }) => weight <= (lifecycle === 'spot' ? excess.spot : excess.onDemand))
}

/** What decides who goes first: the lowest key; units of the fleet that are still in the member's pool count for `diversified`. */
export type ExcessOrder = (member: FleetMember, heldUnits: number) => readonly number[]

/**
 * Who is terminated of members of which there are too many: as many as leave the target reached, in the order of their keys and then
 * the newest first.
 */
export function chooseExcess(members: readonly FleetMember[], excessUnits: number, order: ExcessOrder): FleetMember[] {
  const held = new Map<string, number>()
  const poolOf = ({ typeName, zone }: FleetMember) => `${typeName} ${zone}`
  for (const each of members) held.set(poolOf(each), (held.get(poolOf(each)) ?? 0) + each.weight)
  const chosen: FleetMember[] = []
  const left = new Set(members)
  for (let excess = excessUnits; excess > 0;) {
    let first: { member: FleetMember; key: readonly number[] } | undefined
    for (const member of left) {
      if (member.weight > excess) continue
      const key = [...order(member, held.get(poolOf(member)) ?? 0), -member.launchedMs]
      if (!first || isBefore(key, first.key)) first = { member, key }
    }
    if (!first) break
    const { member } = first
    left.delete(member)
    held.set(poolOf(member), (held.get(poolOf(member)) ?? 0) - member.weight)
    excess -= member.weight
    chosen.push(member)
  }
  return chosen
}

function isBefore(a: readonly number[], b: readonly number[]): boolean {
  for (const [index, value] of a.entries()) {
    const other = b[index] ?? 0
    if (value !== other) return value < other
  }
  return false
}
