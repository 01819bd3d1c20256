import { generateKeyPair, sign } from 'node:crypto'
import { promisify } from 'node:util'
import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { Store } from '../store/store.ts'
import { bits, explicit, integer, nothing, octets, oid, sequence, setOf, time, utf8, yes } from './der.ts'

/** What signs the identity documents of one cloud. Both texts are PEM. */
export interface IdentityKey {
  privateKey: string
  /** Self-signed X.509; what a verifier needs. */
  certificate: string
  /** How a signature names that certificate: DER, base64. */
  issuerAndSerial: string
}

const META_KEY = 'identity-key'
const VALID_YEARS = 100
const makeKeyPair = promisify(generateKeyPair)
const signed = promisify(sign)

/**
 * The key of this cloud, made once and kept in the table `meta`. Processes that come first at the
 * same time agree on one of their keys.
 */
export async function ensureIdentityKey(
  store: Store,
  { clock, random }: { clock: Clock; random: Random },
): Promise<IdentityKey> {
  const existing = await store.read((db) =>
    db.selectFrom('meta').select('value').where('key', '=', META_KEY).executeTakeFirst())
  if (existing) return JSON.parse(existing.value) as IdentityKey
  const fresh = JSON.stringify(await makeIdentityKey(random, clock.now()))
  const { value } = await store.transaction('identity.key', async (db) => {
    await db
      .insertInto('meta').values({ key: META_KEY, value: fresh })
      .onConflict((on) => on.column('key').doNothing()).execute()
    return db.selectFrom('meta').select('value').where('key', '=', META_KEY).executeTakeFirstOrThrow()
  })
  return JSON.parse(value) as IdentityKey
}

/** An RSA-2048 key and its certificate (RFC 5280), good for signing alone. */
export async function makeIdentityKey(random: Random, nowMs: number): Promise<IdentityKey> {
  const { privateKey, publicKey } = await makeKeyPair('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'der' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  const name = sequence(attribute('2.5.4.10', 'Hearth'), attribute('2.5.4.3', 'Hearth instance identity'))
  // Positive, not zero, and of one length, whatever the bytes.
  const serial = integer(Buffer.concat([Buffer.from([0x40]), random.bytes(15)]))
  const algorithm = sequence(oid('1.2.840.113549.1.1.11'), nothing())
  const body = sequence(
    explicit(0, integer(2)), serial, algorithm, name,
    sequence(time(nowMs), time(yearsLater(nowMs, VALID_YEARS))), name, publicKey, explicit(3, extensions()))
  const certificate = sequence(body, algorithm, bits(await signed('sha256', body, privateKey)))
  const issuerAndSerial = sequence(name, serial).toString('base64')
  return { privateKey, certificate: pem(certificate), issuerAndSerial }
}

function attribute(type: string, value: string): Buffer {
  return setOf(sequence(oid(type), utf8(value)))
}

/** Critical both: no authority for other certificates; the key makes digital signatures. */
function extensions(): Buffer {
  return sequence(
    sequence(oid('2.5.29.19'), yes(), octets(sequence())),
    sequence(oid('2.5.29.15'), yes(), octets(bits(Buffer.from([0x80]), 7))),
  )
}

function yearsLater(ms: number, years: number): number {
  const date = new Date(ms)
  return date.setUTCFullYear(date.getUTCFullYear() + years)
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}
