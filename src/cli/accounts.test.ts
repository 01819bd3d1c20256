import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { fixedClock, ZONES } from '../../test/support/rows.ts'
import { seededRandom } from '../core/random.ts'
import { ensureHome } from '../home.ts'
import { openStore } from '../main.ts'
import { readSettings, type Settings } from '../settings.ts'
import type { Store } from '../store/store.ts'
import { createAccount, credentialsOf, listAccounts } from './accounts.ts'
import { readEnvironment } from './env.ts'

let home: string
let settings: Settings
let store: Store
beforeEach(async () => {
  home = path.join(mkdtempSync(path.join(os.tmpdir(), 'hearth-accounts-')), 'home')
  settings = readSettings({ home }, {})
  await ensureHome(home)
  store = await openStore(settings)
})
afterEach(async () => {
  await store.close()
  rmSync(path.dirname(home), { recursive: true })
})

const create = (name: string, seed = 1) =>
  createAccount(store, { clock: fixedClock, random: seededRandom(seed), zones: ZONES }, home, name)

test('an account has a number, a default VPC and a key that is kept for its owner alone', async () => {
  const made = await create('team-b')
  expect(made).toEqual({
    accountId: expect.stringMatching(/^\d{12}$/), accessKeyId: expect.stringMatching(/^AKIA[A-Z2-7]{16}$/), secretAccessKey: expect.any(String),
  })
  const file = path.join(home, 'accounts', 'team-b.json')
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(made)
  expect([statSync(file).mode & 0o777, statSync(path.dirname(file)).mode & 0o777]).toEqual([0o600, 0o700])
  const vpcs = await store.read((db) => db.selectFrom('vpcs').select(['account_id', 'is_default']).execute())
  expect(vpcs).toEqual([{ account_id: made.accountId, is_default: 1 }])
  expect(await listAccounts(store)).toEqual([{ accountId: made.accountId, name: 'team-b', createdMs: fixedClock.now() }])
})

test('no two accounts have the same name', async () => {
  const made = await create('team-b')
  await expect(create('team-b', 2)).rejects.toThrow(/^there is an account "team-b" already/)
  await expect(create('default', 3)).rejects.toThrow(/^there is an account "default" already/)
  expect(await credentialsOf(settings, 'team-b')).toEqual(made)
  expect(await listAccounts(store)).toHaveLength(1)
})

test.each(['', '.', '../x', 'a/b', '-a', 'a b', 'a'.repeat(65)])('"%s" is no name', async (name) => {
  await expect(create(name)).rejects.toThrow(/cannot be the name of an account/)
  await expect(readEnvironment(settings, name)).rejects.toThrow(/cannot be the name of an account/)
})

test('hearth env is for the account that it is asked for, whose file it writes anew where it is gone', async () => {
  const made = await create('team-b')
  rmSync(path.join(home, 'accounts', 'team-b.json'))
  expect(await readEnvironment(settings, 'team-b')).toMatchObject({
    AWS_ACCESS_KEY_ID: made.accessKeyId, AWS_SECRET_ACCESS_KEY: made.secretAccessKey,
  })
  expect(existsSync(path.join(home, 'accounts', 'team-b.json'))).toBe(true)
  await expect(readEnvironment(settings, 'team-c')).rejects.toThrow(/^there is no account "team-c"; .* account create team-c .*makes it$/)
  await expect(readEnvironment(settings)).rejects.toThrow(/^there are no credentials/)
})
