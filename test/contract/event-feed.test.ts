import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { emitEvent } from '../../src/model/cloud-event.ts'
import {
  FEED_BEGINNING, feedEnd, forgetEvents, forgottenUntil, hasMore, isBefore, readFeed, readForgettable, type FeedPosition,
} from '../../src/model/event-feed.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import type { Db, Store } from '../../src/store/store.ts'
import { hasPostgres, newDatabase, openTestPostgres } from '../support/postgres.ts'
import { NOW_MS } from '../support/rows.ts'

// The feed over two connections, as two processes have them: no reader misses an event, in whatever order transactions commit.

const kinds: { name: string; open: (folder: string) => Promise<Store[]>; isConcurrent: boolean }[] = [
  {
    name: 'SQLite', isConcurrent: false,
    open: (folder) => Promise.all([1, 2].map(() => openSqlite({ file: path.join(folder, 'hearth.db'), durability: 'normal' }))),
  },
  ...(hasPostgres() ? [{
    name: 'PostgreSQL', isConcurrent: true,
    async open() {
      const url = await newDatabase()
      return [await openTestPostgres(url), await openTestPostgres(url)]
    },
  }] : []),
]

/** A promise, and what resolves it. */
function gate(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {}
  const promise = new Promise<void>((done) => (resolve = done))
  return { promise, resolve }
}

describe.each(kinds)('the feed of events on $name', ({ open, isConcurrent }) => {
  let folder: string
  let writer: Store
  let other: Store
  let opened: Store[]

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-feed-'))
    opened = await open(folder)
    ;[writer, other] = opened as [Store, Store]
  })
  afterEach(async () => {
    await Promise.all(opened.map((store) => store.close()))
    await rm(folder, { recursive: true })
  })

  const emit = (db: Db, state: string, atMs = NOW_MS) => emitEvent(db, {
    accountId: '000000000000', detailType: 'EC2 Instance State-change Notification', resources: [], detail: { state },
  }, atMs)
  const write = (store: Store, ...states: string[]) => store.transaction('test', async (db) => {
    for (const state of states) await emit(db, state)
  })
  /** A reader who goes on from where it was. What transactions of other tests in the same server keep back it waits for, a second at most. */
  function reader(after: FeedPosition = FEED_BEGINNING, limit = 100) {
    return async () => {
      const untilMs = systemClock.now() + 1000
      const events = await waitFor(systemClock, 'events', 10_000, () => other.read(async (db) => {
        const page = await readFeed(db, { after, limit })
        const isKeptBack = page.length < limit && (await hasMore(db, page.at(-1)?.position ?? after))
        return isKeptBack && systemClock.now() < untilMs ? undefined : page
      }))
      after = events.at(-1)?.position ?? after
      return events.map((event) => (JSON.parse(event.detail) as { state: string }).state)
    }
  }
  /** Begins a transaction that writes, and commits only when told. */
  async function slowly(store: Store, ...steps: ((db: Db) => Promise<void>)[]) {
    const gates = steps.map(() => gate())
    const reached = steps.map(() => gate())
    const end = gate()
    const done = store.transaction('test', async (db) => {
      for (const [index, step] of steps.entries()) {
        await gates[index]?.promise
        await step(db)
        reached[index]?.resolve()
      }
      await end.promise
    })
    const step = async (index: number) => {
      gates[index]?.resolve()
      await reached[index]?.promise
    }
    return { step, commit: () => (end.resolve(), done) }
  }

  test('is read in order, piece by piece', async () => {
    await write(writer, 'a', 'b')
    await write(other, 'c')
    const read = reader(FEED_BEGINNING, 2)
    expect([await read(), await read(), await read()]).toEqual([['a', 'b'], ['c'], []])
    await write(writer, 'd')
    expect(await read()).toEqual(['d'])
  })

  test('begins, for who comes now, with what happens from now on', async () => {
    await write(writer, 'a')
    const read = reader(await other.read(feedEnd))
    expect(await read()).toEqual([])
    await write(writer, 'b')
    expect(await read()).toEqual(['b'])
  })

  test.skipIf(!isConcurrent)('keeps an event back while a transaction that began before it may still bring another', async () => {
    const late = await slowly(writer, (db) => emit(db, 'late'))
    await late.step(0)
    await write(other, 'early')
    const read = reader()
    expect(await read()).toEqual([])
    expect(await other.read((db) => hasMore(db, FEED_BEGINNING))).toBe(true)
    await late.commit()
    expect((await read()).toSorted()).toEqual(['early', 'late'])
    expect(await read()).toEqual([])
  })

  test.skipIf(!isConcurrent)('loses nothing where the transaction that began first takes the later number, and commits first', async () => {
    // `first` has its transaction's number; `second` begins later, draws the smaller number of an event, and commits last.
    const mark = (key: string) => async (db: Db) => void (await db.insertInto('meta').values({ key, value: key }).execute())
    const first = await slowly(writer, mark('first'), (db) => emit(db, 'of the first'))
    await first.step(0)
    const second = await slowly(other, (db) => emit(db, 'of the second'))
    await second.step(0)
    await first.step(1)
    await first.commit()
    const read = reader()
    expect(await read()).toEqual(['of the first'])
    await second.commit()
    expect(await read()).toEqual(['of the second'])
    const events = await other.read((db) => readFeed(db, { after: FEED_BEGINNING, limit: 10 }))
    expect(events[0]?.seq).toBeGreaterThan(events[1]?.seq ?? 0)
  })

  test('is whole for a reader beside many writers', async () => {
    // Two connections of one process would wait for each other's lock on SQLite, and nothing else could run meanwhile.
    const second = isConcurrent ? other : writer
    const read = reader(FEED_BEGINNING, 7)
    const seen: string[] = []
    const states = (name: string) => Array.from({ length: 40 }, (_, index) => `${name}-${index}`)
    const writing = Promise.all([...states('x').map((each) => write(writer, each)), ...states('y').map((each) => write(second, each))])
    const state = { isDone: false }
    void writing.finally(() => (state.isDone = true))
    while (!state.isDone) {
      seen.push(...(await read()))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await writing
    for (let more = await read(); more.length > 0; more = await read()) seen.push(...more)
    expect(seen.toSorted()).toEqual([...states('x'), ...states('y')].toSorted())
  })

  test('forgets its beginning in pieces, and says until where', async () => {
    await write(writer, 'a', 'b', 'c')
    const nowMs = NOW_MS + 10_000
    const retention = { ms: 1000, events: 100 }
    const [first] = await other.read((db) => readFeed(db, { after: FEED_BEGINNING, limit: 1 }))
    const needed = first?.position ?? FEED_BEGINNING
    const old = await other.read((db) => readForgettable(db, { nowMs, neededAfter: needed, retention }))
    expect(old.map(({ position }) => position)).toEqual([needed])
    await writer.transaction('test', (db) => forgetEvents(db, old))
    await writer.transaction('test', (db) => forgetEvents(db, old))
    expect(await reader()()).toEqual(['b', 'c'])
    const forgotten = await other.read(forgottenUntil)
    expect([isBefore(FEED_BEGINNING, forgotten), isBefore(needed, forgotten), forgotten.atMs]).toEqual([true, false, NOW_MS])
    await writer.transaction('test', async (db) => forgetEvents(db, await readForgettable(db, { nowMs, neededAfter: undefined, retention })))
    expect(await reader()()).toEqual([])
    await write(writer, 'd')
    expect(await reader()()).toEqual(['d'])
  })
})
