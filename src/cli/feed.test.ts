import { beforeEach, describe, expect, it } from 'vitest'
import { fixedClock, NOW_MS, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import type { Clock } from '../core/clock.ts'
import { seededRandom } from '../core/random.ts'
import { NO_DELIVERY, type Delivery, type Post } from '../events/delivery.ts'
import { parseEventPattern } from '../events/pattern.ts'
import { emitEvent } from '../model/cloud-event.ts'
import { FEED_BEGINNING, forgetEvents, readFeed } from '../model/event-feed.ts'
import { moveTarget, targetOf, type DeadLetter } from '../model/event-target.ts'
import { createTarget, resendDead, viewTargets } from './event-targets.ts'
import { follow, show, type ShownEvents } from './feed.ts'

const MINUTE_MS = 60_000

let world: TestStore
let out: string[]
let said: string[]
const terminal = { out: (text: string) => void out.push(text), say: (line: string) => void said.push(line) }

beforeEach(async () => {
  world = await openTestStore()
  out = []
  said = []
})

const emit = (state: string, atMs: number) => world.store.transaction('test', (db) => emitEvent(db, {
  accountId: '000000000000', detailType: 'EC2 Instance State-change Notification', resources: [], detail: { 'instance-id': 'i-1', state },
}, atMs))
const forget = (count: number) => world.store.transaction('test', async (db) =>
  forgetEvents(db, await readFeed(db, { after: FEED_BEGINNING, limit: count })))
const shown = (sinceMs: number | undefined): ShownEvents => ({ pattern: undefined, region: REGION, json: true, sinceMs })
const states = () => out.map((line) => (JSON.parse(line) as { detail: { state: string } }).detail.state)

describe('hearth events', () => {
  it('says that there was more than what is kept, where that was asked for', async () => {
    await emit('old', NOW_MS)
    await emit('new', NOW_MS + MINUTE_MS)
    await forget(1)
    await show(world.store, terminal, shown(NOW_MS))
    expect([states(), said]).toEqual([['new'], ['events until 2026-01-01T00:00:00Z are kept no more: a day of them is, and the last 100,000 at most']])
    said = []
    await show(world.store, terminal, shown(NOW_MS + 1))
    expect(said).toEqual([])
  })

  it('has a target that begins back then told the same', async () => {
    await emit('old', NOW_MS)
    await emit('new', NOW_MS + MINUTE_MS)
    await forget(1)
    const order = { name: 'log', file: '/tmp/hearth-events-of-nobody', sinceMs: NOW_MS }
    expect(await createTarget(world.store, { random: seededRandom(1), nowMs: NOW_MS }, order)).toEqual({ secret: null, missedUntilMs: NOW_MS })
    expect((await world.store.read((db) => targetOf(db, 'log')))?.cursor_seq).toBe(1)
  })
})

describe('hearth events target resend', () => {
  it('sends what was given up, the oldest first, until it fails, and keeps what is left', async () => {
    await emit('next', NOW_MS)
    await createTarget(world.store, { random: seededRandom(1), nowMs: NOW_MS }, { name: 'hook', webhook: 'http://hook.example/' })
    const letters = ['a', 'b', 'c'].map((id, index): DeadLetter => ({
      id, detailType: 'x', time: '2026-01-01T00:00:00Z', error: 'it answered 404', attempts: index + 1, atMs: NOW_MS, event: { id },
    }))
    const row = await world.store.read((db) => targetOf(db, 'hook'))
    if (!row) throw new Error('there is no hook')
    // Two more than are kept; and the next event has failed twice.
    await world.store.transaction('test', (db) => moveTarget(db, row, { attempts: 2, change: () => ({ dead: 5, deadLetters: letters }) }))
    const posts: Post[] = []
    const answering = (...statuses: number[]): Delivery => ({
      ...NO_DELIVERY,
      async post(post) {
        posts.push(post)
        return { status: statuses.shift() ?? 200, retryAfterMs: null }
      },
    })
    await expect(resendDead(world.store, answering(204, 500), 'hook'))
      .rejects.toThrow('http://hook.example/ answered 500; anything but 2xx is a failure; 1 were sent, 2 are left')
    expect(await viewTargets(world.store)).toMatchObject([{ dead: 4, delivered: 1, deadLetters: [{ id: 'b' }, { id: 'c' }] }])
    expect(await resendDead(world.store, answering(), 'hook')).toBe(2)
    expect(posts.map(({ body, headers }) => [body, headers['x-hearth-attempt']])).toEqual([
      ['{"id":"a"}', '2'], ['{"id":"b"}', '3'], ['{"id":"b"}', '3'], ['{"id":"c"}', '4'],
    ])
    expect(await viewTargets(world.store)).toMatchObject([{ dead: 2, delivered: 3, deadLetters: [] }])
    const after = await world.store.read((db) => targetOf(db, 'hook'))
    expect([after?.attempts, after?.cursor_seq]).toEqual([2, row.cursor_seq])
    expect(await resendDead(world.store, answering(), 'hook')).toBe(0)
    await expect(resendDead(world.store, answering(), 'none')).rejects.toThrow('there is no target none')
  })
})

describe('hearth events --follow', () => {
  /** Follows; `steps` happen one after another, each when it has nothing more to do. */
  async function following(sinceMs: number | undefined, steps: (() => Promise<unknown>)[]): Promise<{ timers: number }> {
    const ending = new AbortController()
    let pending = 0
    let most = 0
    const clock: Clock = {
      ...fixedClock,
      after: (_delayMs, run) => {
        most = Math.max(most, ++pending)
        const step = steps.shift()
        if (step) void step().then(run)
        else ending.abort()
        return { cancel: () => void pending-- }
      },
    }
    await follow({ store: world.store, clock, terminal, signal: ending.signal }, shown(sinceMs))
    return { timers: most }
  }

  it('shows what comes, and keeps one timer, however often it is woken', async () => {
    await emit('before', NOW_MS)
    const more = Array.from({ length: 20 }, (_, index) => () => emit(`state-${index}`, NOW_MS))
    expect(await following(undefined, more)).toEqual({ timers: 1 })
    expect(states()).toEqual(Array.from({ length: 20 }, (_, index) => `state-${index}`))
  })

  it('does not take what is forgotten of before for a loss', async () => {
    await emit('old', NOW_MS)
    await following(NOW_MS + MINUTE_MS, [() => forget(1), () => emit('new', NOW_MS + MINUTE_MS)])
    expect([states(), said]).toEqual([['new'], ['waiting for events; Ctrl-C ends this']])
  })

  it('says what was forgotten before it could be shown', async () => {
    await emit('old', NOW_MS)
    await following(undefined, [async () => {
      await world.store.transaction('test', async (db) => {
        for (const state of ['a', 'b']) {
          await emitEvent(db, { accountId: '0', detailType: 'EC2 AMI State Change', resources: [], detail: { state } }, NOW_MS)
        }
        await forgetEvents(db, await readFeed(db, { after: FEED_BEGINNING, limit: 2 }))
      })
    }])
    expect(states()).toEqual(['b'])
    expect(said[1]).toMatch(/^warning: events were forgotten before they could be shown here/)
  })

  it('shows what a pattern wants', async () => {
    const ending = new AbortController()
    const clock: Clock = { ...fixedClock, after: () => (ending.abort(), { cancel() {} }) }
    await emit('pending', NOW_MS)
    await emit('running', NOW_MS)
    const pattern = parseEventPattern('{"detail":{"state":["running"]}}')
    await follow({ store: world.store, clock, terminal, signal: ending.signal }, { ...shown(NOW_MS), pattern })
    expect(states()).toEqual(['running'])
  })
})
