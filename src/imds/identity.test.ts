import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { X509Certificate } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { fixedClock, NOW_MS, openTestStore } from '../../test/support/rows.ts'
import { systemRandom } from '../core/random.ts'
import { certificateFileOf, publishCertificate } from './certificate-file.ts'
import { integer, oid, octets, setOf, time } from './der.ts'
import { ensureIdentityKey, makeIdentityKey, type IdentityKey } from './identity-key.ts'
import { createIdentitySigner } from './identity.ts'

const execute = promisify(execFile)
const DOCUMENT = '{\n  "accountId" : "123456789012",\n  "region" : "us-east-1"\n}'
const folder = mkdtempSync(path.join(tmpdir(), 'hearth-identity-'))
const ambient = { clock: fixedClock, random: systemRandom }
let key: IdentityKey
let other: IdentityKey

beforeAll(async () => {
  key = await makeIdentityKey(systemRandom, NOW_MS)
  other = await makeIdentityKey(systemRandom, NOW_MS)
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Runs openssl in the folder: its output, or what it says of a failure. */
const openssl = (...args: string[]) =>
  execute('openssl', args, { cwd: folder }).then(({ stdout }) => stdout, (error: { stderr: string }) => `failed: ${error.stderr}`)
const write = (name: string, content: string | Buffer) => writeFileSync(path.join(folder, name), content)

describe('signatures of an identity document', () => {
  // As in the User Guide, "Verify the instance identity document".
  const smime = ['smime', '-verify', '-in', 'rsa2048', '-inform', 'PEM']

  beforeEach(async () => {
    const { signature, pkcs7 } = await createIdentitySigner(key)(DOCUMENT, NOW_MS)
    write('certificate', key.certificate)
    write('document', DOCUMENT)
    write('signature', Buffer.from(signature, 'base64'))
    write('rsa2048', `-----BEGIN PKCS7-----\n${pkcs7}\n-----END PKCS7-----\n`)
    await openssl('x509', '-pubkey', '-noout', '-in', 'certificate', '-out', 'key')
    for (const line of [...signature.split('\n'), ...pkcs7.split('\n')]) expect(line).toMatch(/^[\w+/=]{1,76}$/)
  })

  it('are verified as AWS says', async () => {
    expect(await openssl(...smime, '-certfile', 'certificate', '-noverify')).toBe(DOCUMENT)
    expect(await openssl(...smime, '-content', 'document', '-certfile', 'certificate', '-noverify')).toBe(DOCUMENT)
    expect(await openssl('dgst', '-sha256', '-verify', 'key', '-signature', 'signature', 'document')).toBe('Verified OK\n')
  })

  it('lead to the certificate as their root', async () => {
    expect(await openssl(...smime, '-certfile', 'certificate', '-CAfile', 'certificate')).toBe(DOCUMENT)
  })

  it('are refused for another document, and with the certificate of another cloud', async () => {
    write('document', DOCUMENT.replace('1234', '1235'))
    expect(await openssl(...smime, '-content', 'document', '-certfile', 'certificate', '-noverify')).toMatch(/^failed: .*Verification fail/s)
    expect(await openssl('dgst', '-sha256', '-verify', 'key', '-signature', 'signature', 'document')).toMatch(/^failed: /)
    write('certificate', other.certificate)
    expect(await openssl(...smime, '-certfile', 'certificate', '-noverify')).toMatch(/^failed: .*Verification fail/s)
  })

  it('are the same whoever makes them, and made once', async () => {
    const sign = createIdentitySigner(key)
    const first = sign(DOCUMENT, NOW_MS)
    expect(sign(DOCUMENT, NOW_MS)).toBe(first)
    expect(await createIdentitySigner(key)(DOCUMENT, NOW_MS)).toEqual(await first)
    expect(await sign(`${DOCUMENT} `, NOW_MS)).not.toEqual(await first)
  })

  it('are forgotten in the order of their making, when there are many', async () => {
    const sign = createIdentitySigner(key)
    const first = sign(DOCUMENT, 0)
    const all = [first]
    for (let second = 1; second <= 1000; second++) all.push(sign(DOCUMENT, second * 1000))
    await Promise.all(all)
    expect(sign(DOCUMENT, 1_000_000)).toBe(all.at(-1))
    expect(sign(DOCUMENT, 0)).not.toBe(first)
  })
})

describe('the key of a cloud', () => {
  it('has a certificate that is its own issuer, for a hundred years', () => {
    const certificate = new X509Certificate(key.certificate)
    expect(certificate.verify(certificate.publicKey)).toBe(true)
    expect(certificate.ca).toBe(false)
    expect([certificate.validFrom, certificate.validTo]).toEqual(['Jan  1 00:00:00 2026 GMT', 'Jan  1 00:00:00 2126 GMT'])
    expect(certificate.serialNumber).not.toBe(new X509Certificate(other.certificate).serialNumber)
  })

  it('is made once, whoever comes first', async () => {
    const { store } = await openTestStore()
    const [one, two] = await Promise.all([ensureIdentityKey(store, ambient), ensureIdentityKey(store, ambient)])
    expect(two).toEqual(one)
    expect(await ensureIdentityKey(store, ambient)).toEqual(one)
    await store.close()
  })

  it('has its certificate in the home, put right when it is another', async () => {
    const file = certificateFileOf(folder)
    for (const certificate of [other.certificate, key.certificate, key.certificate]) {
      await publishCertificate(folder, certificate)
      expect(readFileSync(file, 'utf8')).toBe(certificate)
      expect(statSync(file).mode & 0o777).toBe(0o644)
    }
  })
})

describe('DER', () => {
  it.each([
    ['zero', integer(0), '020100'], ['a small number', integer(127), '02017f'],
    ['a number with the highest bit', integer(Buffer.from([0, 0x80])), '02020080'],
    ['an identifier of large parts', oid('1.2.840.113549'), '06062a864886f70d'],
    ['a set, by its bytes', setOf(integer(2), integer(1)), '3106020101020102'],
    ['127 bytes', octets(Buffer.alloc(127)).subarray(0, 2), '047f'],
    ['128 bytes', octets(Buffer.alloc(128)).subarray(0, 3), '048180'],
    ['70,000 bytes', octets(Buffer.alloc(70_000)).subarray(0, 5), '0483011170'],
    ['a time before 2050', time(NOW_MS), `170d${Buffer.from('260101000000Z').toString('hex')}`],
    ['a time after it', time(Date.UTC(2050, 0, 1)), `180f${Buffer.from('20500101000000Z').toString('hex')}`],
  ])('encodes %s', (_, encoded, hex) => expect(encoded.toString('hex')).toBe(hex))
})
