import type { GetUserRequest, GetUserResponse } from '@aws-sdk/client-iam'
import { ApiError } from '../core/errors.ts'
import type { Context } from '../ec2/context.ts'
import { principalOf, rootArn } from '../model/principal.ts'
import { Constraints } from '../protocol/constraints.ts'

/**
 * GetUser: without a name who calls, which can only be the account's root user; it has no name and
 * no password here. There are no users that have names.
 * https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetUser.html
 */
export async function getUser({ db, account, accessKeyId }: Context, input: GetUserRequest): Promise<GetUserResponse> {
  const { UserName: name } = input
  new Constraints().text('userName', name, { min: 1, max: 128, pattern: '[\\w+=,.@-]+' }).done('ValidationError')
  if (name !== undefined) {
    throw new ApiError('NoSuchEntity', `The user with name ${name} cannot be found.`, 404)
  }
  if ((await principalOf(db, account, accessKeyId)).isRoleSession) {
    throw new ApiError('ValidationError', 'Must specify userName when calling with non-User credentials')
  }
  const { created_ms: createdMs } = await db
    .selectFrom('accounts').select('created_ms').where('account_id', '=', account).executeTakeFirstOrThrow()
  const created = new Date(Math.floor(createdMs / 1000) * 1000)
  return { User: { Path: '/', UserName: undefined, UserId: account, Arn: rootArn(account), CreateDate: created } }
}
