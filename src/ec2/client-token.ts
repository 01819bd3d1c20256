import { ApiError } from '../core/errors.ts'
import type { Context } from './context.ts'
import { hashParameters } from './run-instances-input.ts'

/** Longest ClientToken, where the operation says nothing else: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html */
const MAX_LENGTH = 64

/**
 * Claims the ClientToken of a call that makes `resourceId`, before anything else is written: of calls
 * that come at once one gets it, and the others find what that one made. A call that fails, or is a
 * DryRun, is rolled back and its claim with it. Tokens go with what they made (`forgetTokensOf`).
 *
 * @returns the resource that an earlier call with that token made; undefined when this is the first.
 * @throws ApiError InvalidParameterValue, IdempotentParameterMismatch.
 */
export async function claimToken(
  { db, account, region, nowMs }: Context,
  operation: string,
  input: { ClientToken?: string | undefined },
  resourceId: string,
  maxLength = MAX_LENGTH,
): Promise<string | undefined> {
  const token = input.ClientToken
  if (!token) return undefined
  if (token.length > maxLength) {
    throw new ApiError('InvalidParameterValue', `The client token may have at most ${maxLength} characters.`)
  }
  const key = { account_id: account, operation: `${operation} ${region}`, token }
  // Whether a call is a DryRun does not make it another one.
  const parametersHash = hashParameters({ ...input, DryRun: undefined })
  const claimed = await db
    .insertInto('client_tokens')
    .values({ ...key, parameters_hash: parametersHash, resource_id: resourceId, created_ms: nowMs })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  if (claimed.numInsertedOrUpdatedRows) return undefined
  const earlier = await db
    .selectFrom('client_tokens').selectAll()
    .where('account_id', '=', account).where('operation', '=', key.operation).where('token', '=', token)
    .executeTakeFirstOrThrow()
  if (earlier.parameters_hash === parametersHash) return earlier.resource_id
  throw new ApiError(
    'IdempotentParameterMismatch',
    'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).',
  )
}

/** Forgets the tokens of a resource that goes away. */
export async function forgetTokensOf({ db, account }: Context, resourceId: string): Promise<void> {
  await db.deleteFrom('client_tokens').where('account_id', '=', account).where('resource_id', '=', resourceId).execute()
}
