import {
  CreateKeyPairCommand, DeleteKeyPairCommand, DescribeKeyPairsCommand, ImportKeyPairCommand, type CreateKeyPairCommandInput,
  type DescribeKeyPairsCommandInput,
} from '@aws-sdk/client-ec2'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startTestCloud, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let folder: string
beforeAll(async () => {
  cloud = await startTestCloud()
  folder = mkdtempSync(path.join(tmpdir(), 'hearth-key-pairs-'))
})
afterAll(async () => {
  await cloud.close()
  rmSync(folder, { recursive: true })
})
afterEach(async () => {
  for (const { KeyPairId } of await list()) await cloud.ec2.send(new DeleteKeyPairCommand({ KeyPairId }))
})

const create = (input: CreateKeyPairCommandInput) => cloud.ec2.send(new CreateKeyPairCommand(input))
const importKey = (KeyName: string, material: string | Uint8Array) =>
  cloud.ec2.send(new ImportKeyPairCommand({ KeyName, PublicKeyMaterial: Buffer.from(material) }))
const list = async (input: DescribeKeyPairsCommandInput = {}) =>
  (await cloud.ec2.send(new DescribeKeyPairsCommand(input))).KeyPairs ?? []
const failure = (name: string, message: string) =>
  expect.objectContaining({ name, message: expect.stringContaining(message) })

const run = (command: string, ...args: string[]) => execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe' }).trim()
/** Writes a file as a user would who saves a key. */
const save = (name: string, text: string | Uint8Array) => {
  const file = path.join(folder, name)
  writeFileSync(file, text, { mode: 0o600 })
  return file
}
/** "SHA256:…" of a key's file as ssh-keygen has it, and with the padding that EC2 leaves on. */
const openSshFingerprint = (file: string) => `${/SHA256:(\S+)/.exec(run('ssh-keygen', '-l', '-f', file))?.[1]}=`
const withoutComment = (line: string | undefined) => line?.split(' ').slice(0, 2).join(' ')

describe('CreateKeyPair', () => {
  test.each(['rsa', 'ed25519'] as const)('makes %s keys that ssh reads, fingerprinted as documented', async (KeyType) => {
    const Tags = [{ Key: 'Env', Value: 'test' }, { Key: 'Empty', Value: '' }]
    const made = await create({ KeyName: 'web', KeyType, TagSpecifications: [{ ResourceType: 'key-pair', Tags }] })
    expect(made).toMatchObject({ KeyName: 'web', KeyPairId: expect.stringMatching(/^key-[0-9a-f]{17}$/), Tags })
    const file = save(`${KeyType}.pem`, made.KeyMaterial ?? '')
    const [shown] = await list({ KeyNames: ['web'], IncludePublicKey: true })
    expect(shown).toMatchObject({ KeyPairId: made.KeyPairId, KeyType, KeyFingerprint: made.KeyFingerprint })
    expect(withoutComment(shown?.PublicKey)).toBe(withoutComment(run('ssh-keygen', '-y', '-f', file)))
    expect(shown?.PublicKey).toMatch(/ web$/)
    expect(shown?.CreateTime).toBeInstanceOf(Date)
    if (KeyType === 'ed25519') {
      expect(made.KeyFingerprint).toBe(openSshFingerprint(file))
    } else {
      const pkcs8 = execFileSync('openssl', ['pkcs8', '-in', file, '-topk8', '-nocrypt', '-outform', 'DER'])
      const der = save('rsa.der', pkcs8)
      expect(run('openssl', 'sha1', '-c', der)).toMatch(new RegExp(`= ${made.KeyFingerprint}$`))
    }
  })

  test('makes files for PuTTY', async () => {
    const made = await create({ KeyName: 'a key', KeyType: 'ed25519', KeyFormat: 'ppk' })
    expect(made.KeyMaterial).toMatch(/^PuTTY-User-Key-File-2: ssh-ed25519\nEncryption: none\nComment: a key\n/)
    expect(made.KeyMaterial).toMatch(/\nPrivate-MAC: [0-9a-f]{40}\n$/)
  })

  test('refuses a name that is taken, and makes nothing with DryRun', async () => {
    const trial = create({ KeyName: 'web', KeyType: 'ed25519', DryRun: true })
    await expect(trial).rejects.toEqual(failure('DryRunOperation', ''))
    expect(await list()).toEqual([])
    await create({ KeyName: 'web', KeyType: 'ed25519' })
    const again = create({ KeyName: 'web', KeyType: 'ed25519' })
    await expect(again).rejects.toEqual(failure('InvalidKeyPair.Duplicate', 'The keypair already exists'))
    const dry = create({ KeyName: 'web', KeyType: 'ed25519', DryRun: true })
    await expect(dry).rejects.toEqual(failure('InvalidKeyPair.Duplicate', 'The keypair already exists'))
  })
})

describe('ImportKeyPair', () => {
  test('reads OpenSSH, RFC 4716 and DER in base64, and fingerprints the DER', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const pem = save('own.pem', rsa.privateKey.export({ format: 'pem', type: 'pkcs1' }).toString())
    const der = save('own.der', rsa.publicKey.export({ format: 'der', type: 'spki' }))
    const line = run('ssh-keygen', '-y', '-f', pem)
    const materials = [
      line, `${line} me@laptop\n`, run('ssh-keygen', '-e', '-m', 'RFC4716', '-f', pem),
      rsa.publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
    ]
    const [, md5] = run('openssl', 'md5', '-c', der).split('= ')
    for (const [index, material] of materials.entries()) {
      expect((await importKey(`key${index}`, material)).KeyFingerprint).toBe(md5)
    }
    expect((await list({ IncludePublicKey: true })).map((pair) => pair.PublicKey)).toEqual(
      materials.map((_, index) => `${line} key${index}`))
    expect((await list({ Filters: [{ Name: 'fingerprint', Values: [md5 ?? ''] }] })).map((pair) => pair.KeyType))
      .toEqual(['rsa', 'rsa', 'rsa', 'rsa'])
  })

  test('fingerprints ED25519 as OpenSSH does, with padding', async () => {
    const file = path.join(folder, 'ed')
    run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'me@laptop', '-f', file)
    const imported = await importKey('mine', run('cat', `${file}.pub`))
    expect(imported.KeyFingerprint).toBe(openSshFingerprint(`${file}.pub`))
  })

  test('refuses what is no key', async () => {
    await expect(importKey('x', 'junk')).rejects.toEqual(
      failure('InvalidKey.Format', 'Key is not in valid OpenSSH public key format'))
    expect(await list()).toEqual([])
  })
})

describe('DescribeKeyPairs and DeleteKeyPair', () => {
  test('choose by name, by id and by filter; what is gone counts as deleted', async () => {
    const made = await create({
      KeyName: 'web', KeyType: 'ed25519',
      TagSpecifications: [{ ResourceType: 'key-pair', Tags: [{ Key: 'Env', Value: 'prod' }] }],
    })
    await create({ KeyName: 'db', KeyType: 'ed25519' })
    const names = async (input: DescribeKeyPairsCommandInput) => (await list(input)).map((pair) => pair.KeyName)
    expect(await names({ KeyPairIds: [made.KeyPairId ?? ''] })).toEqual(['web'])
    expect(await names({ Filters: [{ Name: 'tag:Env', Values: ['prod'] }] })).toEqual(['web'])
    expect(await names({ Filters: [{ Name: 'key-name', Values: ['d?'] }] })).toEqual(['db'])
    await expect(list({ KeyNames: ['x'] })).rejects.toEqual(
      failure('InvalidKeyPair.NotFound', "The key pair 'x' does not exist"))

    const remove = async (KeyName: string) => {
      const { $metadata: _, ...answer } = await cloud.ec2.send(new DeleteKeyPairCommand({ KeyName }))
      return answer
    }
    expect(await remove('web')).toEqual({ Return: true, KeyPairId: made.KeyPairId })
    expect(await remove('web')).toEqual({ Return: true })
    expect(await names({})).toEqual(['db'])
  })
})
