import type { Clock } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
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
}

/** How far a client's clock may be from ours, as AWS has it. */
const MAX_SKEW_MS = 15 * 60 * 1000

/** Account of everything in permissive mode. */
export const PERMISSIVE_ACCOUNT = '123456789012'

/** Accepts only requests signed (SigV4, by header or in the URL) with a key that `lookup` knows. */
export function strictAuthenticator(
  clock: Clock,
  lookup: (accessKeyId: string) => Promise<AccessKey | undefined>,
): Authenticator {
  return {
    async authenticate(request) {
      const claim = readClaim(request)
      if (claim === undefined) throw missingToken()
      if (claim === 'malformed') throw incomplete()
      const isEc2 = claim.scope.service === 'ec2'
      const key = await lookup(claim.accessKeyId)
      if (!key) throw unknownKey(isEc2)
      checkTime(claim, clock.now())
      if (!isSignedWith(key.secret, claim, request)) throw wrongSignature(isEc2)
      if (claim.securityToken !== undefined) throw unknownToken(isEc2)
      return { account: key.account, accessKeyId: claim.accessKeyId, region: claim.scope.region }
    },
  }
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
  if (signedMs - nowMs > MAX_SKEW_MS) {
    throw expired(`Request is not valid yet: it was signed at ${claim.time}, and it is ${isoTime(nowMs)} here.`)
  }
  if (nowMs - signedMs > lifetimeMs) {
    throw expired(`Request has expired: it was signed at ${claim.time}, and it is ${isoTime(nowMs)} here.`)
  }
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}

function expired(message: string): ApiError {
  return new ApiError('RequestExpired', message, 400)
}

function missingToken(): ApiError {
  return new ApiError('MissingAuthenticationToken', 'Request is missing Authentication Token', 403)
}

function incomplete(): ApiError {
  return new ApiError('AuthFailure', 'Authorization header or parameters are not formatted correctly.', 401)
}

const NOT_VALIDATED = 'AWS was not able to validate the provided access credentials'

function unknownKey(isEc2: boolean): ApiError {
  if (isEc2) return new ApiError('AuthFailure', NOT_VALIDATED, 401)
  return new ApiError('InvalidClientTokenId', 'The security token included in the request is invalid.', 403)
}

function wrongSignature(isEc2: boolean): ApiError {
  if (isEc2) return new ApiError('AuthFailure', NOT_VALIDATED, 401)
  const message = 'The request signature we calculated does not match the signature you provided. '
    + 'Check your AWS Secret Access Key and signing method.'
  return new ApiError('SignatureDoesNotMatch', message, 403)
}

/** Our keys have no session token, so one that comes with them belongs to other credentials. */
function unknownToken(isEc2: boolean): ApiError {
  const { code, message, httpStatus } = unknownKey(isEc2)
  const hint = 'This key has no session token; unset AWS_SESSION_TOKEN.'
  return new ApiError(code, `${message.replace(/\.$/, '')}. ${hint}`, httpStatus)
}
