import { Kysely, sql } from 'kysely'
import type { Clock } from '../core/clock.ts'
import { ApiError, messageOf } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import { migrate, tableNames } from './migrations.ts'
import { CommitUnknownError, ConnectionLostError, postgresDialect, sqlStateOf } from './postgres-dialect.ts'
import { PostgresWake } from './postgres-wake.ts'
import type { Database } from './schema.ts'
import type { CommitListener, Db, Store } from './store.ts'
import { Turns } from './turns.ts'
import { takeHostsWithNewWork } from './work.ts'

export interface PostgresOptions {
  /** postgresql://user@host:port/name, as libpq reads it. */
  url: string
  /** Schema that the tables are in, made if need be; the user's usual one unless given. */
  schema?: string | null
  /**
   * 'full': a commit survives a power cut of the database's host (intent). 'normal': it may be lost
   * there, with all that came after, within a second (the agent: what can be observed again).
   */
  durability: 'full' | 'normal'
  /** The most at a time, one for wake-ups not counted; a few unless given. */
  connections?: number
  /** For the pauses between attempts; real time, since the database's time is. */
  clock: Clock
  random: Random
}

/**
 * Writing transactions of one process under way at once. Most touch a host's row or one index page,
 * so more of them mostly undo one another: with eight launches at once two do half as much again as ten.
 */
const WRITERS = 2

/**
 * Attempts at one transaction. The last two run alone, so that nothing is left that they could
 * conflict with: a transaction that others keep overtaking comes through.
 */
const ATTEMPTS = { together: 2, alone: 2 }

/** Pause before an attempt: random up to this, doubled with each. */
const PAUSE_MS = 4

/** What looks at a database now and then needs no more. */
const FEW_CONNECTIONS = 3

/** How long a statement waits for another's locks; then the caller is told that too much is going on. */
const LOCK_TIMEOUT_MS = 10_000

/** The server ends a transaction whose process has stopped, so that it does not hold up the others for ever. */
const IDLE_TRANSACTION_TIMEOUT_MS = 30_000

/** Opens (and migrates) a PostgreSQL database. @throws Error when it cannot be reached or is not fit. */
export async function openPostgres(options: PostgresOptions): Promise<Store> {
  const { schema = null } = options
  const db = connect(options.url, options.durability, schema, options.connections)
  try {
    await checkServer(db)
    if (schema !== null) await ensureSchema(db, schema)
    await migrate(db, 'postgres')
  } catch (error) {
    await db.destroy()
    throw error
  }
  return new PostgresStore(db, options)
}

/** Looks whether the database will do, and changes nothing; answers what it is. @throws Error that says why not. */
export async function probePostgres(url: string): Promise<string> {
  const db = connect(url, 'full')
  try {
    await checkServer(db)
    const { rows } = await sql<{ version: string; may: boolean }>`select current_setting('server_version') as version,
      has_schema_privilege(current_schema(), 'create') as may`.execute(db)
    if (!rows[0]?.may) throw new Error('the user may not make tables in it ("grant create on schema public to …")')
    return `PostgreSQL ${rows[0].version}`
  } finally {
    await db.destroy()
  }
}

/** Deletes everything that Hearth has made in the database, or in a schema of its own there, and nothing else. */
export async function emptyPostgres(url: string, schema: string | null = null): Promise<void> {
  const db = connect(url, 'full', schema)
  try {
    if (schema !== null && !(await hasSchema(db, schema))) return
    const tables = sql.join(tableNames().map((name) => sql.table(name)))
    await sql`drop table if exists ${tables}`.execute(db)
    if (schema !== null) await dropEmptySchema(db, schema)
  } finally {
    await db.destroy()
  }
}

/** Any number that nobody else takes; held while a schema is made. */
const SCHEMA_LOCK = 4_973_110_822

/** Two processes may come here at once. @throws Error for a user who may not make one. */
async function ensureSchema(db: Db, schema: string): Promise<void> {
  await db.transaction().execute(async (tx) => {
    await sql`select pg_advisory_xact_lock(${SCHEMA_LOCK})`.execute(tx)
    if (!(await hasSchema(tx, schema))) await sql`create schema ${sql.id(schema)}`.execute(tx)
  })
}

async function hasSchema(db: Db, schema: string): Promise<boolean> {
  const { rows } = await sql<{ is_there: boolean }>`select exists (select 1 from pg_namespace where nspname = ${schema}) as is_there`
    .execute(db)
  return rows[0]?.is_there === true
}

/** A schema with something of somebody else's in it stays. */
async function dropEmptySchema(db: Db, schema: string): Promise<void> {
  try {
    await sql`drop schema ${sql.id(schema)}`.execute(db)
  } catch (error) {
    if (sqlStateOf(error) !== OBJECTS_REMAIN) throw error
  }
}

function connect(url: string, durability: PostgresOptions['durability'], schema: string | null = null, connections = FEW_CONNECTIONS): Db {
  return new Kysely<Database>({
    dialect: postgresDialect({
      url, connections,
      session: {
        synchronous_commit: durability === 'full' ? 'on' : 'off',
        lock_timeout: String(LOCK_TIMEOUT_MS),
        idle_in_transaction_session_timeout: String(IDLE_TRANSACTION_TIMEOUT_MS),
        // "drop table if exists" and the like say nothing that anybody reads.
        client_min_messages: 'warning',
        ...(schema === null ? {} : { search_path: schema }),
      },
    }),
  })
}

async function checkServer(db: Db): Promise<void> {
  const { rows } = await sql<{ encoding: string }>`select current_setting('server_encoding') as encoding`.execute(db)
  const encoding = rows[0]?.encoding
  if (encoding === 'UTF8') return
  throw new Error(`the database has the encoding ${encoding}; Hearth needs one with UTF8 ("createdb -E UTF8")`)
}

class PostgresStore implements Store {
  readonly #db: Db
  readonly #clock: Clock
  readonly #random: Random
  readonly #wake: PostgresWake
  readonly #listeners: CommitListener[] = []
  readonly #writers = new Turns(WRITERS)

  constructor(db: Db, { url, schema = null, clock, random }: PostgresOptions) {
    this.#db = db
    this.#clock = clock
    this.#random = random
    this.#wake = new PostgresWake({ url, schema, clock, heard: () => this.#callListeners() })
  }

  async transaction<T>(name: string, body: (db: Db) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        let hosts: ReadonlySet<string> | undefined
        const result = await this.#writers.take(() => this.#attempt(async (db) => {
          const value = await body(db)
          hosts = takeHostsWithNewWork(db)
          return value
        }, attempt >= ATTEMPTS.together))
        this.#callListeners(hosts)
        // Whoever listens has work to do; of all else nobody waits to hear.
        if (hosts && hosts.size > 0) this.#wake.send()
        return result
      } catch (error) {
        const isLast = attempt + 1 === ATTEMPTS.together + ATTEMPTS.alone
        if (!isConflict(error) || isLast) throw outwardError(name, error)
      }
      await this.#clock.sleep(this.#random.next() * PAUSE_MS * 2 ** attempt)
    }
  }

  #attempt<T>(body: (db: Db) => Promise<T>, isAlone: boolean): Promise<T> {
    return this.#db.transaction().setIsolationLevel('serializable').execute(async (db) => {
      // Before anything is read: taking this lock takes no snapshot, so one that had to wait for it
      // sees all that those before it have done.
      await sql.raw(`lock table meta in ${isAlone ? 'share row exclusive' : 'row exclusive'} mode`).execute(db)
      return body(db)
    })
  }

  async read<T>(body: (db: Db) => Promise<T>): Promise<T> {
    try {
      return await this.#db.transaction().setIsolationLevel('repeatable read').setAccessMode('read only').execute(body)
    } catch (error) {
      throw outwardError('read', error)
    }
  }

  onCommit(listener: CommitListener): void {
    this.#listeners.push(listener)
    void this.#wake.open()
  }

  #callListeners(hosts?: ReadonlySet<string>): void {
    for (const listener of this.#listeners) listener(hosts)
  }

  async close(): Promise<void> {
    await this.#wake.close()
    await this.#db.destroy()
  }
}

const SERIALIZATION_FAILURE = '40001'
const DEADLOCK = '40P01'
const LOCK_NOT_AVAILABLE = '55P03'
const UNTRANSLATABLE_CHARACTER = '22021'
/** What would have to be dropped with it. */
const OBJECTS_REMAIN = '2BP01'

/** Whether the database undid the transaction because of another one, so that it may be run again. */
function isConflict(error: unknown): boolean {
  const code = sqlStateOf(error)
  return code === SERIALIZATION_FAILURE || code === DEADLOCK
}

/** What a caller of the API is told; both 503, which SDKs take as "try again later". */
function outwardError(name: string, error: unknown): unknown {
  if (error instanceof CommitUnknownError) return error
  if (error instanceof ConnectionLostError) {
    return new ApiError('Unavailable', `The database of this cloud does not answer (${messageOf(error)}); nothing was done.`)
  }
  const code = sqlStateOf(error)
  if (isConflict(error) || code === LOCK_NOT_AVAILABLE) {
    const message = `Request limit exceeded: ${name} found no turn among too many others; nothing was done.`
    return new ApiError('RequestLimitExceeded', message)
  }
  if (code === UNTRANSLATABLE_CHARACTER) {
    return new ApiError('InvalidParameterValue', 'A value contains the character U+0000, which cannot be stored.')
  }
  return error
}
