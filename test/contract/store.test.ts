import { spawn } from 'node:child_process'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { ApiError } from '../../src/core/errors.ts'
import { packageRoot } from '../../src/core/package-root.ts'
import { attempt, tentatively } from '../../src/store/savepoint.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import type { Db, Store } from '../../src/store/store.ts'
import { hasPostgres, newDatabase, openTestPostgres } from '../support/postgres.ts'
import { completeWork, enqueue, nextWork, postponeWork } from '../../src/store/work.ts'

/** One database: two processes' views of it, and a third process that raises meta's `n` a hundred times. */
interface TestDatabase {
  stores: [Store, Store]
  raiseInOtherProcess: () => Promise<void>
}

/** Runs a script as a process of its own: two writers of SQLite in one process would wait for each other. */
async function runScript(script: string, argument: string): Promise<void> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, argument], { stdio: 'inherit', cwd: packageRoot() })
  const code = await new Promise((resolve) => child.once('exit', resolve))
  if (code !== 0) throw new Error(`the other process ended with status ${String(code)}`)
}

async function sqliteDatabase(folder: string): Promise<TestDatabase> {
  const file = path.join(folder, 'hearth.db')
  return {
    stores: [await openSqlite({ file, durability: 'full' }), await openSqlite({ file, durability: 'normal' })],
    raiseInOtherProcess: () => runScript(`
      import Database from 'better-sqlite3'
      const db = new Database(process.argv[1], { timeout: 10000 })
      for (let i = 0; i < 100; i++) {
        db.exec('begin immediate')
        const { value } = db.prepare("select value from meta where key = 'n'").get()
        db.prepare("update meta set value = ? where key = 'n'").run(String(Number(value) + 1))
        db.exec('commit')
      }`, file),
  }
}

async function postgresDatabase(): Promise<TestDatabase> {
  const url = await newDatabase()
  return {
    stores: [await openTestPostgres(url, 'full'), await openTestPostgres(url, 'normal')],
    raiseInOtherProcess: () => runScript(`
      import pg from 'pg'
      const client = new pg.Client(process.argv[1])
      await client.connect()
      for (let i = 0; i < 100; i++) {
        await client.query("update meta set value = (value::int + 1)::text where key = 'n'")
      }
      await client.end()`, url),
  }
}

/** Every database that can be behind a Store. */
const kinds: { name: string; open: (folder: string) => Promise<TestDatabase> }[] = [
  { name: 'SQLite', open: sqliteDatabase },
  ...(hasPostgres() ? [{ name: 'PostgreSQL', open: postgresDatabase }] : []),
]

describe.each(kinds)('a store on $name', ({ open }) => {
  let folder: string
  let api: Store
  let agent: Store
  let raiseInOtherProcess: TestDatabase['raiseInOtherProcess']

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-store-'))
    const database = await open(folder);
    [api, agent] = database.stores
    raiseInOtherProcess = database.raiseInOtherProcess
  })
  afterEach(async () => {
    await api.close()
    await agent.close()
    await rm(folder, { recursive: true })
  })

  const put = (store: Store, key: string, value: string) =>
    store.transaction('put', (db) => db.insertInto('meta').values({ key, value }).execute())
  /** The same, with something for an agent to do. */
  const order = (store: Store, key: string, value: string) => store.transaction('order', async (db) => {
    await db.insertInto('meta').values({ key, value }).execute()
    await enqueue(db, { kind: 'volume', id: key, hostId: 'host-1' }, 0)
  })
  const get = (store: Store, key: string) =>
    store.read((db) => db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirst())

  test('shows the other process what was committed, and nothing of what was rolled back', async () => {
    await put(api, 'a', '1')
    expect(await get(agent, 'a')).toEqual({ value: '1' })
    const failing = api.transaction('fails', async (db) => {
      await db.insertInto('meta').values({ key: 'b', value: '2' }).execute()
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect(await get(agent, 'b')).toBeUndefined()
  })

  test('wakes a listener in either process, after the commit can be seen', async () => {
    const seen: unknown[] = []
    agent.onCommit(() => void get(agent, 'k').then((row) => seen.push(row?.value)))
    await order(api, 'k', 'v')
    await waitFor(systemClock, 'the listener to see the commit', 5000, () => seen.includes('v'), 5)
    await order(agent, 'own', 'v')
    const before = seen.length
    await order(agent, 'own2', 'v')
    await waitFor(systemClock, 'the listener to hear of its own process', 5000, () => seen.length > before, 5)
  })

  test('keeps writers of both processes apart: no increment is lost', async () => {
    await put(api, 'n', '0')
    const other = raiseInOtherProcess()
    await Promise.all(Array.from({ length: 100 }, () =>
      api.transaction('increment', async (db) => {
        const row = await db.selectFrom('meta').select('value').where('key', '=', 'n').executeTakeFirstOrThrow()
        await db.updateTable('meta').set({ value: String(Number(row.value) + 1) }).where('key', '=', 'n').execute()
      })))
    await other
    expect(await get(api, 'n')).toEqual({ value: '200' })
  })

  test('gives a reader one moment, whatever is committed meanwhile', async () => {
    await put(api, 'x', '1')
    await agent.read(async (db) => {
      const first = await db.selectFrom('meta').selectAll().where('key', 'in', ['x', 'y']).execute()
      await put(api, 'y', '2')
      expect(await db.selectFrom('meta').selectAll().where('key', 'in', ['x', 'y']).execute()).toEqual(first)
    })
  })

  test('keeps of parts of a transaction what is to be kept, parts of parts included', async () => {
    const error = await api.transaction('parts', async (db) => {
      const insert = (key: string) => db.insertInto('meta').values({ key, value: 'v' }).execute()
      await insert('before')
      await attempt(db, () => insert('done'))
      await tentatively(db, () => insert('unwanted'), () => false)
      const failed = await attempt(db, async () => {
        await insert('failed')
        await tentatively(db, async () => {
          await insert('in the failed one')
          throw new ApiError('Code', 'message')
        }, () => true)
      })
      await insert('after')
      return failed
    })
    expect(error).toBeInstanceOf(ApiError)
    const keys = ['before', 'done', 'unwanted', 'failed', 'in the failed one', 'after']
    const found = await agent.read((db) => db.selectFrom('meta').select('key').where('key', 'in', keys).orderBy('key').execute())
    expect(found.map((row) => row.key)).toEqual(['after', 'before', 'done'])
  })

  test('refuses rows that nothing stands behind', async () => {
    const orphan = api.transaction('orphan', (db) =>
      db.insertInto('access_keys').values({ access_key_id: 'k', account_id: 'nobody', secret: 's', created_ms: 0 }).execute())
    await expect(orphan).rejects.toThrow(/FOREIGN KEY|foreign key/)
  })

  test('has numbers for numbers: large ones, counts and sums', async () => {
    const hosts = [1, 2].map((number) => ({
      host_id: `h-${number}`, node_id: `h-${number}`, zone: null, zone_revision: 0, epoch: 1, region: 'r', vcpus: 1, memory_mib: 16_000_000_000, vcpus_used: 0,
      memory_mib_used: 0, heartbeat_ms: Date.UTC(2026, 0, 1), doc: '{}',
    }))
    await api.transaction('hosts', (db) => db.insertInto('hosts').values(hosts).execute())
    expect(await agent.read((db) => db.selectFrom('hosts').selectAll().orderBy('host_id').execute())).toEqual(hosts)
    const summed = await agent.read((db) =>
      db.selectFrom('hosts').select((eb) => [
        eb.fn.countAll<number>().as('count'), eb.fn.sum<number>('memory_mib').as('sum'), eb.fn.max('heartbeat_ms').as('last'),
      ]).executeTakeFirst())
    expect(summed).toEqual({ count: 2, sum: 32_000_000_000, last: Date.UTC(2026, 0, 1) })
  })

  test('counts the rows that a statement changed, and those that a conflict kept out', async () => {
    await put(api, 'once', '1')
    const counts = await api.transaction('again', async (db) => {
      const { numInsertedOrUpdatedRows: inserted } = await db
        .insertInto('meta').values({ key: 'once', value: '2' }).onConflict((conflict) => conflict.doNothing()).executeTakeFirst()
      const { numUpdatedRows: updated } = await db.updateTable('meta').set({ value: '3' }).where('key', '=', 'nothing').executeTakeFirst()
      const { numDeletedRows: deleted } = await db.deleteFrom('meta').where('key', '=', 'once').executeTakeFirst()
      return [inserted, updated, deleted]
    })
    expect(counts).toEqual([0n, 0n, 1n])
  })

  test('sorts and compares text byte by byte, whatever a language would', async () => {
    // By the rules of English: _ before letters, a before B, é beside e, and the digits elsewhere.
    const sorted = ['-', '0', 'A-1', 'B', 'Zulu', '_', 'a', 'a-1', 'aB', 'a_', 'ab', 'é', '\uffff', '\u{1f984}']
    for (const key of sorted.toReversed()) await put(api, `sort/${key}`, '')
    const keysFrom = (first: string) => agent.read(async (db) => {
      const rows = await db
        .selectFrom('meta').select('key').where('key', '>=', `sort/${first}`).where('key', '<', 'sort0').orderBy('key').execute()
      return rows.map((row) => row.key.slice('sort/'.length))
    })
    expect(await keysFrom('')).toEqual(sorted)
    expect(await keysFrom('Zulu')).toEqual(sorted.slice(4))
  })

  test('does not lose work that is asked for again while it is done', async () => {
    const item = { kind: 'instance', id: 'i-1', hostId: 'h' } as const
    await api.transaction('ask', (db) => enqueue(db, item, 100))
    const [row] = await agent.read((db) => nextWork(db, 'h', 1000, 10))
    await api.transaction('ask', (db) => enqueue(db, item, 200))
    if (!row) throw new Error('no work is due')
    await agent.transaction('done', (db) => completeWork(db, row))
    expect(await agent.read((db) => nextWork(db, 'h', 0, 1))).toMatchObject([{ due_ms: 100 }])
    const [newer] = await agent.read((db) => nextWork(db, 'h', 1000, 10))
    if (!newer) throw new Error('the newer work is lost')
    await agent.transaction('later', (db) => postponeWork(db, newer, 500, 'because'))
    expect(await agent.read((db) => nextWork(db, 'h', 1000, 10))).toMatchObject([{ due_ms: 500, attempts: 1, last_error: 'because' }])
    expect(await agent.read((db) => nextWork(db, 'other', 1000, 10))).toEqual([])
  })

  test('has the work that is due, else what is due next, of the one host', async () => {
    const ask = (id: string, dueMs: number, hostId = 'due') => (db: Db) => enqueue(db, { kind: 'instance', id, hostId }, dueMs)
    for (const [id, dueMs] of [['i-3', 300], ['i-1', 100], ['i-4', 400], ['i-2', 200]] as const) await api.transaction('ask', ask(id, dueMs))
    await api.transaction('ask', ask('i-0', 0, 'another'))
    const idsAt = async (nowMs: number, limit = 10) => (await agent.read((db) => nextWork(db, 'due', nowMs, limit))).map((row) => row.id)
    expect(await idsAt(99)).toEqual(['i-1'])
    expect(await idsAt(100)).toEqual(['i-1'])
    expect(await idsAt(300)).toEqual(['i-1', 'i-2', 'i-3'])
    expect(await idsAt(300, 2)).toEqual(['i-1', 'i-2'])
    expect(await idsAt(500)).toEqual(['i-1', 'i-2', 'i-3', 'i-4'])
  })
})

test('the files of SQLite can be read by their owner only', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-store-'))
  const { stores } = await sqliteDatabase(folder)
  for (const name of ['hearth.db', 'hearth.db-wal']) expect((await stat(path.join(folder, name))).mode & 0o077).toBe(0)
  for (const store of stores) await store.close()
  await rm(folder, { recursive: true })
})
