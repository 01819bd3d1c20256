import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import pg from 'pg'
import { inject } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { systemRandom } from '../../src/core/random.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { Store } from '../../src/store/store.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Folder of the socket of the run's PostgreSQL; undefined where none is installed. */
    postgresSocket: string | undefined
  }
}

/** Database that is there already with today's schema, to be copied. */
const TEMPLATE = 'hearth_template'

/** The newest PostgreSQL of Debian on this machine; undefined where there is none. */
function programFolder(): string | undefined {
  const root = '/usr/lib/postgresql'
  if (!existsSync(root)) return undefined
  const versions = readdirSync(root).filter((name) => existsSync(path.join(root, name, 'bin', 'initdb')))
  const newest = versions.toSorted((a, b) => Number(b) - Number(a))[0]
  return newest === undefined ? undefined : path.join(root, newest, 'bin')
}

export interface PostgresServer {
  /** Folder of its socket; it listens nowhere else. */
  socket: string
  /** Ends every process of it at once, as a power cut would. */
  kill: () => Promise<void>
  start: () => Promise<void>
  stop: () => Promise<void>
}

/** URL of a database of a test server. */
export function urlOf(socket: string, database: string): string {
  return `postgresql:///${database}?host=${encodeURIComponent(socket)}&user=hearth`
}

/**
 * Starts a PostgreSQL of its own in a temporary folder, as user `postgres` where we are root; it
 * ends with this process at the latest. Its text is sorted by a language's rules, as on many a
 * user's server, where it can be. Undefined where PostgreSQL is not installed.
 */
export async function startPostgres(): Promise<PostgresServer | undefined> {
  const programs = programFolder()
  if (programs === undefined) return undefined
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-postgres-'))
  const user = userWords()
  if (user.length > 0) chownSync(folder, idOf('-u'), idOf('-g'))
  const data = path.join(folder, 'data')
  const language = initHelp(programs).includes('--icu-locale') ? ['--locale-provider=icu', '--icu-locale=en-US'] : []
  const initWords = [path.join(programs, 'initdb'), '-D', data, '-U', 'hearth', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8',
    ...language, '--no-sync']
  execFileSync('setpriv', [...user, '--', ...initWords], { stdio: 'ignore', cwd: folder })
  let child: ChildProcess | undefined
  const start = async () => {
    // No test takes the power from the machine, so nothing is gained by waiting for its disk.
    const settings = { listen_addresses: '', unix_socket_directories: folder, fsync: 'off', full_page_writes: 'off', max_connections: '200' }
    const words = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    child = spawn('setpriv', ['--pdeathsig', 'INT', ...user, '--', path.join(programs, 'postgres'), '-D', data, ...words], {
      stdio: 'ignore', cwd: folder,
    })
    await waitFor(systemClock, 'PostgreSQL to answer', 30_000, () => canConnect(folder), 20)
  }
  const end = async (signal: NodeJS.Signals) => {
    const ended = new Promise((resolve) => (child?.exitCode === null ? child.once('exit', resolve) : resolve(undefined)))
    child?.kill(signal)
    await ended
  }
  await start()
  return {
    socket: folder, start,
    kill: () => end('SIGQUIT'),
    async stop() {
      await end('SIGINT')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** PostgreSQL refuses to run as root. */
function userWords(): string[] {
  if (process.getuid?.() !== 0) return []
  return ['--reuid', 'postgres', '--regid', 'postgres', '--clear-groups']
}

function idOf(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
}

function initHelp(programs: string): string {
  return execFileSync(path.join(programs, 'initdb'), ['--help'], { encoding: 'utf8' })
}

async function canConnect(socket: string): Promise<boolean> {
  return withAdmin(socket, 'select 1').then(() => true, () => false)
}

async function withAdmin(socket: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: urlOf(socket, 'postgres') })
  // What ends the connection ends the query, too, and is told there.
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query(statement)
  } finally {
    await client.end()
  }
}

/** Makes the database that others are copied from. */
export async function makeTemplate(socket: string): Promise<void> {
  await withAdmin(socket, `create database ${TEMPLATE}`)
  const store = await openPostgres({ url: urlOf(socket, TEMPLATE), durability: 'normal', clock: systemClock, random: systemRandom })
  await store.close()
}

/** Whether this run has a PostgreSQL; says why not where it has none. */
export function hasPostgres(): boolean {
  const isThere = inject('postgresSocket') !== undefined
  if (!isThere) console.warn('PostgreSQL is not installed (apt install postgresql), so nothing is tested on it')
  return isThere
}

/** A new database on the run's server, which goes with it: with today's schema, or `empty`. Answers its URL. */
export async function newDatabase(kind: 'migrated' | 'empty' = 'migrated'): Promise<string> {
  const socket = inject('postgresSocket')
  if (socket === undefined) throw new Error('this run has no PostgreSQL')
  const name = `t_${randomBytes(8).toString('hex')}`
  await withAdmin(socket, `create database ${name} template ${kind === 'empty' ? 'template0' : TEMPLATE}`)
  return urlOf(socket, name)
}

/** A store on a database, a new one unless a URL is given. */
export async function openTestPostgres(url?: string, durability: 'full' | 'normal' = 'normal', schema: string | null = null): Promise<Store> {
  return openPostgres({ url: url ?? (await newDatabase()), schema, durability, connections: 10, clock: systemClock, random: systemRandom })
}
