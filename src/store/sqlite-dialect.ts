import {
  CompiledQuery, SqliteDialect, SqliteDriver, SqliteQueryCompiler, type DatabaseConnection, type LimitNode, type SqliteDialectConfig,
} from 'kysely'
import { messageOf } from '../core/errors.ts'

/** SQLite with statements that are planned once, however often they run. */
export class SteadySqliteDialect extends SqliteDialect {
  override createQueryCompiler(): SqliteQueryCompiler {
    return new SteadyQueryCompiler()
  }
}

class SteadyQueryCompiler extends SqliteQueryCompiler {
  /**
   * SQLite plans a statement for the very value of `limit ?`, and so anew whenever it runs: three quarters of what our quickest
   * queries cost. What is computed has no value to plan for. Comparing `?` with the column of a partial index does the same.
   */
  protected override visitLimit(node: LimitNode): void {
    this.append('limit (0 + ')
    this.visitNode(node.limit)
    this.append(')')
  }
}

/**
 * SQLite whose transactions take the write lock at once: a deferred one that reads first and
 * writes later fails with SQLITE_BUSY_SNAPSHOT whenever the other process wrote in between.
 */
export class ImmediateSqliteDialect extends SteadySqliteDialect {
  readonly #config: SqliteDialectConfig

  constructor(config: SqliteDialectConfig) {
    super(config)
    this.#config = config
  }

  override createDriver(): SqliteDriver {
    return new ImmediateSqliteDriver(this.#config)
  }
}

class ImmediateSqliteDriver extends SqliteDriver {
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
