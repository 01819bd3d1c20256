import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { Context } from './context.ts'
import { launchZone } from './launch-network.ts'
import { hashParameters } from './run-instances-input.ts'

/**
 * Claims the ClientToken of a launch for `reservationId`, before anything else is written: of calls
 * that come at once one gets it, and the others find what that one launched. A launch that fails, or
 * is a DryRun, is rolled back and its claim with it. Tokens go when their instances are forgotten.
 *
 * A token counts within its zone when the launch names a zone or a subnet, else within the region:
 * https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
 *
 * @returns the reservation that an earlier call with that token made; undefined when this is the first.
 * @throws ApiError IdempotentParameterMismatch, IdempotentInstanceTerminated.
 */
export async function claimLaunchToken(
  context: Context,
  input: RunInstancesRequest,
  reservationId: string,
): Promise<string | undefined> {
  const { db, account, region, nowMs } = context
  if (!input.ClientToken) return undefined
  const operation = `RunInstances ${(await launchZone(context, input)) ?? region}`
  const key = { account_id: account, operation, token: input.ClientToken }
  // Whether a call is a DryRun does not make it another launch.
  const parametersHash = hashParameters({ ...input, DryRun: undefined })
  const claimed = await db
    .insertInto('client_tokens')
    .values({ ...key, parameters_hash: parametersHash, resource_id: reservationId, created_ms: nowMs })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  if (claimed.numInsertedOrUpdatedRows) return undefined
  const earlier = await db
    .selectFrom('client_tokens').selectAll()
    .where('account_id', '=', account).where('operation', '=', operation).where('token', '=', input.ClientToken)
    .executeTakeFirstOrThrow()
  if (earlier.parameters_hash !== parametersHash) {
    throw new ApiError(
      'IdempotentParameterMismatch',
      'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).',
    )
  }
  await requireLiving(context, earlier.resource_id)
  return earlier.resource_id
}

async function requireLiving({ db }: Context, reservationId: string): Promise<void> {
  const living = await db
    .selectFrom('instances').select('instance_id')
    .where('reservation_id', '=', reservationId).where('state', '<>', 'terminated')
    .limit(1).executeTakeFirst()
  if (living) return
  throw new ApiError(
    'IdempotentInstanceTerminated',
    'The client token you have provided is associated with a terminated instance. Please use a different client token.',
  )
}
