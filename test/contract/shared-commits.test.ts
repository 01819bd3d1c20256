import { mkdtemp, rm, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { sql } from 'kysely'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { enqueue } from '../../src/store/work.ts'

describe('the file that wakes other processes, on SQLite', () => {
  test('is touched by a commit that gives somebody something to do, and by no other', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-wake-'))
    const file = path.join(folder, 'hearth.db')
    const store = await openSqlite({ file, durability: 'normal' })
    const touchedMs = async () => (await stat(`${file}-wake`)).ctimeMs
    const before = await touchedMs()
    await store.transaction('put', (db) => db.insertInto('meta').values({ key: 'k', value: 'v' }).execute())
    expect(await touchedMs()).toBe(before)
    await store.transaction('order', (db) => enqueue(db, { kind: 'volume', id: 'vol-1', hostId: 'host-1' }, 0))
    expect(await touchedMs()).toBeGreaterThan(before)
    await store.close()
    await rm(folder, { recursive: true })
  })
})

describe('transactions that come together, on SQLite', () => {
  let folder: string
  let store: Store

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-shared-'))
    store = await openSqlite({ file: path.join(folder, 'hearth.db'), durability: 'full', clock: systemClock })
  })
  afterEach(async () => {
    await store.close()
    await rm(folder, { recursive: true })
  })

  const put = (key: string, value = '1') =>
    store.transaction('put', async (db) => {
      await db.insertInto('meta').values({ key, value }).execute()
      return key
    })
  const keys = async () => (await store.read((db) => db.selectFrom('meta').select('key').execute())).map((row) => row.key)

  test('share one commit, and each is answered its own', async () => {
    let commits = 0
    store.onCommit(() => (commits += 1))
    const answers = Promise.all(['a', 'b', 'c'].map((key) => put(key)))
    expect(commits).toBe(0)
    expect(await answers).toEqual(['a', 'b', 'c'])
    expect(commits).toBe(1)
    expect(await keys()).toEqual(expect.arrayContaining(['a', 'b', 'c']))
  })

  test('fail alone: one that is refused leaves nothing and takes nothing with it', async () => {
    const failing = store.transaction('fails', async (db) => {
      await db.insertInto('meta').values({ key: 'bad', value: '1' }).execute()
      throw new Error('no')
    })
    const [first, failed, twice, last] = await Promise.allSettled([put('a'), failing, put('a'), put('b')])
    expect([first.status, failed.status, twice.status, last.status]).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled'])
    expect(failed).toMatchObject({ reason: new Error('no') })
    expect(await keys()).toEqual(expect.arrayContaining(['a', 'b']))
    expect(await keys()).not.toContain('bad')
  })

  test('say that the disk is full, change nothing then, and go on when it is not', async () => {
    const { page_count: pages } = await store.read(async (db) =>
      (await sql<{ page_count: number }>`pragma page_count`.execute(db)).rows[0] ?? { page_count: 0 })
    const limit = (count: number) => store.transaction('limit', (db) => sql.raw(`pragma max_page_count = ${count}`).execute(db))
    await limit(pages)
    const results = await Promise.allSettled([put('big', 'x'.repeat(100_000)), put('bigger', 'x'.repeat(200_000))])
    for (const each of results) {
      expect(each).toMatchObject({ status: 'rejected', reason: { code: 'InternalError', message: expect.stringMatching(/disk .* is full/) as string } })
    }
    await limit(1_000_000)
    expect(await put('big', 'x'.repeat(100_000))).toBe('big')
    expect(await keys()).not.toContain('bigger')
  })

  test('see what those before them wrote', async () => {
    await put('n', '0')
    const raise = () => store.transaction('raise', async (db) => {
      const { value } = await db.selectFrom('meta').select('value').where('key', '=', 'n').executeTakeFirstOrThrow()
      await db.updateTable('meta').set({ value: String(Number(value) + 1) }).where('key', '=', 'n').execute()
    })
    await Promise.all(Array.from({ length: 50 }, raise))
    const row = await store.read((db) => db.selectFrom('meta').select('value').where('key', '=', 'n').executeTakeFirst())
    expect(row).toEqual({ value: '50' })
  })
})
