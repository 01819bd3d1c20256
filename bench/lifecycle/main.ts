import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { messageOf } from '../../src/core/errors.ts'
import { below, isMet, median, render, type GoalReport } from '../table.ts'
import { measureMemory } from './memory.ts'

// `npm run bench -- lifecycle`: how long a guest's memory takes to its file and back, through the driver and by a plain
// QMP `migrate` of the same kind of guest.

const USAGE = `npm run bench -- lifecycle [options]

  --quick  fewer rounds
  --json   figures as JSON on standard output
`

/** Exit of a run that measured everything and missed a goal. */
const GOAL_MISSED = 1
const FAILED = 2

const progress = (line: string) => void process.stderr.write(`${line}\n`)

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false }, json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  if (process.getuid?.() !== 0) throw new Error('guests need root: run "sudo npm run bench -- lifecycle"')
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-bench-lifecycle-'))
  try {
    const report = await measure(folder, values.quick ? 3 : 9)
    process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : render(report))
    return isMet(report) ? 0 : GOAL_MISSED
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

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

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`bench: ${messageOf(error)}\n`)
  process.exitCode = FAILED
}
