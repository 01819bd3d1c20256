import type { AssumeRoleRequest, AssumeRoleResponse } from '@aws-sdk/client-sts'
import { ApiError } from '../core/errors.ts'
import type { Context } from '../ec2/context.ts'
import { refuseParameters } from '../ec2/parameters.ts'
import { principalOf, roleId, roleSessionArn } from '../model/principal.ts'
import { Constraints } from '../protocol/constraints.ts'
import { createTemporaryKey } from './temporary-key.ts'

const DEFAULT_DURATION_S = 3600
const MIN_DURATION_S = 900
const MAX_DURATION_S = 43_200
/** A role session that assumes another role gets an hour at most. */
const MAX_CHAINED_DURATION_S = 3600

/**
 * AssumeRole: a temporary key for a role of the caller's own account. There is no IAM: every role
 * name is taken to exist, to trust the account and to allow everything, as a role without conditions
 * would; ExternalId, which such a role does not look at, is checked for its form. What would narrow
 * or mark the session is refused, since nothing would come of it.
 * https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
 */
export async function assumeRole(context: Context, input: AssumeRoleRequest): Promise<AssumeRoleResponse> {
  const { db, account, accessKeyId } = context
  refuseParameters(input, [
    'Policy', 'PolicyArns', 'Tags', 'TransitiveTagKeys', 'SerialNumber', 'TokenCode', 'SourceIdentity',
    'ProvidedContexts',
  ])
  const { RoleArn: roleArn = '', RoleSessionName: session = '' } = input
  new Constraints()
    .text('roleArn', roleArn, { min: 20, max: 2048 })
    .text('roleSessionName', session, { min: 2, max: 64, pattern: '[\\w+=,.@-]*' })
    .text('externalId', input.ExternalId, { min: 2, max: 1224, pattern: '[\\w+=,.@:\\/-]*' })
    .range('durationSeconds', input.DurationSeconds, MIN_DURATION_S, MAX_DURATION_S)
    .done('ValidationError')
  const [, roleAccount, roleName] = ROLE_ARN.exec(roleArn) ?? []
  if (roleAccount === undefined || roleName === undefined) {
    throw new ApiError('ValidationError', `${roleArn} is invalid. It must be like arn:aws:iam::${account}:role/NAME.`)
  }
  const caller = await principalOf(db, account, accessKeyId)
  if (roleAccount !== account) {
    const message = `User: ${caller.arn} is not authorized to perform: sts:AssumeRole on resource: ${roleArn}`
    throw new ApiError('AccessDenied', message, 403)
  }
  const durationS = input.DurationSeconds ?? DEFAULT_DURATION_S
  if (caller.isRoleSession && durationS > MAX_CHAINED_DURATION_S) {
    const message = 'The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining'
    throw new ApiError('ValidationError', message)
  }
  const arn = roleSessionArn(account, roleName, session)
  return {
    Credentials: await createTemporaryKey(context, { principal: arn, durationS }),
    AssumedRoleUser: { AssumedRoleId: `${roleId(account, roleName)}:${session}`, Arn: arn },
  }
}

/** Account and name of a role; paths are any printable characters between slashes. */
const ROLE_ARN = /^arn:aws:iam::(\d{12}):role\/(?:[\u0021-\u007e]{1,510}\/)?([\w+=,.@-]{1,64})$/
