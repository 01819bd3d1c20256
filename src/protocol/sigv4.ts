import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { pathOf, urlParameters, type RawRequest } from './request.ts'

// AWS Signature Version 4, as in AWS's "Authenticating Requests (AWS Signature Version 4)".

const ALGORITHM = 'AWS4-HMAC-SHA256'

/** What a signature is good for: one day, one region, one service. */
export interface Scope {
  /** YYYYMMDD, UTC. */
  date: string
  region: string
  service: string
}

/** What a request says of its own signature; nothing of it is verified. */
export interface SignatureClaim {
  accessKeyId: string
  scope: Scope
  /** YYYYMMDDTHHMMSSZ. */
  time: string
  signedHeaders: string[]
  /** Lower-case hexadecimal. */
  signature: string
  /** Lifetime of a presigned URL, in seconds; undefined when signed by header. */
  expiresS: number | undefined
  securityToken: string | undefined
}

export interface SigningCredentials {
  accessKeyId: string
  secretAccessKey: string
}

/**
 * The claim in a request's Authorization header or X-Amz-* query parameters: undefined when there
 * is none, 'malformed' when there is one that cannot be read.
 */
export function readClaim(request: RawRequest): SignatureClaim | 'malformed' | undefined {
  if (request.headers['authorization'] !== undefined) return headerClaim(request) ?? 'malformed'
  const parameters = new Map(urlParameters(request))
  const isPresigned = parameters.has('X-Amz-Signature') || parameters.has('X-Amz-Credential')
  return isPresigned ? (queryClaim(parameters) ?? 'malformed') : undefined
}

function headerClaim(request: RawRequest): SignatureClaim | undefined {
  const [, algorithm, fields] = /^\s*(\S+)\s+(.*)$/.exec(request.headers['authorization'] ?? '') ?? []
  if (algorithm !== ALGORITHM || fields === undefined) return undefined
  const values = new Map<string, string>()
  for (const field of fields.split(',')) {
    const [name = '', ...value] = field.trim().split('=')
    values.set(name, value.join('='))
  }
  return claim({
    credential: values.get('Credential'),
    time: request.headers['x-amz-date'] ?? basicTime(request.headers['date']),
    signedHeaders: values.get('SignedHeaders'),
    signature: values.get('Signature'),
    securityToken: request.headers['x-amz-security-token'],
  })
}

function queryClaim(parameters: ReadonlyMap<string, string>): SignatureClaim | undefined {
  if (parameters.get('X-Amz-Algorithm') !== ALGORITHM) return undefined
  const expires = parameters.get('X-Amz-Expires') ?? ''
  if (!/^\d{1,6}$/.test(expires) || Number(expires) < 1 || Number(expires) > MAX_EXPIRES_S) return undefined
  const found = claim({
    credential: parameters.get('X-Amz-Credential'),
    time: parameters.get('X-Amz-Date'),
    signedHeaders: parameters.get('X-Amz-SignedHeaders'),
    signature: parameters.get('X-Amz-Signature'),
    securityToken: parameters.get('X-Amz-Security-Token'),
  })
  return found && { ...found, expiresS: Number(expires) }
}

/** Seven days, as AWS allows. */
const MAX_EXPIRES_S = 604_800

type ClaimTexts = Record<'credential' | 'time' | 'signedHeaders' | 'signature' | 'securityToken', string | undefined>

function claim({ credential, time, signedHeaders, signature, securityToken }: ClaimTexts): SignatureClaim | undefined {
  const parts = /^([\w-]{1,128})\/(\d{8})\/([\w-]{1,64})\/([\w-]{1,64})\/aws4_request$/.exec(credential ?? '')
  const [, accessKeyId, date, region, service] = parts ?? []
  if (accessKeyId === undefined || date === undefined || region === undefined || service === undefined) return undefined
  if (time === undefined || !/^\d{8}T\d{6}Z$/.test(time) || !time.startsWith(date)) return undefined
  if (Number.isNaN(timeOf(time)) || !/^[0-9a-f]{64}$/.test(signature ?? '')) return undefined
  const names = (signedHeaders ?? '').split(';')
  // A signature without the host could be replayed to another endpoint.
  if (!names.includes('host')) return undefined
  return {
    accessKeyId, scope: { date, region, service }, time, signedHeaders: names, signature: signature ?? '',
    expiresS: undefined, securityToken: securityToken || undefined,
  }
}

/** "20260131T090000Z" as milliseconds since the epoch; NaN when it is no time. */
export function timeOf(time: string): number {
  return Date.parse(time.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'))
}

/** Milliseconds since the epoch, or a Date header, as "20260131T090000Z". */
function basicTime(time: number | string | undefined): string | undefined {
  const date = new Date(time ?? Number.NaN)
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString().replaceAll(/[-:]|\.\d+/g, '')
}

/** Whether the claim's signature is the one that `secret` gives for the request as it arrived. */
export function isSignedWith(secret: string, claim: SignatureClaim, request: RawRequest): boolean {
  const expected = signature(secret, claim, request)
  return timingSafeEqual(Buffer.from(expected, 'latin1'), Buffer.from(claim.signature, 'latin1'))
}

type Signed = Pick<SignatureClaim, 'accessKeyId' | 'scope' | 'time' | 'signedHeaders'>

function signature(secret: string, signed: Signed, request: RawRequest): string {
  const requestHash = sha256(canonicalRequest(request, signed.signedHeaders))
  const text = [ALGORITHM, signed.time, scopeText(signed.scope), requestHash]
  return createHmac('sha256', signingKey(secret, signed)).update(text.join('\n')).digest('hex')
}

/** The hash is always of the body that came, whatever X-Amz-Content-Sha256 says. */
function canonicalRequest(request: RawRequest, signedHeaders: string[]): string {
  const valueOf = (name: string) => (request.headers[name] ?? '').trim().replaceAll(/ +/g, ' ')
  const headers = signedHeaders.map((name) => `${name}:${valueOf(name)}\n`)
  const query = urlParameters(request)
    .filter(([key]) => key !== 'X-Amz-Signature')
    .map(([key, value]) => [uriEncode(key), uriEncode(value)] as const)
    .toSorted(([a, x], [b, y]) => compare(a, b) || compare(x, y))
    .map((pair) => pair.join('='))
  const path = pathOf(request).split('/').map(uriEncode).join('/') || '/'
  const names = signedHeaders.join(';')
  return [request.method, path, query.join('&'), headers.join(''), names, sha256(request.body)].join('\n')
}

function compare(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1
}

function uriEncode(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, percentEncode)
}

function percentEncode(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
}

function scopeText({ date, region, service }: Scope): string {
  return `${date}/${region}/${service}/aws4_request`
}

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex')
}

/** Derived keys, by key id and scope; a client uses one for a whole day. */
const derivedKeys = new Map<string, { secret: string; key: Buffer }>()
const MAX_DERIVED_KEYS = 256

function signingKey(secret: string, { accessKeyId, scope }: Signed): Buffer {
  const name = `${accessKeyId}/${scopeText(scope)}`
  const known = derivedKeys.get(name)
  if (known?.secret === secret) return known.key
  let key: Buffer = Buffer.from(`AWS4${secret}`, 'utf8')
  for (const part of [scope.date, scope.region, scope.service, 'aws4_request']) {
    key = createHmac('sha256', key).update(part).digest()
  }
  const [oldest] = derivedKeys.keys()
  if (oldest !== undefined && derivedKeys.size >= MAX_DERIVED_KEYS) derivedKeys.delete(oldest)
  derivedKeys.set(name, { secret, key })
  return key
}

/**
 * The headers of a request together with those that sign it: X-Amz-Date and Authorization. Every
 * header given is signed; `headers` must hold the host.
 */
export function sign(
  request: RawRequest,
  credentials: SigningCredentials,
  target: { region: string; service: string },
  nowMs: number,
): Record<string, string | undefined> {
  const time = basicTime(nowMs) ?? ''
  const headers = { ...request.headers, 'x-amz-date': time }
  const signed: Signed = {
    accessKeyId: credentials.accessKeyId,
    scope: { ...target, date: time.slice(0, 8) },
    time,
    signedHeaders: Object.keys(headers).toSorted(),
  }
  const value = signature(credentials.secretAccessKey, signed, { ...request, headers })
  const authorization = `${ALGORITHM} Credential=${credentials.accessKeyId}/${scopeText(signed.scope)}, `
    + `SignedHeaders=${signed.signedHeaders.join(';')}, Signature=${value}`
  return { ...headers, authorization }
}

/** The URL of a request with the parameters that sign it, good for `expiresS` seconds. */
export function presign(
  request: RawRequest,
  credentials: SigningCredentials,
  target: { region: string; service: string },
  nowMs: number,
  expiresS: number,
): string {
  const time = basicTime(nowMs) ?? ''
  const scope = { ...target, date: time.slice(0, 8) }
  const parameters = {
    'X-Amz-Algorithm': ALGORITHM,
    'X-Amz-Credential': `${credentials.accessKeyId}/${scopeText(scope)}`,
    'X-Amz-Date': time,
    'X-Amz-Expires': String(expiresS),
    'X-Amz-SignedHeaders': 'host',
  }
  const added = Object.entries(parameters).map((pair) => pair.map(uriEncode).join('=')).join('&')
  const url = `${request.url}${request.url.includes('?') ? '&' : '?'}${added}`
  const signed = { accessKeyId: credentials.accessKeyId, scope, time, signedHeaders: ['host'] }
  return `${url}&X-Amz-Signature=${signature(credentials.secretAccessKey, signed, { ...request, url })}`
}
