import { isBefore, type FeedPosition } from './event-feed.ts'
import type { EventTargetTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { leadingNode } from './spot-market.ts'

/** An event that a target could not be given, and why. */
export interface DeadLetter {
  id: string
  detailType: string
  time: string
  error: string
  attempts: number
  atMs: number
  /** The event itself, as it would have been delivered. */
  event: object
}

/** What of a target SQL never looks into. */
export interface EventTargetDoc {
  /** Signs what a webhook is sent; null for a file. */
  secret: string | null
  /** The transaction of the event that `cursor_seq` is the number of. */
  cursorTx: number
  delivered: number
  lastDeliveredMs: number | null
  /** Why the last attempt failed, and when the next one is; null while nothing fails. */
  failure: { error: string; sinceMs: number; retryMs: number } | null
  /** How many could not be delivered, and the last of them. */
  dead: number
  deadLetters: DeadLetter[]
  /** How often it came too late for what is kept of the feed. */
  gaps: number
}

/** As many dead letters are kept of a target. */
export const MOST_DEAD_LETTERS = 100

/** Names of targets; they are ids of work too. */
export const TARGET_NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/

/** The id of the work that forgets old events; no target can be called so. */
export const RETENTION_WORK_ID = '.retention'

export function targetDoc(row: Pick<EventTargetTable, 'doc'>): EventTargetDoc {
  return JSON.parse(row.doc) as EventTargetDoc
}

export function targetPosition(row: Pick<EventTargetTable, 'doc' | 'cursor_seq'>): FeedPosition {
  return { tx: targetDoc(row).cursorTx, seq: row.cursor_seq }
}

/** All targets of the region, by name. */
export function listTargets(db: Db): Promise<EventTargetTable[]> {
  return db.selectFrom('event_targets').selectAll().orderBy('name').execute()
}

export function targetOf(db: Db, name: string): Promise<EventTargetTable | undefined> {
  return db.selectFrom('event_targets').selectAll().where('name', '=', name).executeTakeFirst()
}

/** What a new target is to be. */
export type NewTarget = Pick<EventTargetTable, 'name' | 'kind' | 'endpoint' | 'pattern'> & { secret: string | null; after: FeedPosition }

/** Adds a target, which gets what comes after `after`. @returns false where there is one of that name. */
export async function addTarget(db: Db, { secret, after, ...target }: NewTarget, nowMs: number): Promise<boolean> {
  if (await targetOf(db, target.name)) return false
  const doc: EventTargetDoc = {
    secret, cursorTx: after.tx, delivered: 0, lastDeliveredMs: null, failure: null, dead: 0, deadLetters: [], gaps: 0,
  }
  await db
    .insertInto('event_targets').values({ ...target, cursor_seq: after.seq, attempts: 0, created_ms: nowMs, doc: JSON.stringify(doc) }).execute()
  await wakeTarget(db, target.name, nowMs)
  return true
}

/** Removes a target; what is under way may still reach it. @returns false where there is none of that name. */
export async function removeTarget(db: Db, name: string, nowMs: number): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom('event_targets').where('name', '=', name).executeTakeFirst()
  // What was kept for it may go.
  await wakeTarget(db, RETENTION_WORK_ID, nowMs)
  return numDeletedRows > 0n
}

/** The leading node is to look at a target, or at what is kept, at `dueMs`. */
export async function wakeTarget(db: Db, id: string, dueMs: number): Promise<void> {
  const nodeId = await leadingNode(db)
  if (nodeId !== undefined) await enqueue(db, { kind: 'event-target', id, hostId: nodeId }, dueMs)
}

/**
 * Writes down how far a target has come from where it was, and what else has changed with that.
 *
 * @returns false, with nothing changed, where it is gone, or another one of its name, or has moved on.
 */
export async function moveTarget(
  db: Db,
  row: EventTargetTable,
  to: { position?: FeedPosition; attempts?: number; change: (doc: EventTargetDoc) => Partial<EventTargetDoc> },
): Promise<boolean> {
  const now = await targetOf(db, row.name)
  if (!now || now.created_ms !== row.created_ms || now.endpoint !== row.endpoint) return false
  const before = targetPosition(now)
  const position = to.position ?? before
  if (isBefore(position, before)) return false
  const doc = targetDoc(now)
  await db
    .updateTable('event_targets')
    .set({ cursor_seq: position.seq, attempts: to.attempts ?? now.attempts, doc: JSON.stringify({ ...doc, ...to.change(doc), cursorTx: position.tx }) })
    .where('name', '=', row.name).execute()
  return true
}

/** When the leading node begins: every target, and what is kept, is to be looked at. */
export async function wakeAllTargets(db: Db, nowMs: number): Promise<void> {
  for (const { name } of await listTargets(db)) await wakeTarget(db, name, nowMs)
  await wakeTarget(db, RETENTION_WORK_ID, nowMs)
}
