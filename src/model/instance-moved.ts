import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { emitEvent, instanceArn } from './cloud-event.ts'
import { fleetMemberMoved } from './fleet-member.ts'
import { wakeMarketOfRoom } from './spot-market.ts'
import { wakeSpotRequest } from './spot-request.ts'
import { meterInstance } from './usage-run.ts'

/**
 * What an instance's change of state is to everybody else, in the same transaction: an event, the meter, its spot request, the
 * market that its room goes back to. `before` is null for a launch.
 */
export async function instanceMoved(db: Db, before: InstanceTable | null, after: InstanceTable, nowMs: number): Promise<void> {
  await emitEvent(db, {
    accountId: after.account_id, detailType: 'EC2 Instance State-change Notification', resources: [instanceArn(after)],
    detail: { 'instance-id': after.instance_id, state: after.state },
  }, nowMs)
  await meterInstance(db, before, after, nowMs)
  if (after.spot_request_id !== null) await wakeSpotRequest(db, after.spot_request_id, nowMs)
  if (after.fleet_id !== null) await fleetMemberMoved(db, before, after, nowMs)
  if ((before?.holds_capacity ?? 0) !== after.holds_capacity) await wakeMarketOfRoom(db, nowMs)
}
