import ssh2 from 'ssh2'
import type { AuthContext } from 'ssh2'
import type { Clock } from '../core/clock.ts'
import { accountSetting } from '../model/account-setting.ts'
import { SERIAL_CONSOLE_ACCESS } from '../model/pushed-key.ts'
import type { Store } from '../store/store.ts'

/** Who comes in as this sits at the first, and only, serial port of that instance. */
const USER = /^(i-[0-9a-f]{8,17})\.port0$/

export interface Authority {
  store: Store
  clock: Clock
  /** Machines of all its hosts can be reached from it. */
  nodeId: string
}

/** The instance at whose console somebody wants to sit; undefined for a name that means none. */
export function instanceOf(user: string): string | undefined {
  return USER.exec(user)?.[1]
}

/**
 * Whether an attempt to come in is good: by a public key that was pushed for that console less than a minute ago, of an
 * instance that runs here, in an account that has opened its consoles; and, once it has signed, by who holds the key.
 */
export async function isWelcome(authority: Authority, attempt: AuthContext): Promise<boolean> {
  if (attempt.method !== 'publickey') return false
  const instanceId = instanceOf(attempt.username)
  if (instanceId === undefined) return false
  for (const line of await keysFor(authority, instanceId)) {
    const key = ssh2.utils.parseKey(line)
    if (key instanceof Error || !key.getPublicSSH().equals(attempt.key.data)) continue
    // Before it signs, a client asks whether the key would do.
    if (attempt.signature === undefined) return true
    return attempt.blob !== undefined && key.verify(attempt.blob, attempt.signature, attempt.hashAlgo) === true
  }
  return false
}

function keysFor({ store, clock, nodeId }: Authority, instanceId: string): Promise<string[]> {
  return store.read(async (db) => {
    const instance = await db
      .selectFrom('instances').select(['account_id']).where('instance_id', '=', instanceId)
      .where('node_id', '=', nodeId).where('state', '=', 'running').executeTakeFirst()
    if (!instance || (await accountSetting(db, instance.account_id, SERIAL_CONSOLE_ACCESS)) !== 'true') return []
    const rows = await db
      .selectFrom('pushed_keys').select('public_key').where('instance_id', '=', instanceId).where('kind', '=', 'serial')
      .where('state', '=', 'present').where('expires_ms', '>', clock.now()).execute()
    return rows.map((row) => row.public_key)
  })
}
