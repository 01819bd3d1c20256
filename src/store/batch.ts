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
