import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { importedFingerprint, openSshLine, parsePublicKey, SshKeyError } from './ssh-public-key.ts'
import { sshMpint, sshString } from './ssh-wire.ts'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ed25519 = generateKeyPairSync('ed25519')
const rsaLine = openSshLine(rsa.publicKey)
const edLine = openSshLine(ed25519.publicKey)
const blobLine = (...fields: Buffer[]) =>
  `ssh-rsa ${Buffer.concat([sshString('ssh-rsa'), ...fields]).toString('base64')}`
const bytes = (text: string) => Buffer.from(text)
const pem = (key = rsa) => key.publicKey.export({ format: 'pem', type: 'spki' }).toString()
const der = () => rsa.publicKey.export({ format: 'der', type: 'spki' })
const rfc4716 = (line: string) => {
  const body = line.split(' ')[1]?.replace(/.{70}/g, '$&\n')
  return `---- BEGIN SSH2 PUBLIC KEY ----\nComment: "one, \\\ntwo"\nx-tag: 1\n${body}\n---- END SSH2 PUBLIC KEY ----\n`
}

describe('parsePublicKey', () => {
  it.each([
    ['an OpenSSH line', bytes(rsaLine), rsaLine],
    ['a line with a comment and a newline', bytes(`${edLine} me@laptop of mine\n`), edLine],
    ['a line with Windows line ends', bytes(`${edLine} me\r\n`), edLine],
    ['a line in base64 once more', bytes(bytes(`${edLine} me\n`).toString('base64')), edLine],
    ['base64 with line breaks', bytes(bytes(rsaLine).toString('base64').replace(/.{76}/g, '$&\n')), rsaLine],
    ['PEM (SPKI)', bytes(pem()), rsaLine],
    ['PEM of an ED25519 key', bytes(ed25519.publicKey.export({ format: 'pem', type: 'spki' }).toString()), edLine],
    ['PEM (PKCS#1)', bytes(rsa.publicKey.export({ format: 'pem', type: 'pkcs1' }).toString()), rsaLine],
    ['PEM in base64', bytes(bytes(pem()).toString('base64')), rsaLine],
    ['DER', der(), rsaLine],
    ['DER in base64', bytes(der().toString('base64')), rsaLine],
    ['SSH2 (RFC 4716)', bytes(rfc4716(rsaLine)), rsaLine],
    ['SSH2 of an ED25519 key', bytes(rfc4716(edLine)), edLine],
  ])('reads %s', (_what, material, line) => {
    expect(openSshLine(parsePublicKey(material))).toBe(line)
  })

  const ecdsa = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const weak = generateKeyPairSync('rsa', { modulusLength: 512 })
  const modulus = Buffer.alloc(256, 0xff)
  it.each([
    ['nothing', '', ''],
    ['a sentence', 'my key is under the mat', ''],
    ['a private key', rsa.privateKey.export({ format: 'pem', type: 'pkcs1' }).toString(), ''],
    ['a line without its blob', 'ssh-rsa ', ''],
    ['a line whose blob is cut short', rsaLine.slice(0, -20), ''],
    ['a line whose type is another than its blob says', edLine.replace('ssh-ed25519', 'ssh-rsa'), ''],
    ['two keys', `${rsaLine}\n${edLine}`, 'one key at a time'],
    ['a weak key', openSshLine(weak.publicKey), 'this one has 512'],
    ['an even exponent', blobLine(sshMpint(Buffer.from([2])), sshMpint(modulus)), 'exponent'],
    ['a modulus of nothing', blobLine(sshMpint(Buffer.from([3])), sshMpint(Buffer.alloc(1))), 'this one has 0'],
    ['an ECDSA line', `ecdsa-sha2-nistp256 ${sshString('ecdsa-sha2-nistp256').toString('base64')}`, 'key type ecdsa'],
    ['an ECDSA key in PEM', ecdsa.publicKey.export({ format: 'pem', type: 'spki' }).toString(), 'only RSA and ED25519'],
    ['SSH2 without its end', rfc4716(rsaLine).replace(/---- END.*/, ''), ''],
  ])('refuses %s', (_what, material, detail) => {
    const message = new RegExp(`^Key is not in valid OpenSSH public key format${detail === '' ? '$' : `: .*${detail}`}`)
    expect(() => parsePublicKey(bytes(material))).toThrow(SshKeyError)
    expect(() => parsePublicKey(bytes(material))).toThrow(message)
  })

  it('never fails otherwise, whatever it is given', () => {
    const damaged = fc.tuple(fc.nat(rsaLine.length - 1), fc.string({ maxLength: 3 })).map(([at, text]) =>
      bytes(rsaLine.slice(0, at) + text + rsaLine.slice(at + 1)))
    fc.assert(fc.property(fc.oneof(fc.uint8Array(), damaged), (material) => {
      try {
        parsePublicKey(material)
      } catch (error) {
        expect(error).toBeInstanceOf(SshKeyError)
      }
    }))
  })
})

describe('importedFingerprint', () => {
  it('is openssl rsa -pubout -outform DER | openssl md5 -c for RSA', () => {
    const shown = execFileSync('openssl', ['md5', '-c'], { input: der(), encoding: 'utf8' })
    expect(shown.trim()).toMatch(new RegExp(`= ${importedFingerprint(rsa.publicKey)}$`))
  })

  it('is what ssh-keygen -l shows, with base64 padding, for ED25519', () => {
    const shown = execFileSync('ssh-keygen', ['-l', '-f', '-'], { input: edLine, encoding: 'utf8' })
    expect(`${/SHA256:(\S+)/.exec(shown)?.[1]}=`).toBe(importedFingerprint(ed25519.publicKey))
  })
})

describe('sshMpint', () => {
  it.each([
    ['00', '00000000'],
    ['7f', '000000017f'],
    ['80', '000000020080'],
    ['0000ff01', '0000000300ff01'],
  ])('writes %s as %s', (digits, expected) => {
    expect(sshMpint(Buffer.from(digits, 'hex')).toString('hex')).toBe(expected)
  })
})
