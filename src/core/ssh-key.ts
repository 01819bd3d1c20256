import { createHash, createHmac, generateKeyPair, randomBytes, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import {
  colonFingerprint, jwkBytes, openSshLine, sha256Fingerprint, sshKeyTypeOf, sshPublicBlob, type SshKeyType,
} from './ssh-public-key.ts'
import { sshMpint, sshString, sshUint32 } from './ssh-wire.ts'

/** What a new key pair is made of. */
export interface KeyMaterial {
  keyType: SshKeyType
  /** As EC2 gives it for keys that it made: RSA the SHA-1 of the private key, ED25519 as OpenSSH's. */
  fingerprint: string
  /** A line of authorized_keys without a comment. */
  publicKey: string
  /** The private key's file: PEM, OpenSSH's format for ED25519, or PuTTY's. */
  privateKey: string
}

/** Form of the private key's file; 'pem' means OpenSSH's own format for ED25519 keys. */
export type SshKeyFormat = 'pem' | 'ppk'

const RSA_BITS = 2048
const generate = promisify(generateKeyPair)

/** Makes a key pair as CreateKeyPair does; takes some 100 ms (on a thread of its own) for RSA. */
export async function generateSshKey(keyType: SshKeyType, format: SshKeyFormat, comment: string): Promise<KeyMaterial> {
  const { publicKey, privateKey } =
    keyType === 'rsa' ? await generate('rsa', { modulusLength: RSA_BITS }) : await generate('ed25519', {})
  return {
    keyType,
    fingerprint: createdFingerprint(privateKey, publicKey),
    publicKey: openSshLine(publicKey),
    privateKey: format === 'ppk' ? puttyKey(privateKey, publicKey, comment) : pemKey(privateKey, publicKey),
  }
}

/** EC2's fingerprint of a key that it made itself. */
function createdFingerprint(privateKey: KeyObject, publicKey: KeyObject): string {
  if (sshKeyTypeOf(publicKey) === 'ed25519') return sha256Fingerprint(publicKey)
  return colonFingerprint('sha1', privateKey.export({ format: 'der', type: 'pkcs8' }))
}

/** PKCS#1 for RSA, OpenSSH's format for ED25519 (for which PEM has none that ssh reads). */
export function pemKey(privateKey: KeyObject, publicKey: KeyObject): string {
  if (sshKeyTypeOf(publicKey) === 'rsa') return privateKey.export({ format: 'pem', type: 'pkcs1' }).toString()
  const { d } = privateKey.export({ format: 'jwk' })
  const blob = sshPublicBlob(publicKey)
  const point = blob.subarray(-32)
  // The same random number twice lets a reader see that it decrypted the section rightly.
  const check = randomBytes(4)
  const secrets = Buffer.concat([
    check, check, blob, sshString(Buffer.concat([jwkBytes(d), point])), sshString(''),
  ])
  const padding = Buffer.from([1, 2, 3, 4, 5, 6, 7]).subarray(0, (8 - (secrets.length % 8)) % 8)
  const file = Buffer.concat([
    Buffer.from('openssh-key-v1\0'), sshString('none'), sshString('none'), sshString(''),
    sshUint32(1), sshString(blob), sshString(Buffer.concat([secrets, padding])),
  ])
  const lines = wrap(file.toString('base64'), 70)
  return ['-----BEGIN OPENSSH PRIVATE KEY-----', ...lines, '-----END OPENSSH PRIVATE KEY-----', ''].join('\n')
}

/** PuTTY's file, unencrypted, in version 2, which every PuTTY reads. */
export function puttyKey(privateKey: KeyObject, publicKey: KeyObject, comment: string): string {
  const { d, p, q, qi } = privateKey.export({ format: 'jwk' })
  const isRsa = sshKeyTypeOf(publicKey) === 'rsa'
  const name = isRsa ? 'ssh-rsa' : 'ssh-ed25519'
  const secrets = isRsa
    ? Buffer.concat([d, p, q, qi].map((each) => sshMpint(jwkBytes(each))))
    : sshString(jwkBytes(d))
  const blob = sshPublicBlob(publicKey)
  const covered = Buffer.concat([name, 'none', comment, blob, secrets].map(sshString))
  const macKey = createHash('sha1').update('putty-private-key-file-mac-key').digest()
  return [
    `PuTTY-User-Key-File-2: ${name}`, 'Encryption: none', `Comment: ${comment}`,
    ...puttySection('Public', blob), ...puttySection('Private', secrets),
    `Private-MAC: ${createHmac('sha1', macKey).update(covered).digest('hex')}`, '',
  ].join('\n')
}

function puttySection(title: string, data: Buffer): string[] {
  const lines = wrap(data.toString('base64'), 64)
  return [`${title}-Lines: ${lines.length}`, ...lines]
}

function wrap(text: string, width: number): string[] {
  return text.match(new RegExp(`.{1,${width}}`, 'g')) ?? []
}
