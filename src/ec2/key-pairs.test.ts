import type { CreateKeyPairRequest } from '@aws-sdk/client-ec2'
import { generateKeyPairSync } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { openSshLine } from '../core/ssh-public-key.ts'
import { createKeyPair, deleteKeyPair, describeKeyPairs, importKeyPair, prepareCreateKeyPair } from './key-pairs.ts'

const line = openSshLine(generateKeyPairSync('ed25519').publicKey)
const otherLine = openSshLine(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey)
const bytes = (text: string) => Buffer.from(text)

let account: MemoryAccount
beforeEach(async () => {
  account = await openMemoryAccount()
})
afterEach(() => account.store.close())

const create = async (input: CreateKeyPairRequest) => {
  const material = await prepareCreateKeyPair(input)
  account.pass(1)
  return account.call((context) => createKeyPair(context, input, material), undefined)
}
const importKey = (name: string, text = line) => {
  account.pass(1)
  return account.call(importKeyPair, { KeyName: name, PublicKeyMaterial: bytes(text) })
}
const importFailure = (name: string | undefined, text: string | undefined) =>
  account.failure(importKeyPair, { KeyName: name, PublicKeyMaterial: text === undefined ? undefined : bytes(text) })
const namesOf = async (input: Parameters<typeof describeKeyPairs>[1]) =>
  (await account.call(describeKeyPairs, input)).KeyPairs?.map((pair) => pair.KeyName)

describe('createKeyPair', () => {
  it('answers the private key once and keeps the public one, with the name for a comment', async () => {
    const tags = [{ Key: 'Env', Value: 'test' }]
    const input: CreateKeyPairRequest = {
      KeyName: 'web', KeyType: 'ed25519', TagSpecifications: [{ ResourceType: 'key-pair', Tags: tags }],
    }
    const material = await prepareCreateKeyPair(input)
    account.pass(1)
    const made = await account.call((context) => createKeyPair(context, input, material), undefined)
    expect(made).toMatchObject({ KeyName: 'web', KeyMaterial: material.privateKey, Tags: tags })
    expect(made.KeyPairId).toMatch(/^key-[0-9a-f]{17}$/)
    const [shown] = (await account.call(describeKeyPairs, { IncludePublicKey: true })).KeyPairs ?? []
    expect(shown).toMatchObject({
      KeyName: 'web', KeyType: 'ed25519', KeyPairId: made.KeyPairId, KeyFingerprint: made.KeyFingerprint, Tags: tags,
      CreateTime: new Date(Date.UTC(2026, 0, 1) + 1),
    })
    expect(shown?.PublicKey).toBe(`${material.publicKey} web`)
  })

  it('makes RSA keys in PEM unless told otherwise, and PuTTY keys when asked', async () => {
    expect((await create({ KeyName: 'a' })).KeyMaterial).toMatch(/^-----BEGIN RSA PRIVATE KEY-----/)
    expect((await create({ KeyName: 'b', KeyType: 'ed25519', KeyFormat: 'ppk' })).KeyMaterial)
      .toMatch(/^PuTTY-User-Key-File-2: ssh-ed25519\nEncryption: none\nComment: b\n/)
  })

  it('refuses a name that is taken', async () => {
    await importKey('web')
    const material = await prepareCreateKeyPair({ KeyName: 'web', KeyType: 'ed25519' })
    expect(await account.failure((context) => createKeyPair(context, { KeyName: 'web' }, material), undefined))
      .toBe('InvalidKeyPair.Duplicate: The keypair already exists')
  })

  it('refuses bad types, formats and tag specifications', async () => {
    const type = 'dsa' as unknown as 'rsa'
    await expect(create({ KeyName: 'a', KeyType: type })).rejects.toThrow('Value (dsa) for parameter KeyType')
    const format = 'jks' as unknown as 'pem'
    await expect(create({ KeyName: 'a', KeyFormat: format })).rejects.toThrow('Value (jks) for parameter KeyFormat')
    await expect(create({ KeyName: '' })).rejects.toThrow('must contain the parameter KeyName')
    await expect(create({ KeyName: 'a', TagSpecifications: [{ ResourceType: 'vpc', Tags: [{ Key: 'a' }] }] }))
      .rejects.toThrow("'vpc' is not a valid taggable resource type")
    expect(await namesOf({})).toEqual([])
  })
})

describe('importKeyPair', () => {
  it('keeps type, fingerprint and public key, the comment replaced by the name', async () => {
    const imported = await importKey('mine', `${line} me@laptop\n`)
    expect(imported).toEqual({
      KeyName: 'mine', KeyPairId: expect.stringMatching(/^key-/), KeyFingerprint: expect.stringMatching(/^.{43}=$/),
      Tags: undefined,
    })
    await importKey('rsa', otherLine)
    const shown = await account.call(describeKeyPairs, { IncludePublicKey: true })
    expect(shown.KeyPairs?.map((pair) => [pair.KeyType, pair.PublicKey])).toEqual([
      ['ed25519', `${line} mine`], ['rsa', `${otherLine} rsa`],
    ])
    expect(shown.KeyPairs?.[1]?.KeyFingerprint).toMatch(/^([0-9a-f]{2}:){15}[0-9a-f]{2}$/)
  })

  it.each([
    ['nothing', 'a', undefined, 'MissingParameter: The request must contain the parameter PublicKeyMaterial'],
    ['no name', undefined, line, 'MissingParameter: The request must contain the parameter KeyName'],
    ['junk', 'a', 'junk', 'InvalidKey.Format: Key is not in valid OpenSSH public key format'],
    ['a line break in the name', 'a\nb', line, 'InvalidParameterValue: Value (a\nb) for parameter KeyName is invalid.'],
    ['a name of spaces', ' a', line, 'InvalidParameterValue: Value ( a) for parameter KeyName is invalid.'],
    ['a name that is too long', 'a'.repeat(256), line, 'InvalidParameterValue: Value (aaa'],
    ['too much', 'a', 'a'.repeat(2049), 'InvalidParameterValue: Value for parameter PublicKeyMaterial is invalid.'],
  ])('refuses %s', async (_what, name, text, expected) => {
    expect(await importFailure(name, text)).toContain(expected)
    expect(await namesOf({})).toEqual([])
  })

  it('refuses a name that is taken, whatever the key', async () => {
    await importKey('web')
    expect(await importFailure('web', otherLine)).toBe('InvalidKeyPair.Duplicate: The keypair already exists')
    await importKey('Web')
    expect(await namesOf({})).toEqual(['web', 'Web'])
  })
})

describe('describeKeyPairs', () => {
  it('chooses by names, ids and filters', async () => {
    const first = await importKey('first')
    await importKey('second')
    await create({
      KeyName: 'third', KeyType: 'ed25519',
      TagSpecifications: [{ ResourceType: 'key-pair', Tags: [{ Key: 'Env', Value: 'prod' }] }],
    })
    const filter = (Name: string, ...Values: string[]) => namesOf({ Filters: [{ Name, Values }] })
    expect(await namesOf({})).toEqual(['first', 'second', 'third'])
    expect(await namesOf({ KeyNames: ['third', 'second'] })).toEqual(['second', 'third'])
    expect(await namesOf({ KeyPairIds: [first.KeyPairId ?? ''], KeyNames: ['second'] })).toEqual(['first', 'second'])
    expect(await filter('key-name', 'f*', 'second')).toEqual(['first', 'second'])
    expect(await filter('key-pair-id', first.KeyPairId ?? '')).toEqual(['first'])
    expect(await filter('fingerprint', first.KeyFingerprint ?? '')).toEqual(['first', 'second'])
    expect(await filter('tag:Env', 'prod')).toEqual(['third'])
    expect(await filter('tag-key', 'Env')).toEqual(['third'])
    for (const name of DOCUMENTED_FILTERS.DescribeKeyPairs) expect(await filter(name, 'nothing')).toEqual([])
    expect(await account.failure(describeKeyPairs, { Filters: [{ Name: 'nonsense', Values: ['a'] }] }))
      .toBe("InvalidParameterValue: The filter 'nonsense' is invalid")
  })

  it('shows the public key only when asked', async () => {
    await importKey('web')
    expect((await account.call(describeKeyPairs, {})).KeyPairs?.[0]?.PublicKey).toBeUndefined()
  })

  it('says which does not exist', async () => {
    await importKey('web')
    expect(await account.failure(describeKeyPairs, { KeyNames: ['web', 'x'] }))
      .toBe("InvalidKeyPair.NotFound: The key pair 'x' does not exist")
    expect(await account.failure(describeKeyPairs, { KeyPairIds: ['key-0123456789abcdef0', 'x'] }))
      .toBe("InvalidKeyPair.NotFound: The key pairs 'key-0123456789abcdef0, x' do not exist")
  })
})

describe('deleteKeyPair', () => {
  it('deletes by name or id, with its tags, and takes what is gone for deleted', async () => {
    const web = await create({
      KeyName: 'web', KeyType: 'ed25519',
      TagSpecifications: [{ ResourceType: 'key-pair', Tags: [{ Key: 'Env', Value: 'prod' }] }],
    })
    const db = await importKey('db')
    expect(await account.call(deleteKeyPair, { KeyName: 'web' })).toEqual({ Return: true, KeyPairId: web.KeyPairId })
    expect(await account.call(deleteKeyPair, { KeyName: 'web' })).toEqual({ Return: true })
    const byId = { KeyPairId: db.KeyPairId }
    expect(await account.call(deleteKeyPair, byId)).toEqual({ Return: true, ...byId })
    expect(await namesOf({})).toEqual([])
    expect(await account.query((store) => store.selectFrom('tags').selectAll().execute())).toEqual([])
  })

  it('leaves both alone when name and id mean two pairs, and wants at least one', async () => {
    const web = await importKey('web')
    await importKey('db')
    expect(await account.call(deleteKeyPair, { KeyName: 'db', KeyPairId: web.KeyPairId })).toEqual({ Return: true })
    expect(await account.failure(deleteKeyPair, {})).toMatch(/^MissingParameter/)
    expect(await namesOf({})).toEqual(['web', 'db'])
  })
})
