import { sql } from 'kysely'
import { ApiError } from '../core/errors.ts'
import type { Db } from './store.ts'

/**
 * Runs a part of a transaction whose writes stay only where `keeps` says so of what it answers. Parts may be nested. Errors
 * pass: on PostgreSQL one of the database's own ends the whole transaction.
 */
export async function tentatively<T>(db: Db, body: () => Promise<T>, keeps: (value: T) => boolean): Promise<T> {
  await sql`savepoint part`.execute(db)
  const back = () => sql`rollback to part`.execute(db)
  try {
    const value = await body()
    if (!keeps(value)) await back()
    await sql`release part`.execute(db)
    return value
  } catch (error) {
    // Somebody around may catch it, and must find the savepoints as they were.
    if (error instanceof ApiError) {
      await back()
      await sql`release part`.execute(db)
    }
    throw error
  }
}

/** Runs a part of a transaction that may fail by itself: an ApiError is answered, and nothing that it wrote is left. */
export function attempt<T>(db: Db, body: () => Promise<T>): Promise<T | ApiError> {
  const answered = () => body().catch((error: unknown) => {
    if (error instanceof ApiError) return error
    throw error
  })
  return tentatively<T | ApiError>(db, answered, (value) => !(value instanceof ApiError))
}
