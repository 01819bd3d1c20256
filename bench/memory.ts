import { readFile } from 'node:fs/promises'
import { systemClock } from '../src/core/clock.ts'

/** Nothing was asked of the cloud for so long. */
const IDLE_MS = 5000

/** Bytes by process; RSS counts pages that processes share once for each, PSS divides them. */
export type Memory = Record<string, { rssBytes: number; pssBytes: number }>

/** Memory of processes (name → pid) after some seconds in which nobody asked anything of them. */
export async function idleMemory(pids: Record<string, number>): Promise<Memory> {
  await systemClock.sleep(IDLE_MS)
  const entries = await Promise.all(Object.entries(pids).map(async ([name, pid]) => {
    const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
    return [name, { rssBytes: field(text, 'Rss'), pssBytes: field(text, 'Pss') }] as const
  }))
  return Object.fromEntries(entries)
}

/** Sums over processes. */
export function totalOf(memory: Memory): { rssBytes: number; pssBytes: number } {
  const all = Object.values(memory)
  return {
    rssBytes: all.reduce((sum, each) => sum + each.rssBytes, 0),
    pssBytes: all.reduce((sum, each) => sum + each.pssBytes, 0),
  }
}

function field(text: string, name: string): number {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)
  if (!match) throw new Error(`smaps_rollup has no ${name}`)
  return Number(match[1]) * 1024
}
