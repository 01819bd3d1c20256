import { afterEach, beforeEach, expect, test } from 'vitest'
import { fixedClock, NOW_MS, openTestStore, OTHER_ACCOUNT, REGION, type TestStore } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { requireKmsKey } from '../model/kms-key.ts'
import { createKey, listKeys } from './keys.ts'

let cloud: TestStore
beforeEach(async () => {
  cloud = await openTestStore()
})
afterEach(() => cloud.store.close())

const create = (name: string, account = 'default') =>
  createKey(cloud.store, { clock: fixedClock, random: cloud.random, region: REGION }, account, name)

test('a key has an id, an ARN and an alias, by which calls of its account know it', async () => {
  const key = await create('web')
  expect(key).toEqual({
    keyId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string, arn: `arn:aws:kms:${REGION}:${DEFAULT_ACCOUNT}:key/${key.keyId}`,
    alias: 'alias/web', createdMs: NOW_MS,
  })
  expect(await listKeys(cloud.store, REGION, 'default')).toEqual([key])
  expect(await cloud.run((context) => requireKmsKey(context, 'alias/web'))).toBe(key.keyId)
  await expect(cloud.run((context) => requireKmsKey(context, key.keyId), OTHER_ACCOUNT)).rejects.toThrow(/does not exist/)
})

test('names are of one account, where they are there once', async () => {
  await create('web')
  await expect(create('web')).rejects.toThrow(/^there is a key "web" already/)
  expect((await create('web', OTHER_ACCOUNT)).arn).toContain(OTHER_ACCOUNT)
  await expect(create('web', 'team-z')).rejects.toThrow(/^there is no account "team-z"/)
})

test.each(['', 'aws/ebs', 'a b', '/a', 'alias:x'])('"%s" is no name', (name) => {
  expect(() => create(name)).toThrow(/cannot be the name of a key/)
})
