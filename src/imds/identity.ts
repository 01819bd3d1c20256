import { createHash, createPrivateKey, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { explicit, implicit, integer, nothing, octets, oid, sequence, setOf, time } from './der.ts'
import type { IdentityKey } from './identity-key.ts'
import type { InstanceMetadata } from './tree.ts'

/** The signatures of a document, each as the metadata service gives it: base64 in lines, no armour. */
export interface IdentitySignatures {
  /** RSA with SHA-256 over the document's bytes. */
  signature: string
  /** PKCS #7 signed data that holds the document, without certificates. */
  pkcs7: string
}

/** Signs documents; `madeMs` goes into the PKCS #7, so that the same document has the same signatures. */
export type IdentitySigner = (document: string, madeMs: number) => Promise<IdentitySignatures>

/** Documents whose signatures are remembered; one takes some 3 kB. */
const MAX_REMEMBERED = 1000
const BASE64_LINE = 76
const signed = promisify(sign)

/** A signer by the cloud's key. Each document is signed once, off this thread, while it is remembered. */
export function createIdentitySigner(key: IdentityKey): IdentitySigner {
  const privateKey = createPrivateKey(key.privateKey)
  const issuerAndSerial = Buffer.from(key.issuerAndSerial, 'base64')
  const remembered = new Map<string, Promise<IdentitySignatures>>()

  async function signAnew(document: Buffer, madeMs: number): Promise<IdentitySignatures> {
    const attributes = signedAttributes(document, madeMs)
    const [signature, ofAttributes] = await Promise.all([
      signed('sha256', document, privateKey), signed('sha256', attributes, privateKey),
    ])
    return {
      signature: inLines(signature),
      pkcs7: inLines(signedData(document, issuerAndSerial, attributes, ofAttributes)),
    }
  }

  return (document, madeMs) => {
    const cacheKey = `${madeMs} ${document}`
    const known = remembered.get(cacheKey)
    if (known) return known
    const fresh = signAnew(Buffer.from(document), madeMs)
    fresh.catch(() => remembered.delete(cacheKey))
    remembered.set(cacheKey, fresh)
    const [oldest] = remembered.keys()
    if (remembered.size > MAX_REMEMBERED && oldest !== undefined) remembered.delete(oldest)
    return fresh
  }
}

const SHA256 = '2.16.840.1.101.3.4.2.1'
const RSA = '1.2.840.113549.1.1.1'
const DATA = '1.2.840.113549.1.7.1'
const SIGNED_DATA = '1.2.840.113549.1.7.2'

/** ContentInfo of SignedData (RFC 2315, 9) by one signer. */
function signedData(document: Buffer, issuerAndSerial: Buffer, attributes: Buffer, signature: Buffer): Buffer {
  const sha256 = sequence(oid(SHA256), nothing())
  const signer = sequence(
    integer(1), issuerAndSerial, sha256, implicit(0, attributes), sequence(oid(RSA), nothing()), octets(signature))
  const content = sequence(oid(DATA), explicit(0, octets(document)))
  return sequence(oid(SIGNED_DATA), explicit(0, sequence(integer(1), setOf(sha256), content, setOf(signer))))
}

/** Content type, signing time and digest: what is signed in the document's place (RFC 2315, 9.2). */
function signedAttributes(document: Buffer, madeMs: number): Buffer {
  const digest = createHash('sha256').update(document).digest()
  return setOf(
    sequence(oid('1.2.840.113549.1.9.3'), setOf(oid(DATA))),
    sequence(oid('1.2.840.113549.1.9.5'), setOf(time(madeMs))),
    sequence(oid('1.2.840.113549.1.9.4'), setOf(octets(digest))),
  )
}

function inLines(bytes: Buffer): string {
  return (bytes.toString('base64').match(new RegExp(`.{1,${BASE64_LINE}}`, 'g')) ?? []).join('\n')
}

/** The instance identity document (User Guide, "Instance identity documents"), byte by byte the same for a launch. */
export function identityDocument(view: InstanceMetadata): string {
  const document = {
    accountId: view.accountId,
    architecture: view.architecture,
    availabilityZone: view.zone,
    billingProducts: null,
    devpayProductCodes: null,
    marketplaceProductCodes: null,
    imageId: view.imageId,
    instanceId: view.instanceId,
    instanceType: view.instanceType,
    kernelId: null,
    pendingTime: new Date(view.launchMs).toISOString().replace(/\.\d+Z$/, 'Z'),
    privateIp: view.interfaces[0]?.privateIp ?? null,
    ramdiskId: null,
    region: view.region,
    version: '2017-09-30',
  }
  // AWS writes it with a blank before each colon.
  return JSON.stringify(document, null, 2).replace(/^( {2}"\w+"):/gm, '$1 :')
}
