import type { SpotRequestTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { emitEvent, regionOfZone } from './cloud-event.ts'
import { findFleet } from './fleet.ts'
import { fleetArn } from './fleet-history.ts'

/** EC2's words for what a fleet's request has become. */
const SUB_TYPES: Readonly<Record<SpotRequestTable['state'], string>> = {
  open: 'submitted', active: 'active', disabled: 'disabled', closed: 'cancelled', cancelled: 'cancelled', failed: 'cancelled',
}

/**
 * Tells that a spot request of a fleet of type `request` or `maintain` is in another state; `zone` is one of the region's.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-event-types.html
 */
export async function fleetRequestMoved(
  db: Db,
  { fleetId, before, after, zone }: { fleetId: string; before: SpotRequestTable; after: SpotRequestTable['state']; zone: string | null },
  nowMs: number,
): Promise<void> {
  const fleet = await findFleet(db, fleetId)
  if (!fleet || fleet.type === 'instant' || zone === null || before.state === after) return
  await emitEvent(db, {
    accountId: fleet.account_id,
    detailType: fleet.kind === 'spot-fleet' ? 'EC2 Spot Fleet Spot Instance Request Change' : 'EC2 Fleet Spot Instance Request Change',
    resources: [fleetArn(fleet, regionOfZone(zone))],
    detail: {
      'spot-instance-request-id': before.request_id, description: `SpotInstanceRequestId ${before.request_id}, PreviousState: ${before.state}`,
      'sub-type': SUB_TYPES[after],
    },
  }, nowMs)
}
