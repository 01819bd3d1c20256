import { beforeEach, describe, expect, it } from 'vitest'
import { fixedClock, insertInstance, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { silentLogger } from '../core/logger.ts'
import { DEFAULT_INSTANCE_OPTIONS, instanceDoc, type InstanceDoc } from '../model/instance.ts'
import { ENDED_EVENT_RETENTION_MS, endEvent, eventDoc, insertEvent, wakeEvents, type EventCode } from '../model/instance-event.ts'
import type { InstanceEventTable, InstanceTable } from '../store/schema.ts'
import { createEventReconciler } from './event.ts'

const DUE_MS = NOW_MS + 60_000

let world: TestStore
beforeEach(async () => {
  world = await openTestStore()
})

/** An event of a running instance that is due in a minute. */
const plan = (code: EventCode, change: Parameters<typeof insertInstance>[1] = {}, doc: Partial<InstanceDoc> = {}) => world.run(async (context) => {
  const instance = await insertInstance(context, change, doc)
  return insertEvent(context, instance, { code, notBeforeMs: DUE_MS, notAfterMs: null, deadlineMs: null })
})

const current = async (event: InstanceEventTable) => world.store.read(async (db) => ({
  event: await db.selectFrom('instance_events').selectAll().where('event_id', '=', event.event_id).executeTakeFirst(),
  instance: await db.selectFrom('instances').selectAll().where('instance_id', '=', event.instance_id).executeTakeFirstOrThrow(),
  work: await db.selectFrom('work').select(['kind', 'id', 'due_ms']).orderBy('kind').execute(),
}))

/** One run at that time; `meanwhile` happens between its look and what it writes, and the writing is done `times`. */
async function reconcile(event: InstanceEventTable, nowMs: number, meanwhile?: () => Promise<unknown>, times = 1): Promise<string> {
  const clock = { ...fixedClock, now: () => nowMs }
  const outcome = await createEventReconciler({ store: world.store, clock, log: silentLogger }).reconcile(event.event_id)
  await meanwhile?.()
  for (let time = 0; time < times; time++) await world.store.transaction('test', async (db) => outcome.observed?.write(db))
  return outcome.kind === 'again' ? `again ${outcome.afterMs}` : outcome.kind
}

const setInstance = (event: InstanceEventTable, change: Partial<InstanceTable>) => world.run(({ db }) =>
  db.updateTable('instances').set(change).where('instance_id', '=', event.instance_id).execute())

describe('an event that has come', () => {
  it('stops its instance, also a protected one, and says why', async () => {
    const options = { ...DEFAULT_INSTANCE_OPTIONS, disableApiStop: true, disableApiTermination: true }
    const event = await plan('instance-retirement', {}, { options })
    expect((await current(event)).work).toEqual([{ kind: 'event', id: event.event_id, due_ms: DUE_MS }])
    expect(await reconcile(event, NOW_MS)).toBe('again 60000')
    expect(await reconcile(event, DUE_MS)).toBe('again 0')
    const stopping = await current(event)
    expect(stopping.instance).toMatchObject({ state: 'stopping', state_ms: DUE_MS })
    expect(instanceDoc(stopping.instance)).toMatchObject({
      stateReason: { code: 'Server.ScheduledStop', message: 'Server.ScheduledStop: Stopped due to scheduled retirement' },
      stateTransitionReason: 'Service initiated (2026-01-01 00:01:00 GMT)', force: false,
    })
    expect(stopping.work).toContainEqual({ kind: 'instance', id: event.instance_id, due_ms: DUE_MS })
    expect(await reconcile(event, DUE_MS + 1)).toBe('again 1000')
    await setInstance(event, { state: 'stopped' })
    expect(await reconcile(event, DUE_MS + 5000)).toBe('again 0')
    const over = (await current(event)).event
    expect(over?.state).toBe('completed')
    expect(over && eventDoc(over).endedMs).toBe(DUE_MS + 5000)
  })

  it('does what it does once, however often it is written', async () => {
    const event = await plan('system-reboot', { reboot_requested: 3, reboot_completed: 3 })
    await reconcile(event, DUE_MS, undefined, 3)
    expect((await current(event)).instance.reboot_requested).toBe(4)
    await reconcile(event, DUE_MS + 1)
    expect((await current(event)).instance.reboot_requested).toBe(4)
    await setInstance(event, { reboot_completed: 4 })
    await reconcile(event, DUE_MS + 2)
    expect((await current(event)).event?.state).toBe('completed')
  })

  it('does nothing when it is canceled at the last moment', async () => {
    const event = await plan('instance-stop')
    await reconcile(event, DUE_MS, () => world.run(({ db }) => endEvent(db, event, 'canceled', DUE_MS)))
    expect(await current(event)).toMatchObject({ instance: { state: 'running' }, event: { state: 'canceled' } })
  })

  it('leaves an instance alone whose owner terminates it at the last moment', async () => {
    const event = await plan('instance-stop')
    await reconcile(event, DUE_MS, () => setInstance(event, { state: 'shutting-down' }))
    expect(await current(event)).toMatchObject({ instance: { state: 'shutting-down' }, event: { state: 'completed' } })
  })

  it('is forgotten a week after, or when it is not there', async () => {
    const event = await plan('system-maintenance')
    await reconcile(event, DUE_MS)
    expect((await current(event)).event?.state).toBe('completed')
    expect(await reconcile(event, DUE_MS)).toBe(`again ${ENDED_EVENT_RETENTION_MS}`)
    await reconcile(event, DUE_MS + ENDED_EVENT_RETENTION_MS)
    expect((await current(event)).event).toBeUndefined()
    expect(await reconcile(event, DUE_MS)).toBe('done')
  })

  it('is looked at when something happens to its instance, and those of others are not', async () => {
    const event = await plan('instance-stop')
    const other = await plan('instance-stop')
    const { instance } = await current(event)
    await world.run(({ db }) => wakeEvents(db, instance, NOW_MS + 1))
    expect((await current(event)).work.toSorted((a, b) => a.due_ms - b.due_ms)).toEqual([
      { kind: 'event', id: event.event_id, due_ms: NOW_MS + 1 }, { kind: 'event', id: other.event_id, due_ms: DUE_MS },
    ])
  })
})
