import type { Compilable, CompiledQuery } from 'kysely'
import type { Database } from './schema.ts'
import type { Db } from './store.ts'

type Value = string | number | null

/** Stands for a value in a query that is compiled before its values are known. */
class Slot {
  readonly index: number

  constructor(index: number) {
    this.index = index
  }
}

/** Runs a query on the connection of a database, and answers its rows. */
type Run = (text: string, parameters: readonly unknown[]) => unknown[]

/** Databases that answer at once, by their adapters. */
const direct = new WeakMap<object, Run>()

/** Has prepared queries of a database run by `run`, in whatever transaction its one connection is in. */
export function runDirectly(db: Db, run: Run): void {
  direct.set(db.getExecutor().adapter, run)
}

/** Most ids of one statement; well below SQLite's oldest limit of 999 bound variables. */
const MOST_IDS = 512

/**
 * A query whose text is made once per database: for the hot path, where making the text costs more
 * than the database needs for the answer. `build` sees placeholders, so what it makes must not
 * depend on its values.
 */
export function prepared<Args extends readonly Value[], Row>(
  build: (db: Db, ...args: Args) => Compilable<Row>,
): (db: Db, ...args: Args) => Promise<Row[]> {
  // One adapter per opened database, shared by its transactions.
  const known = new WeakMap<object, CompiledQuery<Row>>()
  return async (db, ...args) => {
    const { adapter } = db.getExecutor()
    let query = known.get(adapter)
    if (!query) {
      query = build(db, ...(args.map((_value, index) => new Slot(index)) as unknown as Args)).compile()
      known.set(adapter, query)
    }
    const parameters = query.parameters.map((each) => each instanceof Slot ? args[each.index] : each)
    const run = direct.get(adapter)
    return run ? run(query.sql, parameters) as Row[] : (await db.executeQuery<Row>({ ...query, parameters })).rows
  }
}

/**
 * The same for a query over a list of ids (or other texts): however many there are, as one batch
 * after another. Lists are filled up to a power of two by repeating an id, so that few texts serve
 * all lengths; the query must not mind an id that comes twice, as `in` does not.
 */
export function preparedIn<Args extends readonly Value[], Row>(
  build: (db: Db, ids: string[], ...args: Args) => Compilable<Row>,
): (db: Db, ids: Iterable<string>, ...args: Args) => Promise<Row[]> {
  const bySize = new Map<number, (db: Db, ...values: Value[]) => Promise<Row[]>>()
  const queryOf = (size: number) => {
    let query = bySize.get(size)
    if (!query) {
      query = prepared((db: Db, ...values: Value[]) =>
        build(db, values.slice(0, size) as string[], ...(values.slice(size) as unknown as Args)))
      bySize.set(size, query)
    }
    return query
  }
  return async (db, ids, ...args) => {
    const all = [...new Set(ids)]
    const rows: Row[] = []
    for (let start = 0; start < all.length; start += MOST_IDS) {
      const batch = all.slice(start, start + MOST_IDS)
      const size = 2 ** Math.ceil(Math.log2(batch.length))
      const filler = batch[0] ?? ''
      while (batch.length < size) batch.push(filler)
      const found = await queryOf(size)(db, ...batch, ...args)
      if (all.length <= MOST_IDS) return found
      for (const row of found) rows.push(row)
    }
    return rows
  }
}

const inserts = new Map<string, (db: Db, ...values: Value[]) => Promise<unknown>>()

/** Inserts one row; its text is made once for each table and set of columns. */
export async function insertRow<Table extends keyof Database>(
  db: Db,
  table: Table,
  row: Database[Table] & Record<string, Value>,
): Promise<void> {
  const columns = Object.keys(row)
  const key = `${table} ${columns.join()}`
  let insert = inserts.get(key)
  if (!insert) {
    insert = prepared((database: Db, ...values: Value[]) => database
      .insertInto(table)
      .values(Object.fromEntries(columns.map((column, index) => [column, values[index]])) as never))
    inserts.set(key, insert)
  }
  await insert(db, ...columns.map((column) => row[column] ?? null))
}
