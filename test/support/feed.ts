import { systemClock, waitFor } from '../../src/core/clock.ts'
import { FEED_BEGINNING, hasMore, readFeed, type FeedEvent, type FeedPosition } from '../../src/model/event-feed.ts'
import type { Store } from '../../src/store/store.ts'

const TIMEOUT_MS = 30_000

/** All events after a position. On PostgreSQL what others do in the same server, as tests beside this one, keeps events back for a while. */
export function wholeFeed(store: Pick<Store, 'read'>, after: FeedPosition = FEED_BEGINNING): Promise<FeedEvent[]> {
  return waitFor(systemClock, 'events to be read that others keep back', TIMEOUT_MS, () => store.read(async (db) => {
    const events = await readFeed(db, { after, limit: 1000 })
    return (await hasMore(db, events.at(-1)?.position ?? after)) ? undefined : events
  }))
}
