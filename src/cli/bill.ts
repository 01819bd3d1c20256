import { Option, type Command } from 'commander'
import { billItems, GROUPINGS, makeBill, readPeriod, type Bill, type BillLine, type BillPeriod, type Grouping, type Sums } from '../billing/bill.ts'
import { DAY_MS, dayOf } from '../billing/charge.ts'
import { ON_DEMAND_SOURCE } from '../catalogue/on-demand-prices.ts'
import { systemClock } from '../core/clock.ts'
import type { Store } from '../store/store.ts'
import { readRuns } from './bill-runs.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { formatTable, type Terminal } from './terminal.ts'
import { settingsInForce } from './up-record.ts'

/** What `hearth bill --json` prints; money in whole micro-dollars. */
export interface BillReport extends Bill {
  region: string
  by: Grouping
  /** Days, the last one included. */
  from: string
  to: string
  /** Until when running instances are in it. */
  asOf: string
  /** What prices these are. */
  prices: string
}

const PRICES = `${ON_DEMAND_SOURCE}, and the spot prices of this cloud's own market; nobody charges them`

interface BillOptions {
  from?: string
  to?: string
  by: string
  json?: boolean
  csv?: boolean
}

/** `hearth bill`. */
export function addBill(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'bill', 'show what instances would have cost: on demand, on spot, and what spot has saved', [
    'hearth bill', 'hearth bill --by tag:team --from 2026-01 --to 2026-03', 'hearth bill --by day --from 7d --csv > bill.csv',
  ])
  command
    .option('--from <day>', 'the first day, UTC: 2026-01-31, 2026-01, or 7d for so long ago (default: the first of this month)')
    .option('--to <day>', 'the last day, included (default: today)')
    .option('--by <what>', `one line for each ${GROUPINGS.join(', ')}, or tag:KEY`, 'instance')
    .addOption(new Option('--json', 'print it as JSON').conflicts('csv'))
    .addOption(new Option('--csv', 'print its lines as CSV').conflicts('json'))
  withSettings(command).action(async () => {
    const options = command.opts<BillOptions>()
    const order = { by: readGrouping(options.by), period: readPeriod(options, systemClock.now()) }
    const settings = settingsOf(command)
    const report = await withStore(settings, (store) => readBill(store, settingsInForce(settings).region, order, systemClock.now()))
    terminal.out(options.json ? JSON.stringify(report, null, 2) : options.csv ? formatCsv(report) : formatBill(report))
  })
}

/** @throws Error that names what there is. */
export function readGrouping(text: string): Grouping {
  const known = GROUPINGS.find((each) => each === text)
  if (known) return known
  const [, key] = /^tag:(.+)$/s.exec(text) ?? []
  if (key !== undefined) return `tag:${key}`
  throw new Error(`a bill cannot be made by "${text}"; take one of ${GROUPINGS.join(', ')}, or tag:KEY`)
}

/** The bill of a region, as its database tells it. */
export async function readBill(
  store: Store,
  region: string,
  { by, period }: { by: Grouping; period: BillPeriod },
  nowMs: number,
): Promise<BillReport> {
  const { runs, spotPriceAt } = await store.read((db) => readRuns(db, { region, nowMs }, period))
  return {
    region, by, from: dayOf(period.fromMs), to: dayOf(period.untilMs - DAY_MS), asOf: new Date(nowMs).toISOString(), prices: PRICES,
    ...makeBill(billItems(runs, period, nowMs, spotPriceAt), by),
  }
}

/** The bill as a person reads it. */
export function formatBill(report: BillReport): string {
  const { region, from, to, lines, total, byLifecycle, freeRuns, unpricedTypes, asOf } = report
  const head = `${region}, ${from === to ? from : `${from} to ${to}`}`
  if (lines.length === 0) return `${head}: nothing has run`
  const parts = [head, formatTable([
    [...titlesOf(report), 'HOURS', 'COST', 'ON DEMAND', 'SAVED'],
    ...lines.map((line) => [...namesOf(report, line), ...amountsOf(line)]),
    [...titlesOf(report).map((_, index) => (index === 0 ? 'total' : '')), ...amountsOf(total)],
  ])]
  const { spot, 'on-demand': onDemand } = byLifecycle
  const notes = [`on demand ${usd(onDemand.costMicroUsd)}; spot ${usd(spot.costMicroUsd)}, which would have been ${usd(spot.onDemandMicroUsd)} on demand`]
  if (freeRuns > 0) notes.push(`${freeRuns} run${freeRuns === 1 ? '' : 's'} on spot free: interrupted in the first hour`)
  if (unpricedTypes.length > 0) notes.push(`without a known price, and counted as nothing: ${unpricedTypes.join(', ')}`)
  if (lines.some((line) => line.isRunning)) notes.push(`* still runs; until ${asOf.slice(0, 19).replace('T', ' ')}Z`)
  notes.push(`Prices: ${PRICES}.`)
  return [...parts, notes.join('\n')].join('\n\n')
}

function titlesOf({ by }: BillReport): string[] {
  if (by === 'instance') return ['INSTANCE', 'NAME', 'TYPE', 'ZONE', 'LIFECYCLE']
  return [by.startsWith('tag:') ? by.slice('tag:'.length) : by.toUpperCase()]
}

function namesOf({ by }: BillReport, { key, instance, isRunning }: BillLine): string[] {
  const name = `${key ?? `(no tag ${by.slice('tag:'.length)})`}${isRunning && instance ? ' *' : ''}`
  return instance ? [name, instance.name ?? '-', instance.type, instance.zone, instance.lifecycle] : [name]
}

function amountsOf({ billedMs, costMicroUsd, onDemandMicroUsd, savedMicroUsd }: Sums): string[] {
  const percent = savedMicroUsd > 0 ? ` (${Math.round((savedMicroUsd / onDemandMicroUsd) * 100)} %)` : ''
  return [hours(billedMs), usd(costMicroUsd), usd(onDemandMicroUsd), savedMicroUsd === 0 ? '-' : `${usd(savedMicroUsd)}${percent}`]
}

function hours(ms: number): string {
  return (ms / 3_600_000).toFixed(2)
}

/** $12.34, and more digits where it is little. */
export function usd(microUsd: number): string {
  const amount = Math.abs(microUsd)
  const digits = amount >= 100_000_000 ? 2 : amount > 0 && amount < 10_000 ? 6 : 4
  return `${microUsd < 0 ? '-' : ''}$${(amount / 1_000_000).toFixed(digits)}`
}

/** The lines as RFC 4180 has it; amounts in dollars. */
export function formatCsv(report: BillReport): string {
  const titles = titlesOf(report).map((title) => (report.by.startsWith('tag:') ? title : title.toLowerCase()))
  const dollars = (microUsd: number) => (microUsd / 1_000_000).toFixed(6)
  const rows = report.lines.map((line) => {
    const { key, instance, billedMs, costMicroUsd, onDemandMicroUsd, savedMicroUsd } = line
    const names = instance ? [key ?? '', instance.name ?? '', instance.type, instance.zone, instance.lifecycle] : [key ?? '']
    return [...names, (billedMs / 3_600_000).toFixed(6), dollars(costMicroUsd), dollars(onDemandMicroUsd), dollars(savedMicroUsd)]
  })
  return [[...titles, 'hours', 'cost_usd', 'on_demand_usd', 'saved_usd'], ...rows].map((row) => row.map(csvCell).join(',')).join('\n')
}

function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
