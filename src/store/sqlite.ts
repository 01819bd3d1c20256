import BetterSqlite3 from 'better-sqlite3'
import { utimesSync, watch, type FSWatcher } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Clock } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
import { giveToFolderOwner } from '../core/file-owner.ts'
import { SqliteConnection } from './sqlite-connection.ts'
import type { CommitListener, Db, Store } from './store.ts'
import { takeHostsWithNewWork } from './work.ts'
import { migrate } from './migrations.ts'

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

/**
 * Pages that the log may have before a commit carries them over into the database, and waits for the disk: four times as many as SQLite's
 * own 1,000, since most are pages of before once more; as many as one block of the log's index (4,062) finds without looking further.
 */
const CHECKPOINT_PAGES = 4000

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
    database.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
    return database
  }
  const writing = connect(inMemory ? migrated : undefined)
  const writer = new SqliteConnection(writing)
  await migrate(writer.db)
  if (inMemory) migrated ??= writing.serialize()
  const reader = inMemory ? writer : new SqliteConnection(connect())
  return new SqliteStore(writer, reader, options, changesByOthers(writing))
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
  readonly #writer: SqliteConnection
  readonly #reader: SqliteConnection
  readonly #options: SqliteOptions
  readonly #haveOthersCommitted: () => boolean
  readonly #listeners: CommitListener[] = []
  readonly #waiting: Job[] = []
  #isScheduled = false
  #watcher: FSWatcher | undefined

  constructor(writer: SqliteConnection, reader: SqliteConnection, options: SqliteOptions, haveOthersCommitted: () => boolean) {
    this.#haveOthersCommitted = haveOthersCommitted
    this.#writer = writer
    this.#reader = reader
    this.#options = options
  }

  transaction<T>(_name: string, body: (db: Db) => Promise<T>): Promise<T> {
    const { clock } = this.#options
    if (!clock) return this.#runAlone(body)
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
    const [first, ...others] = this.#waiting.splice(0, MAX_SHARED)
    if (first && others.length === 0) await this.#runAlone(first.body).then(first.resolve, first.reject)
    else if (first) await this.#runTogether([first, ...others])
    this.#isScheduled = this.#waiting.length > 0
    if (this.#isScheduled) clock.soon(() => void this.#runWaiting(clock))
  }

  async #runAlone<T>(body: (db: Db) => Promise<T>): Promise<T> {
    const { value, hosts } = await this.#write(body).catch(explain)
    this.#committed(hosts)
    return value
  }

  /** Runs the jobs one after another and commits them as one; each is told how it ended after that. */
  async #runTogether(jobs: readonly Job[]): Promise<void> {
    const endings: (() => void)[] = []
    let hosts: ReadonlySet<string>
    try {
      ({ hosts } = await this.#write(async (db) => {
        for (const { body, resolve, reject } of jobs) {
          this.#writer.run('savepoint job')
          try {
            const value = await body(db)
            endings.push(() => resolve(value))
          } catch (error) {
            try {
              this.#writer.run('rollback to job')
            } catch {
              // A full disk may have ended the whole transaction: then all of them have failed.
              throw error
            }
            endings.push(() => explain(error).catch(reject))
          }
          this.#writer.run('release job')
        }
      }))
    } catch (error) {
      for (const { reject } of jobs) explain(error).catch(reject)
      return
    }
    this.#committed(hosts)
    for (const end of endings) end()
  }

  /** One transaction, and the hosts that it gave work. */
  async #write<T>(body: (db: Db) => Promise<T>): Promise<{ value: T; hosts: ReadonlySet<string> }> {
    return this.#writer.transaction('begin immediate', async (db) => {
      // What one has marked that was rolled back is of no interest to the next.
      takeHostsWithNewWork(db)
      return { value: await body(db), hosts: takeHostsWithNewWork(db) }
    })
  }

  #committed(hosts: ReadonlySet<string>): void {
    for (const listener of this.#listeners) listener(hosts)
    // Whoever listens has work to do; of all else nobody waits to hear.
    if (hosts.size > 0) this.#wakeOthers()
  }

  read<T>(body: (db: Db) => Promise<T>): Promise<T> {
    return this.#reader.transaction('begin', body)
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
    await this.#reader.close()
    if (this.#reader !== this.#writer) await this.#writer.close()
  }
}

/** Throws what a person can do something about in place of SQLite's own words. */
async function explain(error: unknown): Promise<never> {
  if ((error as { code?: unknown }).code !== 'SQLITE_FULL') throw error
  throw new ApiError('InternalError', 'The disk that holds the state of this cloud is full: nothing was changed. Free some space and try again.')
}
