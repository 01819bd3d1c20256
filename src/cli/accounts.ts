import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { systemClock, type Clock } from '../core/clock.ts'
import { systemRandom, type Random } from '../core/random.ts'
import { newCredentials, readCredentials, writeCredentials, type Credentials } from '../credentials.ts'
import { homePaths } from '../home.ts'
import { DEFAULT_ACCOUNT, ensureAccount, PROVIDER_ACCOUNT } from '../model/account.ts'
import { zonesOf } from '../model/zone.ts'
import { cloudHomeOf, homeRegionOf, type AnySettings } from '../realm.ts'
import type { Db, Store } from '../store/store.ts'
import { hearthCommand, withStore } from './command.ts'

/** What the account of the home itself is called. */
export const DEFAULT_NAME = 'default'

/** Names are parts of a path. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** An account as people are shown it; no secret is in it. */
export interface AccountView {
  accountId: string
  name: string
  createdMs: number
}

/**
 * Makes an account with its default VPC and an access key. The rows come first: from them the file
 * can be written anew, should it not come to it here.
 *
 * @throws Error where the name is taken, or none.
 */
export async function createAccount(
  store: Store,
  ambient: { clock: Clock; random: Random; zones: readonly string[] },
  home: string,
  name: string,
): Promise<Credentials> {
  checkName(name)
  const credentials = await store.transaction('account.create', async (db) => {
    const namesake = await db.selectFrom('accounts').select('account_id').where('name', '=', name).executeTakeFirst()
    if (namesake || name === DEFAULT_NAME) throw new Error(`there is an account "${name}" already; give the new one another name`)
    const made = newCredentials(ambient.random, await freeAccountId(db, ambient.random))
    await ensureAccount(db, ambient, { accountId: made.accountId, name })
    await db
      .insertInto('access_keys')
      .values({
        access_key_id: made.accessKeyId, account_id: made.accountId, secret: made.secretAccessKey,
        created_ms: ambient.clock.now(), session_token: null, expires_ms: null, principal: null,
      })
      .execute()
    return made
  })
  await keep(home, name, credentials)
  return credentials
}

/** Twelve digits that no account has. */
async function freeAccountId(db: Db, random: Random): Promise<string> {
  for (;;) {
    const id = Array.from({ length: 12 }, () => random.int(10)).join('')
    const row = await db.selectFrom('accounts').select('account_id').where('account_id', '=', id).executeTakeFirst()
    if (!row && id !== DEFAULT_ACCOUNT && id !== PROVIDER_ACCOUNT) return id
  }
}

async function keep(home: string, name: string, credentials: Credentials): Promise<void> {
  await mkdir(homePaths(home).accounts, { recursive: true, mode: 0o700 })
  await writeCredentials(fileOf(home, name), credentials)
}

function fileOf(home: string, name: string): string {
  return path.join(homePaths(home).accounts, `${name}.json`)
}

function checkName(name: string): void {
  if (NAME.test(name)) return
  throw new Error(`"${name}" cannot be the name of an account: letters, digits, ".", "_" and "-" are, 64 at most, a letter or digit first`)
}

/** All accounts that people have, oldest first. */
export function listAccounts(store: Store): Promise<AccountView[]> {
  return store.read((db) => db
    .selectFrom('accounts').select(['account_id as accountId', 'name', 'created_ms as createdMs'])
    .where('account_id', '<>', PROVIDER_ACCOUNT).orderBy('created_ms').orderBy('account_id').execute())
}

/** The number of an account. @throws Error when there is no such account. */
export async function accountIdOf(db: Db, name: string): Promise<string> {
  if (name === DEFAULT_NAME) return DEFAULT_ACCOUNT
  const row = await db.selectFrom('accounts').select('account_id').where('name', '=', name).executeTakeFirst()
  if (!row) throw new Error(`there is no account "${name}"; hearth account list has those there are`)
  return row.account_id
}

/**
 * Opens the database of a region, in which the account is made where it has not called there yet: accounts are the cloud's, and known in
 * the home region.
 *
 * @throws Error when there is no such account.
 */
export async function withAccountStore<T>(settings: AnySettings, name: string, body: (store: Store) => Promise<T>): Promise<T> {
  return withStore(settings, async (store) => {
    if (settings.home !== cloudHomeOf(settings)) {
      const accountId = await withStore(homeRegionOf(settings), (home) => home.read((db) => accountIdOf(db, name)))
      const ambient = { clock: systemClock, random: systemRandom, zones: zonesOf(settings) }
      await store.transaction('account.region', (db) => ensureAccount(db, ambient, { accountId, name }))
    }
    return body(store)
  })
}

/** The key of an account: from its file, or, where that is gone, from the database. @throws Error when there is no such account. */
export async function credentialsOf(settings: AnySettings, name: string): Promise<Credentials> {
  checkName(name)
  const home = cloudHomeOf(settings)
  const kept = await readCredentials(fileOf(home, name))
  if (kept) return kept
  const found = await withStore(homeRegionOf(settings), (store) => store.read((db) => keyOf(db, name)))
  if (!found) {
    const make = hearthCommand(`account create ${name}`, { home })
    throw new Error(`there is no account "${name}"; ${make} makes it`)
  }
  await keep(home, name, found)
  return found
}

async function keyOf(db: Db, name: string): Promise<Credentials | undefined> {
  const row = await db
    .selectFrom('accounts').innerJoin('access_keys', 'access_keys.account_id', 'accounts.account_id')
    .select(['accounts.account_id', 'access_key_id', 'secret'])
    .where('name', '=', name).where('session_token', 'is', null).orderBy('access_keys.created_ms').executeTakeFirst()
  return row && { accessKeyId: row.access_key_id, secretAccessKey: row.secret, accountId: row.account_id }
}
