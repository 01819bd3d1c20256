// `npm run test:long`: what takes too long for every change, at most 35 minutes in all on two cores. 300 simulated
// histories, then tests with real guests in test/long (as root): a chain of twenty images; 100 kills of api and agent
// over ten guests, which has 10 minutes; moves between hosts, which have 4; zones that fail and heal under load, which has 5.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import './build.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const steps = [
  [process.execPath, [path.join(root, 'scripts/simulate.mjs'), '--seed', '1001', '--seeds', '300', '--steps', '500']],
  [path.join(root, 'node_modules/.bin/vitest'), ['run', '--project', 'long']],
]
for (const [program, words] of steps) {
  const { status } = spawnSync(program, words, { cwd: root, stdio: 'inherit', env: { ...process.env, HEARTH_LONG_TESTS: '1' } })
  if (status !== 0) process.exit(status ?? 1)
}
