import { usd } from './bill.ts'
import { drawChart, sparkline } from './market-chart.ts'
import type { BidView, MarketView, PriceView, SupplyView } from './market-view.ts'
import { formatDuration, formatMib, formatTable } from './terminal.ts'
import type { TerminalLook } from './terminal-look.ts'

const CHART_LINES = 5
const SPARK_COLUMNS = 16

/** The market as a person reads it. `chartOf` is the type whose prices are drawn. */
export function formatMarket(view: MarketView, look: TerminalLook): string {
  const parts = [headLines(view).join('\n'), pricesTable(view, look)]
  const [first] = view.prices
  if (first) parts.push(charts(view, first.type, look))
  parts.push(suppliesTable(view.supplies), bidsText(view))
  return parts.join('\n\n')
}

function headLines({ region, pricing, background, noticeMs, frozenSince, asOf }: MarketView): string[] {
  const others = background ? 'with a simulated market of others' : 'without a market of others'
  return [
    `${region}, ${pricing} prices, ${others}, notice of ${formatDuration(noticeMs)}; ${second(asOf)}`,
    ...(frozenSince === null ? [] : [`frozen since ${second(frozenSince)}: prices hold, and nobody has to go because of them (hearth market unfreeze)`]),
  ]
}

function pricesTable({ prices, since, asOf }: MarketView, look: TerminalLook): string {
  if (prices.length === 0) return 'no prices'
  const hours = (Date.parse(asOf) - Date.parse(since)) / 3_600_000
  const span = hours <= 48 ? `LAST ${Math.round(hours * 10) / 10} H` : `LAST ${Math.round(hours / 24)} D`
  const hasRoom = look.columns >= 80
  return formatTable([
    ['TYPE', 'ZONE', 'PRICE/H', 'OF ON DEMAND', 'TREND', ...(hasRoom ? [span] : [])],
    ...prices.map((each) => [
      each.type, each.zone, `${usd(each.priceMicroUsd)}${each.isPinned ? ' (set)' : ''}`,
      `${((each.priceMicroUsd / each.onDemandMicroUsd) * 100).toFixed(1)} % of ${usd(each.onDemandMicroUsd)}`, trendOf(each, look),
      ...(hasRoom ? [sparkline(chartPoints(each), { fromMs: Date.parse(since), untilMs: Date.parse(asOf), width: SPARK_COLUMNS, isUnicode: look.isUnicode })] : []),
    ]),
  ])
}

function trendOf({ changePercent }: PriceView, { isUnicode }: TerminalLook): string {
  if (changePercent === 0) return isUnicode ? '→' : '='
  const arrow = changePercent > 0 ? (isUnicode ? '↑' : '+') : (isUnicode ? '↓' : '-')
  return `${arrow}${isUnicode ? ' ' : ''}${Math.abs(changePercent)} %`
}

const chartPoints = (price: PriceView) => price.points.map(({ atMs, priceMicroUsd }) => ({ atMs, value: priceMicroUsd }))

/** One drawing for each zone, all of one scale. */
function charts({ prices, since, asOf }: MarketView, type: string, look: TerminalLook): string {
  const [fromMs, untilMs] = [Date.parse(since), Date.parse(asOf)]
  const shown = prices.filter((price) => price.type === type)
  const values = shown.flatMap((price) => price.points.map(({ priceMicroUsd }) => priceMicroUsd))
  const [least, most] = [Math.min(...values), Math.max(...values)]
  const labels = [usd(most), usd(least)]
  const margin = Math.max(...labels.map((label) => label.length)) + 2
  const width = look.columns - margin - 1
  const [corner, edge, rule] = look.isUnicode ? ['└', '│', '─'] : ['+', '|', '-']
  const drawings = shown.map((price, index) => {
    const lines = drawChart(chartPoints(price), { fromMs, untilMs, width, height: CHART_LINES, least, most, isUnicode: look.isUnicode })
    return [
      `${type} in ${price.zone}`,
      ...lines.map((line, at) => {
        const label = at === CHART_LINES - 1 ? labels[1] : at === 0 && most !== least ? labels[0] : ''
        return `${(label ?? '').padStart(margin - 1)} ${edge}${coloured(line, index, look)}`.trimEnd()
      }),
    ]
  })
  const [from, until] = [second(since).slice(5, 16), second(asOf).slice(5, 16)]
  return [
    ...drawings.flat(), `${' '.repeat(margin)}${corner}${rule.repeat(width)}`,
    `${' '.repeat(margin + 1)}${from}${until.padStart(Math.max(until.length + 1, width - from.length))}`,
  ].join('\n')
}

/** Cyan, yellow, magenta, … */
const COLOURS = [36, 33, 35, 32, 34, 31]

function coloured(text: string, index: number, { hasColour }: TerminalLook): string {
  return hasColour && text !== '' ? `\u001B[${COLOURS[index % COLOURS.length] ?? 0}m${text}\u001B[0m` : text
}

function suppliesTable(supplies: readonly SupplyView[]): string {
  return formatTable([
    ['ZONE', 'STATE', 'WHOLE', 'ON DEMAND', 'FOR SPOT', 'SPOT HAS', 'FREE', 'CAP', 'OWN DEMAND'],
    ...supplies.map((each) => [
      each.zone, each.state, `${each.vcpus} vCPUs, ${formatMib(each.memoryMib)}`, percent(each.othersPercent), percent(each.supplyPercent),
      percent(each.heldPercent), percent(each.freePercent), each.capPercent === null ? '-' : `${percent(each.capPercent)} (set)`,
      each.clearingPercent === 0 ? '-' : `${percent(each.clearingPercent)} of on demand`,
    ]),
  ])
}

function percent(value: number): string {
  return `${value.toFixed(1)} %`
}

function bidsText({ bids, bidCount: { running, waiting }, asOf }: MarketView): string {
  if (running + waiting === 0) return 'nobody has, or waits for, a spot instance'
  const table = formatTable([
    ['#', 'REQUEST', 'INSTANCE', 'NAME', 'TYPE', 'ZONE', 'OFFERS/H', 'STATE', 'STATUS'],
    ...bids.map((bid) => [
      String(bid.place), bid.requestId, bid.instanceId ?? '-', bid.name ?? '-', bid.type, bid.zone ?? 'any', usd(bid.maxPriceMicroUsd), bid.state,
      statusOf(bid, Date.parse(asOf)),
    ]),
  ])
  const left = running + waiting - bids.length
  return [table, ...(left > 0 ? [`and ${left} more; in all ${running} that have an instance, ${waiting} that wait`] : [])].join('\n')
}

function statusOf({ status, goesAt }: BidView, nowMs: number): string {
  return goesAt === null ? status : `${status}, in ${formatDuration(Date.parse(goesAt) - nowMs)}`
}

/** 2026-01-01 12:34:56Z */
function second(iso: string): string {
  return `${iso.slice(0, 19).replace('T', ' ')}Z`
}
