import type { Clock } from '../core/clock.ts'
import type { Db, Store } from './store.ts'

/** Well below SQLite's oldest limit of 999 bound variables in one statement. */
const BATCH_SIZE = 500

/** Runs `query` for the ids, some hundred at a time, and joins what it answers; duplicate ids count once. */
export async function inBatches<Id, Row>(
  ids: Iterable<Id>,
  query: (batch: Id[]) => Promise<Row[]>,
): Promise<Row[]> {
  const all = [...new Set(ids)]
  const rows: Row[] = []
  for (let start = 0; start < all.length; start += BATCH_SIZE) {
    for (const row of await query(all.slice(start, start + BATCH_SIZE))) rows.push(row)
  }
  return rows
}

/** Rows by the key that `keyOf` reads from each, in the order given. */
export function groupBy<Key, Row>(rows: readonly Row[], keyOf: (row: Row) => Key): Map<Key, Row[]> {
  const groups = new Map<Key, Row[]>()
  for (const row of rows) {
    const key = keyOf(row)
    const group = groups.get(key)
    if (group) group.push(row)
    else groups.set(key, [row])
  }
  return groups
}

/**
 * Runs `query` for one page after another, each in a read of its own, and other work in between: a
 * table of any size is read without anybody waiting for all of it. `query` answers at most `limit`
 * rows in the order of `keyOf` after the key given. A row that is there all the time comes exactly
 * once.
 */
export async function* inPages<Row>(
  { store, clock }: { store: Store; clock: Clock },
  query: (db: Db, after: string, limit: number) => Promise<Row[]>,
  keyOf: (row: Row) => string,
): AsyncGenerator<Row[]> {
  for (let after = ''; ;) {
    const page = await store.read((db) => query(db, after, BATCH_SIZE))
    yield page
    const last = page.at(-1)
    if (last === undefined || page.length < BATCH_SIZE) return
    after = keyOf(last)
    await new Promise<void>((resolve) => clock.soon(resolve))
  }
}
