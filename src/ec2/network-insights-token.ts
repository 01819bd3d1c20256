import { ApiError } from '../core/errors.ts'
import type { Context } from './context.ts'
import { hashParameters } from './run-instances-input.ts'

/**
 * Claims the ClientToken of a call that makes one thing, before anything else is written.
 *
 * @returns the id of what an earlier call with that token made; undefined when this is the first.
 * @throws ApiError IdempotentParameterMismatch.
 */
export async function claimInsightsToken(
  { db, account, nowMs }: Context,
  operation: string,
  input: { ClientToken?: string | undefined },
  id: string,
): Promise<string | undefined> {
  if (!input.ClientToken) return undefined
  // Whether a call is a DryRun does not make it another one.
  const parametersHash = hashParameters({ ...input, DryRun: undefined })
  const claimed = await db
    .insertInto('client_tokens')
    .values({
      account_id: account, operation, token: input.ClientToken, parameters_hash: parametersHash, resource_id: id, created_ms: nowMs,
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  if (claimed.numInsertedOrUpdatedRows) return undefined
  const earlier = await db
    .selectFrom('client_tokens').selectAll()
    .where('account_id', '=', account).where('operation', '=', operation).where('token', '=', input.ClientToken)
    .executeTakeFirstOrThrow()
  if (earlier.parameters_hash === parametersHash) return earlier.resource_id
  throw new ApiError(
    'IdempotentParameterMismatch',
    'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).',
  )
}
