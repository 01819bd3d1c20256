import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import { insertKey, kmsKeyArn, keysOf } from '../model/kms-key.ts'
import type { Db, Store } from '../store/store.ts'
import { accountIdOf } from './accounts.ts'

/** A key as people are shown it; what it encrypts by stays in the home. */
export interface KeyView {
  keyId: string
  arn: string
  alias: string
  createdMs: number
}

/** What KMS takes as the name of an alias; those of AWS's own keys begin with aws/. */
const NAME = /^(?!aws\/)[A-Za-z0-9][A-Za-z0-9/_-]{0,250}$/

/**
 * Makes a key of the account, to encrypt volumes and snapshots under.
 *
 * @throws Error where the name is taken, or none, or there is no such account.
 */
export function createKey(
  store: Store,
  ambient: { clock: Clock; random: Random; region: string },
  account: string,
  name: string,
): Promise<KeyView> {
  if (!NAME.test(name)) {
    throw new Error(`"${name}" cannot be the name of a key: letters, digits, "/", "_" and "-" are, a letter or digit first, and not aws/`)
  }
  const alias = `alias/${name}`
  return store.transaction('key.create', async (db) => {
    const accountId = await accountIdOf(db, account)
    if ((await keysOf(db, accountId)).some((key) => key.alias === alias)) {
      throw new Error(`there is a key "${name}" already; give the new one another name`)
    }
    const keyId = await insertKey({ db, account: accountId, random: ambient.random, nowMs: ambient.clock.now() }, alias)
    const made = (await viewsOf(db, accountId, ambient.region)).find((key) => key.keyId === keyId)
    if (!made) throw new Error(`the key ${keyId} was made and is not there`)
    return made
  })
}

/** The keys of the account, oldest first. @throws Error where there is no such account. */
export function listKeys(store: Store, region: string, account: string): Promise<KeyView[]> {
  return store.read(async (db) => viewsOf(db, await accountIdOf(db, account), region))
}

async function viewsOf(db: Db, accountId: string, region: string): Promise<KeyView[]> {
  return (await keysOf(db, accountId)).map((key) => ({ ...key, arn: kmsKeyArn(region, accountId, key.keyId) }))
}
