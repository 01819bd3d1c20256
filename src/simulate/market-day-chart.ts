import type { DaySample, MarketDay } from './market-day.ts'

const WIDTH = 900
const LEFT = 60
const RIGHT = 20
const PANEL = { price: { top: 50, height: 200 }, supply: { top: 290, height: 150 }, notices: { top: 480, height: 90 } }
const HEIGHT = 620
const HOUR_MS = 3_600_000
/** Readable on white as well as on black. */
const COLOURS = ['#3b82f6', '#e67e22', '#10a37f']
const INK = '#7a828e'

const x = (atMs: number) => LEFT + (atMs / (24 * HOUR_MS)) * (WIDTH - LEFT - RIGHT)
const round = (value: number) => value.toFixed(1)

/** A day's prices, supply and interruptions as an SVG: a panel for each, a colour for each zone. */
export function chartOf(day: MarketDay, title: string): string {
  const body = [
    text(LEFT, 22, title, 'font-size="15" font-weight="600"'),
    ...panel('price of an m5.large, % of on demand', PANEL.price, 100, day, (sample) => sample.pricePpm / 10_000),
    ...panel('what spot may have (line) and has (dashed), % of a zone', PANEL.supply, 100, day, (sample) => sample.supplyUnits / 10_000),
    ...day.zones.map(({ samples }, at) => line(samples, PANEL.supply, 100, (sample) => sample.heldUnits / 10_000, at, ' stroke-dasharray="3 3"')),
    ...notices(day),
    ...day.zones.map(({ zone }, at) => text(LEFT + at * 130, HEIGHT - 8, zone, `font-size="13" style="fill:${COLOURS[at]}"`)),
  ]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" role="img">`,
    `<title>${title}</title>`,
    `<style>text{fill:${INK}}</style>`,
    ...body,
    '</svg>',
    '',
  ].join('\n')
}

type Panel = { top: number; height: number }

function panel(name: string, at: Panel, most: number, day: MarketDay, value: (sample: DaySample) => number): string[] {
  return [...frame(name, at, most), ...day.zones.map(({ samples }, zone) => line(samples, at, most, value, zone))]
}

function frame(name: string, { top, height }: Panel, most: number): string[] {
  const marks = [0, 0.5, 1].flatMap((part) => {
    const y = round(top + height * (1 - part))
    return [`<path d="M${LEFT} ${y}H${WIDTH - RIGHT}" stroke="${INK}" stroke-opacity="0.35"/>`, text(LEFT - 8, Number(y) + 4, String(most * part), 'font-size="11" text-anchor="end"')]
  })
  const hours = [0, 4, 8, 12, 16, 20, 24].map((hour) => text(x(hour * HOUR_MS), top + height + 15, `${hour}:00`, 'font-size="11" text-anchor="middle"'))
  return [text(LEFT, top - 8, name, 'font-size="12"'), ...marks, ...hours]
}

function line(samples: readonly DaySample[], { top, height }: Panel, most: number, value: (sample: DaySample) => number, zone: number, more = ''): string {
  // Steps: a price stays until the next one. What stays needs no points.
  const y = samples.map((sample) => round(top + height * (1 - Math.min(1, value(sample) / most))))
  const steps = samples.flatMap((sample, at) => (at === 0 ? [`M${round(x(sample.atMs))} ${y[0]}`] : y[at] === y[at - 1] ? [] : [`H${round(x(sample.atMs))}V${y[at]}`]))
  return `<path d="${steps.join('')}H${WIDTH - RIGHT}" fill="none" stroke="${COLOURS[zone]}" stroke-width="1.5"${more}/>`
}

/** Notices by quarters of an hour: solid for capacity, light by price. */
function notices(day: MarketDay): string[] {
  const quarter = HOUR_MS / 4
  const bars = Array.from({ length: 96 }, (_, at) => {
    const samples = day.zones.flatMap((zone) => zone.samples).filter((sample) => Math.floor(sample.atMs / quarter) === at)
    const sum = (of: (sample: DaySample) => number) => samples.reduce((total, sample) => total + of(sample), 0)
    return { atMs: at * quarter, noCapacity: sum((sample) => sample.noCapacity), byPrice: sum((sample) => sample.byPrice) }
  })
  const most = Math.max(10, Math.ceil(Math.max(...bars.map((bar) => bar.noCapacity + bar.byPrice)) / 10) * 10)
  const { top, height } = PANEL.notices
  const bar = (atMs: number, from: number, count: number, opacity: number) => count === 0 ? [] : [
    `<rect x="${round(x(atMs) + 1)}" y="${round(top + height * (1 - (from + count) / most))}" width="6" height="${round((height * count) / most)}" fill="#d64550" fill-opacity="${opacity}"/>`,
  ]
  return [
    ...frame('interruptions in a quarter of an hour: for capacity, and by price (light)', PANEL.notices, most),
    ...bars.flatMap(({ atMs, noCapacity, byPrice }) => [...bar(atMs, 0, noCapacity, 1), ...bar(atMs, noCapacity, byPrice, 0.45)]),
  ]
}

function text(x: number, y: number, words: string, more: string): string {
  return `<text x="${round(x)}" y="${round(y)}" ${more}>${words}</text>`
}
