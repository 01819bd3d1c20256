import { chargesOf, dayStartMs, DAY_MS, isFree, type Metered, type SpotPriceAt } from './charge.ts'

/** A usage run with all that a bill tells of it. */
export interface BilledRun extends Metered {
  instanceId: string
  accountId: string
  imageId: string
  tags: Readonly<Record<string, string>>
}

/** What one run has cost on one day: nothing of a bill is smaller. */
export interface BillItem {
  run: BilledRun
  day: string
  billedMs: number
  costMicroUsd: number
  onDemandMicroUsd: number
}

/** Whole days, UTC; `untilMs` is the first moment of the day after the last. */
export interface BillPeriod {
  fromMs: number
  untilMs: number
}

export const GROUPINGS = ['instance', 'zone', 'day', 'type', 'account', 'lifecycle'] as const

/** What the lines of a bill are made by. */
export type Grouping = (typeof GROUPINGS)[number] | `tag:${string}`

export interface Sums {
  billedMs: number
  costMicroUsd: number
  /** What it would have cost on demand, and what is saved. */
  onDemandMicroUsd: number
  savedMicroUsd: number
}

export interface BillLine extends Sums {
  /** What its items have in common: an id, a zone, the value of a tag; null for what does not have the tag. */
  key: string | null
  /** Of a line by instance, as it was last. */
  instance: { name: string | null; type: string; zone: string; lifecycle: 'on-demand' | 'spot' } | null
  /** Whether something in it still runs. */
  isRunning: boolean
}

export interface Bill {
  lines: BillLine[]
  total: Sums
  byLifecycle: Record<'on-demand' | 'spot', Sums>
  /** Runs that are free because the market ended them in their first hour. */
  freeRuns: number
  /** Types whose price is not known: they are in the bill, and cost nothing. */
  unpricedTypes: string[]
}

/** Everything that runs have cost within a period; what is still to come is not in it. */
export function billItems(runs: readonly BilledRun[], { fromMs, untilMs }: BillPeriod, nowMs: number, spotPriceAt: SpotPriceAt): BillItem[] {
  return runs.flatMap((run) => chargesOf(run, nowMs, spotPriceAt)
    .filter(({ day }) => Date.parse(day) >= fromMs && Date.parse(day) < untilMs)
    .map((charge) => ({ run, ...charge })))
}

/** Sums up items by what they have in common: the dearest line first, days in their order. Each item is in one line. */
export function makeBill(items: readonly BillItem[], by: Grouping): Bill {
  const groups = new Map<string | null, BillItem[]>()
  for (const item of items) {
    const key = keyOf(item, by)
    const group = groups.get(key)
    if (group) group.push(item)
    else groups.set(key, [item])
  }
  const lines = [...groups].map(([key, group]) => lineOf(key, group, by))
  const runs = new Set(items.map(({ run }) => run))
  const ofLifecycle = (lifecycle: 'on-demand' | 'spot') => sumsOf(items.filter(({ run }) => run.lifecycle === lifecycle))
  return {
    lines: lines.toSorted(by === 'day' ? compareKeys : (a, b) => b.costMicroUsd - a.costMicroUsd || compareKeys(a, b)),
    total: sumsOf(items),
    byLifecycle: { 'on-demand': ofLifecycle('on-demand'), spot: ofLifecycle('spot') },
    freeRuns: [...runs].filter(isFree).length,
    unpricedTypes: [...new Set([...runs].filter((run) => run.onDemandMicroUsd === null).map((run) => run.instanceType))].toSorted(),
  }
}

function compareKeys(a: BillLine, b: BillLine): number {
  // What does not have the tag comes last.
  if (a.key === null || b.key === null) return Number(a.key === null) - Number(b.key === null)
  return a.key < b.key ? -1 : Number(a.key > b.key)
}

function keyOf({ run, day }: BillItem, by: Grouping): string | null {
  switch (by) {
    case 'instance': return run.instanceId
    case 'zone': return run.zone
    case 'day': return day
    case 'type': return run.instanceType
    case 'account': return run.accountId
    case 'lifecycle': return run.lifecycle
    default: {
      const tag = by.slice('tag:'.length)
      return Object.hasOwn(run.tags, tag) ? run.tags[tag] ?? null : null
    }
  }
}

function lineOf(key: string | null, items: readonly BillItem[], by: Grouping): BillLine {
  const last = items.reduce<BilledRun | undefined>((latest, { run }) => (latest && latest.fromMs > run.fromMs ? latest : run), undefined)
  const instance = by === 'instance' && last
    ? { name: last.tags.Name ?? null, type: last.instanceType, zone: last.zone, lifecycle: last.lifecycle }
    : null
  return { key, instance, isRunning: items.some(({ run }) => run.untilMs === null), ...sumsOf(items) }
}

function sumsOf(items: readonly BillItem[]): Sums {
  const sum = (of: (item: BillItem) => number) => items.reduce((total, item) => total + of(item), 0)
  const costMicroUsd = sum((item) => item.costMicroUsd)
  const onDemandMicroUsd = sum((item) => item.onDemandMicroUsd)
  return { billedMs: sum((item) => item.billedMs), costMicroUsd, onDemandMicroUsd, savedMicroUsd: onDemandMicroUsd - costMicroUsd }
}

/**
 * The days that are meant: 2026-01-31, 2026-01 for a month, or 7d for the day so long ago; `to` is the last day. This month until
 * today unless given.
 *
 * @throws Error on anything else, and for a last day before the first.
 */
export function readPeriod({ from, to }: { from?: string | undefined; to?: string | undefined }, nowMs: number): BillPeriod {
  const now = new Date(nowMs)
  const fromMs = from === undefined ? Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1) : readDays(from, nowMs).fromMs
  const untilMs = to === undefined ? dayStartMs(nowMs) + DAY_MS : readDays(to, nowMs).untilMs
  if (untilMs <= fromMs) {
    throw new Error(`the last day, ${dayText(untilMs - DAY_MS)}, is before the first, ${dayText(fromMs)}`)
  }
  return { fromMs, untilMs }
}

function readDays(text: string, nowMs: number): BillPeriod {
  const [, year, month, , day] = /^(\d{4})-(\d\d)(-(\d\d))?$/.exec(text) ?? []
  const [, ago] = /^(\d{1,4})d$/.exec(text) ?? []
  if (ago !== undefined) {
    const fromMs = dayStartMs(nowMs) - Number(ago) * DAY_MS
    return { fromMs, untilMs: fromMs + DAY_MS }
  }
  if (year !== undefined && month !== undefined) {
    const fromMs = Date.UTC(Number(year), Number(month) - 1, Number(day ?? 1))
    // The 31st of a shorter month is none.
    if (dayText(fromMs).startsWith(text)) return { fromMs, untilMs: day === undefined ? Date.UTC(Number(year), Number(month), 1) : fromMs + DAY_MS }
  }
  throw new Error(`"${text}" is not a day; write one like 2026-01-31, a month like 2026-01, or how long ago it was, like 7d`)
}

function dayText(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10)
}
