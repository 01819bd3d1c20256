import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { insertInstance, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { reportInstanceStatus } from '../ec2/report-instance-status.ts'
import { formatEvents, readOrder } from './event.ts'
import { cancelEvent, createEvent, listEvents, listReports, type EventOrder } from './events.ts'

let cloud: TestStore
let id: string
beforeEach(async () => {
  cloud = await openTestStore()
  id = (await cloud.run((context) => insertInstance(context))).instance_id
})
afterEach(() => cloud.store.close())

const create = async (change: Partial<EventOrder> = {}, of = id) =>
  createEvent(cloud.store, { random: cloud.random, nowMs: NOW_MS }, of, { code: 'system-reboot', notBeforeMs: NOW_MS + 600_000, ...change })

describe('an event', () => {
  test('is planned, and listed, the next first', async () => {
    const event = await create()
    expect(event).toEqual({
      eventId: expect.stringMatching(/^instance-event-[0-9a-f]{17}$/) as string, instanceId: id, code: 'system-reboot', state: 'scheduled',
      description: 'The instance is scheduled for a reboot', notBefore: '2026-01-01T00:10:00.000Z',
      notAfter: '2026-01-01T02:10:00.000Z', deadline: null,
    })
    const stop = await create({ code: 'instance-stop', notBeforeMs: NOW_MS, deadlineMs: NOW_MS + 86_400_000, description: 'move out' })
    expect(stop).toMatchObject({ notAfter: null, deadline: '2026-01-02T00:00:00.000Z', description: 'move out' })
    expect(await listEvents(cloud.store)).toEqual([stop, event])
  })

  test('is canceled once, and not when it has begun', async () => {
    const event = await create()
    expect(await cancelEvent(cloud.store, NOW_MS, event.eventId)).toEqual({ ...event, state: 'canceled' })
    await expect(cancelEvent(cloud.store, NOW_MS, event.eventId)).rejects.toThrow(/is canceled already/)
    await expect(cancelEvent(cloud.store, NOW_MS, 'instance-event-0')).rejects.toThrow(/^there is no event instance-event-0/)
    const begun = await create()
    await cloud.run(async ({ db }) => {
      const row = await db.selectFrom('instance_events').selectAll().where('event_id', '=', begun.eventId).executeTakeFirstOrThrow()
      const doc = JSON.stringify({ ...JSON.parse(row.doc) as object, begunMs: NOW_MS })
      await db.updateTable('instance_events').set({ doc }).where('event_id', '=', begun.eventId).execute()
    })
    await expect(cancelEvent(cloud.store, NOW_MS, begun.eventId)).rejects.toThrow(/has begun already/)
  })

  test.each([
    ['has no code of EC2\'s', { code: 'reboot' }, /^there is no event of the code "reboot"; there are: instance-reboot, /],
    ['was in the past', { notBeforeMs: NOW_MS - 1 }, /is over$/],
    ['ends before it begins', { notAfterMs: NOW_MS }, /cannot end before it begins/],
    ['has its deadline before it begins', { deadlineMs: NOW_MS }, /deadline cannot be before/],
  ])('is refused that %s', async (_what, change, message) => {
    await expect(create(change)).rejects.toThrow(message)
  })

  test('is not planned for what is terminated', async () => {
    const gone = await cloud.run((context) => insertInstance(context, { state: 'terminated' }))
    await expect(create({}, gone.instance_id)).rejects.toThrow(/is terminated; nothing can be planned/)
  })
})

test('an order says when it begins, once', () => {
  const order = (options: object) => readOrder({ code: 'instance-stop', ...options }, NOW_MS)
  expect(order({ in: '10m' })).toMatchObject({ notBeforeMs: NOW_MS + 600_000, notAfterMs: undefined })
  expect(order({ notBefore: '2026-01-31T10:00Z', notAfter: '2026-01-31T12:00Z', deadline: '60d' })).toEqual({
    code: 'instance-stop', notBeforeMs: Date.UTC(2026, 0, 31, 10), notAfterMs: Date.UTC(2026, 0, 31, 12), deadlineMs: Date.UTC(2026, 2, 2),
    description: undefined,
  })
  for (const options of [{}, { in: '1m', notBefore: '2m' }]) expect(() => order(options)).toThrow(/^say when it begins, once/)
})

test('what owners reported is shown below what is planned', async () => {
  expect(formatEvents([], [])).toBe('nothing is planned')
  const event = await create()
  await cloud.run((context) => reportInstanceStatus(context, {
    Instances: [id], Status: 'impaired', ReasonCodes: ['performance-network', 'other'], StartTime: new Date(NOW_MS - 1000),
  }))
  const [planned, reported] = formatEvents(await listEvents(cloud.store), await listReports(cloud.store)).split('\n\n')
  expect(planned?.split('\n')[1]?.split(/ {2,}/)).toEqual([
    event.eventId, id, 'system-reboot', 'scheduled', '2026-01-01 00:10:00Z', '2026-01-01 02:10:00Z', 'The instance is scheduled for a reboot',
  ])
  expect(reported?.split('\n')[1]?.split(/ {2,}/)).toEqual([
    '2026-01-01 00:00:00Z', id, 'impaired', 'performance-network, other', '2025-12-31 23:59:59Z', '-', '-',
  ])
})
