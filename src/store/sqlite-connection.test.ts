import BetterSqlite3 from 'better-sqlite3'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { migrate } from './migrations.ts'
import { insertRow, prepared } from './prepared.ts'
import { SqliteConnection } from './sqlite-connection.ts'
import type { Db } from './store.ts'

let connection: SqliteConnection
beforeEach(async () => {
  connection = new SqliteConnection(new BetterSqlite3(':memory:'))
  await migrate(connection.db)
})
afterEach(() => connection.close())

const notes = prepared((db, value: string) => db.selectFrom('meta').select('key').where('value', '=', value).orderBy('key'))
const insert = (db: Db, key: string) => insertRow(db, 'meta', { key, value: 'note' })
const keysIn = async (db: Db) => (await notes(db, 'note')).map((row) => row.key)
const keysNow = () => connection.transaction('begin', keysIn)

describe('a connection to SQLite', () => {
  it('shows a transaction what it wrote, by prepared queries and by others, and the next one too', async () => {
    await connection.transaction('begin immediate', async (db) => {
      await insert(db, 'one')
      expect(await keysIn(db)).toEqual(['one'])
      expect(await db.selectFrom('meta').select('key').where('value', '=', 'note').execute()).toEqual([{ key: 'one' }])
    })
    expect(await keysNow()).toEqual(['one'])
  })

  it('leaves nothing of a transaction that fails, whose error is its own, and goes on', async () => {
    const failing = connection.transaction('begin immediate', async (db) => {
      await insert(db, 'lost')
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect(await keysNow()).toEqual([])
  })

  it('says what SQLite said where that has ended the transaction by itself', async () => {
    const failing = connection.transaction('begin immediate', async (db) => {
      await insert(db, 'lost')
      connection.run('rollback')
      throw new Error('the disk is full')
    })
    await expect(failing).rejects.toThrow('the disk is full')
    expect(await keysNow()).toEqual([])
  })

  it('runs one transaction after another, in the order in which they came', async () => {
    const seen: string[] = []
    const one = connection.transaction('begin immediate', async (db) => {
      await insert(db, 'one')
      await new Promise<void>((resolve) => setImmediate(resolve))
      seen.push('one')
    })
    const two = connection.transaction('begin immediate', async (db) => {
      seen.push(...(await keysIn(db)).map((key) => `two sees ${key}`))
    })
    await Promise.all([one, two])
    expect(seen).toEqual(['one', 'two sees one'])
  })

  it('has limits in the texts of queries: one that is bound has SQLite compile the query each time', () => {
    const { sql, parameters } = connection.db.selectFrom('zones').select('zone').where('state', '=', 'available').limit(7).offset(3).compile()
    expect(sql).toContain('limit 7')
    expect(parameters).toEqual(['available', 3])
  })
})
