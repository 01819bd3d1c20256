import { spawn } from 'node:child_process'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { packageRoot } from '../../src/core/package-root.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { completeWork, dueWork, enqueue, nextDueMs, postponeWork } from '../../src/store/work.ts'

/** Every database that can be behind a Store: opens two processes' views of one. */
const kinds = [{
  name: 'SQLite',
  async open(folder: string): Promise<[Store, Store]> {
    const file = path.join(folder, 'hearth.db')
    return [await openSqlite({ file, durability: 'full' }), await openSqlite({ file, durability: 'normal' })]
  },
}]

describe.each(kinds)('a store on $name', ({ open }) => {
  let folder: string
  let api: Store
  let agent: Store

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-store-'));
    [api, agent] = await open(folder)
  })
  afterEach(async () => {
    await api.close()
    await agent.close()
    await rm(folder, { recursive: true })
  })

  const put = (store: Store, key: string, value: string) =>
    store.transaction('put', (db) => db.insertInto('meta').values({ key, value }).execute())
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
    await put(api, 'k', 'v')
    await waitFor(systemClock, 'the listener to see the commit', 5000, () => seen.includes('v'), 5)
    await put(agent, 'own', 'v')
    const before = seen.length
    await put(agent, 'own2', 'v')
    await waitFor(systemClock, 'the listener to hear of its own process', 5000, () => seen.length > before, 5)
  })

  test('keeps writers of both processes apart: no increment is lost', async () => {
    await put(api, 'n', '0')
    // The other writer is a process of its own: in one process the two would wait for each other.
    const other = spawn(process.execPath, ['--input-type=module', '-e', `
      import Database from 'better-sqlite3'
      const db = new Database(process.argv[1], { timeout: 10000 })
      for (let i = 0; i < 100; i++) {
        db.exec('begin immediate')
        const { value } = db.prepare("select value from meta where key = 'n'").get()
        db.prepare("update meta set value = ? where key = 'n'").run(String(Number(value) + 1))
        db.exec('commit')
      }`, path.join(folder, 'hearth.db')], { stdio: 'inherit', cwd: packageRoot() })
    const ended = new Promise((resolve) => other.once('exit', resolve))
    await Promise.all(Array.from({ length: 100 }, () =>
      api.transaction('increment', async (db) => {
        const row = await db.selectFrom('meta').select('value').where('key', '=', 'n').executeTakeFirstOrThrow()
        await db.updateTable('meta').set({ value: String(Number(row.value) + 1) }).where('key', '=', 'n').execute()
      })))
    expect(await ended).toBe(0)
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

  test('refuses rows that nothing stands behind', async () => {
    const orphan = api.transaction('orphan', (db) =>
      db.insertInto('access_keys').values({ access_key_id: 'k', account_id: 'nobody', secret: 's', created_ms: 0 }).execute())
    await expect(orphan).rejects.toThrow(/FOREIGN KEY|foreign key/)
  })

  test('can be read by its owner only', async () => {
    for (const name of ['hearth.db', 'hearth.db-wal']) expect((await stat(path.join(folder, name))).mode & 0o077).toBe(0)
  })

  test('does not lose work that is asked for again while it is done', async () => {
    const item = { kind: 'instance', id: 'i-1', hostId: 'h' } as const
    await api.transaction('ask', (db) => enqueue(db, item, 100))
    const [row] = await agent.read((db) => dueWork(db, 'h', 100, 10))
    await api.transaction('ask', (db) => enqueue(db, item, 200))
    if (!row) throw new Error('no work is due')
    await agent.transaction('done', (db) => completeWork(db, row))
    expect(await agent.read((db) => nextDueMs(db, 'h'))).toBe(100)
    const [newer] = await agent.read((db) => dueWork(db, 'h', 100, 10))
    if (!newer) throw new Error('the newer work is lost')
    await agent.transaction('later', (db) => postponeWork(db, newer, 500, 'because'))
    expect(await agent.read((db) => dueWork(db, 'h', 499, 10))).toEqual([])
    expect(await agent.read((db) => dueWork(db, 'h', 500, 10))).toMatchObject([{ attempts: 1, last_error: 'because' }])
    expect(await agent.read((db) => dueWork(db, 'other', 500, 10))).toEqual([])
  })
})
