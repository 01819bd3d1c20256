import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { needRoot, progress, runBench } from '../program.ts'
import { below, isMet, median, render, type GoalReport } from '../table.ts'
import { measureMemory } from './memory.ts'

// `npm run bench -- lifecycle`: how long a guest's memory takes to its file and back, through the driver and by a plain
// QMP `migrate` of the same kind of guest.

const USAGE = `npm run bench -- lifecycle [options]

  --quick  fewer rounds
  --json   figures as JSON on standard output
`

async function measure(folder: string, rounds: number): Promise<GoalReport> {
  const { pairs, gib, longestWaitMs } = await measureMemory(folder, rounds, progress)
  const middle = (of: (pair: (typeof pairs)[number]) => number) => median(pairs.map(of))
  const perGib = (of: (pair: (typeof pairs)[number]) => number) => (middle(of) / 1000 / gib).toFixed(2)
  return {
    goals: [
      below('hibernate, of a plain migrate to a file and its sync', middle(({ driver, plain }) => driver.saveMs / (plain.saveMs + plain.syncMs)), 'times', 2.5),
      below('resume, of a plain start and migrate from a file', middle(({ driver, plain }) => driver.loadMs / plain.loadMs), 'times', 2.5),
      below('longest wait of the event loop meanwhile', longestWaitMs, 'ms', 50),
    ],
    notes: [
      `${gib.toFixed(2)} GiB in the file, ${rounds} rounds; seconds per GiB, medians:`,
      `  hibernate: ${perGib(({ driver }) => driver.saveMs)} by the driver; plain: ${perGib(({ plain }) => plain.saveMs)}, with its sync ${perGib(({ plain }) => plain.saveMs + plain.syncMs)}`,
      `  resume:    ${perGib(({ driver }) => driver.loadMs)} by the driver; plain: ${perGib(({ plain }) => plain.loadMs)}`,
      `Round by round, driver/plain, milliseconds: ${pairs.map(({ driver, plain }) =>
        `${driver.saveMs.toFixed(0)}/${(plain.saveMs + plain.syncMs).toFixed(0)} ${driver.loadMs.toFixed(0)}/${plain.loadMs.toFixed(0)}`).join(', ')}`,
    ],
  }
}

await runBench({
  usage: USAGE, render, isMet,
  async measure({ quick }) {
    needRoot('guests need', 'npm run bench -- lifecycle')
    const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-bench-lifecycle-'))
    try {
      return await measure(folder, quick ? 3 : 9)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
})
