import { PostgresDialect, PostgresDriver, type CompiledQuery, type DatabaseConnection, type QueryResult } from 'kysely'
import type { ClientConfig, Pool } from 'pg'
import { pg } from './pg.ts'

/** How connections to one database are made. */
export interface PostgresConnect {
  /** postgresql://… as libpq reads it; what it leaves out comes from PGPASSWORD, ~/.pgpass and the like. */
  url: string
  /** Settings of every session, by PostgreSQL's names. */
  session: Record<string, string>
  /** The most at a time; a transaction holds one from its beginning to its end. */
  connections: number
}

const CONNECT_TIMEOUT_MS = 10_000
const IDLE_TIMEOUT_MS = 60_000

/** After so long without a word the kernel asks whether the server is still there. */
const KEEP_ALIVE_MS = 10_000

/** The connection broke, or was never there: nothing of the transaction has happened. */
export class ConnectionLostError extends Error {}

/** The connection broke while COMMIT was under way: the transaction happened, or it did not. */
export class CommitUnknownError extends Error {}

/** Settings of one connection; also of those that are no part of a pool. */
export function clientConfig({ url }: Pick<PostgresConnect, 'url'>): ClientConfig {
  return {
    connectionString: url, application_name: 'hearth', connectionTimeoutMillis: CONNECT_TIMEOUT_MS, keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS, types: { getTypeParser },
  }
}

const INT8 = 20
const NUMERIC = 1700

/** Whole numbers come as text, since they may not fit; ours do, and are numbers as on SQLite. */
function getTypeParser(oid: number, format?: 'text' | 'binary') {
  if (oid !== INT8 && oid !== NUMERIC) return pg.types.getTypeParser(oid, format)
  return (text: string) => {
    const value = Number(text)
    if (!Number.isSafeInteger(value)) throw new Error(`the database holds a number that is too large: ${text}`)
    return value
  }
}

/** PostgreSQL as the store wants it: errors that tell what has happened, whichever way a connection goes. */
export function postgresDialect(connect: PostgresConnect): PostgresDialect {
  const session = Object.entries(connect.session).map(([name, value]) => `set ${name} = '${value}'`).join('; ')
  const pool = new pg.Pool({
    ...clientConfig(connect), max: connect.connections, idleTimeoutMillis: IDLE_TIMEOUT_MS,
    // Its promise is waited for, though its type does not say so.
    onConnect: (client) => client.query(session),
  })
  // A connection that breaks while nobody uses it is replaced at its next use; one in use tells its user.
  pool.on('error', () => {})
  pool.on('connect', (client) => void client.on('error', () => {}))
  return new StoreDialect(pool)
}

class StoreDialect extends PostgresDialect {
  readonly #pool: Pool

  constructor(pool: Pool) {
    super({ pool })
    this.#pool = pool
  }

  override createDriver(): PostgresDriver {
    return new StoreDriver({ pool: this.#pool })
  }
}

class StoreDriver extends PostgresDriver {
  override async acquireConnection(): Promise<DatabaseConnection> {
    try {
      return new StoreConnection(await super.acquireConnection())
    } catch (error) {
      throw lost(error)
    }
  }

  override async commitTransaction(connection: DatabaseConnection): Promise<void> {
    try {
      await super.commitTransaction(connection)
    } catch (error) {
      if (!(error instanceof ConnectionLostError)) throw error
      const message = 'the connection to the database broke during a commit, so what was asked for was done, or not'
      throw new CommitUnknownError(message, { cause: error })
    }
  }

  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    try {
      await super.rollbackTransaction(connection)
    } catch (error) {
      // The server rolls back what a broken connection leaves; why it was rolled back matters more.
      if (!(error instanceof ConnectionLostError)) throw error
    }
  }

  override releaseConnection(connection: DatabaseConnection): Promise<void> {
    return super.releaseConnection((connection as StoreConnection).inner as never)
  }
}

/** A connection whose errors tell what the server said from that it said nothing. */
class StoreConnection implements DatabaseConnection {
  readonly inner: DatabaseConnection

  constructor(inner: DatabaseConnection) {
    this.inner = inner
  }

  async executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    try {
      return await this.inner.executeQuery<Row>(query)
    } catch (error) {
      throw isAnswer(error) ? error : lost(error)
    }
  }

  streamQuery<Row>(query: CompiledQuery, chunkSize: number): AsyncIterableIterator<QueryResult<Row>> {
    return this.inner.streamQuery<Row>(query, chunkSize)
  }
}

/** What the server says of itself and not of a statement: the connection, shutting down, no more connections. */
const ABOUT_THE_SERVER = /^(08|57P|53300)/

function isAnswer(error: unknown): boolean {
  return error instanceof pg.DatabaseError && !ABOUT_THE_SERVER.test(error.code ?? '')
}

function lost(error: unknown): ConnectionLostError {
  if (error instanceof ConnectionLostError) return error
  return new ConnectionLostError(`the database cannot be reached: ${reasonOf(error)}`, { cause: error })
}

/** Several addresses of a host that all refuse make one error without a text of its own. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join(', ')
  return error instanceof Error ? error.message : String(error)
}

/** The code that the server gave to an error ("40001"); undefined for an error that is not the server's. */
export function sqlStateOf(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined
}
