import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import type { Status } from '../../src/cli/status.ts'
import { mostConnections } from '../../src/connections.ts'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { packageRoot } from '../../src/core/package-root.ts'
import { lackOfConnections } from '../../src/main.ts'
import { KNOWN_REGIONS } from '../../src/model/region.ts'
import { hasPostgres, newDatabase, openTestPostgres } from '../support/postgres.ts'

// `hearth` with its state in PostgreSQL, over simulated machines. The tests tell one story, in order.

const PASSWORD = 'top-secret'
const TIMEOUT_MS = 60_000
const hearth = path.join(packageRoot(), 'bin/hearth')
let folder: string
let home: string
let database: string
let running: { child: ChildProcess; exit: Promise<unknown>; said: () => string } | undefined

/** Everything that any command has said, to be searched for the password. */
let everything = ''

function run(...words: string[]): Promise<{ code: number; output: string; said: string }> {
  return new Promise((resolve) => {
    execFile(hearth, words, { timeout: TIMEOUT_MS, env: { ...process.env, HEARTH_HOME: home } }, (error, output, said) => {
      everything += output + said
      resolve({ code: error ? Number(error.code ?? -1) : 0, output, said })
    })
  })
}

async function up(environment: Record<string, string>): Promise<void> {
  const child = spawn(hearth, ['up', '--engine', 'sim', '--port', '0', '--home', home], {
    stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...environment },
  })
  let [output, said] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  running = { child, exit: new Promise((resolve) => child.once('close', resolve)), said: () => said }
  await waitFor(systemClock, 'the last line of the welcome', TIMEOUT_MS, () => {
    if (child.exitCode !== null) throw new Error(said)
    return said.includes('aws ec2 describe-instances')
  })
  everything += output + said
}

const status = async () => JSON.parse((await run('status', '--json')).output) as Status

describe.runIf(hasPostgres())('hearth with its state in PostgreSQL', () => {
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'hearth-cli-postgres-'))
    home = path.join(folder, 'home')
    const name = new URL(await newDatabase('empty')).pathname.slice(1)
    database = `postgresql://hearth:${PASSWORD}@localhost/${name}?host=${encodeURIComponent(inject('postgresSocket') ?? '')}`
  })
  afterEach(async () => {
    running?.child.kill('SIGTERM')
    await running?.exit
    running = undefined
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('is told by doctor whether the database will do', async () => {
    const good = await run('doctor', '--engine', 'sim', '--database', database)
    expect(good.output).toMatch(/^ok +database +PostgreSQL \d.*, the PostgreSQL database "t_\w+" at \//m)
    const bad = await run('doctor', '--engine', 'sim', '--database', `postgresql://hearth:${PASSWORD}@127.0.0.1:1/x`)
    expect(bad.code).toBe(1)
    expect(bad.output).toMatch(/^MISSING +database .* at 127\.0\.0\.1:1: .*ECONNREFUSED/m)
  })

  it('is warned of a cloud that would want more connections than the server allows', async () => {
    const few = { database, engine: 'auto' as const, zones: ['a'], moreRegions: [] }
    const many = { ...few, zones: [...'abcdef'], moreRegions: KNOWN_REGIONS.slice(1, 16) }
    expect(await lackOfConnections(few)).toBeUndefined()
    // The tests' server allows twice as many as others.
    expect(await lackOfConnections(many)).toBe(`this cloud takes up to ${mostConnections(many)} connections, and the server allows 197`)
  })

  it('refuses what is no URL of PostgreSQL, and does not repeat it', async () => {
    for (const url of [`mysql://root:${PASSWORD}@localhost/x`, `postgresql://a:${PASSWORD}@host:port/x`]) {
      const { code, said } = await run('up', '--database', url)
      expect({ code, said }).toEqual({ code: 1, said: 'hearth: --database must be a URL of the form postgresql://user@host:5432/name\n' })
    }
  })

  it('says that the database is away, and where it was looked for', async () => {
    const { code, said } = await run('up', '--engine', 'sim', '--port', '0', '--database', `postgresql://u:${PASSWORD}@127.0.0.1:1/x`)
    expect(code).toBe(1)
    expect(said).toMatch(/hearth: the database cannot be reached: .*ECONNREFUSED 127\.0\.0\.1:1/)
    rmSync(home, { recursive: true })
  })

  it('keeps its state there, and remembers where: later commands need no --database', async () => {
    await up({ HEARTH_DATABASE: database })
    expect(await status()).toMatchObject({ isUp: true, instances: [{ name: 'first', state: 'running' }] })
    expect(existsSync(path.join(home, 'hearth.db'))).toBe(false)
    expect(statSync(path.join(home, 'run', 'up.json')).mode & 0o777).toBe(0o600)
    const down = await run('down')
    expect(down).toMatchObject({ code: 0 })
    expect(down.said).toContain('stopping 1 machine')
    await running?.exit
    await up({})
    expect((await status()).instances.map((each) => [each.name, each.state])).toEqual([['first', 'stopped']])
  })

  it('has said the password nowhere', () => {
    for (const name of readdirSync(path.join(home, 'logs'))) everything += readFileSync(path.join(home, 'logs', name), 'utf8')
    expect(everything).toContain('first')
    expect(everything).not.toContain(PASSWORD)
  })

  it('resets nothing while another host has its rows there; else the rows go with the home', async () => {
    const store = await openTestPostgres(database)
    await store.transaction('other', (db) =>
      db.insertInto('hosts').values({
        host_id: 'h-other', node_id: 'h-other', zone_revision: 0, epoch: 1, region: 'us-east-1', vcpus: 1, memory_mib: 1, vcpus_used: 0, memory_mib_used: 0,
        heartbeat_ms: 0, doc: '{}',
      }).execute())
    const refused = await run('reset', '--yes')
    expect(refused.code).toBe(1)
    expect(refused.said).toMatch(/is also that of other hosts \(h-other\), so nothing was deleted/)
    expect(existsSync(home)).toBe(true)
    await store.transaction('gone', (db) => db.deleteFrom('hosts').where('host_id', '=', 'h-other').execute())
    expect(await run('reset', '--yes')).toMatchObject({ code: 0 })
    expect(existsSync(home)).toBe(false)
    const tables = await store.read((db) => db.introspection.getTables())
    expect(tables).toEqual([])
    await store.close()
  })
})
