import type { GetCallerIdentityRequest, GetCallerIdentityResponse } from '@aws-sdk/client-sts'
import type { Context } from '../ec2/context.ts'

/** GetCallerIdentity: every access key is one of its account's root user; there are no others yet. */
export async function getCallerIdentity(
  { account }: Pick<Context, 'account'>,
  _input: GetCallerIdentityRequest,
): Promise<GetCallerIdentityResponse> {
  return { Account: account, UserId: account, Arn: `arn:aws:iam::${account}:root` }
}
