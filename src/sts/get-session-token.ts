import type { GetSessionTokenRequest, GetSessionTokenResponse } from '@aws-sdk/client-sts'
import { ApiError } from '../core/errors.ts'
import type { Context } from '../ec2/context.ts'
import { refuseParameters } from '../ec2/parameters.ts'
import { rootArn } from '../model/principal.ts'
import { Constraints } from '../protocol/constraints.ts'
import { createTemporaryKey } from './temporary-key.ts'

/** What a root user gets, however long it asks for. */
const ROOT_DURATION_S = 3600

/**
 * GetSessionToken: a temporary key for the account's root user, whose sessions end after an hour at
 * the latest. A temporary key cannot make another.
 * https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
 */
export async function getSessionToken(
  context: Context,
  input: GetSessionTokenRequest,
): Promise<GetSessionTokenResponse> {
  const { db, account, accessKeyId } = context
  refuseParameters(input, ['SerialNumber', 'TokenCode'])
  new Constraints().range('durationSeconds', input.DurationSeconds, 900, 129_600).done('ValidationError')
  const key = await db
    .selectFrom('access_keys').select('session_token')
    .where('access_key_id', '=', accessKeyId ?? '').where('account_id', '=', account).executeTakeFirst()
  if (key && key.session_token !== null) {
    throw new ApiError('AccessDenied', 'Cannot call GetSessionToken with session credentials', 403)
  }
  const durationS = Math.min(input.DurationSeconds ?? ROOT_DURATION_S, ROOT_DURATION_S)
  return { Credentials: await createTemporaryKey(context, { principal: rootArn(account), durationS }) }
}
