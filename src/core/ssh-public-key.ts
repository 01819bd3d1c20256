import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { readSshStrings, sshMpint, sshString } from './ssh-wire.ts'

/** The kinds of key that EC2 hands to Linux machines. */
export type SshKeyType = 'rsa' | 'ed25519'

/** Sizes of RSA keys that are taken, in bits. */
const RSA_MIN_BITS = 1024
const RSA_MAX_BITS = 16_384

/** Names of the key types on the wire. */
const WIRE_NAMES = { rsa: 'ssh-rsa', ed25519: 'ssh-ed25519' } as const

/** Says why something is not a public key that can be imported. */
export class SshKeyError extends Error {
  constructor(detail = '') {
    super(`Key is not in valid OpenSSH public key format${detail === '' ? '' : `: ${detail}`}`)
    this.name = 'SshKeyError'
  }
}

/** Which of the supported kinds the key is of; undefined for any other. */
export function sshKeyTypeOf(key: KeyObject): SshKeyType | undefined {
  const type = key.asymmetricKeyType
  return type === 'rsa' || type === 'ed25519' ? type : undefined
}

/** The key's blob: what OpenSSH shows in base64 and what its SHA-256 fingerprint is made of. */
export function sshPublicBlob(key: KeyObject): Buffer {
  const { n, e, x } = key.export({ format: 'jwk' })
  return sshKeyTypeOf(key) === 'rsa'
    ? Buffer.concat([sshString(WIRE_NAMES.rsa), sshMpint(jwkBytes(e)), sshMpint(jwkBytes(n))])
    : Buffer.concat([sshString(WIRE_NAMES.ed25519), sshString(jwkBytes(x))])
}

/** One number of a key in JWK form, as big-endian bytes. */
export function jwkBytes(field: string | undefined): Buffer {
  if (field === undefined) throw new Error('a key without one of its numbers')
  return Buffer.from(field, 'base64url')
}

/** The key as a line of authorized_keys, without a comment and without a newline. */
export function openSshLine(key: KeyObject): string {
  return `${WIRE_NAMES[sshKeyTypeOf(key) ?? 'rsa']} ${sshPublicBlob(key).toString('base64')}`
}

/** SHA-256 of the public blob in base64: EC2's fingerprint of every ED25519 key. */
export function sha256Fingerprint(key: KeyObject): string {
  return createHash('sha256').update(sshPublicBlob(key)).digest('base64')
}

/** A digest of `der` as hexadecimal pairs with colons: EC2's fingerprints of RSA keys. */
export function colonFingerprint(algorithm: 'md5' | 'sha1', der: Buffer): string {
  return createHash(algorithm).update(der).digest('hex').replace(/..(?=.)/g, '$&:')
}

/** EC2's fingerprint of an imported key: RSA the MD5 of its DER, ED25519 as OpenSSH's. */
export function importedFingerprint(key: KeyObject): string {
  if (sshKeyTypeOf(key) === 'ed25519') return sha256Fingerprint(key)
  return colonFingerprint('md5', key.export({ format: 'der', type: 'spki' }))
}

/**
 * Reads a public key in any form that EC2's ImportKeyPair takes: an OpenSSH line, SSH2 (RFC 4716),
 * PEM or DER, each also wrapped in base64 once more, as some clients send it.
 *
 * @throws SshKeyError when it is none of these, not RSA or ED25519, or too weak.
 */
export function parsePublicKey(material: Uint8Array): KeyObject {
  const bytes = Buffer.from(material)
  const text = bytes.toString('latin1')
  const key = readKey(bytes) ?? (/^[A-Za-z0-9+/=\s]+$/.test(text) ? readKey(Buffer.from(text, 'base64')) : undefined)
  if (!key) throw new SshKeyError()
  const type = sshKeyTypeOf(key)
  if (!type) throw new SshKeyError('only RSA and ED25519 keys can be imported')
  if (type === 'rsa') {
    const { modulusLength: bits = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
    if (publicExponent < 3n || publicExponent % 2n === 0n) {
      throw new SshKeyError('its RSA exponent is not an odd number above 1')
    }
    if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS) {
      throw new SshKeyError(`an RSA key must have ${RSA_MIN_BITS} to ${RSA_MAX_BITS} bits, this one has ${bits}`)
    }
  }
  return key
}

function readKey(bytes: Buffer): KeyObject | undefined {
  const text = bytes.toString('latin1').trim()
  if (text.startsWith('---- BEGIN SSH2 PUBLIC KEY ----')) return readRfc4716(text)
  // Only public forms: Node would happily take the public half out of a private key or certificate.
  if (/^-----BEGIN (RSA )?PUBLIC KEY-----/.test(text)) return tryKey(() => createPublicKey(text))
  if (/^(ssh|ecdsa|sk)-[^ ]+ /.test(text)) return readOpenSshLine(text)
  if (bytes[0] !== DER_SEQUENCE) return undefined
  return tryKey(() => createPublicKey({ key: bytes, format: 'der', type: 'spki' }))
}

/** First byte of everything in DER that could be a key. */
const DER_SEQUENCE = 0x30

function readOpenSshLine(line: string): KeyObject | undefined {
  if (/[\r\n]/.test(line)) throw new SshKeyError('import one key at a time, on one line')
  const [name = '', base64 = ''] = line.split(/[ \t]+/)
  return readBlob(base64, name)
}

function readRfc4716(text: string): KeyObject | undefined {
  const lines = text.split(/\r?\n/)
  if (lines.pop() !== '---- END SSH2 PUBLIC KEY ----') return undefined
  // A header is "Tag: value"; one that ends in a backslash goes on in the next line.
  const body = lines.slice(1).join('\n').replaceAll('\\\n', '').split('\n').filter((line) => !line.includes(':'))
  return readBlob(body.join(''))
}

function readBlob(base64: string, expectedName?: string): KeyObject | undefined {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined
  const [name, ...fields] = readSshStrings(Buffer.from(base64, 'base64')) ?? []
  const type = name?.toString('latin1')
  if (type === undefined || (expectedName !== undefined && type !== expectedName)) return undefined
  const [first, second] = fields.map((field) => field.toString('base64url'))
  if (type === WIRE_NAMES.rsa && fields.length === 2) {
    return tryKey(() => createPublicKey({ key: { kty: 'RSA', e: first, n: second }, format: 'jwk' }))
  }
  if (type === WIRE_NAMES.ed25519 && fields.length === 1) {
    return tryKey(() => createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: first }, format: 'jwk' }))
  }
  throw new SshKeyError(`key type ${type.slice(0, 40)} is not supported; import an RSA or ED25519 key`)
}

function tryKey(read: () => KeyObject): KeyObject | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
