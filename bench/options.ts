import { statfsSync } from 'node:fs'
import os from 'node:os'
import { parseArgs } from 'node:util'

/** What a run of the benchmarks measures, and how often. */
export interface BenchOptions {
  /** Pairs of launches: one by Hearth, one by hand. */
  runs: number
  /** Launches into an empty VPC, whose network is made on the way. */
  firstRuns: number
  instanceType: string
  /** Instances of each measurement of the simulated engine; 0 leaves it out. */
  simInstances: number
  json: boolean
  /** Where the temporary home goes; on a disk. */
  folder: string
}

/** Lines for `--help`. */
export const USAGE = `npm run bench -- [options]

  --runs <n>           pairs of launches, by Hearth and by hand (default 7)
  --first-runs <n>     launches into an empty VPC (default 3)
  --type <name>        instance type (default t3.micro)
  --sim-instances <n>  instances for the simulated engine, 0 for none (default 1000)
  --folder <path>      where the temporary home goes; must be on a disk (default: the system's)
  --json               figures as JSON on standard output
`

/** statfs's type of a file system in memory. */
const TMPFS = 0x0102_1994

/**
 * Options from the command line; undefined when help was asked for.
 *
 * @throws Error with one clear sentence.
 */
export function readOptions(words: string[]): BenchOptions | undefined {
  const { values } = parseArgs({
    args: words,
    options: {
      'runs': { type: 'string', default: '7' },
      'first-runs': { type: 'string', default: '3' },
      'type': { type: 'string', default: 't3.micro' },
      'sim-instances': { type: 'string', default: '1000' },
      'folder': { type: 'string' },
      'json': { type: 'boolean', default: false },
      'help': { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  return {
    runs: count('--runs', values.runs, 1, 100),
    firstRuns: count('--first-runs', values['first-runs'], 0, 100),
    instanceType: values.type,
    simInstances: count('--sim-instances', values['sim-instances'], 0, 1000),
    json: values.json,
    folder: values.folder ?? defaultFolder(),
  }
}

/** Disks in memory would flatter both sides, and QEMU more than us. */
function defaultFolder(): string {
  return statfsSync(os.tmpdir()).type === TMPFS ? '/var/tmp' : os.tmpdir()
}

function count(name: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new Error(`${name} must be a whole number from ${least} to ${most}, not ${text}`)
  }
  return value
}
