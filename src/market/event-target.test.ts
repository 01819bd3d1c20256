import { beforeEach, describe, expect, it } from 'vitest'
import { fixedClock, NOW_MS, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { CrashError } from '../core/errors.ts'
import { silentLogger } from '../core/logger.ts'
import { seededRandom } from '../core/random.ts'
import type { Post, PostReply } from '../events/delivery.ts'
import type { Envelope } from '../events/envelope.ts'
import { signatureOf } from '../events/signature.ts'
import { emitEvent } from '../model/cloud-event.ts'
import { FEED_BEGINNING, readFeed } from '../model/event-feed.ts'
import { addTarget, removeTarget, targetDoc, targetOf, RETENTION_WORK_ID, type NewTarget } from '../model/event-target.ts'
import type { Store } from '../store/store.ts'
import { createEventTargetReconciler, type EventTargetReconciler } from './event-target.ts'

const DAY_MS = 24 * 60 * 60 * 1000

let world: TestStore
let nowMs: number
/** What a webhook answers to each call in turn, then 200; an Error is none. */
let replies: (number | Error | PostReply)[]
let posts: Post[]
let files: Map<string, string[]>
let diskError: Error | undefined
/** While it is called. */
let whilePosting: (signal?: AbortSignal) => Promise<void>
let reconciler: EventTargetReconciler

function createReconciler(store: Store, retention?: { ms: number; events: number }): EventTargetReconciler {
  const clock = { ...fixedClock, now: () => nowMs, after: () => ({ cancel() {} }) }
  return createEventTargetReconciler({
    store, clock, random: seededRandom(1), log: silentLogger, region: REGION, ...(retention ? { retention } : {}),
    delivery: {
      async post(post, signal) {
        posts.push(post)
        await whilePosting(signal)
        const reply = replies.shift() ?? 200
        if (reply instanceof Error) throw reply
        return typeof reply === 'number' ? { status: reply, retryAfterMs: null } : reply
      },
      async append(file, lines) {
        if (diskError) throw diskError
        files.set(file, [...(files.get(file) ?? []), ...lines])
      },
    },
  })
}

beforeEach(async () => {
  world = await openTestStore()
  nowMs = NOW_MS
  replies = []
  posts = []
  files = new Map()
  diskError = undefined
  whilePosting = async () => {}
  reconciler = createReconciler(world.store)
})

const emit = (...states: string[]) => world.store.transaction('test', async (db) => {
  for (const state of states) {
    await emitEvent(db, {
      accountId: '000000000000', detailType: 'EC2 Instance State-change Notification', resources: [], detail: { 'instance-id': 'i-1', state },
    }, nowMs)
  }
})
const add = (change: Partial<NewTarget> = {}) => world.store.transaction('test', (db) => addTarget(db, {
  name: 'hook', kind: 'webhook', endpoint: 'http://hook.example/', pattern: null, secret: 'geheim', after: FEED_BEGINNING, ...change,
}, nowMs))
const target = async (name = 'hook') => {
  const row = await world.store.read((db) => targetOf(db, name))
  if (!row) throw new Error(`there is no ${name}`)
  return { ...row, ...targetDoc(row) }
}
const posted = () => posts.map((post) => (JSON.parse(post.body) as Envelope).detail.state)
const written = (file = '/var/events') => (files.get(file) ?? []).map((line) => (JSON.parse(line) as Envelope).detail.state)

/** One run, written down as the loop does. */
async function run(name = 'hook', times = 1): Promise<string> {
  const outcome = await reconciler.reconcile(name)
  for (let time = 0; time < times; time++) await world.store.transaction('test', async (db) => outcome.observed?.write(db))
  return outcome.kind === 'again' ? 'again' : outcome.kind
}

/** Lets time pass until the target may be tried again. */
async function waitForRetry(): Promise<void> {
  nowMs = (await target()).failure?.retryMs ?? nowMs
}

describe('a webhook', () => {
  it('is sent each event once, in order, signed with its secret', async () => {
    await add()
    await emit('pending', 'running')
    expect(await run()).toBe('done')
    expect(posted()).toEqual(['pending', 'running'])
    const [post] = posts
    expect(post?.url).toBe('http://hook.example/')
    expect(post?.headers).toMatchObject({
      'content-type': 'application/json; charset=utf-8', 'x-hearth-target': 'hook', 'x-hearth-attempt': '1',
      'x-hearth-signature-256': signatureOf('geheim', post?.body ?? ''),
    })
    await emit('stopping')
    expect(await run()).toBe('done')
    expect(posted()).toEqual(['pending', 'running', 'stopping'])
    expect(await target()).toMatchObject({ delivered: 3, attempts: 0, lastDeliveredMs: NOW_MS, dead: 0 })
  })

  it('is sent what its pattern wants, and is past all else', async () => {
    await add({ pattern: JSON.stringify({ detail: { state: ['running'] } }) })
    await emit('pending', 'running', 'stopping')
    await run()
    expect([posted(), (await target()).cursor_seq]).toEqual([['running'], 3])
  })

  it('that fails gets the same event again, after growing pauses, and what comes after it waits', async () => {
    await add()
    await emit('pending', 'running')
    replies = [500, new Error('connection refused'), 429]
    const pausesMs: number[] = []
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(await run()).toBe('again')
      pausesMs.push(((await target()).failure?.retryMs ?? 0) - nowMs)
      await waitForRetry()
    }
    expect(posted()).toEqual(['pending', 'pending', 'pending'])
    expect(await target()).toMatchObject({ attempts: 3, failure: { error: 'it answered 429', sinceMs: NOW_MS } })
    for (const [index, pauseMs] of pausesMs.entries()) {
      expect(pauseMs).toBeGreaterThanOrEqual(1000 * 2 ** index * 0.75)
      expect(pauseMs).toBeLessThanOrEqual(1000 * 2 ** index * 1.25 + 1)
    }
    expect(await run()).toBe('done')
    expect(posted().slice(3)).toEqual(['pending', 'running'])
    expect(await target()).toMatchObject({ attempts: 0, failure: null, delivered: 2 })
  })

  it('is left alone until then, whatever happens meanwhile', async () => {
    await add()
    await emit('pending')
    replies = [503]
    await run()
    await emit('running')
    expect(await run()).toBe('again')
    expect(posted()).toEqual(['pending'])
  })

  it('is left alone for as long as it says', async () => {
    await add()
    await emit('pending')
    replies = [{ status: 429, retryAfterMs: 60_000 }]
    await run()
    expect((await target()).failure?.retryMs).toBe(NOW_MS + 60_000)
  })

  it('loses an event that it will never take, which is kept as a dead letter', async () => {
    await add()
    await emit('pending', 'running')
    replies = [400]
    expect(await run()).toBe('done')
    expect(posted()).toEqual(['pending', 'running'])
    const { dead, deadLetters, delivered } = await target()
    expect([dead, delivered]).toEqual([1, 1])
    expect(deadLetters).toMatchObject([{ error: 'it answered 400', attempts: 1, event: { detail: { state: 'pending' } } }])
  })

  it('that redirects is not followed, and has not had the event', async () => {
    await add()
    await emit('pending')
    replies = [302]
    await run()
    expect([posted(), (await target()).dead]).toEqual([['pending'], 1])
  })

  it('is given up for an event after 185 attempts or a day, whichever is first', async () => {
    await add()
    await emit('pending')
    let attempts = 0
    for (; (await target()).dead === 0; attempts++) {
      replies = [500]
      await waitForRetry()
      await run()
    }
    expect(attempts).toBeLessThanOrEqual(185)
    expect(attempts).toBeGreaterThan(170)
    expect(nowMs - NOW_MS).toBeGreaterThan(22 * 60 * 60 * 1000)
    expect((await target()).deadLetters[0]?.attempts).toBe(attempts)
    await emit('running')
    await run()
    expect(posted().at(-1)).toBe('running')
  })

  it('that is slow keeps no agent from ending, and gets what it has not taken after that', async () => {
    await add()
    await emit('pending', 'running', 'stopping')
    // It takes the first one, and never answers for the second.
    whilePosting = (signal) => posts.length === 1 ? Promise.resolve() : new Promise((_resolve, reject) => {
      signal?.addEventListener('abort', () => reject(new Error('the agent ends')))
      reconciler.stop()
    })
    expect(await run()).toBe('again')
    expect(posted()).toEqual(['pending', 'running'])
    expect(await target()).toMatchObject({ delivered: 1, attempts: 0, failure: null, dead: 0 })
    whilePosting = async () => {}
    reconciler = createReconciler(world.store)
    expect(await run()).toBe('done')
    expect(posted()).toEqual(['pending', 'running', 'running', 'stopping'])
  })

  it('that answers is not told of more than the one that is under way once the agent ends', async () => {
    await add()
    await emit('pending', 'running')
    whilePosting = async () => reconciler.stop()
    expect(await run()).toBe('again')
    expect([posted(), (await target()).delivered]).toEqual([['pending'], 1])
  })

  it('that is removed gets nothing more', async () => {
    await add()
    await emit('pending', 'running')
    const removing = createReconciler({
      ...world.store, read: (body) => world.store.read(body), onCommit: (listener) => world.store.onCommit(listener),
      async transaction(name, body) {
        await world.store.transaction('test', (db) => removeTarget(db, 'hook', nowMs))
        return world.store.transaction(name, body)
      },
    })
    expect((await removing.reconcile('hook')).kind).toBe('again')
    expect(posted()).toEqual(['pending'])
    expect(await run()).toBe('done')
  })
})

describe('a file', () => {
  const addFile = () => add({ name: 'log', kind: 'file', endpoint: '/var/events', secret: null })

  it('gets a line for each event, in order', async () => {
    await addFile()
    await emit('pending', 'running')
    expect(await run('log')).toBe('done')
    await emit('stopping')
    await run('log')
    expect(written()).toEqual(['pending', 'running', 'stopping'])
    expect(await target('log')).toMatchObject({ delivered: 3 })
  })

  it('gets nothing twice and nothing never after a disk was full', async () => {
    await addFile()
    await emit('pending', 'running')
    diskError = new Error('ENOSPC: no space left on device, write')
    expect(await run('log')).toBe('again')
    expect(await target('log')).toMatchObject({ attempts: 1, failure: { error: 'ENOSPC: no space left on device, write' } })
    diskError = undefined
    nowMs += 10_000
    expect(await run('log')).toBe('done')
    expect(written()).toEqual(['pending', 'running'])
  })
})

describe('a crash at any point', () => {
  /** Fails the `at`-th time that something is written down: before, or after. */
  function mortal(at: number, when: 'before' | 'after'): Store {
    let count = 0
    return {
      ...world.store, read: (body) => world.store.read(body), onCommit: () => {},
      async transaction(name, body) {
        const isLast = ++count === at
        if (isLast && when === 'before') throw new CrashError(name)
        const result = await world.store.transaction(name, body)
        if (isLast) throw new CrashError(name)
        return result
      },
    }
  }

  for (const kind of ['webhook', 'file'] as const) {
    for (const when of ['before', 'after'] as const) {
      it(`${when} it is written down that a ${kind} has an event loses nothing and keeps the order`, async () => {
        const states = Array.from({ length: 7 }, (_, index) => `state-${index}`)
        await add({ name: 'target', kind, endpoint: kind === 'file' ? '/var/events' : 'http://hook.example/' })
        await emit(...states)
        for (let at = 1; at <= 3; at++) {
          replies = [500]
          const ending = await createReconciler(mortal(at, when)).reconcile('target').catch((error: unknown) => error)
          if (ending instanceof Error) expect(ending).toBeInstanceOf(CrashError)
          nowMs += 10_000
        }
        expect(await run('target')).toBe('done')
        const had = kind === 'file' ? written() : posted()
        expect([...new Set(had)]).toEqual(states)
        // Once more for each crash before it was written down, and for each failure.
        expect(had.length - states.length).toBeLessThanOrEqual(kind === 'file' ? states.length : 6)
      })
    }
  }
})

describe('what is kept', () => {
  const seqs = async () => (await world.store.read((db) => readFeed(db, { after: FEED_BEGINNING, limit: 1000 }))).map((event) => event.seq)

  it('is a day of events', async () => {
    await emit('a', 'b')
    nowMs += DAY_MS / 2
    await emit('c')
    expect(await run(RETENTION_WORK_ID)).toBe('again')
    expect(await seqs()).toEqual([1, 2, 3])
    nowMs += DAY_MS / 2 + 1
    await run(RETENTION_WORK_ID, 2)
    expect(await seqs()).toEqual([3])
  })

  it('is longer what a target has not had yet', async () => {
    await add()
    await emit('a')
    nowMs += DAY_MS - 1
    await emit('b')
    nowMs += DAY_MS - 1
    await run(RETENTION_WORK_ID)
    expect(await seqs()).toEqual([1, 2])
    await run()
    await run(RETENTION_WORK_ID)
    expect([posted(), await seqs()]).toEqual([['a', 'b'], [2]])
  })

  it('is a number of events at most, and a target that comes later for them is told so', async () => {
    reconciler = createReconciler(world.store, { ms: DAY_MS, events: 2 })
    await add()
    await emit('a', 'b', 'c', 'd')
    await run(RETENTION_WORK_ID)
    expect(await seqs()).toEqual([3, 4])
    await run()
    expect([posted(), (await target()).gaps]).toEqual([['c', 'd'], 1])
  })
})
