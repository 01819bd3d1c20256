import type { ModifyInstanceEventStartTimeRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { insertInstance, NOW_MS } from '../../test/support/rows.ts'
import { endEvent, insertEvent, type NewEvent } from '../model/instance-event.ts'
import type { InstanceEventTable, InstanceTable } from '../store/schema.ts'
import { modifyInstanceEventStartTime } from './instance-events.ts'
import { describeInstanceStatus } from './instance-status.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const OTHER_EVENT = 'instance-event-00000000000000000'

let lab: AttributeLab
let instance: InstanceTable
beforeEach(async () => {
  lab = await openAttributeLab()
  instance = await lab.run((context) => insertInstance(context))
})

/** A reboot of the system in a day, for two hours, that may be put off for a week. */
const REBOOT: NewEvent = {
  code: 'system-reboot', notBeforeMs: NOW_MS + 24 * HOUR_MS, notAfterMs: NOW_MS + 26 * HOUR_MS, deadlineMs: NOW_MS + 168 * HOUR_MS,
}
const plan = (change: Partial<NewEvent> = {}, of = instance) => lab.run((context) => insertEvent(context, of, { ...REBOOT, ...change }))
const at = (ms: number) => new Date(NOW_MS + ms)

describe('DescribeInstanceStatus', () => {
  it('shows what is planned for an instance, the next first', async () => {
    const reboot = await plan()
    const stop = await plan({ code: 'instance-stop', notBeforeMs: NOW_MS + 1, notAfterMs: null, deadlineMs: null })
    await lab.run((context) => insertInstance(context))
    const { InstanceStatuses } = await lab.call(describeInstanceStatus, {})
    expect(InstanceStatuses?.find((each) => each.InstanceId === instance.instance_id)?.Events).toEqual([
      { InstanceEventId: stop.event_id, Code: 'instance-stop', Description: 'The instance is running on degraded hardware', NotBefore: at(1) },
      {
        InstanceEventId: reboot.event_id, Code: 'system-reboot', Description: 'The instance is scheduled for a reboot',
        NotBefore: at(24 * HOUR_MS), NotAfter: at(26 * HOUR_MS), NotBeforeDeadline: at(168 * HOUR_MS),
      },
    ])
    expect(InstanceStatuses?.find((each) => each.InstanceId !== instance.instance_id)?.Events).toEqual([])
  })

  it('says of what is over that it is, and shows it for stopped instances too', async () => {
    const stopped = await lab.run((context) => insertInstance(context, { state: 'stopped' }))
    const end = async (state: 'completed' | 'canceled', event: InstanceEventTable) =>
      lab.run(({ db }) => endEvent(db, event, state, NOW_MS))
    await end('completed', await plan({ description: 'a' }, stopped))
    await end('canceled', await plan({ description: 'b' }, stopped))
    const { InstanceStatuses } = await lab.call(describeInstanceStatus, { InstanceIds: [stopped.instance_id], IncludeAllInstances: true })
    expect(InstanceStatuses?.[0]?.Events?.map((each) => each.Description).toSorted()).toEqual(['[Canceled] b', '[Completed] a'])
  })

  it.each([
    ['event.code', 'system-*', 'instance-stop'], ['event.description', '*reboot', 'x'],
    ['event.instance-event-id', 'instance-event-*', OTHER_EVENT],
    ['event.not-before', '2026-01-02T00:00:00.000Z', '2026-01-03*'], ['event.not-after', '2026-01-02T02*', '2026-01-02T00*'],
    ['event.not-before-deadline', '2026-01-08T00:00:00.000Z', '2026-01-02*'],
  ])('filters by %s', async (Name, some, none) => {
    await plan()
    await lab.run((context) => insertInstance(context))
    const found = async (value: string) => {
      const { InstanceStatuses } = await lab.call(describeInstanceStatus, { Filters: [{ Name, Values: [value] }] })
      return InstanceStatuses?.map((each) => each.InstanceId)
    }
    expect(await found(some)).toEqual([instance.instance_id])
    expect(await found(none)).toEqual([])
  })
})

describe('ModifyInstanceEventStartTime', () => {
  const input = (event: InstanceEventTable, NotBefore: Date): ModifyInstanceEventStartTimeRequest =>
    ({ InstanceId: instance.instance_id, InstanceEventId: event.event_id, NotBefore })

  it('puts an event off, with its end, and brings it forward', async () => {
    const event = await plan()
    expect(await lab.call(modifyInstanceEventStartTime, input(event, at(48 * HOUR_MS)))).toEqual({
      Event: {
        InstanceEventId: event.event_id, Code: 'system-reboot', Description: 'The instance is scheduled for a reboot',
        NotBefore: at(48 * HOUR_MS), NotAfter: at(50 * HOUR_MS), NotBeforeDeadline: at(168 * HOUR_MS),
      },
    })
    await lab.call(modifyInstanceEventStartTime, input(event, at(HOUR_MS)))
    const { InstanceStatuses } = await lab.call(describeInstanceStatus, {})
    expect(InstanceStatuses?.[0]?.Events?.[0]).toMatchObject({ NotBefore: at(HOUR_MS), NotAfter: at(3 * HOUR_MS) })
    const work = await lab.run(({ db }) => db.selectFrom('work').select(['kind', 'due_ms']).execute())
    expect(work).toEqual([{ kind: 'event', due_ms: NOW_MS + HOUR_MS }])
  })

  it.each([
    ['has no deadline', { deadlineMs: null }, 0, 48 * HOUR_MS, /has no deadline/],
    ['has started', {}, 24 * HOUR_MS, 48 * HOUR_MS, /has started/],
    ['starts within five minutes', {}, 24 * HOUR_MS - 4 * MINUTE_MS, 48 * HOUR_MS, /starts within 5 minutes/],
    ['would start within an hour', {}, 0, 59 * MINUTE_MS, /at least 60 minutes from now/],
    ['would start after its deadline', {}, 0, 169 * HOUR_MS, /after its deadline, 2026-01-08T00:00:00.000Z/],
  ] as const)('refuses what %s', async (_what, change, passMs, toMs, message) => {
    const event = await plan(change)
    lab.pass(passMs)
    const failure = await lab.failure(modifyInstanceEventStartTime, input(event, at(toMs)))
    expect(failure).toMatch(/^InvalidInstanceEventStartTime: /)
    expect(failure).toMatch(message)
  })

  it('refuses what is over, and events that the instance has not', async () => {
    const event = await plan()
    await lab.run(({ db }) => endEvent(db, event, 'canceled', NOW_MS))
    const other = await lab.run((context) => insertInstance(context))
    const failure = (change: Partial<ModifyInstanceEventStartTimeRequest>) =>
      lab.failure(modifyInstanceEventStartTime, { ...input(event, at(48 * HOUR_MS)), ...change })
    expect(await failure({})).toMatch(/^InvalidInstanceEventStartTime: .* it is canceled/)
    expect(await failure({ InstanceId: other.instance_id })).toMatch(/^InvalidInstanceEventIDNotFound: /)
    expect(await failure({ InstanceEventId: OTHER_EVENT })).toMatch(/^InvalidInstanceEventIDNotFound: /)
    expect(await failure({ InstanceId: 'i-00000000000000000' })).toMatch(/^InvalidInstanceID.NotFound: /)
  })
})
