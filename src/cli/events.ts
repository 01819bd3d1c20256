import type { Random } from '../core/random.ts'
import { instanceDoc, type StatusReport } from '../model/instance.ts'
import { endEvent, enqueueEvent, EVENT_CODES, eventDoc, insertEvent, type EventCode } from '../model/instance-event.ts'
import type { InstanceEventTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'

/** A scheduled event as people are shown it; times as ISO 8601. */
export interface EventView {
  eventId: string
  instanceId: string
  code: EventCode
  state: InstanceEventTable['state']
  description: string
  notBefore: string
  notAfter: string | null
  deadline: string | null
}

/** What the owner of an instance said of its health (ReportInstanceStatus). */
export type ReportView = { instanceId: string } & Omit<StatusReport, 'reportedMs' | 'startMs' | 'endMs'> & {
  reported: string
  start: string | null
  end: string | null
}

/** What a person asks for. */
export interface EventOrder {
  code: string
  notBeforeMs: number
  /** Null for none; undefined for what EC2 would say. */
  notAfterMs?: number | null | undefined
  deadlineMs?: number | undefined
  description?: string | undefined
}

/** How long reboots and maintenance take at most, unless it is said: as long as EC2's. */
const WINDOW_MS = 2 * 60 * 60 * 1000

/**
 * Plans an event for an instance.
 *
 * @throws Error that says what is wrong with the order, or with the instance.
 */
export async function createEvent(
  store: Store,
  { random, nowMs }: { random: Random; nowMs: number },
  instanceId: string,
  order: EventOrder,
): Promise<EventView> {
  const code = EVENT_CODES.find((each) => each === order.code)
  if (!code) throw new Error(`there is no event of the code "${order.code}"; there are: ${EVENT_CODES.join(', ')}`)
  if (order.notBeforeMs < nowMs) throw new Error(`${isoTime(order.notBeforeMs)} is over`)
  const hasWindow = code !== 'instance-stop' && code !== 'instance-retirement'
  const notAfterMs = order.notAfterMs ?? (hasWindow ? order.notBeforeMs + WINDOW_MS : null)
  if (notAfterMs !== null && notAfterMs < order.notBeforeMs) throw new Error('it cannot end before it begins')
  const deadlineMs = order.deadlineMs ?? null
  if (deadlineMs !== null && deadlineMs < order.notBeforeMs) throw new Error('its deadline cannot be before it begins')
  return store.transaction('event.create', async (db) => {
    const instance = await db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId).executeTakeFirst()
    if (!instance) throw new Error(`there is no instance ${instanceId}`)
    if (instance.state === 'shutting-down' || instance.state === 'terminated') {
      throw new Error(`${instanceId} is ${instance.state}; nothing can be planned for it`)
    }
    return viewOf(await insertEvent({ db, random, nowMs }, instance, {
      code, notBeforeMs: order.notBeforeMs, notAfterMs, deadlineMs, description: order.description,
    }))
  })
}

/** All events, of every account, the next first. */
export function listEvents(store: Store): Promise<EventView[]> {
  return store.read(async (db) => (await db
    .selectFrom('instance_events').selectAll().orderBy('not_before_ms').orderBy('event_id').execute()).map(viewOf))
}

/** What owners said of their instances, the newest last. */
export function listReports(store: Store): Promise<ReportView[]> {
  return store.read(async (db) => {
    const rows = await db.selectFrom('instances').select(['instance_id', 'doc']).execute()
    return rows
      .flatMap((row) => (instanceDoc(row).statusReports ?? []).map((report) => ({ instanceId: row.instance_id, ...report })))
      .toSorted((a, b) => a.reportedMs - b.reportedMs)
      .map(({ reportedMs, startMs, endMs, ...report }) => ({
        ...report, reported: isoTime(reportedMs), start: isoTimeOrNull(startMs), end: isoTimeOrNull(endMs),
      }))
  })
}

/**
 * Calls an event off.
 *
 * @throws Error where there is none, or it is over, or has begun.
 */
export function cancelEvent(store: Store, nowMs: number, eventId: string): Promise<EventView> {
  return store.transaction('event.cancel', async (db) => {
    const row = await eventOf(db, eventId)
    if (!row) throw new Error(`there is no event ${eventId}; see hearth event list`)
    if (row.state !== 'scheduled') throw new Error(`${eventId} is ${row.state} already`)
    if (eventDoc(row).begunMs !== null) throw new Error(`${eventId} has begun already`)
    await endEvent(db, row, 'canceled', nowMs)
    const instance = await db
      .selectFrom('instances').select('host_id').where('instance_id', '=', row.instance_id).executeTakeFirst()
    // It is forgotten after some time.
    if (instance) await enqueueEvent(db, eventId, instance, nowMs)
    return viewOf({ ...row, ...(await eventOf(db, eventId)) })
  })
}

function eventOf(db: Db, eventId: string): Promise<InstanceEventTable | undefined> {
  return db.selectFrom('instance_events').selectAll().where('event_id', '=', eventId).executeTakeFirst()
}

function viewOf(row: InstanceEventTable): EventView {
  const { description, notAfterMs, deadlineMs } = eventDoc(row)
  return {
    eventId: row.event_id, instanceId: row.instance_id, code: row.code, state: row.state, description,
    notBefore: isoTime(row.not_before_ms), notAfter: isoTimeOrNull(notAfterMs), deadline: isoTimeOrNull(deadlineMs),
  }
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}

function isoTimeOrNull(ms: number | null): string | null {
  return ms === null ? null : isoTime(ms)
}
