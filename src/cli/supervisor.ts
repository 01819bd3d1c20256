import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { CHILD_FLAGS, childEnvironment, type ChildMessage, type FoundPorts } from '../child-process.ts'
import type { Clock, Timer } from '../core/clock.ts'
import { waitFor } from '../core/clock.ts'
import { giveToFolderOwner } from '../core/file-owner.ts'
import type { Settings } from '../settings.ts'
import type { Child } from './children.ts'

export interface SupervisorOptions {
  /** All of them are started at the same time. */
  children: readonly Child[]
  settings: Settings
  logFolder: string
  clock: Clock
  say: (line: string) => void
  /** A child was started, is ready or has ended. */
  onChange?: () => void
}

/** Pauses before a child is started again; the pause grows while it keeps dying young. */
const BACKOFF_MS = { first: 100, most: 5_000, reset: 5_000 }

/** A child that never was ready and has died this often will not get better by itself. */
const MAX_STILLBIRTHS = 5

/** From SIGTERM to SIGKILL. */
const STOP_DEADLINE_MS = 10_000

/** Keeps the processes of one cloud alive, and ends them. */
export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #children: SupervisedChild[]
  #settings: Settings

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#settings = options.settings
    this.#children = options.children.map((child) =>
      new SupervisedChild(child, options, () => this.#settings, (ports) => this.#settle(ports)))
  }

  /** Starts every child. @throws Error when one cannot start; all of them are ended then. */
  async start(): Promise<void> {
    try {
      await Promise.all(this.#children.map((child) => child.start()))
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /** Ends every child: in peace, or after ten seconds by force. */
  async stop(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.stop()))
  }

  /** With the ports that its processes really have. */
  get settings(): Settings {
    return this.#settings
  }

  /** Name of each child → its pid, null while it is down. */
  get pids(): Record<string, number | null> {
    return Object.fromEntries(this.#children.map((child) => [child.name, child.pid]))
  }

  /** A free port that was found once is kept, so that clients find a restarted API. */
  #settle(ports: FoundPorts): void {
    this.#settings = { ...this.#settings, ...ports }
    this.#options.onChange?.()
  }
}

class SupervisedChild {
  readonly #child: Child
  readonly #options: SupervisorOptions
  readonly #settings: () => Settings
  readonly #onReady: (ports: FoundPorts) => void
  #process: ChildProcess | undefined
  #restart: Timer | undefined
  #isStopping = false
  #wasReady = false
  /** Deaths in a row of processes that did not live long. */
  #deaths = 0
  #startedMs = 0
  #failure: string | undefined
  #settleFirst: { resolve: () => void; reject: (error: Error) => void } | undefined

  constructor(
    child: Child,
    options: SupervisorOptions,
    settings: () => Settings,
    onReady: (ports: FoundPorts) => void,
  ) {
    this.#child = child
    this.#options = options
    this.#settings = settings
    this.#onReady = onReady
  }

  get name(): string {
    return this.#child.name
  }

  get pid(): number | null {
    return this.#process?.pid ?? null
  }

  /** Resolves when the child is ready for the first time. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settleFirst = { resolve, reject }
      this.#spawn()
    })
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    this.#restart?.cancel()
    const child = this.#process
    if (!child) return
    child.kill('SIGTERM')
    const force = this.#options.clock.after(STOP_DEADLINE_MS, () => {
      this.#options.say(`${this.name} did not end in ${STOP_DEADLINE_MS / 1000} s; killing it`)
      child.kill('SIGKILL')
    })
    await waitFor(this.#options.clock, `${this.name} to end`, STOP_DEADLINE_MS * 2, () => this.#process === undefined, 20)
    force.cancel()
  }

  #spawn(): void {
    const { clock, logFolder } = this.#options
    const environment: NodeJS.ProcessEnv = { ...process.env, ...childEnvironment(this.#settings(), this.#child.orders) }
    const log = openSync(this.#logFile(logFolder), 'a', 0o600)
    giveToFolderOwner(this.#logFile(logFolder))
    // A session of its own: Ctrl-C in the terminal is for the supervisor, which decides what ends.
    const child = spawn(process.execPath, [...CHILD_FLAGS, this.#child.script], {
      detached: true, env: environment, stdio: ['ignore', log, log, 'ipc'],
    })
    closeSync(log)
    this.#process = child
    this.#startedMs = clock.now()
    this.#failure = undefined
    child.on('message', (message) => this.#hear(message as ChildMessage))
    child.once('error', (error) => this.#ended(child, error.message))
    child.once('exit', (code, signal) => this.#ended(child, signal ? `was ended by ${signal}` : `ended with status ${code}`))
    this.#options.onChange?.()
  }

  #hear(message: ChildMessage): void {
    if (message.type === 'failed') {
      this.#failure = message.message
      return
    }
    if (this.#wasReady) this.#options.say(`${this.name} is back`)
    this.#wasReady = true
    const { type: _, ...ports } = message
    this.#onReady(ports)
    this.#settleFirst?.resolve()
  }

  #ended(child: ChildProcess, how: string): void {
    if (this.#process !== child) return
    this.#process = undefined
    this.#options.onChange?.()
    if (this.#isStopping) return
    const { clock, say, logFolder } = this.#options
    this.#deaths = clock.now() - this.#startedMs >= BACKOFF_MS.reset ? 0 : this.#deaths + 1
    if (!this.#wasReady && (this.#failure !== undefined || this.#deaths >= MAX_STILLBIRTHS)) {
      const why = this.#failure ?? `it ${how}: ${this.#lastWords()} (see ${this.#logFile(logFolder)})`
      this.#settleFirst?.reject(new Error(`the ${this.name} process cannot start: ${why}`))
      return
    }
    const pauseMs = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** Math.max(0, this.#deaths - 1))
    say(`${this.name} ${how}${this.#failure ? ` (${this.#failure})` : ''}; starting it again in ${pauseMs} ms`)
    this.#restart = clock.after(pauseMs, () => this.#spawn())
  }

  #logFile(folder: string): string {
    return path.join(folder, `${this.name}.log`)
  }

  #lastWords(): string {
    return readFileSync(this.#logFile(this.#options.logFolder), 'utf8').trim().split('\n').at(-1)?.slice(0, 300) ?? ''
  }
}
