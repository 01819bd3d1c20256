import { USAGE_RETENTION_MONTHS, type DayCharge, type UsageRunDoc } from '../model/usage-run.ts'

const SECOND_MS = 1000
const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS

/** The least that a run is charged for. AWS, "Amazon EC2 instance state changes": per second, with a one-minute minimum. */
export const LEAST_BILLED_MS = 60 * SECOND_MS

/**
 * What ends sooner than this because the market took it away is free. AWS, "Billing for interrupted Spot Instances":
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/billing-for-interrupted-spot-instances.html
 */
const FREE_IF_INTERRUPTED_MS = HOUR_MS

/** What of a usage run its cost depends on. */
export interface Metered extends Pick<UsageRunDoc, 'onDemandMicroUsd' | 'maxPriceMicroUsd' | 'isInterrupted' | 'sealed'> {
  instanceType: string
  zone: string
  lifecycle: 'on-demand' | 'spot'
  fromMs: number
  /** Null while it goes on. */
  untilMs: number | null
}

/** Micro-dollars per hour of a type on spot; undefined where nothing is known of it. */
export type SpotPriceAt = (instanceType: string, zone: string, atMs: number) => number | undefined

/** 2026-01-31, UTC */
export function dayOf(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10)
}

export function dayStartMs(atMs: number): number {
  return atMs - (((atMs % DAY_MS) + DAY_MS) % DAY_MS)
}

/** Until when a run is charged: whole seconds, a begun one counting, and a minute at least. */
function billedUntilMs({ fromMs, untilMs }: Pick<Metered, 'fromMs' | 'untilMs'>, nowMs: number): number {
  const usedMs = Math.max(0, (untilMs ?? nowMs) - fromMs)
  return fromMs + Math.max(LEAST_BILLED_MS, Math.ceil(usedMs / SECOND_MS) * SECOND_MS)
}

/** Whether nothing is to be paid for it. */
export function isFree({ lifecycle, isInterrupted, fromMs, untilMs }: Metered): boolean {
  return lifecycle === 'spot' && isInterrupted && untilMs !== null && untilMs - fromMs < FREE_IF_INTERRUPTED_MS
}

/**
 * What a run has cost on each day, until `nowMs` where it goes on: what is sealed as it was sealed, the rest by its prices. An
 * instance on spot pays in each hour, counted from its start, the price in force when that hour began, and never more than it
 * offered. AWS, EC2 FAQs: "You pay the Spot price that's in effect at the beginning of each instance-hour".
 * Each day of a run is rounded once, to the nearest micro-dollar.
 */
export function chargesOf(run: Metered, nowMs: number, spotPriceAt: SpotPriceAt): DayCharge[] {
  const untilMs = billedUntilMs(run, nowMs)
  const last = run.sealed.at(-1)
  const charges = [...run.sealed]
  let fromMs = last ? Math.max(run.fromMs, Date.parse(last.day) + DAY_MS) : run.fromMs
  while (fromMs < untilMs) {
    const endMs = Math.min(untilMs, dayStartMs(fromMs) + DAY_MS)
    charges.push(chargeBetween(run, fromMs, endMs, spotPriceAt))
    fromMs = endMs
  }
  return charges
}

/** Both times are within one day. */
function chargeBetween(run: Metered, fromMs: number, untilMs: number, spotPriceAt: SpotPriceAt): DayCharge {
  const billedMs = untilMs - fromMs
  const onDemandMicroUsd = perHour(BigInt(run.onDemandMicroUsd ?? 0) * BigInt(billedMs))
  const day = dayOf(fromMs)
  if (run.lifecycle === 'on-demand') return { day, billedMs, costMicroUsd: onDemandMicroUsd, onDemandMicroUsd }
  if (isFree(run)) return { day, billedMs, costMicroUsd: 0, onDemandMicroUsd }
  let sum = 0n
  let atMs = fromMs
  while (atMs < untilMs) {
    const hourMs = run.fromMs + Math.floor((atMs - run.fromMs) / HOUR_MS) * HOUR_MS
    const endMs = Math.min(untilMs, hourMs + HOUR_MS)
    sum += BigInt(priceOfHour(run, hourMs, spotPriceAt)) * BigInt(endMs - atMs)
    atMs = endMs
  }
  return { day, billedMs, costMicroUsd: perHour(sum), onDemandMicroUsd }
}

function priceOfHour(run: Metered, hourMs: number, spotPriceAt: SpotPriceAt): number {
  const price = spotPriceAt(run.instanceType, run.zone, hourMs) ?? run.onDemandMicroUsd ?? 0
  return Math.min(price, run.maxPriceMicroUsd ?? price)
}

/** Micro-dollars of a sum of micro-dollars per hour x milliseconds. */
function perHour(sum: bigint): number {
  return Number((sum + BigInt(HOUR_MS / 2)) / BigInt(HOUR_MS))
}

/** What of a run can be written down for good, as it stands at `nowMs`: all of one that has ended, else the days that are over. */
export interface Seal {
  sealed: DayCharge[]
  /** From when on its cost is still open; null where nothing of it is. */
  unsealedFromMs: number | null
}

/** Seals what can be sealed. What may still turn out to be free is not. Done twice it is the same. */
export function sealOf(run: Metered, nowMs: number, spotPriceAt: SpotPriceAt): Seal {
  const charges = chargesOf(run, nowMs, spotPriceAt)
  if (run.untilMs !== null) return { sealed: charges, unsealedFromMs: null }
  const mayBeFree = run.lifecycle === 'spot' && nowMs - run.fromMs < FREE_IF_INTERRUPTED_MS
  const todayMs = dayStartMs(nowMs)
  const sealed = mayBeFree ? run.sealed : charges.filter(({ day }) => Date.parse(day) < todayMs)
  const last = sealed.at(-1)
  return { sealed: sealed.filter(({ day }) => Date.parse(day) >= forgottenBeforeMs(nowMs)), unsealedFromMs: last ? Date.parse(last.day) + DAY_MS : run.fromMs }
}

/** The day before which nothing is kept: the first of a month. */
export function forgottenBeforeMs(nowMs: number): number {
  const now = new Date(nowMs)
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - USAGE_RETENTION_MONTHS, 1)
}
