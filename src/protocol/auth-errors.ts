import { ApiError } from '../core/errors.ts'

/** What can be wrong with how a request is signed. */
export type AuthProblem =
  | 'missing' | 'malformed' | 'unknown-key' | 'wrong-signature' | 'expired-session' | 'wrong-time' | 'wrong-region'

type Told = [code: string, message: string, httpStatus: number]

const NOT_VALIDATED = 'AWS was not able to validate the provided access credentials'
const INVALID_TOKEN = 'The security token included in the request is invalid.'
const EXPIRED_TOKEN = 'The security token included in the request is expired'
const MALFORMED = 'Authorization header or parameters are not formatted correctly.'
const WRONG_REGION = 'Credential should be scoped to a valid region.'
const MISMATCH = 'The request signature we calculated does not match the signature you provided. '
  + 'Check your AWS Secret Access Key and signing method.'

// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
const EC2: Record<AuthProblem, Told> = {
  missing: ['MissingAuthenticationToken', 'Request is missing Authentication Token', 403],
  malformed: ['AuthFailure', MALFORMED, 401],
  'unknown-key': ['AuthFailure', NOT_VALIDATED, 401],
  'wrong-signature': ['AuthFailure', NOT_VALIDATED, 401],
  'expired-session': ['RequestExpired', 'Request has expired.', 400],
  'wrong-time': ['RequestExpired', 'Request has expired.', 400],
  'wrong-region': ['AuthFailure', WRONG_REGION, 401],
}

// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
const QUERY: Record<AuthProblem, Told> = {
  missing: EC2.missing,
  malformed: ['IncompleteSignature', MALFORMED, 400],
  'unknown-key': ['InvalidClientTokenId', INVALID_TOKEN, 403],
  'wrong-signature': ['SignatureDoesNotMatch', MISMATCH, 403],
  'expired-session': ['ExpiredToken', EXPIRED_TOKEN, 403],
  'wrong-time': EC2['wrong-time'],
  'wrong-region': ['SignatureDoesNotMatch', WRONG_REGION, 403],
}

// https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html
const JSON_SERVICE: Record<AuthProblem, Told> = {
  missing: ['MissingAuthenticationTokenException', 'Missing Authentication Token', 400],
  malformed: ['IncompleteSignatureException', MALFORMED, 400],
  'unknown-key': ['UnrecognizedClientException', INVALID_TOKEN, 400],
  'wrong-signature': ['InvalidSignatureException', MISMATCH, 400],
  'expired-session': ['ExpiredTokenException', EXPIRED_TOKEN, 400],
  'wrong-time': ['InvalidSignatureException', 'Signature expired.', 400],
  'wrong-region': ['InvalidSignatureException', WRONG_REGION, 400],
}

/** The same codes, with the status that REST has for them. */
const REST_SERVICE = Object.fromEntries(
  Object.entries(JSON_SERVICE).map(([problem, [code, message]]) => [problem, [code, message, 403]]),
) as Record<AuthProblem, Told>

const DIALECTS: Record<string, Record<AuthProblem, Told>> = {
  'ec2-instance-connect': JSON_SERVICE, iam: QUERY, rbin: REST_SERVICE, sts: QUERY, ssm: JSON_SERVICE,
}

/**
 * The error in the words of a service; EC2's for one that is not known. `detail` is a sentence that
 * takes the place of the usual one, `hint` one that is added to it.
 */
export function authError(
  service: string | undefined,
  problem: AuthProblem,
  { detail, hint }: { detail?: string; hint?: string } = {},
): ApiError {
  const [code, usual, httpStatus] = ((service && DIALECTS[service]) || EC2)[problem]
  const message = detail ?? usual
  return new ApiError(code, hint ? `${message.replace(/\.$/, '')}. ${hint}` : message, httpStatus)
}
