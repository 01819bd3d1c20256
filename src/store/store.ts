import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** A transaction, or a snapshot to read from. */
export type Db = Kysely<Database>

/** Hears of commits that mark work due; `hostIds` are those that have more work now, undefined where nobody knows. */
export type CommitListener = (hostIds?: ReadonlySet<string>) => void

/**
 * Where all truth lives. Handlers and reconcilers see only this; which database is behind it is
 * known to main alone.
 */
export interface Store {
  /**
   * Runs `body` in one serializable, durable transaction. It may be run again when the database
   * says that it conflicted, so it must be pure: nothing but `db` may be awaited in it.
   *
   * `name` says what it is for: in logs, and in the crash points of `withCommitCrashPoints`.
   */
  transaction<T>(name: string, body: (db: Db) => Promise<T>): Promise<T>
  /** Runs `body` on a consistent snapshot; it may not write. */
  read<T>(body: (db: Db) => Promise<T>): Promise<T>
  /**
   * Calls `listener` soon after any process has committed that work is due; spurious calls are allowed. Where it is known, it
   * is told for which hosts: after commits of this process, also those that mark nothing.
   */
  onCommit(listener: CommitListener): void
  close(): Promise<void>
}
