import { sql } from 'kysely'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { systemRandom } from '../../src/core/random.ts'
import { emptyPostgres, openPostgres } from '../../src/store/postgres.ts'
import type { Db, Store } from '../../src/store/store.ts'
import { pg } from '../../src/store/pg.ts'
import { enqueue } from '../../src/store/work.ts'
import { startProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { hasPostgres, newDatabase, openTestPostgres, startPostgres, urlOf } from '../support/postgres.ts'

const put = (store: Store, key: string, value: string) =>
  store.transaction('put', (db) => db.insertInto('meta').values({ key, value }).execute())
/** The same, with something for an agent to do. */
const order = (store: Store, key: string) => store.transaction('order', async (db) => {
  await db.insertInto('meta').values({ key, value: 'v' }).execute()
  await enqueue(db, { kind: 'volume', id: key, hostId: 'host-1' }, 0)
})
const get = async (store: Store, key: string) =>
  (await store.read((db) => db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirst()))?.value
const write = (db: Db, key: string, value: string) =>
  db.updateTable('meta').set({ value }).where('key', '=', key).execute()
const value = async (db: Db, key: string) =>
  (await db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirstOrThrow()).value

/** A promise that a test fulfils. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

describe.runIf(hasPostgres())('a store on PostgreSQL', () => {
  let url: string
  let store: Store
  beforeEach(async () => {
    url = await newDatabase()
    store = await openTestPostgres(url, 'full')
  })
  afterEach(() => store.close())

  test('is made once, though several processes open a new database at the same moment', async () => {
    const empty = await newDatabase('empty')
    const stores = await Promise.all([1, 2, 3, 4].map(() => openTestPostgres(empty)))
    await Promise.all(stores.map((each, index) => put(each, `k${index}`, 'v')))
    for (const each of stores) await each.close()
  })

  test('refuses a database that a newer Hearth has written', async () => {
    await store.transaction('newer', (db) => write(db, 'schema', '999'))
    await expect(openTestPostgres(url)).rejects.toThrow('newer Hearth')
  })

  test('waits for the disk with what was intended, and not with what was observed', async () => {
    const setting = async (each: Store) =>
      (await each.read((db) => sql<{ s: string }>`select current_setting('synchronous_commit') as s`.execute(db))).rows[0]?.s
    expect(await setting(store)).toBe('on')
    const observing = await openTestPostgres(url, 'normal')
    expect(await setting(observing)).toBe('off')
    await observing.close()
  })

  test('runs a transaction again that another one has overtaken, each as if alone', async () => {
    await put(store, 'a', '1')
    await put(store, 'b', '1')
    // Each reads what the other writes: one after the other, in either order, the sum is 3.
    const both = gate()
    let arrived = 0
    const runs = { a: 0, b: 0 }
    const copy = (from: 'a' | 'b', to: 'a' | 'b') =>
      store.transaction(`to ${to}`, async (db) => {
        runs[to] += 1
        const sum = Number(await value(db, 'a')) + Number(await value(db, 'b'))
        if (++arrived === 2) both.open()
        await both.opened
        await write(db, to, String(Number(await value(db, from)) === sum - 1 ? sum : -1))
      })
    await Promise.all([copy('a', 'b'), copy('b', 'a')])
    expect([await get(store, 'a'), await get(store, 'b')].toSorted()).toEqual(['2', '3'])
    expect(runs.a + runs.b).toBe(3)
  })

  test('runs one of two again that wait for each other', async () => {
    await put(store, 'a', '0')
    await put(store, 'b', '0')
    const both = gate()
    let arrived = 0
    const inOrder = (first: string, second: string) =>
      store.transaction('order', async (db) => {
        await write(db, first, '1')
        if (++arrived === 2) both.open()
        await both.opened
        await write(db, second, '1')
      })
    await Promise.all([inOrder('a', 'b'), inOrder('b', 'a')])
    expect(arrived).toBe(3)
  })

  test('lets nobody starve: forty writers of one row all come through', async () => {
    await put(store, 'n', '0')
    const other = await openTestPostgres(url)
    const raise = (each: Store) => each.transaction('raise', async (db) => write(db, 'n', String(Number(await value(db, 'n')) + 1)))
    await Promise.all(Array.from({ length: 40 }, (_each, index) => raise(index % 2 === 0 ? store : other)))
    expect(await get(store, 'n')).toBe('40')
    await other.close()
  })

  test('gives up with an error that clients try again upon, when a conflict never ends', async () => {
    let runs = 0
    const never = store.transaction('never', async (db) => {
      runs += 1
      await sql`do $$ begin raise exception 'again' using errcode = '40001'; end $$`.execute(db)
    })
    await expect(never).rejects.toMatchObject({ code: 'RequestLimitExceeded', httpStatus: 503 })
    expect(runs).toBe(4)
  })

  test('does not run again what a rule of the schema refuses', async () => {
    let runs = 0
    const twice = store.transaction('twice', async (db) => {
      runs += 1
      await db.insertInto('meta').values({ key: 'schema', value: '' }).execute()
    })
    await expect(twice).rejects.toThrow('duplicate key')
    expect(runs).toBe(1)
  })

  test('refuses a character that it cannot store', async () => {
    await expect(put(store, 'nul', 'a\0b')).rejects.toMatchObject({ code: 'InvalidParameterValue' })
  })

  test('says that the database is away when it breaks off in the middle; nothing is done, and the next call works', async () => {
    let runs = 0
    const broken = store.transaction('broken', async (db) => {
      runs += 1
      await db.insertInto('meta').values({ key: 'k', value: 'v' }).execute()
      await sql`select pg_terminate_backend(pg_backend_pid())`.execute(db)
    })
    await expect(broken).rejects.toMatchObject({ code: 'Unavailable', httpStatus: 503 })
    expect(runs).toBe(1)
    expect(await get(store, 'k')).toBeUndefined()
    await put(store, 'k', 'w')
    const read = store.read((db) => sql`select pg_terminate_backend(pg_backend_pid())`.execute(db))
    await expect(read).rejects.toMatchObject({ code: 'Unavailable' })
    expect(await get(store, 'k')).toBe('w')
  })

  test('hears of commits again after the connection for it was lost', async () => {
    let heard = 0
    store.onCommit(() => void (heard += 1))
    const other = await openTestPostgres(url)
    const isHeard = async () => {
      const before = heard
      await order(other, `k${before}-${Math.random()}`)
      await waitFor(systemClock, 'the wake-up', 10_000, () => heard > before, 5)
    }
    await isHeard()
    await other.transaction('cut', async (db) => {
      await sql`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and query like '%listen%'`.execute(db)
    })
    await isHeard()
    await other.close()
  })

  test('wakes others with commits that give somebody something to do, and only those of its own schema', async () => {
    const schema = 'hearth_eu_west_1'
    const heard: string[] = []
    const client = new pg.Client({ connectionString: url })
    client.on('notification', ({ channel }) => void heard.push(channel))
    await client.connect()
    await client.query(`listen hearth_commit; listen "hearth_commit ${schema}"`)
    const stores = [await openTestPostgres(url), await openTestPostgres(url, 'normal', schema)] as const
    await put(stores[0], 'quiet', 'v')
    await put(stores[1], 'quiet', 'v')
    await order(stores[1], 'loud')
    // What was sent is on its way then, and comes with the answer to a query at the latest.
    for (const each of stores) await each.close()
    await client.query('select 1')
    expect(heard).toEqual([`hearth_commit ${schema}`])
    await client.end()
    await emptyPostgres(url, schema)
  })

  test('has no more connections than it is told', async () => {
    const name = `few-${Math.random()}`
    const few = await openPostgres({
      url: `${url}&application_name=${name}`, durability: 'normal', connections: 2, clock: systemClock, random: systemRandom,
    })
    const count = async (db: Db) => {
      const { rows } = await sql<{ count: number }>`select count(*) from pg_stat_activity where application_name = ${name}`.execute(db)
      return rows[0]?.count
    }
    const counts = await Promise.all(Array.from({ length: 8 }, () => few.read(async (db) => {
      await sql`select pg_sleep(0.05)`.execute(db)
      return count(db)
    })))
    expect(Math.max(...counts.map(Number))).toBe(2)
    await few.close()
  })

  test('may be in a schema of its own, beside others that know nothing of it', async () => {
    const schema = 'hearth_eu_west_1'
    const opened = await Promise.all([1, 2, 3].map(() => openTestPostgres(url, 'full', schema)))
    await put(opened[0] ?? store, 'k', 'there')
    await put(store, 'k', 'here')
    expect(await Promise.all([...opened, store].map((each) => get(each, 'k')))).toEqual(['there', 'there', 'there', 'here'])
    for (const each of opened) await each.close()
    await emptyPostgres(url, schema)
    const schemas = await store.read((db) => sql`select 1 from pg_namespace where nspname = ${schema}`.execute(db))
    expect(schemas.rows).toEqual([])
    expect(await get(store, 'k')).toBe('here')
    await emptyPostgres(url, schema)
  })

  test('leaves what is not of Hearth when it is emptied', async () => {
    await store.transaction('foreign', (db) => sql`create table mine (id int)`.execute(db))
    await emptyPostgres(url)
    const { rows } = await store.read((db) =>
      sql<{ name: string }>`select tablename as name from pg_tables where schemaname = 'public'`.execute(db))
    expect(rows).toEqual([{ name: 'mine' }])
  })
})

describe.runIf(hasPostgres())('a store whose wire to PostgreSQL is cut', () => {
  let folder: string
  let proxy: PostgresProxy
  let store: Store
  let direct: Store
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-proxy-'))
    proxy = await startProxy(folder, inject('postgresSocket') ?? '')
    const url = await newDatabase()
    direct = await openTestPostgres(url)
    const name = new URL(url).pathname.slice(1)
    store = await openTestPostgres(urlOf(proxy.socket, name))
  })
  afterEach(async () => {
    await store.close()
    await direct.close()
    await proxy.close()
    await rm(folder, { recursive: true })
  })

  test.each([['before', undefined], ['after', 'v']] as const)(
    '%s COMMIT has arrived: does not run the transaction again, since nobody knows whether it happened',
    async (when, found) => {
      let runs = 0
      proxy.cutAtCommit(when)
      const unknown = store.transaction('unknown', async (db) => {
        runs += 1
        await db.insertInto('meta').values({ key: 'k', value: 'v' }).execute()
      })
      await expect(unknown).rejects.toThrow('was done, or not')
      expect(runs).toBe(1)
      expect(await get(direct, 'k')).toBe(found)
      await put(store, 'next', 'v')
    },
  )
})

describe.runIf(hasPostgres())('a PostgreSQL that dies', () => {
  test('keeps what was committed; the store finds it again when it is back', async () => {
    const server = await startPostgres()
    if (!server) throw new Error('PostgreSQL has gone')
    const store = await openTestPostgres(urlOf(server.socket, 'postgres'), 'full')
    let heard = 0
    store.onCommit(() => void (heard += 1))
    try {
      await put(store, 'k', 'v')
      await server.kill()
      await expect(put(store, 'l', 'v')).rejects.toMatchObject({ code: 'Unavailable' })
      await expect(get(store, 'k')).rejects.toMatchObject({ code: 'Unavailable' })
      await server.start()
      expect(await get(store, 'k')).toBe('v')
      const before = heard
      const other = await openTestPostgres(urlOf(server.socket, 'postgres'))
      await waitFor(systemClock, 'the wake-up', 10_000, async () => {
        await order(other, `k${Math.random()}`)
        return heard > before
      }, 100)
      await other.close()
    } finally {
      await store.close()
      await server.stop()
    }
  })

  test('that is not there at all is an error without the password', async () => {
    const opening = openTestPostgres('postgresql://someone:secret@127.0.0.1:1/hearth')
    await expect(opening).rejects.toThrow(/^(?!.*secret).*cannot be reached.*ECONNREFUSED/)
  })
})
