import type { Clock } from '../core/clock.ts'

/** Where a command writes: data to standard output, everything for people to standard error. */
export interface Terminal {
  out(text: string): void
  say(line: string): void
}

/** The terminal (or pipes) of this process. */
export const processTerminal: Terminal = {
  out: (text) => void process.stdout.write(`${text}\n`),
  say: (line) => void process.stderr.write(`${line}\n`),
}

const PROGRESS_INTERVAL_MS = 4000

/** Says every few seconds that `what`, as it is then, still goes on, until `body` ends. */
export async function withProgress<T>(clock: Clock, terminal: Terminal, what: string | (() => string), body: () => Promise<T>): Promise<T> {
  const begunMs = clock.now()
  let timer = clock.after(PROGRESS_INTERVAL_MS, tick)
  function tick() {
    terminal.say(`${typeof what === 'string' ? what : what()} … ${Math.round((clock.now() - begunMs) / 1000)} s`)
    timer = clock.after(PROGRESS_INTERVAL_MS, tick)
  }
  try {
    return await body()
  } finally {
    timer.cancel()
  }
}

/** Rows as lines with aligned columns, the first row being the head; no trailing blanks. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) row.forEach((cell, index) => (widths[index] = Math.max(widths[index] ?? 0, cell.length)))
  return rows.map((row) => row.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join('  ').trimEnd()).join('\n')
}

/** A length of time as people say it: "45 s", "12 min", "3 h 5 min", "2 d 4 h". */
export function formatDuration(durationMs: number): string {
  const seconds = Math.max(0, Math.floor(durationMs / 1000))
  const minutes = Math.floor(seconds / 60)
  const hours = Math.floor(minutes / 60)
  const days = Math.floor(hours / 24)
  if (days > 0) return `${days} d ${hours % 24} h`
  if (hours > 0) return `${hours} h ${minutes % 60} min`
  return minutes > 0 ? `${minutes} min` : `${seconds} s`
}

/** Memory in MiB or, where that is shorter, GiB. */
export function formatMib(mib: number): string {
  return mib >= 1024 ? `${Number((mib / 1024).toFixed(1))} GiB` : `${mib} MiB`
}
