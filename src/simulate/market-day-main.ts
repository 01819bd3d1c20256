import { writeFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { simulateDay } from './market-day.ts'
import { chartOf } from './market-day-chart.ts'

// `npm run market-day`: a day of the spot market by itself, and its chart. See docs/spot-market.md.

const { values } = parseArgs({ options: { seed: { type: 'string', default: '8' }, pricing: { type: 'string', default: 'auction' }, out: { type: 'string', default: 'docs/spot-day.svg' } } })
if (values.pricing !== 'auction' && values.pricing !== 'smoothed') throw new Error(`--pricing is auction or smoothed, not ${values.pricing}`)
if (!/^\d{1,9}$/.test(values.seed)) throw new Error(`--seed is a whole number, not ${values.seed}`)
const beganMs = performance.now()
const day = simulateDay({ seed: Number(values.seed), requests: 10_000, pricing: values.pricing, hosts: 40 })
const tookS = ((performance.now() - beganMs) / 1000).toFixed(1)
writeFileSync(values.out, chartOf(day, `A day of 10,000 spot requests in three zones (${values.pricing}, seed ${values.seed})`))
process.stdout.write(
  `${day.requests} requests, ${day.fulfilled} launches, ${day.completed} ended by themselves, interrupted ${day.noCapacity} for capacity and ${day.byPrice} by price; `
  + `${tookS} s; ${values.out}\n`)
