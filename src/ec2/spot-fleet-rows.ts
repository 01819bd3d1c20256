import { ApiError } from '../core/errors.ts'
import { isForgotten } from '../model/fleet.ts'
import type { FleetTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'

/** "sfr-" and a UUID. */
const ID_LENGTH = 40
const ID_PATTERN = /^sfr-[a-z0-9-]*/

/**
 * Checks the id of the one fleet that a call is about. What does not look like one at all is a wrong parameter to EC2.
 *
 * @throws ApiError InvalidParameterValue, as recorded; InvalidSpotFleetRequestId.Malformed.
 */
function checkSpotFleetId(id: string): void {
  const at = `Value '${id}' at 'spotFleetRequestId' failed to satisfy constraint:`
  const wrong = [
    ...(id.length < ID_LENGTH ? [`${at} Member must have length greater than or equal to ${ID_LENGTH}`] : []),
    ...(ID_PATTERN.test(id) ? [] : [`${at} Member must satisfy regular expression pattern: ^sfr-[a-z0-9-]*`]),
  ]
  if (wrong.length > 0) {
    const count = wrong.length === 1 ? '1 validation error' : `${wrong.length} validation errors`
    throw new ApiError('InvalidParameterValue', `${count} detected: ${wrong.join('; ')}`)
  }
  checkIds(RESOURCE_KINDS.spotFleet, [id])
}

/** One Spot Fleet of the account. @throws ApiError what `checkSpotFleetId` throws; InvalidSpotFleetRequestId.NotFound. */
export async function requireSpotFleet(context: Context, id: string | undefined): Promise<FleetTable> {
  checkSpotFleetId(id ?? '')
  const row = await findSpotFleet(context, id ?? '')
  if (!row) throw notFoundError(RESOURCE_KINDS.spotFleet, [id ?? ''])
  return row
}

/** One Spot Fleet of the account; undefined where there is none of that id. */
export async function findSpotFleet({ db, account, nowMs }: Context, id: string): Promise<FleetTable | undefined> {
  const row = await db
    .selectFrom('fleets').selectAll().where('account_id', '=', account).where('kind', '=', 'spot-fleet').where('fleet_id', '=', id)
    .executeTakeFirst()
  return row && !isForgotten(row, nowMs) ? row : undefined
}
