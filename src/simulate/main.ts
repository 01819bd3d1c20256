import { parseArgs } from 'node:util'
import { messageOf } from '../core/errors.ts'
import { simulate } from './run.ts'

// npm run simulate -- --seed N --steps M --seeds COUNT

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    steps: { type: 'string', default: '500' },
  },
})

const first = Number(values.seed)
let failed = 0
for (let seed = first; seed < first + Number(values.seeds); seed++) {
  try {
    const report = await simulate(seed, Number(values.steps))
    console.log(`seed ${seed}: ${report.calls} calls, ${report.launched} launched, ${report.resumed} resumed, ${report.crashes} crashes survived, trace ${report.trace.slice(0, 12)}`)
  } catch (error) {
    failed += 1
    console.error(messageOf(error))
  }
}
process.exit(failed > 0 ? 1 : 0)
