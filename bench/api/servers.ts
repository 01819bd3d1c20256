import { fork, spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { packageRoot } from '../../src/core/package-root.ts'
import { textsOf } from '../../src/cli/xml.ts'
import type { Job, JobResult } from './client.ts'
import { Connection } from './http.ts'

const START_TIMEOUT_MS = 60_000

/** A server under measurement. */
export interface Server {
  name: 'hearth' | 'moto'
  port: number
  /** An image that it launches. */
  imageId: string
  /** Resident memory of the process that answers, bytes; 0 where it is not known. */
  memoryBytes(): number
  stop(): Promise<void>
}

/** Calls of the benchmark itself, which nobody measures. @throws Error for any other answer than 200. */
export async function call(port: number, form: string): Promise<string> {
  const connection = new Connection(port)
  try {
    const answer = await connection.post(form)
    if (answer.status !== 200) throw new Error(`${form}: status ${answer.status}: ${answer.text.slice(0, 500)}`)
    return answer.text
  } finally {
    connection.close()
  }
}

/** `hearth up --engine sim --instant` on a free port, as a user runs it. */
export async function startHearth(folder: string): Promise<Server & { home: string }> {
  const home = path.join(folder, 'home')
  const words = ['up', '--engine', 'sim', '--instant', '--auth', 'permissive', '--port', '0', '--home', home, '--no-first-instance']
  const log = path.join(folder, 'hearth.log')
  const child = start(process.execPath, [path.join(packageRoot(), 'dist/hearth.js'), ...words], log, folder)
  const port = await waitFor(systemClock, 'hearth up', START_TIMEOUT_MS, () => {
    if (child.exitCode !== null) throw new Error(`hearth up ended:\n${readFileSync(log, 'utf8')}`)
    return Number(/^ready http:\/\/[^:]+:(\d+)/m.exec(readFileSync(log, 'utf8'))?.[1]) || undefined
  })
  const record = JSON.parse(readFileSync(path.join(home, 'run/up.json'), 'utf8')) as { children: Record<string, number> }
  const pid = record.children['sim'] ?? 0
  const [imageId = ''] = textsOf(await call(port, 'Action=DescribeImages&Version=2016-11-15'), 'imageId')
  return { name: 'hearth', home, port, imageId, memoryBytes: () => residentBytes(pid), stop: () => end(child) }
}

/** moto's server on a free port; undefined where it is not installed. */
export async function startMoto(folder: string): Promise<Server | undefined> {
  const port = await freePort()
  const log = path.join(folder, 'moto.log')
  const child = start('moto_server', ['-H', '127.0.0.1', '-p', String(port)], log, folder)
  const isThere = await new Promise<boolean>((resolve) => {
    child.once('spawn', () => resolve(true))
    child.once('error', () => resolve(false))
  })
  if (!isThere) return undefined
  const xml = await waitFor(systemClock, 'moto_server', START_TIMEOUT_MS, async () => {
    if (child.exitCode !== null) throw new Error(`moto_server ended:\n${readFileSync(log, 'utf8')}`)
    return call(port, 'Action=DescribeImages&Version=2016-11-15&Owner.1=amazon').catch(() => undefined)
  })
  const [imageId = ''] = textsOf(xml, 'imageId')
  return { name: 'moto', port, imageId, memoryBytes: () => residentBytes(child.pid ?? 0), stop: () => end(child) }
}

function start(program: string, words: string[], log: string, cwd: string): ChildProcess {
  const file = openSync(log, 'a')
  const child = spawn(program, words, { stdio: ['ignore', file, file], cwd, env: { ...process.env, AWS_EC2_METADATA_DISABLED: 'true' } })
  closeSync(file)
  return child
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo
      server.close(() => resolve(port))
    })
  })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kib ?? 0) * 1024
}

/** A process of clients. */
export class Clients {
  readonly #child: ChildProcess

  constructor() {
    this.#child = fork(path.join(packageRoot(), 'dist/bench-client.js'))
  }

  /** @throws Error when any answer was not what it should be. */
  run(job: Job): Promise<JobResult> {
    return new Promise((resolve, reject) => {
      const onExit = () => reject(new Error('the process of the clients ended'))
      this.#child.once('exit', onExit)
      this.#child.once('message', (message) => {
        this.#child.off('exit', onExit)
        const { result, error } = message as { result?: JobResult; error?: string }
        if (result) resolve(result)
        else reject(new Error(error))
      })
      this.#child.send(job)
    })
  }

  /** Ends what is being run after the calls that are under way. */
  finish(): void {
    this.#child.send('stop')
  }

  close(): void {
    this.#child.disconnect()
  }
}
