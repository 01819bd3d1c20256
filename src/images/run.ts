import { spawn } from 'node:child_process'
import { messageOf } from '../core/errors.ts'

export interface RunOptions {
  cwd?: string
  env?: Record<string, string>
  /** Called with each line of standard output and standard error as it comes. */
  onLine?: (line: string) => void
}

/**
 * Runs a program to its end and returns its standard output.
 *
 * The system folders are searched even when the caller's PATH lacks them, and messages are in
 * English so that they can be read by machines.
 *
 * @throws Error with the command and the end of its standard error when it cannot run or fails.
 */
export function run(program: string, args: string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const environment = { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin` }
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...environment, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const output: Buffer[] = []
    let errors = ''
    const lines = lineSplitter(options.onLine)
    child.stdout.on('data', (chunk: Buffer) => {
      output.push(chunk)
      lines(chunk)
    })
    child.stderr.on('data', (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-2000)
      lines(chunk)
    })
    child.on('error', (error) => reject(new Error(`${program} cannot be run: ${messageOf(error)}`)))
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(output).toString())
      const how = signal ? `was ended by ${signal}` : `failed with status ${code}`
      reject(new Error(`${program} ${args.join(' ')} ${how}: ${errors.trim() || 'it said nothing'}`))
    })
  })
}

function lineSplitter(onLine: ((line: string) => void) | undefined): (chunk: Buffer) => void {
  let rest = ''
  return (chunk) => {
    if (!onLine) return
    const lines = (rest + chunk.toString()).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line.trim() !== '') onLine(line.trim())
  }
}
