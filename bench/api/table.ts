import type { JobResult } from './client.ts'

/** Throughput that we want, in times of moto's. */
const LEAST_RATIO = 20
/** Milliseconds that 99 of 100 lookups by id or tag may take, however many instances there are. */
const MOST_LOOKUP_MS = 5
/** Milliseconds that a full listing may keep any other call waiting. */
const MOST_STALL_MS = 50

/** What a measurement found, in milliseconds. */
export interface Timing {
  calls: number
  perSecond: number
  medianMs: number
  p99Ms: number
  mostMs: number
  /** DescribeInstances calls per launch until it ran; 0 where nothing was launched. */
  pollsPerCall: number
}

export interface ComparedRow {
  what: string
  clients: number
  hearth: Timing
  moto: Timing | null
}

export interface AloneRow {
  instances: number
  lookups: [what: string, timing: Timing][]
  listing: Timing & { bytes: number }
  /** Lookups by id, one every few milliseconds, while the listing went on. */
  delayed: Timing
  memoryBytes: number
}

export interface ApiReport {
  compared: ComparedRow[]
  alone: AloneRow[]
  hasMoto: boolean
}

/** Rounds of the same measurement as one. */
export function timing(results: readonly JobResult[]): Timing {
  const sorted = results.flatMap((result) => result.latencies).toSorted((a, b) => a - b)
  const elapsedMs = results.reduce((sum, result) => sum + result.elapsedMs, 0)
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
  return {
    calls: sorted.length, perSecond: (sorted.length * 1000) / elapsedMs, medianMs: at(0.5), p99Ms: at(0.99), mostMs: at(1),
    pollsPerCall: results.reduce((sum, result) => sum + result.polls, 0) / sorted.length,
  }
}

function ratioOf({ hearth, moto }: ComparedRow): number | undefined {
  return moto ? hearth.perSecond / moto.perSecond : undefined
}

interface Goal {
  what: string
  isMet: boolean
}

function goalsOf(report: ApiReport): Goal[] {
  const compared = report.compared.flatMap((row) => {
    const ratio = ratioOf(row)
    const what = `${row.what}, ${row.clients} client(s): ${ratio?.toFixed(1)} times moto, goal ${LEAST_RATIO}`
    return ratio === undefined ? [] : [{ what, isMet: ratio >= LEAST_RATIO }]
  })
  const alone = report.alone.flatMap(({ instances, lookups, delayed }) => [
    // The last is the filter that nothing matches.
    ...lookups.slice(0, -1).map(([what, { p99Ms }]) => ({
      what: `${what}, ${instances} present: 99 % within ${ms(p99Ms)} ms, goal ${MOST_LOOKUP_MS}`, isMet: p99Ms < MOST_LOOKUP_MS,
    })),
    {
      what: `a call during a listing of ${instances}: ${ms(delayed.mostMs)} ms at most, goal ${MOST_STALL_MS}`,
      isMet: delayed.mostMs < MOST_STALL_MS,
    },
  ])
  return [...compared, ...alone]
}

/** Whether every goal is reached. */
export function isMet(report: ApiReport): boolean {
  return goalsOf(report).every((goal) => goal.isMet)
}

/** The report as tables for people. */
export function render(report: ApiReport): string {
  const goals = goalsOf(report).map((goal) => `${goal.isMet ? 'met   ' : 'MISSED'} ${goal.what}`)
  return [...comparedLines(report), '', ...report.alone.flatMap(aloneLines), ...goals, ''].join('\n')
}

function comparedLines({ compared, hasMoto }: ApiReport): string[] {
  const moto = hasMoto ? ['moto/s', 'median', 'p99', 'ratio'] : []
  return [
    '1,000 instances present; calls per second, milliseconds per call',
    columns(['', 'clients', 'hearth/s', 'median', 'p99', ...moto]),
    ...compared.map((row) => columns([
      row.what, String(row.clients), rate(row.hearth), ms(row.hearth.medianMs), ms(row.hearth.p99Ms),
      ...(row.moto ? [rate(row.moto), ms(row.moto.medianMs), ms(row.moto.p99Ms), (ratioOf(row) ?? 0).toFixed(1)] : []),
    ])),
    ...compared.filter((row) => row.hearth.pollsPerCall > 0 && row.clients === 1).map((row) =>
      `Polls until it runs: hearth ${row.hearth.pollsPerCall.toFixed(2)}${row.moto ? `, moto ${row.moto.pollsPerCall.toFixed(2)}` : ''}`),
  ]
}

function aloneLines({ instances, lookups, listing, delayed, memoryBytes }: AloneRow): string[] {
  const line = (what: string, timing: Timing) =>
    columns([what, rate(timing), ms(timing.medianMs), ms(timing.p99Ms), ms(timing.mostMs)])
  return [
    `${instances} instances present, one client; calls per second, milliseconds per call`,
    columns(['', 'hearth/s', 'median', 'p99', 'most']),
    ...lookups.map(([what, timing]) => line(what, timing)),
    line('DescribeInstances of all', listing),
    line('DescribeInstances of one, meanwhile', delayed),
    `The listing has ${(listing.bytes / 1e6).toFixed(1)} MB; resident memory after it: ${(memoryBytes / 1e6).toFixed(0)} MB`,
    '',
  ]
}

function columns([name = '', ...values]: string[]): string {
  return `${name.padEnd(44)}${values.map((value) => value.padStart(9)).join('')}`.trimEnd()
}

function rate({ perSecond }: Timing): string {
  return perSecond.toFixed(perSecond < 100 ? 1 : 0)
}

function ms(value: number): string {
  return value.toFixed(value < 10 ? 2 : 0)
}
