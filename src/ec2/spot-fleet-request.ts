import type { RequestSpotFleetRequest, RequestSpotFleetResponse } from '@aws-sdk/client-ec2'
import { newId } from '../core/ids.ts'
import { wakeFleet } from '../model/fleet.ts'
import { noteFleetEvent } from '../model/fleet-history.ts'
import { NO_PROGRESS } from '../model/fleet-spec.ts'
import type { SpotFleetDoc } from '../model/spot-fleet.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { forgetFleets } from './forget-fleets.ts'
import { missingParameter } from './parameters.ts'
import { RESOURCE_KINDS } from './resources.ts'
import { checkSpotFleet } from './spot-fleet-input.ts'
import { askedWithDefaults, checkSpotFleetPools, spotFleetSpec } from './spot-fleet-spec.ts'
import { insertTags, parseTagSpecifications } from './tags.ts'

/**
 * RequestSpotFleet: writes down what the fleet is to be, and leaves the launching to the reconciler of fleets, from ValidFrom on.
 * Of the role nothing is asked: there is no IAM that could say whether it allows the launch.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RequestSpotFleet.html
 *
 * @throws ApiError what `checkSpotFleet`, `claimToken`, `spotFleetSpec` and `checkSpotFleetPools` throw.
 */
export async function requestSpotFleet(
  context: Context,
  { SpotFleetRequestConfig: input }: RequestSpotFleetRequest,
): Promise<RequestSpotFleetResponse> {
  const { db, account, random, nowMs, region } = context
  if (!input) throw missingParameter('SpotFleetRequestConfig')
  const config = checkSpotFleet(input, nowMs)
  const kind = RESOURCE_KINDS.spotFleet
  const tags = parseTagSpecifications(input.TagSpecifications, [kind.type])
  await forgetFleets(context, 'spot-fleet')
  const fleetId = newId(random, 'sfr')
  const earlier = await claimToken(context, 'RequestSpotFleet', input, fleetId)
  if (earlier !== undefined) return { SpotFleetRequestId: earlier }
  const spec = await spotFleetSpec(context, config)
  await checkSpotFleetPools(context, spec)
  const doc: SpotFleetDoc = {
    spec, progress: NO_PROGRESS, deletedMs: null, asked: askedWithDefaults(input, config),
  }
  const row = {
    fleet_id: fleetId, kind: 'spot-fleet', account_id: account, state: 'submitted', type: config.type,
    client_token: input.ClientToken || null, created_ms: nowMs, doc: JSON.stringify(doc),
  } as const
  await db.insertInto('fleets').values(row).execute()
  await insertTags(db, account, kind.type, fleetId, tags.get(kind.type) ?? [])
  await noteFleetEvent(db, row, region, { type: 'fleetRequestChange', subType: 'submitted' }, nowMs)
  await wakeFleet(db, fleetId, nowMs)
  return { SpotFleetRequestId: fleetId }
}
