import { existsSync, lstatSync } from 'node:fs'
import path from 'node:path'
import { messageOf } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import type { Delivery } from '../events/delivery.ts'
import { envelopeOf, type Envelope } from '../events/envelope.ts'
import { parseEventPattern } from '../events/pattern.ts'
import { postOf } from '../events/signature.ts'
import { isoSecond } from '../model/cloud-event.ts'
import { feedEnd, feedSince } from '../model/event-feed.ts'
import { addTarget, listTargets, moveTarget, removeTarget, targetDoc, targetOf, TARGET_NAME, type EventTargetDoc } from '../model/event-target.ts'
import type { EventTargetTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { missedUntil } from './feed.ts'

/** What a person asks for. */
export interface TargetOrder {
  name: string
  webhook?: string | undefined
  file?: string | undefined
  /** JSON. */
  pattern?: string | undefined
  /** Undefined for what happens from now on. */
  sinceMs?: number | undefined
}

/** A target as people are shown it, without its secret; times as ISO 8601. */
export interface TargetView {
  name: string
  kind: EventTargetTable['kind']
  endpoint: string
  pattern: unknown
  created: string
  delivered: number
  lastDelivered: string | null
  /** Why the event that is next could not be delivered yet. */
  failure: { error: string; attempts: number; since: string; nextAttempt: string } | null
  /** Events that were given up: how many, and the last of them. */
  dead: number
  deadLetters: EventTargetDoc['deadLetters']
  gaps: number
}

/**
 * Adds a target.
 *
 * @returns the secret that its calls are signed with, null for a file; and until when events that it should have had are kept no more,
 * null where all are. @throws Error that says what is wrong.
 */
export async function createTarget(
  store: Store,
  { random, nowMs }: { random: Random; nowMs: number },
  order: TargetOrder,
): Promise<{ secret: string | null; missedUntilMs: number | null }> {
  const { name, pattern } = order
  if (!TARGET_NAME.test(name)) throw new Error(`"${name}" is no name for a target: up to 63 letters, digits, - and _, the first a letter or digit`)
  if ((order.webhook === undefined) === (order.file === undefined)) throw new Error('say where to, once: --webhook URL, or --file PATH')
  if (pattern !== undefined) parseEventPattern(pattern)
  const endpoint = order.webhook === undefined ? checkFile(order.file ?? '') : checkUrl(order.webhook)
  const kind = order.webhook === undefined ? 'file' : 'webhook'
  const secret = kind === 'webhook' ? random.bytes(32).toString('base64url') : null
  return store.transaction('event-target.add', async (db) => {
    const { sinceMs } = order
    const after = sinceMs === undefined ? await feedEnd(db) : await feedSince(db, sinceMs)
    const missedUntilMs = await missedUntil(db, sinceMs)
    if (await addTarget(db, { name, kind, endpoint, pattern: pattern ?? null, secret, after }, nowMs)) return { secret, missedUntilMs }
    throw new Error(`there is a target ${name} already; remove it first: hearth events target remove ${name}`)
  })
}

function checkUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol)) throw new Error(`--webhook ${text} is not a URL of the form http://host/path`)
  // Whoever lists targets would see it, and fetch takes none.
  if (url.username !== '' || url.password !== '') throw new Error('--webhook cannot have a user or password in it; calls are signed instead')
  return url.href
}

function checkFile(text: string): string {
  const file = path.resolve(text)
  if (!existsSync(path.dirname(file))) throw new Error(`there is no folder ${path.dirname(file)}; make it first`)
  const present = lstatSync(file, { throwIfNoEntry: false })
  if (present && !present.isFile()) throw new Error(`${file} is not a regular file`)
  return file
}

/** All targets of the region, by name. */
export function viewTargets(store: Store): Promise<TargetView[]> {
  return store.read(async (db) => (await listTargets(db)).map(viewOf))
}

function viewOf(row: EventTargetTable): TargetView {
  const { delivered, lastDeliveredMs, failure, dead, deadLetters, gaps } = targetDoc(row)
  const iso = (ms: number) => new Date(ms).toISOString()
  return {
    name: row.name, kind: row.kind, endpoint: row.endpoint, pattern: row.pattern === null ? null : (JSON.parse(row.pattern) as unknown),
    created: iso(row.created_ms), delivered, lastDelivered: lastDeliveredMs === null ? null : iso(lastDeliveredMs),
    failure: failure && { error: failure.error, attempts: row.attempts, since: iso(failure.sinceMs), nextAttempt: iso(failure.retryMs) },
    dead, deadLetters, gaps,
  }
}

/** @throws Error where there is none of that name. */
export async function deleteTarget(store: Store, nowMs: number, name: string): Promise<void> {
  if (!(await store.transaction('event-target.remove', (db) => removeTarget(db, name, nowMs)))) throw noTarget(name)
}

function noTarget(name: string): Error {
  return new Error(`there is no target ${name}; see hearth events target list`)
}

/** What a target is sent to try it: no event of the cloud, and of a type that no pattern of one has. */
function testEvent(nowMs: number, region: string): Envelope {
  const { time: _time, ...rest } = envelopeOf({
    seq: 0, account_id: '000000000000', at_ms: nowMs, source: 'hearth', detail_type: 'Hearth Test Event', resources: '[]',
    detail: JSON.stringify({ message: 'hearth events target test' }),
  }, region)
  return { ...rest, time: isoSecond(nowMs) }
}

/**
 * Sends a target an event to try it, once, from here.
 *
 * @returns how it took it. @throws Error that says why it did not.
 */
export async function testTarget(
  store: Store,
  { delivery, nowMs, region }: { delivery: Delivery; nowMs: number; region: string },
  name: string,
): Promise<string> {
  const row = await store.read((db) => targetOf(db, name))
  if (!row) throw noTarget(name)
  return deliver(delivery, row, testEvent(nowMs, region), 1)
}

/** Gives a target an event, once, from here. @returns how it took it. @throws Error that says why it did not. */
async function deliver(delivery: Delivery, row: EventTargetTable, event: Envelope, attempt: number): Promise<string> {
  if (row.kind === 'file') {
    await delivery.append(row.endpoint, [JSON.stringify(event)])
    return `a line was added to ${row.endpoint}`
  }
  const { status } = await delivery.post(postOf({ ...row, secret: targetDoc(row).secret }, event, attempt))
  if (status >= 200 && status < 300) return `${row.endpoint} answered ${status}`
  throw new Error(`${row.endpoint} answered ${status}; anything but 2xx is a failure`)
}

/**
 * Sends a target what was given up and is still kept, once more, the oldest first, until it fails; what it has taken is given up no more.
 *
 * @returns how many it took. @throws Error that says which was not taken, and how many are left.
 */
export async function resendDead(store: Store, delivery: Delivery, name: string): Promise<number> {
  const row = await store.read((db) => targetOf(db, name))
  if (!row) throw noTarget(name)
  const letters = targetDoc(row).deadLetters
  for (const [sent, letter] of letters.entries()) {
    await deliver(delivery, row, letter.event as Envelope, letter.attempts + 1).catch((error: unknown) => {
      throw new Error(`${messageOf(error)}; ${sent} were sent, ${letters.length - sent} are left`, { cause: error })
    })
    await store.transaction('event-target.resent', (db) => moveTarget(db, row, {
      change: ({ dead, deadLetters, delivered }) => {
        const left = deadLetters.filter(({ id }) => id !== letter.id)
        const count = deadLetters.length - left.length
        return { dead: dead - count, deadLetters: left, delivered: delivered + count }
      },
    }))
  }
  return letters.length
}
