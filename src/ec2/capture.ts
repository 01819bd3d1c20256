import type { Clock } from '../core/clock.ts'
import type { Db, Store } from '../store/store.ts'

/** How long a caller waits for the agent; after that the last capture, if there is one, has to do. */
const CAPTURE_DEADLINE_MS = 5000
const CAPTURE_POLL_MS = 20

/**
 * Waits until the agent has captured what was asked for at `nowMs` (a work item that the handler
 * enqueued), and answers the newest capture: an older one when the agent did not come to it in time,
 * undefined when there never was one, or when `isOver` says that there will be none.
 */
export async function awaitCapture<Row extends { captured_ms: number }>(
  { store, clock }: { store: Store; clock: Clock },
  nowMs: number,
  read: (db: Db) => Promise<Row | undefined>,
  isOver: (db: Db) => Promise<boolean> = async () => false,
): Promise<{ row: Row; isFresh: boolean } | undefined> {
  const deadlineMs = clock.now() + CAPTURE_DEADLINE_MS
  for (;;) {
    const { row, over } = await store.read(async (db) => ({ row: await read(db), over: await isOver(db) }))
    if (row && row.captured_ms >= nowMs) return { row, isFresh: true }
    if (over || clock.now() >= deadlineMs) return row && { row, isFresh: false }
    await clock.sleep(CAPTURE_POLL_MS)
  }
}
