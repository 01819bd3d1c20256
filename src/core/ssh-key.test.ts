import { execFileSync } from 'node:child_process'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { generateSshKey, pemKey, puttyKey, type KeyMaterial } from './ssh-key.ts'
import { ED25519_PKCS8, ED25519_PPK, RSA_PKCS8, RSA_PPK } from './ssh-key.fixtures.ts'

const run = (command: string, args: string[], input?: Buffer) =>
  execFileSync(command, args, { encoding: 'utf8', input, stdio: ['pipe', 'pipe', 'pipe'] }).trim()

describe('generateSshKey', () => {
  let folder = ''
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'hearth-ssh-key-'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  const save = (name: string, text: string) => {
    const file = path.join(folder, name)
    writeFileSync(file, text, { mode: 0o600 })
    return file
  }

  it.each(['rsa', 'ed25519'] as const)('makes %s keys that ssh-keygen reads', async (keyType) => {
    const key = await generateSshKey(keyType, 'pem', 'web')
    const file = save(`${keyType}.pem`, key.privateKey)
    expect(run('ssh-keygen', ['-y', '-f', file])).toBe(key.publicKey)
    const listed = run('ssh-keygen', ['-l', '-f', file])
    expect(listed).toMatch(keyType === 'rsa' ? /^2048 .*\(RSA\)$/ : /^256 .*\(ED25519\)$/)
  })

  it('writes RSA as PKCS#1 and ED25519 in the format of OpenSSH', async () => {
    expect((await generateSshKey('rsa', 'pem', '')).privateKey).toMatch(/^-----BEGIN RSA PRIVATE KEY-----\n/)
    expect((await generateSshKey('ed25519', 'pem', '')).privateKey).toMatch(/^-----BEGIN OPENSSH PRIVATE KEY-----\n/)
  })

  it('fingerprints RSA as EC2 documents: openssl pkcs8 -topk8 -nocrypt -outform DER | openssl sha1 -c', async () => {
    const key = await generateSshKey('rsa', 'pem', '')
    const file = save('fingerprint.pem', key.privateKey)
    const der = execFileSync('openssl', ['pkcs8', '-in', file, '-topk8', '-nocrypt', '-outform', 'DER'])
    expect(run('openssl', ['sha1', '-c'], der)).toContain(`= ${key.fingerprint}`)
  })

  it('fingerprints ED25519 as ssh-keygen -l does, with base64 padding', async () => {
    const key: KeyMaterial = await generateSshKey('ed25519', 'pem', '')
    const shown = /SHA256:(\S+)/.exec(run('ssh-keygen', ['-l', '-f', save('ed.pem', key.privateKey)]))?.[1]
    expect(key.fingerprint).toBe(`${shown}=`)
  })
})

describe('puttyKey', () => {
  it.each([
    ['RSA', RSA_PKCS8, RSA_PPK],
    ['ED25519', ED25519_PKCS8, ED25519_PPK],
  ])('writes an %s key as puttygen does', (_name, pkcs8, expected) => {
    const key = createPrivateKey(pkcs8)
    expect(puttyKey(key, createPublicKey(key), 'web server')).toBe(expected)
  })
})

describe('pemKey', () => {
  it('pads the secret section to a multiple of eight', () => {
    const key = createPrivateKey(ED25519_PKCS8)
    const body = pemKey(key, createPublicKey(key)).split('\n').slice(1, -2).join('')
    const file = Buffer.from(body, 'base64')
    // magic, three strings, count, public blob; then the section with its length.
    const section = 15 + 8 + 8 + 4 + 4 + (4 + 51)
    expect(file.readUInt32BE(section) % 8).toBe(0)
    expect(file.length).toBe(section + 4 + file.readUInt32BE(section))
  })
})
