import type BetterSqlite3 from 'better-sqlite3'
import {
  CompiledQuery, Kysely, SqliteDialect, SqliteDriver, SqliteQueryCompiler, ValueNode, type DatabaseConnection, type LimitNode,
  type SqliteDatabase, type SqliteDialectConfig, type SqliteStatement,
} from 'kysely'
import { messageOf } from '../core/errors.ts'
import { runDirectly } from './prepared.ts'
import type { Database } from './schema.ts'
import { withQuickRows } from './sqlite-rows.ts'
import type { Db } from './store.ts'
import { Turns } from './turns.ts'

/** Statements kept ready; the texts that Kysely makes for us are fewer, but for lists of many lengths. */
const MAX_KEPT_STATEMENTS = 500

/**
 * A connection, whose transactions come one after another. Kysely makes the texts of queries; beginnings, ends and prepared queries
 * go to SQLite itself, which answers at once: on the way through Kysely each takes as long as the query.
 */
export class SqliteConnection {
  /** For queries within a transaction, and for migrations before there are any. */
  readonly db: Db
  readonly #database: BetterSqlite3.Database
  readonly #kept: SqliteDatabase
  readonly #turns = new Turns(1)

  constructor(database: BetterSqlite3.Database) {
    this.#database = database
    this.#kept = keepStatements(database)
    this.db = new Kysely<Database>({ dialect: new OneConnectionDialect({ database: this.#kept }) })
    runDirectly(this.db, (text, parameters) => {
      const statement = this.#kept.prepare(text)
      if (statement.reader) return statement.all(parameters)
      statement.run(parameters)
      return []
    })
  }

  /**
   * Runs `body` between `begin` and a commit, or a rollback where it fails. One that writes must begin with `begin immediate`, which
   * takes the write lock at once: a deferred one that reads first and writes later fails with SQLITE_BUSY_SNAPSHOT whenever another
   * process wrote in between.
   */
  transaction<T>(begin: 'begin' | 'begin immediate', body: (db: Db) => Promise<T>): Promise<T> {
    return this.#turns.take(async () => {
      this.run(begin)
      try {
        const value = await body(this.db)
        this.run('commit')
        return value
      } catch (error) {
        // SQLite has rolled back by itself where it could not go on.
        if (this.#database.inTransaction) this.run('rollback')
        throw error
      }
    })
  }

  /** Runs a statement that answers nothing. */
  run(text: string): void {
    this.#kept.prepare(text).run([])
  }

  /** Closes it when what goes on has ended. */
  close(): Promise<void> {
    return this.#turns.take(() => this.db.destroy())
  }
}

/** A connection that compiles each text once: compiling costs more than most of our queries. */
function keepStatements(database: BetterSqlite3.Database): SqliteDatabase {
  const kept = new Map<string, SqliteStatement>()
  return {
    close: () => void database.close(),
    prepare(text) {
      let statement = kept.get(text)
      if (!statement) {
        if (kept.size >= MAX_KEPT_STATEMENTS) kept.clear()
        statement = withQuickRows(database.prepare(text))
        kept.set(text, statement)
      }
      return statement
    },
  }
}

/** SQLite over one connection, which the queries of a transaction have to themselves. */
class OneConnectionDialect extends SqliteDialect {
  readonly #config: SqliteDialectConfig

  constructor(config: SqliteDialectConfig) {
    super(config)
    this.#config = config
  }

  override createDriver(): SqliteDriver {
    return new OneConnectionDriver(this.#config)
  }

  override createQueryCompiler(): SqliteQueryCompiler {
    return new LimitWritingCompiler()
  }
}

/**
 * Writes limits into the text. SQLite plans by the value of a limit that is bound, and so compiles the statement anew each time one is: ten
 * times as much work as to run it. One that is not known yet, of a prepared query, becomes part of a sum, which has no value to plan by.
 */
class LimitWritingCompiler extends SqliteQueryCompiler {
  protected override visitLimit(node: LimitNode): void {
    const { limit } = node
    const value = ValueNode.is(limit) ? limit.value : undefined
    if (typeof value === 'number' && Number.isSafeInteger(value)) this.append(`limit ${value}`)
    else {
      this.append('limit (0 + ')
      this.visitNode(limit)
      this.append(')')
    }
  }
}

class OneConnectionDriver extends SqliteDriver {
  #connection: Promise<DatabaseConnection> | undefined

  override acquireConnection(): Promise<DatabaseConnection> {
    this.#connection ??= super.acquireConnection()
    return this.#connection
  }

  override async releaseConnection(): Promise<void> {
    // The next query has it.
  }

  /** Of migrations: two processes may begin them at once. */
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'))
  }

  /** SQLite has rolled back by itself where it could not go on; what it said then must not be lost. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    try {
      await connection.executeQuery(CompiledQuery.raw('rollback'))
    } catch (error) {
      if (!messageOf(error).includes('no transaction is active')) throw error
    }
  }
}
