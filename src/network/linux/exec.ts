import { spawn } from 'node:child_process'
import type { Clock } from '../../core/clock.ts'
import { NETNS_FOLDER } from './names.ts'

/** Runs the kernel's command-line tools; every call has a deadline. */
export interface Exec {
  /** Runs on the host's side. Resolves with standard output. */
  host(command: string[], input?: string): Promise<string>
  /** Runs inside a named network namespace. */
  inside(netns: string, command: string[], input?: string): Promise<string>
}

/** Exit of a command that did not succeed; the message holds what it said. */
export class CommandError extends Error {
  readonly stderr: string

  constructor(command: string[], reason: string, stderr: string) {
    super(`${command.join(' ')}: ${[reason, stderr.trim()].filter((part) => part !== '').join(': ')}`)
    this.name = 'CommandError'
    this.stderr = stderr
  }
}

const TIMEOUT_MS = 20_000
/** Small enough for a message, large enough for every complaint of nft about a table. */
const STDERR_LIMIT = 4_000

/**
 * @param hostNetns a named network namespace to treat as "the host"; undefined for the real one.
 *   nsenter and not `ip netns exec`, which would hide the cgroup mounts and remount /sys each time.
 */
export function createExec(options: { clock: Clock; hostNetns?: string }): Exec {
  return {
    host: (command, input) => run(options.clock, within(options.hostNetns, command), input),
    inside: (netns, command, input) => run(options.clock, within(netns, command), input),
  }
}

function within(netns: string | undefined, command: string[]): string[] {
  return netns === undefined ? command : ['nsenter', `--net=${NETNS_FOLDER}/${netns}`, '--', ...command]
}

/** The environment of the tools: administrators' folders included, messages in English. */
function toolEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`, LC_ALL: 'C' }
}

function run(clock: Clock, command: string[], input = ''): Promise<string> {
  const [file = '', ...args] = command
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'], env: toolEnvironment() })
    const stdout: Buffer[] = []
    let stderr = ''
    const timer = clock.after(TIMEOUT_MS, () => {
      child.kill('SIGKILL')
      reject(new CommandError(command, `gave no answer within ${TIMEOUT_MS} ms`, stderr))
    })
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => {
      if (stderr.length < STDERR_LIMIT) stderr += chunk.toString().slice(0, STDERR_LIMIT)
    })
    // A command that ends before it has read all its input is judged by its exit code.
    child.stdin.on('error', () => {})
    child.on('error', (error: NodeJS.ErrnoException) => {
      timer.cancel()
      const isMissing = error.code === 'ENOENT'
      const reason = isMissing ? 'is not installed (packages iproute2, nftables and util-linux)' : error.message
      reject(new CommandError(command, reason, ''))
    })
    child.on('close', (code, signal) => {
      timer.cancel()
      if (code === 0) resolve(Buffer.concat(stdout).toString())
      else reject(new CommandError(command, signal ? `ended by ${signal}` : `exit code ${code}`, stderr))
    })
    child.stdin.end(input)
  })
}
