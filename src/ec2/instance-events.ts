import type {
  InstanceStatus, InstanceStatusEvent, ModifyInstanceEventStartTimeRequest, ModifyInstanceEventStartTimeResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { enqueueEvent, eventDoc, shownDescription } from '../model/instance-event.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { InstanceEventTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { filterText as text, type FilterFields } from './filters.ts'
import { requireInstance } from './instance-rows.ts'

const MINUTE_MS = 60_000

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/reschedule-event.html */
const RESCHEDULE = { leastLeftMs: 5 * MINUTE_MS, leastAheadMs: 60 * MINUTE_MS } as const

/** What is planned for the account's instances, and what was lately, by instance; the next first. Of those of `ids`, or, without any, of all. */
export async function eventsByInstance({ db, account }: Context, ids: readonly string[]): Promise<Map<string, InstanceStatusEvent[]>> {
  const ofAccount = db
    .selectFrom('instance_events').selectAll().where('account_id', '=', account).orderBy('not_before_ms').orderBy('event_id')
  const rows = ids.length > 0 ? await inBatches(ids, (batch) => ofAccount.where('instance_id', 'in', batch).execute()) : await ofAccount.execute()
  return new Map([...groupBy(rows, (row) => row.instance_id)].map(([id, events]) => [id, events.map(eventToWire)]))
}

function eventToWire(row: InstanceEventTable): InstanceStatusEvent {
  const { notAfterMs, deadlineMs } = eventDoc(row)
  return {
    InstanceEventId: row.event_id,
    Code: row.code,
    Description: shownDescription(row),
    NotBefore: new Date(row.not_before_ms),
    NotAfter: notAfterMs === null ? undefined : new Date(notAfterMs),
    NotBeforeDeadline: deadlineMs === null ? undefined : new Date(deadlineMs),
  }
}

/** The filters of DescribeInstanceStatus that look at events. */
export const EVENT_FIELDS: FilterFields<InstanceStatus> = {
  'event.code': (each) => each.Events?.map((event) => event.Code),
  'event.description': (each) => each.Events?.map((event) => event.Description),
  'event.instance-event-id': (each) => each.Events?.map((event) => event.InstanceEventId),
  'event.not-after': (each) => each.Events?.map((event) => text(event.NotAfter)),
  'event.not-before': (each) => each.Events?.map((event) => text(event.NotBefore)),
  'event.not-before-deadline': (each) => each.Events?.map((event) => text(event.NotBeforeDeadline)),
}

/**
 * ModifyInstanceEventStartTime: an event that has a deadline, and that does not begin within five minutes, is put off, or
 * brought forward, to a time at least an hour away and not beyond its deadline. It stays as long as it was.
 */
export async function modifyInstanceEventStartTime(
  context: Context,
  input: ModifyInstanceEventStartTimeRequest,
): Promise<ModifyInstanceEventStartTimeResult> {
  const { db, nowMs } = context
  const instance = await requireInstance(context, input.InstanceId)
  const row = await db
    .selectFrom('instance_events').selectAll()
    .where('event_id', '=', input.InstanceEventId ?? '').where('instance_id', '=', instance.instance_id).executeTakeFirst()
  if (!row) {
    throw new ApiError('InvalidInstanceEventIDNotFound', `The instance event ID '${input.InstanceEventId}' does not exist`)
  }
  const notBeforeMs = input.NotBefore?.getTime() ?? NaN
  checkReschedule(row, notBeforeMs, nowMs)
  const doc = eventDoc(row)
  const notAfterMs = doc.notAfterMs === null ? null : doc.notAfterMs + notBeforeMs - row.not_before_ms
  const changed = { not_before_ms: notBeforeMs, doc: JSON.stringify({ ...doc, notAfterMs }) }
  await db.updateTable('instance_events').set(changed).where('event_id', '=', row.event_id).execute()
  await enqueueEvent(db, row.event_id, instance, notBeforeMs)
  return { Event: eventToWire({ ...row, ...changed }) }
}

function checkReschedule(row: InstanceEventTable, notBeforeMs: number, nowMs: number): void {
  const refuse = (why: string) =>
    new ApiError('InvalidInstanceEventStartTime', `The event '${row.event_id}' cannot be rescheduled: ${why}.`)
  const { deadlineMs } = eventDoc(row)
  if (row.state !== 'scheduled') throw refuse(`it is ${row.state}`)
  if (deadlineMs === null) throw refuse('it has no deadline')
  if (row.not_before_ms <= nowMs) throw refuse('it has started')
  if (row.not_before_ms - nowMs < RESCHEDULE.leastLeftMs) throw refuse('it starts within 5 minutes')
  if (notBeforeMs - nowMs < RESCHEDULE.leastAheadMs) throw refuse('the new start time must be at least 60 minutes from now')
  if (notBeforeMs > deadlineMs) throw refuse(`the new start time is after its deadline, ${new Date(deadlineMs).toISOString()}`)
}
