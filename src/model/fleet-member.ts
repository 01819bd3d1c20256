import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { regionOfZone } from './cloud-event.ts'
import { findFleet, wakeFleet } from './fleet.ts'
import { noteFleetEvent } from './fleet-history.ts'

/** What an instance's move is to the fleet that launched it: a line of history where it begins or ends, and a reason to look again. */
export async function fleetMemberMoved(db: Db, before: InstanceTable | null, after: InstanceTable, nowMs: number): Promise<void> {
  if (after.fleet_id === null) return
  const fleet = await findFleet(db, after.fleet_id)
  if (!fleet || (fleet.type === 'instant' && fleet.kind === 'fleet')) return
  const subType = before === null ? 'launched' : isEnd(before, after) ? 'terminated' : undefined
  if (subType !== undefined) {
    const event = { type: 'instanceChange', subType, instanceId: after.instance_id, description: descriptionOf(after) } as const
    await noteFleetEvent(db, fleet, regionOfZone(after.zone), event, nowMs)
  }
  await wakeFleet(db, fleet.fleet_id, nowMs)
}

/** Some end without shutting down before. */
function isEnd(before: InstanceTable, after: InstanceTable): boolean {
  return after.state === 'shutting-down' || (after.state === 'terminated' && before.state !== 'shutting-down')
}

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-event-types.html#ec2-fleet-instance-change */
function descriptionOf({ instance_type: instanceType, image_id: image, zone: availabilityZone }: InstanceTable): string {
  return JSON.stringify({ instanceType, image, productDescription: 'Linux/UNIX', availabilityZone })
}
