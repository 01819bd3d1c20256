import { findFleet } from '../model/fleet.ts'
import type { FleetTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'

/** One fleet of the account. @throws ApiError InvalidFleetId.Malformed and .NotFound. */
export async function requireFleet({ db, account }: Context, id: string | undefined): Promise<FleetTable> {
  checkIds(RESOURCE_KINDS.fleet, [id ?? ''])
  const row = await findFleet(db, id ?? '')
  if (!row || row.account_id !== account || row.kind !== 'fleet') throw notFoundError(RESOURCE_KINDS.fleet, [id ?? ''])
  return row
}
