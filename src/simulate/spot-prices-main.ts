import { readFileSync, writeFileSync } from 'node:fs'
import { compareWithTrace, crossedShare } from './compare-prices.ts'

// `node scripts/spot-prices.mjs`: writes the tables of docs/spot-prices.md anew.

const PAGE = 'docs/spot-prices.md'
const { trace, series } = compareWithTrace(300)
const row = (what: string, of: (each: typeof trace) => string) => `| ${what} | ${of(trace)} | ${of(series)} |`
const percent = (share: number) => `${Math.round(100 * share)} %`
const table = [
  `| | EC2, ${trace.series} zones | Hearth, ${series.series} series |`,
  '|-|-|-|',
  row('From price to price, hours: one tenth, half, nine tenths within', ({ intervalHours: { p10, median, p90 } }) => [p10, median, p90].map((each) => each.toFixed(1)).join(', ')),
  row('The same, mean', (each) => each.intervalHours.mean.toFixed(1)),
  row('Prices that were told again after a day', (each) => percent(each.repeatedShare)),
  row('Steps that changed nothing', (each) => percent(each.step.unchangedShare)),
  row('Mean step, ppm of on demand', (each) => each.step.meanPpm.toFixed(0)),
  row('Largest step', (each) => each.step.mostPpm.toFixed(0)),
  row('Of the changes, those that went the way of most', (each) => percent(each.trendShare)),
  row('Autocorrelation of steps', (each) => each.stepCorrelation.toFixed(2)),
  row('Autocorrelation of prices 1, 5, 10 points apart', ({ correlation: { lag1, lag5, lag10 } }) => [lag1, lag5, lag10].map((each) => each.toFixed(2)).join(', ')),
  row('Highest less lowest of a month, ppm', (each) => each.rangePpm.toFixed(0)),
].join('\n')
const crossings = ['| Band | The advisor says | Months in which an offer near the mean is passed |', '|-|-|-|',
  ...['< 5 %', '5 to 10 %', '10 to 15 %', '15 to 20 %', '> 20 %'].map((label, band) => `| ${band} | ${label} | ${(100 * crossedShare(3_000, 58, band)).toFixed(1)} % |`)].join('\n')

function replaced(page: string, name: string, table: string): string {
  const [begin, end] = [`<!-- ${name} -->\n`, `\n<!-- end of ${name} -->`]
  if (!page.includes(begin) || !page.includes(end)) throw new Error(`${PAGE} has no place for the table "${name}"`)
  return page.slice(0, page.indexOf(begin) + begin.length) + table + page.slice(page.indexOf(end))
}

writeFileSync(PAGE, replaced(replaced(readFileSync(PAGE, 'utf8'), 'trace', table), 'bands', crossings))
