import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { GuestRefusedError, type Hypervisor } from '../hypervisor/driver.ts'
import { authorizedLine, PUSHED_KEY_MS } from '../model/pushed-key.ts'
import type { PushedKeyTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { again, DONE, recording, type Outcome, type Reconciler } from './loop.ts'

/** How long a guest that just boots is given to begin to listen; less than who pushes a key waits. */
const PATIENCE_MS = 4000
const PATIENCE_POLL_MS = 250
/** When a guest that is away, or whose agent is, is tried again. */
const AWAY_MS = 30_000
/** Guests take their time, or mean harm: they must not keep the loop from everything else. */
const MOST_AT_ONCE = 4
/** How long one that refuses to give a key up, as on a full disk, is asked again. */
const REFUSALS_MS = 24 * 60 * 60 * 1000

export interface PushedKeyOptions {
  store: Store
  clock: Clock
  log: Logger
  hypervisor: Hypervisor
}

/**
 * Lets somebody in by a pushed key, and not any more when its minute is over. One for SSH is put into the guest and
 * taken out; before the guest is asked for the first time, that it may have it is written down, so that no key is forgotten
 * there. One for the serial console only waits here, for who sits at that console.
 */
export function createPushedKeyReconciler(options: PushedKeyOptions): Reconciler {
  const busy = new Set<string>()
  return {
    async reconcile(keyId) {
      const found = await load(options.store, keyId)
      if (!found) return DONE
      const { row, isGone } = found
      if (isGone) return forget(row)
      if (busy.has(row.instance_id) || busy.size >= MOST_AT_ONCE) return again(PATIENCE_POLL_MS)
      busy.add(row.instance_id)
      try {
        return await look(options, row)
      } finally {
        busy.delete(row.instance_id)
      }
    },
  }
}

async function look(options: PushedKeyOptions, row: PushedKeyTable): Promise<Outcome> {
  const isExpired = row.expires_ms <= options.clock.now()
  if (row.kind === 'serial') return isExpired ? forget(row) : offerConsole(options, row)
  const mayBeInside = row.state === 'asked' || row.state === 'present'
  // Refused when it was pushed again, it may be inside from the first time.
  if (isExpired) return mayBeInside || row.state === 'refused' ? takeOut(options, row) : forget(row)
  if (mayBeInside) return putIn(options, row)
  return row.state === 'pending' ? knock(options, row) : untilExpired(options.clock, row)
}

/** The key, and whether its instance will never run again. */
function load(store: Store, keyId: string): Promise<{ row: PushedKeyTable; isGone: boolean } | undefined> {
  return store.read(async (db) => {
    const row = await db.selectFrom('pushed_keys').selectAll().where('key_id', '=', keyId).executeTakeFirst()
    if (!row) return undefined
    const instance = await db
      .selectFrom('instances').select('state').where('instance_id', '=', row.instance_id).executeTakeFirst()
    // One that can be had again still has the key on its disk.
    const backup = await db
      .selectFrom('instance_backups').select('instance_id').where('instance_id', '=', row.instance_id).executeTakeFirst()
    return { row, isGone: (!instance || instance.state === 'terminated') && !backup }
  })
}

/** Whether there is somebody to ask; nothing is asked yet. */
async function knock({ hypervisor, clock }: PushedKeyOptions, row: PushedKeyTable): Promise<Outcome> {
  const channels = await hypervisor.channels(row.instance_id)
  if (channels?.hasGuestAgent) return become(row, 'asked', again(0))
  return isPatient(clock, row) ? again(PATIENCE_POLL_MS) : become(row, 'unavailable', untilExpired(clock, row))
}

function isPatient(clock: Clock, row: PushedKeyTable): boolean {
  return clock.now() < row.expires_ms - PUSHED_KEY_MS + PATIENCE_MS
}

async function putIn({ hypervisor, log, clock }: PushedKeyOptions, row: PushedKeyTable): Promise<Outcome> {
  const change = { osUser: row.os_user, add: [authorizedLine(row)], remove: [] }
  try {
    const done = await hypervisor.changeAuthorizedKeys(row.instance_id, change)
    if (done === 'done') return become(row, 'present', untilExpired(clock, row))
    // It has no such command, and so nothing is inside.
    if (done === 'unsupported') return become(row, 'unavailable', untilExpired(clock, row))
    return isPatient(clock, row) ? again(PATIENCE_POLL_MS) : untilExpired(clock, row)
  } catch (error) {
    if (!(error instanceof GuestRefusedError)) throw error
    log.info('a guest does not take a pushed key', { instanceId: row.instance_id, osUser: row.os_user, why: messageOf(error) })
    return become(row, 'refused', untilExpired(clock, row))
  }
}

async function takeOut({ hypervisor, log, clock }: PushedKeyOptions, row: PushedKeyTable): Promise<Outcome> {
  const change = { osUser: row.os_user, add: [], remove: [authorizedLine(row)] }
  try {
    const done = await hypervisor.changeAuthorizedKeys(row.instance_id, change)
    return done === 'unreachable' ? again(AWAY_MS) : forget(row)
  } catch (error) {
    if (!(error instanceof GuestRefusedError)) throw error
    const isOver = row.state === 'refused' || clock.now() - row.expires_ms >= REFUSALS_MS
    log.info('a guest does not give a pushed key up', { instanceId: row.instance_id, osUser: row.os_user, why: messageOf(error), isOver })
    return isOver ? forget(row) : again(AWAY_MS)
  }
}

/** A key for a console at which somebody else sits is of no use: who pushed it is told. */
async function offerConsole({ hypervisor, clock }: PushedKeyOptions, row: PushedKeyTable): Promise<Outcome> {
  if (row.state !== 'pending') return untilExpired(clock, row)
  const channels = await hypervisor.channels(row.instance_id)
  const state = channels ? (channels.isSerialTaken ? 'busy' : 'present') : 'unavailable'
  return become(row, state, untilExpired(clock, row))
}

function untilExpired(clock: Clock, row: PushedKeyTable): Outcome {
  return again(Math.max(0, row.expires_ms - clock.now()))
}

/** Unless the key was pushed anew meanwhile, which asked for another run. */
function become(row: PushedKeyTable, state: PushedKeyTable['state'], outcome: Outcome): Outcome {
  return recording(`pushed-key.${state}`, (db) =>
    db.updateTable('pushed_keys').set({ state })
      .where('key_id', '=', row.key_id).where('expires_ms', '=', row.expires_ms).execute(), outcome)
}

/** The same. */
function forget(row: PushedKeyTable): Outcome {
  return recording('pushed-key.forgotten', (db) =>
    db.deleteFrom('pushed_keys').where('key_id', '=', row.key_id).where('expires_ms', '=', row.expires_ms).execute())
}
