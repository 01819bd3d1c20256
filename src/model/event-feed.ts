import { PostgresAdapter, sql, type Expression, type Selectable, type SqlBool } from 'kysely'
import type { CloudEventTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'

/**
 * How far a reader of the feed has come. On PostgreSQL events are in the order of their transactions, of which `tx` is the number: `seq`
 * is drawn before its row can be seen, so that a transaction which commits late brings a smaller one. On SQLite, which has one
 * writer at a time, `tx` is 0.
 */
export interface FeedPosition {
  tx: number
  seq: number
}

/** Before every event. */
export const FEED_BEGINNING: FeedPosition = { tx: 0, seq: 0 }

export type FeedEvent = Selectable<CloudEventTable> & { position: FeedPosition }

function isPostgres(db: Db): boolean {
  return db.getExecutor().adapter instanceof PostgresAdapter
}

/** Events of a running transaction, and of all that may still come before those. */
const OPEN = sql<SqlBool>`tx >= pg_snapshot_xmin(pg_current_snapshot())`

function isAfter(db: Db, { tx, seq }: FeedPosition): Expression<SqlBool> {
  return isPostgres(db) ? sql<SqlBool>`(tx, seq) > (cast(cast(${tx} as text) as xid8), ${seq})` : sql<SqlBool>`seq > ${seq}`
}

/** The tx of a row as a number; the words that both databases are given differ. */
function txOf(db: Db) {
  return isPostgres(db) ? sql<number>`cast(cast(tx as text) as bigint)` : sql<number>`0`
}

const COLUMNS = ['seq', 'account_id', 'at_ms', 'source', 'detail_type', 'resources', 'detail'] as const

/**
 * The next events after a position, in order, and none of which one before could still come. `sinceMs` leaves out older ones.
 */
export async function readFeed(
  db: Db,
  { after, limit, sinceMs }: { after: FeedPosition; limit: number; sinceMs?: number | undefined },
): Promise<FeedEvent[]> {
  let query = db.selectFrom('cloud_events').select([...COLUMNS, txOf(db).as('tx')]).where(isAfter(db, after)).limit(limit)
  query = isPostgres(db) ? query.where(sql<SqlBool>`not ${OPEN}`).orderBy(sql`tx`).orderBy('seq') : query.orderBy('seq')
  if (sinceMs !== undefined) query = query.where('at_ms', '>=', sinceMs)
  return (await query.execute()).map(({ tx, ...row }) => ({ ...row, position: { tx, seq: row.seq } }))
}

/** Whether there is anything after a position, also what cannot be read yet because something may still come before it. */
export async function hasMore(db: Db, after: FeedPosition): Promise<boolean> {
  return (await db.selectFrom('cloud_events').select('seq').where(isAfter(db, after)).limit(1).executeTakeFirst()) !== undefined
}

/** Where what happens from now on begins. */
export async function feedEnd(db: Db): Promise<FeedPosition> {
  if (!isPostgres(db)) {
    const last = await db.selectFrom('cloud_events').select('seq').orderBy('seq', 'desc').limit(1).executeTakeFirst()
    return { tx: 0, seq: last?.seq ?? (await forgottenUntil(db)).seq }
  }
  const { rows: [row] } = await sql<{ tx: number }>`select cast(cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as bigint) - 1 as tx`.execute(db)
  return { tx: row?.tx ?? 0, seq: Number.MAX_SAFE_INTEGER }
}

/** Where a reader begins who wants what has happened since then: just before the first of it that is kept. */
export async function feedSince(db: Db, sinceMs: number): Promise<FeedPosition> {
  const [first] = await readFeed(db, { after: FEED_BEGINNING, limit: 1, sinceMs })
  return first ? { tx: first.position.tx, seq: first.position.seq - 1 } : feedEnd(db)
}

export function isBefore(a: FeedPosition, b: FeedPosition): boolean {
  return a.tx < b.tx || (a.tx === b.tx && a.seq < b.seq)
}

/** Of the table meta: the last event that is kept no more. */
const FORGOTTEN = 'events-forgotten'

/** The last event that is kept no more, and when it happened. A reader who has not come so far has missed some. */
export async function forgottenUntil(db: Db): Promise<FeedPosition & { atMs: number }> {
  const row = await db.selectFrom('meta').select('value').where('key', '=', FORGOTTEN).executeTakeFirst()
  return { ...FEED_BEGINNING, atMs: 0, ...(row ? (JSON.parse(row.value) as FeedPosition & { atMs?: number }) : {}) }
}

/** How long events are kept, and how many at most. */
export const FEED_RETENTION = { ms: 24 * 60 * 60 * 1000, events: 100_000 }

/** How much is deleted in one transaction. */
const PIECE = 1000

/**
 * What is to be forgotten next, oldest first: what is too old and that no target waits for any more, and what is too much, whoever waits.
 * Reads only; what it reads of the whole table must not be part of a serializable transaction, or every launch would conflict with it.
 */
export async function readForgettable(
  db: Db,
  { nowMs, neededAfter, retention = FEED_RETENTION }: { nowMs: number; neededAfter: FeedPosition | undefined; retention?: typeof FEED_RETENTION },
): Promise<FeedEvent[]> {
  const newest = await db.selectFrom('cloud_events').select('seq').orderBy('seq', 'desc').limit(1).executeTakeFirst()
  if (!newest) return []
  const oldest = await readFeed(db, { after: FEED_BEGINNING, limit: PIECE })
  const isUnwanted = (event: FeedEvent) =>
    event.at_ms < nowMs - retention.ms && (neededAfter === undefined || !isBefore(neededAfter, event.position))
  const end = oldest.findIndex((event) => !isUnwanted(event) && event.seq > newest.seq - retention.events)
  return oldest.slice(0, end < 0 ? undefined : end)
}

/** Deletes them, and writes down that it did. */
export async function forgetEvents(db: Db, events: readonly FeedEvent[]): Promise<void> {
  const last = events.at(-1)
  if (!last) return
  for (let start = 0; start < events.length; start += PIECE / 2) {
    const seqs = events.slice(start, start + PIECE / 2).map(({ seq }) => seq)
    await db.deleteFrom('cloud_events').where('seq', 'in', seqs).execute()
  }
  const before = await forgottenUntil(db)
  const until = isBefore(before, last.position) ? last.position : before
  const value = JSON.stringify({ tx: until.tx, seq: until.seq, atMs: events.reduce((latest, event) => Math.max(latest, event.at_ms), before.atMs) })
  await db
    .insertInto('meta').values({ key: FORGOTTEN, value }).onConflict((conflict) => conflict.column('key').doUpdateSet({ value })).execute()
}
