import { newId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import type { PushedKeyTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'

/** How long a pushed key lets in. */
export const PUSHED_KEY_MS = 60_000

/** The most keys that one instance has at a time; each stands in a file of the guest. */
export const MOST_PUSHED_KEYS = 50

/** A key that somebody pushes. */
export type PushedKey = Pick<PushedKeyTable, 'account_id' | 'instance_id' | 'kind' | 'os_user' | 'public_key'>

/** The setting of an account by which its instances' serial consoles are open to pushed keys: `true`. */
export const SERIAL_CONSOLE_ACCESS = 'serial-console-access'

/**
 * Has the agent let somebody in by a key, for a minute from now. The same key again begins its minute anew.
 *
 * @returns false when the instance has too many of them.
 */
export async function pushKey(
  { db, nowMs, random }: { db: Db; nowMs: number; random: Random },
  key: PushedKey,
  hostId: string,
): Promise<boolean> {
  const all = await db.selectFrom('pushed_keys').selectAll().where('instance_id', '=', key.instance_id).execute()
  const known = all.find((row) => isSameKey(row, key))
  const keyId = known?.key_id ?? newId(random, 'pk')
  const times = { expires_ms: nowMs + PUSHED_KEY_MS }
  if (known) {
    // What may be in the guest stays known to be.
    const mayBeInside = key.kind === 'ssh' && (known.state === 'asked' || known.state === 'present')
    const state = mayBeInside ? 'asked' : 'pending'
    await db.updateTable('pushed_keys').set({ ...times, state }).where('key_id', '=', keyId).execute()
  } else {
    if (all.length >= MOST_PUSHED_KEYS) return false
    await db.insertInto('pushed_keys').values({ ...key, ...times, key_id: keyId, state: 'pending' }).execute()
  }
  await enqueue(db, { kind: 'pushed-key', id: keyId, hostId }, nowMs)
  return true
}

/** The instance that a key lets into. */
export async function instanceOfPushedKey(db: Db, keyId: string): Promise<string | undefined> {
  return (await db.selectFrom('pushed_keys').select('instance_id').where('key_id', '=', keyId).executeTakeFirst())?.instance_id
}

function isSameKey(row: PushedKeyTable, key: PushedKey): boolean {
  return row.kind === key.kind && row.os_user === key.os_user && row.public_key === key.public_key
}

/**
 * The line by which the key stands in the guest. Its comment makes it another one than a line of the same key that
 * is there to stay.
 */
export function authorizedLine(row: Pick<PushedKeyTable, 'key_id' | 'public_key'>): string {
  return `${row.public_key} ec2-instance-connect ${row.key_id}`
}
