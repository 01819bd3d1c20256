import { ApiError } from '../core/errors.ts'
import { LIVING_STATES } from '../model/spot-request.ts'
import type { Context } from './context.ts'

/** Requests of an account that want an instance, or have one. EC2 limits their vCPUs instead, and less. */
const MOST_OF_ACCOUNT = 100_000

/**
 * Checks that an account may have so many more requests. What is still there of it is counted first, which its index tells; ended
 * ones are left out only where that matters.
 *
 * @throws ApiError MaxSpotInstanceCountExceeded.
 */
export async function checkSpotLimit({ db, account }: Pick<Context, 'db' | 'account'>, count: number): Promise<void> {
  const all = db.selectFrom('spot_requests').where('account_id', '=', account).select((eb) => eb.fn.countAll<number>().as('count'))
  if (Number((await all.executeTakeFirstOrThrow()).count) + count <= MOST_OF_ACCOUNT) return
  if (Number((await all.where('state', 'in', LIVING_STATES).executeTakeFirstOrThrow()).count) + count > MOST_OF_ACCOUNT) throw tooManySpotRequests()
}

/** EC2's sentence. */
export function tooManySpotRequests(): ApiError {
  return new ApiError('MaxSpotInstanceCountExceeded', 'Max spot instance count exceeded')
}
