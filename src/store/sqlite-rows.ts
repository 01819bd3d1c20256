import type BetterSqlite3 from 'better-sqlite3'
import type { SqliteStatement } from 'kysely'

/**
 * A statement whose rows are made into objects here: better-sqlite3 hands out bare values three
 * times as fast as objects, and reading rows is most of what a Describe costs.
 */
export function withQuickRows(statement: BetterSqlite3.Statement): SqliteStatement {
  if (!statement.reader) return statement as unknown as SqliteStatement
  const raw = statement.raw(true) as BetterSqlite3.Statement<unknown[], unknown[]>
  let names = namesOf(raw)
  const toObject = (values: unknown[]) => {
    // A newer Hearth has added a column to a table meanwhile.
    if (values.length !== names.length) names = namesOf(raw)
    const row: Record<string, unknown> = {}
    for (let index = 0; index < names.length; index++) row[names[index] ?? ''] = values[index]
    return row
  }
  return {
    reader: true,
    all: (parameters) => raw.all(parameters as unknown[]).map(toObject),
    run: (parameters) => raw.run(parameters as unknown[]),
    * iterate(parameters) {
      for (const values of raw.iterate(parameters as unknown[])) yield toObject(values)
    },
  }
}

function namesOf(statement: BetterSqlite3.Statement<unknown[], unknown[]>): string[] {
  return statement.columns().map((column) => column.name)
}
