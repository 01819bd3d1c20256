import { createHash, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { authError } from './auth-errors.ts'
import { restServiceAt } from './rest.ts'
import { isSignedWith, readClaim, timeOf, type SignatureClaim } from './sigv4.ts'
import type { RawRequest } from './request.ts'

/** Who calls. */
export interface Identity {
  /** Twelve digits. */
  account: string
  /** Null when the request is not signed (permissive mode only). */
  accessKeyId: string | null
  /** Region the request was signed for; null when it is not signed. */
  region: string | null
}

export interface Authenticator {
  /**
   * The identity that a request proves.
   *
   * @throws ApiError in the words of the service that the request is signed for.
   */
  authenticate(request: RawRequest): Promise<Identity>
}

/** A key that someone may sign with. */
export interface AccessKey {
  secret: string
  account: string
  /** Of a temporary key: the token that must come with it, and its end in milliseconds since the epoch. */
  session?: { token: string; expiresMs: number } | undefined
}

/** How far a client's clock may be from ours, as AWS has it. */
const MAX_SKEW_MS = 15 * 60 * 1000

/** Account of everything in permissive mode. */
const PERMISSIVE_ACCOUNT = '123456789012'

/** Accepts only requests signed (SigV4, by header or in the URL) with a key that `lookup` knows. */
export function strictAuthenticator(
  clock: Clock,
  lookup: (accessKeyId: string) => Promise<AccessKey | undefined>,
): Authenticator {
  return {
    async authenticate(request) {
      const claim = readClaim(request)
      const service = serviceOf(request, claim)
      if (claim === undefined) throw authError(service, 'missing')
      if (claim === 'malformed') throw authError(service, 'malformed')
      const nowMs = clock.now()
      const key = await lookup(claim.accessKeyId)
      if (!key) throw authError(service, 'unknown-key')
      checkTime(claim, nowMs)
      if (!isSignedWith(key.secret, claim, request)) throw authError(service, 'wrong-signature')
      checkSession(key, claim, nowMs)
      return { account: key.account, accessKeyId: claim.accessKeyId, region: claim.scope.region }
    },
  }
}

/** Whose words a request without a readable claim is answered in: only JSON is sent with a target, only REST has paths. */
function serviceOf(request: RawRequest, claim: SignatureClaim | 'malformed' | undefined): string {
  if (claim !== undefined && claim !== 'malformed') return claim.scope.service
  return restServiceAt(request)?.service ?? (request.headers['x-amz-target'] === undefined ? 'ec2' : 'ssm')
}

/** Accepts any key and none; only for an endpoint that nobody else can reach. */
export const permissiveAuthenticator: Authenticator = {
  authenticate(request) {
    const claim = readClaim(request)
    const isSigned = claim !== undefined && claim !== 'malformed'
    return Promise.resolve({
      account: PERMISSIVE_ACCOUNT,
      accessKeyId: isSigned ? claim.accessKeyId : null,
      region: isSigned ? claim.scope.region : null,
    })
  },
}

function checkTime(claim: SignatureClaim, nowMs: number): void {
  const signedMs = timeOf(claim.time)
  const lifetimeMs = claim.expiresS === undefined ? MAX_SKEW_MS : claim.expiresS * 1000
  const times = `it was signed at ${claim.time}, and it is ${isoTime(nowMs)} here.`
  const wrong = (detail: string) => authError(claim.scope.service, 'wrong-time', { detail })
  if (signedMs - nowMs > MAX_SKEW_MS) throw wrong(`Request is not valid yet: ${times}`)
  if (nowMs - signedMs > lifetimeMs) throw wrong(`Request has expired: ${times}`)
}

/** A temporary key comes with its token and is good until its end; any other comes without one. */
function checkSession({ session }: AccessKey, claim: SignatureClaim, nowMs: number): void {
  const { securityToken, scope } = claim
  if (!session) {
    if (securityToken === undefined) return
    throw authError(scope.service, 'unknown-key', { hint: 'This key has no session token; unset AWS_SESSION_TOKEN.' })
  }
  const isRight = securityToken !== undefined && isEqual(securityToken, session.token)
  if (!isRight) throw authError(scope.service, 'unknown-key')
  if (nowMs >= session.expiresMs) throw authError(scope.service, 'expired-session')
}

/** In a time that tells nothing of where two texts differ, nor of their lengths. */
function isEqual(given: string, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}
