import { beforeEach, expect, test } from 'vitest'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { insertKey, kmsKeyArn, requestedKmsKey, type EncryptionRequest } from '../model/kms-key.ts'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { OTHER_ACCOUNT, REGION } from '../../test/support/rows.ts'
import type { Context } from './context.ts'
import {
  disableEbsEncryptionByDefault, enableEbsEncryptionByDefault, getEbsDefaultKmsKeyId, getEbsEncryptionByDefault,
  modifyEbsDefaultKmsKeyId, resetEbsDefaultKmsKeyId,
} from './ebs-encryption.ts'

let cloud: MemoryAccount
let webKey: string

beforeEach(async () => {
  cloud = await openMemoryAccount()
  webKey = await cloud.call((context: Context) => insertKey(context, 'alias/web'), {})
})

/** The key that something is encrypted under; null for none. */
const keyFor = (asked: EncryptionRequest) => cloud.call((context: Context) => requestedKmsKey(context, asked), {})
const refusal = (asked: EncryptionRequest) => cloud.failure((context: Context) => requestedKmsKey(context, asked), {})
const arnOf = (keyId: string) => kmsKeyArn(REGION, DEFAULT_ACCOUNT, keyId)
const snapshot = (account: string, keyId: string | null) => ({
  account_id: account, encrypted: keyId === null ? 0 : 1, doc: JSON.stringify(keyId === null ? {} : { kmsKeyId: keyId }),
})

test('nothing is encrypted unless it is asked for, or the account has it so by default', async () => {
  expect(await cloud.call(getEbsEncryptionByDefault, {})).toMatchObject({ EbsEncryptionByDefault: false })
  expect(await keyFor({})).toBeNull()
  expect(await keyFor({ Encrypted: true })).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  await cloud.call(enableEbsEncryptionByDefault, {})
  expect(await cloud.call(getEbsEncryptionByDefault, {})).toMatchObject({ EbsEncryptionByDefault: true })
  expect(await keyFor({})).toBe(await keyFor({ Encrypted: true }))
  expect(await keyFor({ Encrypted: false })).not.toBeNull()
  await cloud.call(disableEbsEncryptionByDefault, {})
  expect(await keyFor({})).toBeNull()
})

test('the account has one aws/ebs key, made when it is first needed', async () => {
  expect(await cloud.call(getEbsDefaultKmsKeyId, {})).toEqual({ KmsKeyId: 'alias/aws/ebs' })
  const key = await keyFor({ Encrypted: true })
  expect(await keyFor({ Encrypted: true, KmsKeyId: 'alias/aws/ebs' })).toBe(key)
  expect(await cloud.call(resetEbsDefaultKmsKeyId, {})).toEqual({ KmsKeyId: arnOf(key ?? '') })
})

test('a key is named by its id, its ARN, an alias or an alias ARN', async () => {
  const names = [webKey, arnOf(webKey), 'alias/web', `arn:aws:kms:${REGION}:${DEFAULT_ACCOUNT}:alias/web`]
  for (const KmsKeyId of names) expect(await keyFor({ Encrypted: true, KmsKeyId })).toBe(webKey)
  const strange = ['web', 'alias/other', kmsKeyArn(REGION, OTHER_ACCOUNT, webKey), kmsKeyArn('eu-west-1', DEFAULT_ACCOUNT, webKey)]
  for (const KmsKeyId of strange) expect(await refusal({ Encrypted: true, KmsKeyId })).toMatch(/^InvalidParameterValue: .*KmsKeyId/)
})

test('the default key is the one that the account chose', async () => {
  expect(await cloud.call(modifyEbsDefaultKmsKeyId, { KmsKeyId: 'alias/web' })).toEqual({ KmsKeyId: arnOf(webKey) })
  expect(await cloud.call(getEbsDefaultKmsKeyId, {})).toEqual({ KmsKeyId: arnOf(webKey) })
  expect(await keyFor({ Encrypted: true })).toBe(webKey)
  await cloud.call(modifyEbsDefaultKmsKeyId, { KmsKeyId: 'alias/aws/ebs' })
  expect(await cloud.call(getEbsDefaultKmsKeyId, {})).toEqual({ KmsKeyId: 'alias/aws/ebs' })
  expect(await cloud.failure(modifyEbsDefaultKmsKeyId, { KmsKeyId: 'alias/none' })).toMatch(/^InvalidParameterValue/)
  expect(await cloud.failure(modifyEbsDefaultKmsKeyId, { KmsKeyId: undefined })).toMatch(/^MissingParameter/)
})

test('what comes from an encrypted snapshot is encrypted: an own one under the same key, a shared one under the default key', async () => {
  expect(await keyFor({ snapshot: snapshot(DEFAULT_ACCOUNT, null) })).toBeNull()
  expect(await keyFor({ snapshot: snapshot(DEFAULT_ACCOUNT, webKey) })).toBe(webKey)
  const defaultKey = await keyFor({ Encrypted: true })
  expect(await keyFor({ snapshot: snapshot(OTHER_ACCOUNT, 'theirs') })).toBe(defaultKey)
  expect(await keyFor({ Encrypted: true, KmsKeyId: 'alias/aws/ebs', snapshot: snapshot(DEFAULT_ACCOUNT, webKey) })).toBe(defaultKey)
  expect(await refusal({ Encrypted: false, snapshot: snapshot(DEFAULT_ACCOUNT, webKey) }))
    .toBe('InvalidParameterCombination: Encrypted snapshots must be used to create encrypted volumes.')
})

test('a key without Encrypted is refused', async () => {
  for (const Encrypted of [undefined, false]) {
    expect(await refusal({ Encrypted, KmsKeyId: 'alias/web' }))
      .toBe('InvalidParameterDependency: The parameter KmsKeyId requires the parameter Encrypted to be set.')
  }
})
