import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'

/** Of the table meta: until when nothing is started that nobody calls for. */
const KEY = 'pause-until'

const pauseOf = prepared((db) => db.selectFrom('meta').select('value').where('key', '=', KEY))

/** Until when fleets and the market launch nothing; 0 where nothing holds them up. */
export async function pausedUntil(db: Db): Promise<number> {
  const [row] = await pauseOf(db)
  return Number(row?.value ?? 0)
}

/** Who stops every machine says so for a moment, again and again: should he be killed, fleets and the market go on by themselves. */
const MOMENT_MS = 10_000

/** Has fleets and the market launch nothing for some seconds: what is stopped would be replaced, and a stop of all would never end. */
export async function pauseLaunches(db: Db, nowMs: number): Promise<void> {
  // Who has been told a moment ago is not told again.
  if ((await pausedUntil(db)) > nowMs + MOMENT_MS / 2) return
  const value = String(nowMs + MOMENT_MS)
  await db.insertInto('meta').values({ key: KEY, value }).onConflict((conflict) => conflict.column('key').doUpdateSet({ value })).execute()
}

/** Everything is stopped, or is not to be: whoever looks next goes on. */
export async function endPause(db: Db): Promise<void> {
  await db.deleteFrom('meta').where('key', '=', KEY).execute()
}
