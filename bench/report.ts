import type { RealFigures } from './launch.ts'
import { totalOf, type Memory } from './memory.ts'
import type { SimFigures } from './simulated.ts'

/** Launch by Hearth over launch by hand, medians. */
const MOST_RATIO = 1.1
/** RSS of api and agent together, with one instance. */
const MOST_MEMORY_BYTES = 180_000_000

export interface Summary {
  min: number
  median: number
  max: number
}

export interface Goal {
  what: string
  value: number
  most: number
  isMet: boolean
}

/** Everything that a run of the benchmarks found; times in milliseconds, memory in bytes. */
export interface Report {
  accelerator: string
  instanceType: string
  runs: number
  launch: Record<'byHand' | 'byHandDisk' | 'hearth' | 'hearthAnswered' | 'hearthSpawned' | 'hearthRunning', Summary>
  /** Hearth over by hand, pair by pair: what a host whose load changes says more clearly than medians. */
  pairRatio: Summary
  /** Absent when none was asked for. */
  firstLaunch?: Record<'hearth' | 'hearthSpawned', Summary>
  memory: RealFigures['memory']
  sim?: SimFigures
  goals: Goal[]
}

/** Least, middle and largest of a list that is not empty. */
function summarize(values: number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (index: number) => sorted[index] ?? Number.NaN
  const half = (sorted.length - 1) / 2
  return { min: at(0), median: (at(Math.floor(half)) + at(Math.ceil(half))) / 2, max: at(sorted.length - 1) }
}

function goal(what: string, value: number, most: number): Goal {
  return { what, value, most, isMet: value <= most }
}

/** The report of what was measured. */
export function makeReport(real: RealFigures, sim: SimFigures | undefined, instanceType: string): Report {
  const launch = {
    byHand: summarize(real.byHand.map((each) => each.bannerMs)),
    byHandDisk: summarize(real.byHand.map((each) => each.diskMs)),
    hearth: summarize(real.hearth.map((each) => each.bannerMs)),
    hearthAnswered: summarize(real.hearth.map((each) => each.answeredMs)),
    hearthSpawned: summarize(real.hearth.map((each) => each.spawnedMs)),
    hearthRunning: summarize(real.hearth.map((each) => each.runningMs)),
  }
  const ofTwo = ({ api, agent }: Memory) => (api?.rssBytes ?? 0) + (agent?.rssBytes ?? 0)
  const memoryBytes = Math.max(ofTwo(real.memory.before), ofTwo(real.memory.after))
  return {
    accelerator: real.accelerator, instanceType, runs: real.hearth.length, launch,
    pairRatio: summarize(real.hearth.map((each, pair) => each.bannerMs / (real.byHand[pair]?.bannerMs ?? Number.NaN))),
    ...(real.hearthFirst.length === 0 ? {} : {
      firstLaunch: {
        hearth: summarize(real.hearthFirst.map((each) => each.bannerMs)),
        hearthSpawned: summarize(real.hearthFirst.map((each) => each.spawnedMs)),
      },
    }),
    memory: real.memory,
    ...(sim ? { sim } : {}),
    goals: [
      goal('launch, over by hand, medians', launch.hearth.median / launch.byHand.median, MOST_RATIO),
      goal("idle memory of api and the node's agent, bytes of RSS", memoryBytes, MOST_MEMORY_BYTES),
    ],
  }
}

/** The report as tables for people. */
export function render(report: Report): string {
  return [...launchLines(report), '', ...memoryLines(report), ...simLines(report), '', ...goalLines(report), ''].join('\n')
}

function launchLines({ launch, pairRatio, firstLaunch, runs, instanceType, accelerator }: Report): string[] {
  const row = (name: string, { min, median, max }: Summary, note = '') =>
    `${columns([name, whole(min), whole(median), whole(max)])}  ${note}`.trimEnd()
  const times = (summary: Summary) => `${(summary.median / launch.byHand.median).toFixed(2)} x by hand`
  return [
    `Launch until the SSH banner: ${instanceType}, ${accelerator}, ${runs} pairs, milliseconds`,
    columns(['', 'min', 'median', 'max']),
    row('QEMU by hand', launch.byHand),
    row('  of it qemu-img', launch.byHandDisk),
    row('Hearth, from RunInstances', launch.hearth, times(launch.hearth)),
    row('  RunInstances answered', launch.hearthAnswered),
    row('  QEMU spawned (about)', launch.hearthSpawned),
    row('  state "running"', launch.hearthRunning),
    columns(['Hearth / by hand, by pair', ...[pairRatio.min, pairRatio.median, pairRatio.max].map((ratio) => ratio.toFixed(2))]),
    ...(firstLaunch ? [
      row('Hearth, first in its VPC', firstLaunch.hearth, times(firstLaunch.hearth)),
      row('  QEMU spawned (about)', firstLaunch.hearthSpawned),
    ] : []),
  ]
}

function memoryLines({ memory }: Report): string[] {
  const names = Object.keys(memory.after)
  const row = (name: string, before: { rssBytes: number; pssBytes: number }, after: { rssBytes: number; pssBytes: number }) =>
    columns([name, megabytes(before.rssBytes), megabytes(before.pssBytes), megabytes(after.rssBytes), megabytes(after.pssBytes)])
  const none = { rssBytes: 0, pssBytes: 0 }
  return [
    'Idle memory with one instance, before and after the launches, MB (1,000,000 bytes)',
    columns(['', 'RSS', 'PSS', 'RSS', 'PSS']),
    ...names.map((name) => row(name, memory.before[name] ?? none, memory.after[name] ?? none)),
    row('together', totalOf(memory.before), totalOf(memory.after)),
  ]
}

function simLines({ sim }: Report): string[] {
  if (!sim) return []
  return [
    '',
    `Simulated engine, --instant: ${sim.instances} instances, launches per second until running (no goal)`,
    columns(['HTTP, one after another', whole(sim.httpSequential)]),
    columns(['HTTP, 8 clients', whole(sim.httpConcurrent)]),
    columns(['HTTP, one call', whole(sim.httpOneCall)]),
    columns(['in process', whole(sim.inProcess)]),
  ]
}

function goalLines({ goals }: Report): string[] {
  return goals.map((goal) => {
    const [value, most] = goal.most > 1000
      ? [`${megabytes(goal.value)} MB`, `${megabytes(goal.most)} MB`] : [goal.value.toFixed(2), goal.most.toFixed(2)]
    return `${goal.isMet ? 'met   ' : 'MISSED'} ${goal.what.replace(', bytes of', ',')}: ${value}, goal at most ${most}`
  })
}

function columns([name = '', ...values]: string[]): string {
  return `${name.padEnd(28)}${values.map((value) => value.padStart(9)).join('')}`.trimEnd()
}

function whole(value: number): string {
  return String(Math.round(value))
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}
