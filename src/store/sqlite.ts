import BetterSqlite3 from 'better-sqlite3'
import { utimesSync, watch, type FSWatcher } from 'node:fs'
import { open } from 'node:fs/promises'
import { Kysely, sql, type SqliteDatabase, type SqliteStatement } from 'kysely'
import type { Clock } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
import { giveToFolderOwner } from '../core/file-owner.ts'
import type { Database } from './schema.ts'
import type { CommitListener, Db, Store } from './store.ts'
import { hostsWithNewWork } from './work.ts'
import { migrate } from './migrations.ts'
import { ImmediateSqliteDialect, SteadySqliteDialect } from './sqlite-dialect.ts'
import { withQuickRows } from './sqlite-rows.ts'

export interface SqliteOptions {
  /** Path of the database file, or ':memory:'. */
  file: string
  /**
   * 'full': a commit survives a power cut (intent). 'normal': it survives a crash of the process,
   * which is enough for what can be observed again (the agent).
   */
  durability: 'full' | 'normal'
  /**
   * Where it is given, a transaction begins when the I/O that is ready has been handled: those that
   * come together share one commit, which is what costs time when it must survive a power cut.
   */
  clock?: Pick<Clock, 'soon'>
}

/** Transactions in one commit; more would keep the first of them waiting. */
const MAX_SHARED = 16

/** The name of a database that lives in this process alone. */
const MEMORY = ':memory:'

/** Touched after every commit that marks work due; whoever watches it looks at the database. */
function wakeFileOf(file: string): string {
  return `${file}-wake`
}

/** How long a writer waits for the other process's transaction. */
const BUSY_TIMEOUT_MS = 10_000

/** A new database in memory as migrations leave it, made once in a process: tests open thousands. */
let migrated: Buffer | undefined

/** Opens (and migrates) the embedded database: one writing connection and one for readers. */
export async function openSqlite(options: SqliteOptions): Promise<Store> {
  const inMemory = options.file === MEMORY
  if (!inMemory) {
    // It holds secrets; SQLite gives the files beside it the mode of the database itself.
    for (const file of [options.file, wakeFileOf(options.file)]) {
      await (await open(file, 'a', 0o600)).close()
      giveToFolderOwner(file)
    }
  }
  const connect = (from: string | Buffer = options.file) => {
    const database = new BetterSqlite3(from, { timeout: BUSY_TIMEOUT_MS })
    database.pragma('journal_mode = WAL')
    database.pragma(`synchronous = ${options.durability === 'full' ? 'FULL' : 'NORMAL'}`)
    database.pragma('foreign_keys = ON')
    return database
  }
  const writing = connect(inMemory ? migrated : undefined)
  const writer = new Kysely<Database>({ dialect: new ImmediateSqliteDialect({ database: keepStatements(writing) }) })
  await migrate(writer)
  if (inMemory) migrated ??= writing.serialize()
  const reader = inMemory ? writer : new Kysely<Database>({ dialect: new SteadySqliteDialect({ database: keepStatements(connect()) }) })
  return new SqliteStore(writer, reader, options, changesByOthers(writing))
}

/** Statements kept ready; the texts that Kysely makes for us are fewer, but for lists of many lengths. */
const MAX_KEPT_STATEMENTS = 500

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

/** Tells whether another connection has committed since the last call. */
function changesByOthers(writer: BetterSqlite3.Database): () => boolean {
  const version = writer.prepare('pragma data_version').pluck()
  let last = version.get()
  return () => {
    const before = last
    last = version.get()
    return last !== before
  }
}

/** A transaction that waits for its turn. */
interface Job {
  body: (db: Db) => Promise<unknown>
  resolve: (value: unknown) => void
  reject: (error: unknown) => void
}

class SqliteStore implements Store {
  readonly #writer: Db
  readonly #reader: Db
  readonly #options: SqliteOptions
  readonly #haveOthersCommitted: () => boolean
  readonly #listeners: CommitListener[] = []
  readonly #waiting: Job[] = []
  #isScheduled = false
  #watcher: FSWatcher | undefined

  constructor(writer: Db, reader: Db, options: SqliteOptions, haveOthersCommitted: () => boolean) {
    this.#haveOthersCommitted = haveOthersCommitted
    this.#writer = writer
    this.#reader = reader
    this.#options = options
  }

  async transaction<T>(_name: string, body: (db: Db) => Promise<T>): Promise<T> {
    const { clock } = this.#options
    if (!clock) {
      let hosts: ReadonlySet<string> | undefined
      const result = await this.#writer.transaction().execute(async (db) => {
        const value = await body(db)
        hosts = hostsWithNewWork(db)
        return value
      }).catch(explain)
      this.#committed(hosts)
      return result
    }
    const result = new Promise<T>((resolve, reject) => {
      this.#waiting.push({ body, resolve: resolve as (value: unknown) => void, reject })
    })
    if (!this.#isScheduled) {
      this.#isScheduled = true
      clock.soon(() => void this.#runWaiting(clock))
    }
    return result
  }

  async #runWaiting(clock: Pick<Clock, 'soon'>): Promise<void> {
    const jobs = this.#waiting.splice(0, MAX_SHARED)
    await this.#runTogether(jobs)
    this.#isScheduled = this.#waiting.length > 0
    if (this.#isScheduled) clock.soon(() => void this.#runWaiting(clock))
  }

  /** Runs the jobs one after another and commits them as one; each is told how it ended after that. */
  async #runTogether(jobs: Job[]): Promise<void> {
    const endings: (() => void)[] = []
    let hosts: ReadonlySet<string> | undefined
    try {
      await this.#writer.transaction().execute(async (db) => {
        for (const { body, resolve, reject } of jobs) {
          await sql`savepoint job`.execute(db)
          try {
            const value = await body(db)
            endings.push(() => resolve(value))
          } catch (error) {
            // A full disk may have ended the whole transaction: then this fails, too, and so do all of them.
            await sql`rollback to job`.execute(db).catch(() => {
              throw error
            })
            endings.push(() => explain(error).catch(reject))
          }
          await sql`release job`.execute(db)
        }
        hosts = hostsWithNewWork(db)
      })
    } catch (error) {
      for (const { reject } of jobs) explain(error).catch(reject)
      return
    }
    this.#committed(hosts)
    for (const end of endings) end()
  }

  #committed(hosts: ReadonlySet<string> | undefined): void {
    for (const listener of this.#listeners) listener(hosts)
    // Whoever listens has work to do; of all else nobody waits to hear.
    if (hosts && hosts.size > 0) this.#wakeOthers()
  }

  read<T>(body: (db: Db) => Promise<T>): Promise<T> {
    return this.#reader.transaction().execute(body)
  }

  onCommit(listener: CommitListener): void {
    this.#listeners.push(listener)
    if (this.#options.file === MEMORY || this.#watcher) return
    this.#watcher = watch(wakeFileOf(this.#options.file), { persistent: false }, () => {
      // What this process has committed it knows of.
      if (!this.#haveOthersCommitted()) return
      for (const each of this.#listeners) each()
    })
  }

  /**
   * Tells the other processes that work was marked due. The write-ahead log itself cannot be
   * watched for that: it is written before the commit is durable, and so before it can be seen.
   */
  #wakeOthers(): void {
    if (this.#options.file !== MEMORY) utimesSync(wakeFileOf(this.#options.file), 1, 1)
  }

  async close(): Promise<void> {
    this.#watcher?.close()
    await this.#reader.destroy()
    if (this.#reader !== this.#writer) await this.#writer.destroy()
  }
}

/** Throws what a person can do something about in place of SQLite's own words. */
async function explain(error: unknown): Promise<never> {
  if ((error as { code?: unknown }).code !== 'SQLITE_FULL') throw error
  throw new ApiError('InternalError', 'The disk that holds the state of this cloud is full: nothing was changed. Free some space and try again.')
}
