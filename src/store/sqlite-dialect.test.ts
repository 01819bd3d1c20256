import { describe, expect, it } from 'vitest'
import { NOW_MS } from '../../test/support/rows.ts'
import { openSqlite } from './sqlite.ts'
import { enqueue, nextWork } from './work.ts'

describe('a query with a limit, on SQLite', () => {
  it('answers so many rows, another number each time', async () => {
    const store = await openSqlite({ file: ':memory:', durability: 'normal' })
    await store.transaction('test', async (db) => {
      for (const id of ['i-1', 'i-2', 'i-3']) await enqueue(db, { kind: 'instance', id, hostId: 'host' }, NOW_MS)
    })
    const count = (limit: number) => store.read(async (db) => (await nextWork(db, 'host', NOW_MS, limit)).length)
    expect([await count(1), await count(3), await count(2), await count(0)]).toEqual([1, 3, 2, 0])
  })

  it('has no value in it that SQLite would plan for anew whenever it changes', async () => {
    const store = await openSqlite({ file: ':memory:', durability: 'normal' })
    const text = await store.read(async (db) => db.selectFrom('work').select('id').limit(5).compile().sql)
    expect(text).not.toMatch(/limit \?/)
  })
})
