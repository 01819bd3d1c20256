import BetterSqlite3 from 'better-sqlite3'
import { waitFor, type Clock } from '../core/clock.ts'

/** Longer than any build takes; whoever waits longer has a build that hangs. */
const WAIT_MS = 3_600_000
const LOOK_MS = 250

/**
 * Runs `body` while nobody else holds the lock `file`, in this process or another; waits for its
 * turn. The kernel holds the lock, so that it ends with its process in whatever way.
 */
export async function withBuildLock<T>(
  file: string,
  { clock, onWait }: { clock: Clock; onWait: () => void },
  body: () => Promise<T>,
): Promise<T> {
  let unlock = tryLock(file)
  if (!unlock) {
    onWait()
    unlock = await waitFor(clock, 'another build of the same image to end', WAIT_MS, () => tryLock(file), LOOK_MS)
  }
  try {
    return await body()
  } finally {
    unlock()
  }
}

function tryLock(file: string): (() => void) | undefined {
  const database = new BetterSqlite3(file, { timeout: 0 })
  try {
    database.exec('begin exclusive')
    return () => database.close()
  } catch (error) {
    database.close()
    if ((error as { code?: string }).code === 'SQLITE_BUSY') return undefined
    throw error
  }
}
