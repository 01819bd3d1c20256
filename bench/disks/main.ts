import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { needRoot, progress, runBench } from '../program.ts'
import { atLeast, below, isMet, median, render, type GoalReport } from '../table.ts'
import { measureGuest } from './guest.ts'
import { measureLayers } from './layers.ts'

// `npm run bench -- disks`: how long a root volume takes to be there, how long a guest's disk stands still
// while an image is baked of it, and what a fresh clone costs its guest beside a plain qcow2 file.

const USAGE = `npm run bench -- disks [options]

  --quick  fewer and shorter rounds
  --json   figures as JSON on standard output
`

const THOROUGH = { runs: 21, rounds: 5, seconds: 5 }
const QUICK = { runs: 7, rounds: 3, seconds: 3 }

async function measure(folder: string, { runs, rounds, seconds }: typeof QUICK): Promise<GoalReport> {
  progress('root volumes')
  const layers = await measureLayers(folder, runs)
  const guest = await measureGuest(folder, { rounds, seconds }, progress)
  const ratios = guest.pairs.map(({ clone, plain }) => clone / plain)
  const perSecond = guest.pairs.map(({ clone, plain }) => `${clone.toFixed(0)}/${plain.toFixed(0)}`)
  return {
    goals: [
      below('a root volume from an image of 1 GiB', layers.smallMs, 'ms', 100),
      below('from one of 1 TiB', layers.largeMs, 'ms', 100),
      below('from one of 1 TiB, encrypted', layers.encryptedMs, 'ms', 100),
      below('longest write of the guest while an image is baked of it', guest.bakeMs, 'ms', 250),
      atLeast('random 4 KiB writes on a fresh clone, of a plain qcow2 file', median(ratios), 'times', 0.8),
    ],
    notes: [
      `qemu-img by hand makes an overlay on the image of 1 TiB in ${layers.byHandMs.toFixed(0)} ms`,
      `While nothing is baked the guest's longest write takes ${guest.quietMs.toFixed(0)} ms`,
      `Writes a second, clone/plain, round by round: ${perSecond.join(' ')}`,
    ],
  }
}

await runBench({
  usage: USAGE, render, isMet,
  async measure({ quick }) {
    needRoot('guests need', 'npm run bench -- disks')
    const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-bench-disks-'))
    try {
      return await measure(folder, quick ? QUICK : THOROUGH)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
})
