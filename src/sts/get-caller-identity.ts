import type { GetCallerIdentityRequest, GetCallerIdentityResponse } from '@aws-sdk/client-sts'
import type { Context } from '../ec2/context.ts'
import { principalOf } from '../model/principal.ts'

/** GetCallerIdentity: a temporary key's principal; every other key is one of its account's root user. */
export async function getCallerIdentity(
  { db, account, accessKeyId }: Pick<Context, 'db' | 'account' | 'accessKeyId'>,
  _input: GetCallerIdentityRequest,
): Promise<GetCallerIdentityResponse> {
  const { arn, userId } = await principalOf(db, account, accessKeyId)
  return { Account: account, UserId: userId, Arn: arn }
}
