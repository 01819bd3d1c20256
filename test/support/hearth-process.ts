import { spawn, type ChildProcess } from 'node:child_process'
import path from 'node:path'
import { packageRoot } from '../../src/core/package-root.ts'

/** A command that goes on by itself, with what it has printed so far. */
export interface RunningHearth {
  child: ChildProcess
  output: () => string
  said: () => string
  exit: Promise<number | null>
}

/** Starts `hearth` with these words. */
export function startHearth(words: readonly string[], env: NodeJS.ProcessEnv): RunningHearth {
  const child = spawn(path.join(packageRoot(), 'bin/hearth'), words, { stdio: ['ignore', 'pipe', 'pipe'], env })
  let output = ''
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  return { child, output: () => output, said: () => said, exit: new Promise((resolve) => child.once('close', resolve)) }
}
