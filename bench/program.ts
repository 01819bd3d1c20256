import { parseArgs, type ParseArgsConfig } from 'node:util'
import { messageOf } from '../src/core/errors.ts'

/** Exit of a run that measured everything and missed a goal. */
export const GOAL_MISSED = 1
export const FAILED = 2

/** Words of the command line that every benchmark but the first knows. */
export interface BenchWords {
  quick: boolean
  folder: string | undefined
}

export interface BenchProgram<Report> {
  usage: string
  /** Whether it also takes --folder, for what it writes. */
  takesFolder?: boolean
  measure: (words: BenchWords) => Promise<Report>
  render: (report: Report) => string
  isMet: (report: Report) => boolean
}

/** Says what a benchmark is about. */
export const progress = (line: string) => void process.stderr.write(`${line}\n`)

/** @throws Error that says how to run it as root. */
export function needRoot(what: string, command: string): void {
  if (process.getuid?.() !== 0) throw new Error(`${what} root: run "sudo ${command}"`)
}

/** Ends with the code that `main` answers, or with one sentence of why it failed. */
export async function exitWith(main: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main()
  } catch (error) {
    process.stderr.write(`bench: ${messageOf(error)}\n`)
    process.exitCode = FAILED
  }
}

/** Runs a benchmark as the command line says, and prints its report. */
export async function runBench<Report>({ usage, takesFolder = false, measure, render, isMet }: BenchProgram<Report>): Promise<void> {
  const options: ParseArgsConfig['options'] = {
    quick: { type: 'boolean' }, json: { type: 'boolean' }, help: { type: 'boolean' },
    ...(takesFolder ? { folder: { type: 'string' } } : {}),
  }
  await exitWith(async () => {
    const { values } = parseArgs({ options })
    const { quick = false, json = false, help = false, folder } = values as Partial<BenchWords & { json: boolean; help: boolean }>
    if (help) {
      process.stdout.write(usage)
      return 0
    }
    const report = await measure({ quick, folder })
    process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : render(report))
    return isMet(report) ? 0 : GOAL_MISSED
  })
}
