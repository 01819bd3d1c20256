import { describe, expect, test } from 'vitest'
import { insertInstance, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import type { Clock } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
import { awaitConsoleScreenshot, getConsoleScreenshot } from './console-screenshot.ts'

/** A clock that goes on only while somebody sleeps on it; `onSleep` is what happens meanwhile. */
function sleeperClock(onSleep: () => Promise<void> = async () => {}): Clock {
  let nowMs = NOW_MS
  return {
    now: () => nowMs,
    after: () => {
      throw new Error('nothing here sets a timer')
    },
    soon: () => {},
    async sleep(delayMs) {
      nowMs += delayMs
      await onSleep()
    },
  }
}

async function running(test: TestStore): Promise<string> {
  return (await test.run((context) => insertInstance(context))).instance_id
}

const keep = (test: TestStore, id: string, capturedMs: number) => test.run(({ db }) =>
  db.insertInto('screenshots').values({ instance_id: id, captured_ms: capturedMs, image: 'picture' }).execute())

const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: unknown) => error instanceof ApiError ? error.code : Promise.reject(error))

describe('GetConsoleScreenshot', () => {
  test('orders a picture, or one after a key press', async () => {
    const test = await openTestStore()
    const id = await running(test)
    await test.run((context) => getConsoleScreenshot(context, { InstanceId: id }))
    await test.run((context) => getConsoleScreenshot(context, { InstanceId: id, WakeUp: true }))
    const due = await test.run(({ db }) => db.selectFrom('work').select(['kind', 'id']).orderBy('id').execute())
    expect(due).toEqual([{ kind: 'screenshot', id }, { kind: 'screenshot', id: `${id} wake-up` }])
  })

  test('waits for a picture that is not older than the call', async () => {
    const test = await openTestStore()
    const id = await running(test)
    await keep(test, id, NOW_MS - 1)
    const clock = sleeperClock(() => test.run(async ({ db }) => {
      await db.updateTable('screenshots').set({ captured_ms: NOW_MS + 20, image: 'newer' }).execute()
    }))
    expect(await awaitConsoleScreenshot({ store: test.store, clock }, NOW_MS, { InstanceId: id }))
      .toEqual({ InstanceId: id, ImageData: 'newer' })
  })

  test('does not answer an older one, but that it could not be taken', async () => {
    const test = await openTestStore()
    const id = await running(test)
    await keep(test, id, NOW_MS - 1)
    const ambient = { store: test.store, clock: sleeperClock() }
    expect(await failure(awaitConsoleScreenshot(ambient, NOW_MS, { InstanceId: id }))).toBe('InternalError')
  })

  test('ends at once when the instance stops meanwhile', async () => {
    const test = await openTestStore()
    const id = await running(test)
    const clock = sleeperClock(() => test.run(async ({ db }) => {
      await db.updateTable('instances').set({ state: 'stopping' }).execute()
    }))
    expect(await failure(awaitConsoleScreenshot({ store: test.store, clock }, NOW_MS, { InstanceId: id }))).toBe('IncorrectInstanceState')
    expect(clock.now()).toBeLessThan(NOW_MS + 100)
  })
})
