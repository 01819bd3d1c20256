import { newId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import { prepared } from '../store/prepared.ts'
import type { InstanceEventTable, InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'

export type EventCode = InstanceEventTable['code']

/** What EC2 plans for instances. */
export const EVENT_CODES: readonly EventCode[] = [
  'instance-reboot', 'system-reboot', 'system-maintenance', 'instance-retirement', 'instance-stop',
]

/** How long EC2 still describes an event that is over: up to a week. */
export const ENDED_EVENT_RETENTION_MS = 7 * 24 * 60 * 60 * 1000

/** What of an event SQL never looks into. */
export interface InstanceEventDoc {
  description: string
  notAfterMs: number | null
  /** Until when the owner may put it off; null when not at all. */
  deadlineMs: number | null
  /** When the cloud began to do it. */
  begunMs: number | null
  /** It is over with this reboot of the instance; null while that is not known, or where no reboot ends it. */
  rebootGeneration: number | null
  /** When it was completed or canceled. */
  endedMs: number | null
}

export function eventDoc(row: Pick<InstanceEventTable, 'doc'>): InstanceEventDoc {
  return JSON.parse(row.doc) as InstanceEventDoc
}

/** As EC2 words them. */
const DESCRIPTIONS: Record<EventCode, string> = {
  'instance-reboot': 'The instance is scheduled for a reboot',
  'system-reboot': 'The instance is scheduled for a reboot',
  'system-maintenance': 'The instance is scheduled for maintenance',
  'instance-retirement': 'The instance is running on degraded hardware',
  'instance-stop': 'The instance is running on degraded hardware',
}

/** What is to be planned. */
export interface NewEvent {
  code: EventCode
  notBeforeMs: number
  notAfterMs: number | null
  deadlineMs: number | null
  /** EC2's own words by default. */
  description?: string | undefined
}

/** Plans an event for an instance; returns its row. */
export async function insertEvent(
  { db, random, nowMs }: { db: Db; random: Random; nowMs: number },
  instance: InstanceTable,
  event: NewEvent,
): Promise<InstanceEventTable> {
  const row: InstanceEventTable = {
    event_id: newId(random, 'instance-event'), account_id: instance.account_id, instance_id: instance.instance_id,
    code: event.code, state: 'scheduled', not_before_ms: event.notBeforeMs, created_ms: nowMs,
    doc: JSON.stringify({
      description: event.description ?? DESCRIPTIONS[event.code], notAfterMs: event.notAfterMs, deadlineMs: event.deadlineMs,
      begunMs: null, endedMs: null,
      // Any reboot that is asked for from now on; only the cloud can reboot a system.
      rebootGeneration: event.code === 'instance-reboot' ? instance.reboot_requested + 1 : null,
    } satisfies InstanceEventDoc),
  }
  await db.insertInto('instance_events').values(row).execute()
  await enqueueEvent(db, row.event_id, instance, row.not_before_ms)
  return row
}

/** The instance that an event is planned for. */
export async function instanceOfEvent(db: Db, eventId: string): Promise<string | undefined> {
  return (await db.selectFrom('instance_events').select('instance_id').where('event_id', '=', eventId).executeTakeFirst())?.instance_id
}

/** Has the event looked at, at `dueMs` or before. */
export function enqueueEvent(db: Db, eventId: string, instance: Pick<InstanceTable, 'host_id'>, dueMs: number): Promise<void> {
  return enqueue(db, { kind: 'event', id: eventId, hostId: instance.host_id }, dueMs)
}

const scheduledOf = prepared((db, instanceId: string, state: InstanceEventTable['state']) =>
  db.selectFrom('instance_events').select('event_id').where('instance_id', '=', instanceId).where('state', '=', state))

/** Something happened to an instance that may have done what was planned for it: its events are looked at. */
export async function wakeEvents(db: Db, instance: Pick<InstanceTable, 'instance_id' | 'host_id'>, nowMs: number): Promise<void> {
  for (const event of await scheduledOf(db, instance.instance_id, 'scheduled')) await enqueueEvent(db, event.event_id, instance, nowMs)
}

/** Ends an event. */
export async function endEvent(db: Db, row: InstanceEventTable, state: 'completed' | 'canceled', nowMs: number): Promise<void> {
  const doc = JSON.stringify({ ...eventDoc(row), endedMs: nowMs } satisfies InstanceEventDoc)
  await db.updateTable('instance_events').set({ state, doc }).where('event_id', '=', row.event_id).execute()
}

const PREFIXES: Record<InstanceEventTable['state'], string> = { scheduled: '', completed: '[Completed] ', canceled: '[Canceled] ' }

/** Its description as EC2 shows it: what is over says so. */
export function shownDescription(row: Pick<InstanceEventTable, 'state' | 'doc'>): string {
  return `${PREFIXES[row.state]}${eventDoc(row).description}`
}
