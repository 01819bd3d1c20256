import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { measureChanges, measureLaunches } from './changes.ts'
import { createScene } from './scene.ts'
import { needRoot, progress, runBench } from '../program.ts'
import { atLeast, below, isMet, type GoalReport, render } from '../table.ts'
import { measureTraffic } from './traffic.ts'

// `npm run bench -- network`: how quickly a VPC changes, and what it costs packets to pass it. In
// namespaces of its own; nothing of the host's network is touched.

const USAGE = `npm run bench -- network [options]

  --quick  fewer and shorter rounds
  --json   figures as JSON on standard output
`

const PRESENT = 1000
const RULES = 1000
const LAUNCHES_PER_SECOND = 50
const THOROUGH = { runs: 21, seconds: 10, rounds: 5, durationMs: 2000 }
const QUICK = { runs: 7, seconds: 4, rounds: 3, durationMs: 1000 }

async function measure({ runs, seconds, rounds, durationMs }: typeof QUICK): Promise<GoalReport> {
  const scene = await createScene()
  try {
    progress('traffic between two interfaces, and over a bare veth pair')
    const program = path.join(path.dirname(fileURLToPath(import.meta.url)), 'bench-network-peer.js')
    const traffic = await measureTraffic(scene, program, rounds, durationMs)
    progress(`changes among ${PRESENT} interfaces`)
    const { bindMs, rulesMs } = await measureChanges(scene, PRESENT, RULES, runs)
    progress(`${LAUNCHES_PER_SECOND} launches a second`)
    const load = await measureLaunches(scene, LAUNCHES_PER_SECOND, seconds)
    return {
      goals: [
        below(`one more interface among ${PRESENT}`, bindMs, 'ms', 50),
        below(`a change to a group of ${RULES} rules in force`, rulesMs, 'ms', 150),
        below(`${LAUNCHES_PER_SECOND} launches a second, network work`, load.cores, 'cores', 0.5),
        atLeast('TCP between two interfaces, of a bare veth pair', traffic.ports / traffic.bare, 'times', 0.8),
        atLeast('new connections between them, of a bare veth pair', traffic.portsConnections / traffic.bareConnections, 'times', 0.5),
      ],
      notes: [
        `TCP: ${traffic.ports.toFixed(1)} Gbit/s between interfaces, ${traffic.bare.toFixed(1)} on a bare pair`,
        `New connections a second: ${traffic.portsConnections.toFixed(0)} between interfaces, ${traffic.bareConnections.toFixed(0)} on a bare pair`,
        `Launches: ${load.syncs} transactions, the slowest interface in force after ${load.slowestMs.toFixed(0)} ms`,
      ],
    }
  } finally {
    await scene.close()
  }
}

await runBench({
  usage: USAGE, render, isMet,
  async measure({ quick }) {
    needRoot('namespaces need', 'npm run bench -- network')
    return measure(quick ? QUICK : THOROUGH)
  },
})
