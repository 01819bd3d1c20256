import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { messageOf } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import type { Delivery } from '../events/delivery.ts'
import { envelopeOf } from '../events/envelope.ts'
import { parseEventPattern } from '../events/pattern.ts'
import { postOf } from '../events/signature.ts'
import {
  forgetEvents, forgottenUntil, hasMore, isBefore, readFeed, readForgettable, type FeedEvent, type FeedPosition, type FEED_RETENTION,
} from '../model/event-feed.ts'
import {
  listTargets, moveTarget, MOST_DEAD_LETTERS, RETENTION_WORK_ID, targetDoc, targetOf, targetPosition, type DeadLetter,
} from '../model/event-target.ts'
import { again, DONE, isFatal, recording, type Outcome, type Reconciler } from '../reconcile/loop.ts'
import type { EventTargetTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import { EventWatch } from './event-watch.ts'

export interface EventTargetOptions {
  store: Store
  clock: Clock
  random: Random
  log: Logger
  region: string
  delivery: Delivery
  /** What is kept of the feed; a day, and 100,000 events at most, unless given. */
  retention?: typeof FEED_RETENTION
}

/** Delivers events to the region's targets, and forgets old ones. */
export interface EventTargetReconciler extends Reconciler {
  /** As a killed process: it looks for nothing any more. */
  stop(): void
}

/** EventBridge's: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html */
const MOST_ATTEMPTS = 185
const LONGEST_MS = 24 * 60 * 60 * 1000

/** Doubled with each failure, and drawn from a quarter less to a quarter more; with these, 185 attempts take about a day. */
const PAUSE_MS = { first: 1000, most: 480_000 }

/** Read at once, and written to a file at once. */
const PAGE = 100

/** As many pages in one run, so that others have their turn. */
const MOST_PAGES = 20

/** How soon to look again for what an older transaction is still in the way of. */
const OPEN_MS = 50

const RETENTION_INTERVAL_MS = 10 * 60 * 1000

/**
 * Delivers events in order to each target, each at least once: what has been delivered is written down after that. A target that
 * fails keeps what comes after it waiting, for a day at most. Nothing is delivered inside a transaction.
 */
export function createEventTargetReconciler(options: EventTargetOptions): EventTargetReconciler {
  const watch = new EventWatch(options)
  const ending = new AbortController()
  const deliveries = { ...options, signal: ending.signal }
  return {
    stop() {
      ending.abort()
      watch.stop()
    },
    async reconcile(name) {
      if (name === RETENTION_WORK_ID) return forget(options)
      if (!(await options.store.read((db) => targetOf(db, name)))) return DONE
      const run = watch.begin(name)
      try {
        for (let page = 0; page < MOST_PAGES && !ending.signal.aborted; page++) {
          run.isLate = false
          const outcome = await deliverPage(deliveries, name)
          // A commit that was heard of since the page was read may have brought more.
          if (outcome !== 'empty') {
            if (outcome !== 'more') return outcome
          } else if (!run.isLate) return DONE
        }
        return again(0)
      } finally {
        watch.end(name)
      }
    },
  }
}

interface Page {
  row: EventTargetTable
  events: FeedEvent[]
  forgotten: FeedPosition
  isMore: boolean
}

async function readPage(db: Db, name: string): Promise<Page | undefined> {
  const row = await targetOf(db, name)
  if (!row) return undefined
  const after = targetPosition(row)
  const events = await readFeed(db, { after, limit: PAGE })
  return { row, events, forgotten: await forgottenUntil(db), isMore: events.length > 0 || (await hasMore(db, after)) }
}

/** `signal` says that the agent ends: it does not wait for a slow webhook, and goes on after the next up. */
type Deliveries = EventTargetOptions & { signal: AbortSignal }

/** @returns how the run ends with it, or whether there may be more. */
async function deliverPage(options: Deliveries, name: string): Promise<Outcome | 'more' | 'empty'> {
  const { store, clock, log } = options
  const page = await store.read((db) => readPage(db, name))
  if (!page) return DONE
  const { row, events, forgotten } = page
  const { failure } = targetDoc(row)
  const nowMs = clock.now()
  if (failure && failure.retryMs > nowMs) return again(failure.retryMs - nowMs)
  if (isBefore(targetPosition(row), forgotten)) {
    log.warn('a target of events comes too late for some of them', { target: name })
    await store.transaction('event-target.gap', (db) =>
      moveTarget(db, row, { position: forgotten, attempts: 0, change: (doc) => ({ gaps: doc.gaps + 1, failure: null }) }))
    return 'more'
  }
  if (events.length === 0) return page.isMore ? again(OPEN_MS) : 'empty'
  const pattern = row.pattern === null ? undefined : parseEventPattern(row.pattern)
  const wanted = events.filter((event) => pattern?.matches(envelopeOf(event, options.region)) ?? true)
  const end = events.at(-1)?.position ?? targetPosition(row)
  if (row.kind === 'file') return deliverToFile(options, row, wanted, end)
  return deliverToWebhook(options, row, wanted, end)
}

async function deliverToFile(
  options: EventTargetOptions,
  row: EventTargetTable,
  events: readonly FeedEvent[],
  end: FeedPosition,
): Promise<Outcome | 'more'> {
  const [first] = events
  if (first) {
    try {
      await options.delivery.append(row.endpoint, events.map((event) => JSON.stringify(envelopeOf(event, options.region))))
    } catch (error) {
      if (isFatal(error)) throw error
      return fail(options, row, first, { error: messageOf(error), isFinal: false, retryAfterMs: null })
    }
  }
  return passed(options, row, end, events.length)
}

async function deliverToWebhook(
  options: Deliveries,
  row: EventTargetTable,
  events: readonly FeedEvent[],
  end: FeedPosition,
): Promise<Outcome | 'more'> {
  const target = { ...row, secret: targetDoc(row).secret }
  let { attempts } = row
  for (const [index, event] of events.entries()) {
    if (options.signal.aborted) return again(0)
    const failure = await post(options, target, event, attempts + 1)
    if (failure && options.signal.aborted) return again(0)
    if (failure) return fail(options, { ...row, attempts }, event, failure)
    attempts = 0
    // What lies between the last one and the end of the page is not wanted.
    const position = index === events.length - 1 ? end : event.position
    const outcome = await passed(options, row, position, 1)
    if (outcome !== 'more' || index === events.length - 1) return outcome
  }
  return passed(options, row, end, 0)
}

/** Writes down what has been delivered, until where. */
async function passed(options: EventTargetOptions, row: EventTargetTable, position: FeedPosition, count: number): Promise<Outcome | 'more'> {
  const { store, clock } = options
  const isThere = await store.transaction('event-target.delivered', (db) => moveTarget(db, row, {
    position, attempts: 0,
    change: (doc) => ({ failure: null, delivered: doc.delivered + count, ...(count > 0 ? { lastDeliveredMs: clock.now() } : {}) }),
  }))
  return isThere ? 'more' : again(0)
}

interface Failure {
  error: string
  /** Whether it would be the same another time. */
  isFinal: boolean
  retryAfterMs: number | null
}

async function post(
  { delivery, region, signal }: Deliveries,
  target: EventTargetTable & { secret: string | null },
  event: FeedEvent,
  attempt: number,
): Promise<Failure | undefined> {
  try {
    const { status, retryAfterMs } = await delivery.post(postOf(target, envelopeOf(event, region), attempt), signal)
    if (status >= 200 && status < 300) return undefined
    return { error: `it answered ${status}`, isFinal: !isRetriable(status), retryAfterMs }
  } catch (error) {
    if (isFatal(error)) throw error
    return { error: messageOf(error), isFinal: false, retryAfterMs: null }
  }
}

/** As EventBridge's API destinations: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html */
function isRetriable(status: number): boolean {
  return status >= 500 || [401, 407, 409, 429].includes(status)
}

/** The event is tried again later, or given up. */
async function fail(options: EventTargetOptions, row: EventTargetTable, event: FeedEvent, failure: Failure): Promise<Outcome | 'more'> {
  const { store, clock, random, log, region } = options
  const nowMs = clock.now()
  const attempts = row.attempts + 1
  const isOver = failure.isFinal || attempts >= MOST_ATTEMPTS || nowMs - event.at_ms >= LONGEST_MS
  const facts = { target: row.name, event: event.detail_type, attempts, error: failure.error }
  if (!isOver) {
    if (attempts === 1) log.warn('an event could not be delivered; it is tried again', facts)
    const pauseMs = Math.min(PAUSE_MS.most, PAUSE_MS.first * 2 ** Math.min(row.attempts, 20)) * (0.75 + random.next() / 2)
    const retryMs = nowMs + Math.ceil(Math.max(pauseMs, Math.min(failure.retryAfterMs ?? 0, PAUSE_MS.most)))
    await store.transaction('event-target.failed', (db) => moveTarget(db, row, {
      attempts, change: (doc) => ({ failure: { error: failure.error, sinceMs: doc.failure?.sinceMs ?? nowMs, retryMs } }),
    }))
    return again(retryMs - nowMs)
  }
  log.error('an event could not be delivered, and is given up', facts)
  const envelope = envelopeOf(event, region)
  const letter: DeadLetter = {
    id: envelope.id, detailType: event.detail_type, time: envelope.time, error: failure.error, attempts, atMs: nowMs, event: envelope,
  }
  const isThere = await store.transaction('event-target.dead', (db) => moveTarget(db, row, {
    position: event.position, attempts: 0,
    change: (doc) => ({ failure: null, dead: doc.dead + 1, deadLetters: [...doc.deadLetters, letter].slice(-MOST_DEAD_LETTERS) }),
  }))
  return isThere ? 'more' : again(0)
}

/** Forgets a piece of what is kept for nobody any more. */
async function forget({ store, clock, log, retention }: EventTargetOptions): Promise<Outcome> {
  const events = await store.read(async (db) => {
    const cursors = (await listTargets(db)).map(targetPosition)
    const [neededAfter] = cursors.toSorted((a, b) => (isBefore(a, b) ? -1 : 1))
    return readForgettable(db, { nowMs: clock.now(), neededAfter, ...(retention ? { retention } : {}) })
  })
  if (events.length === 0) return again(RETENTION_INTERVAL_MS)
  log.info('old events are forgotten', { count: events.length })
  return recording('event-target.forget', (db) => forgetEvents(db, events), again(0))
}
