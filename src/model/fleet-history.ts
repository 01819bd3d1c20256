import type { FleetHistoryTable, FleetTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { emitEvent, type DetailType } from './cloud-event.ts'

/** One thing that happened to a fleet. */
export interface FleetEvent {
  type: FleetHistoryTable['event_type']
  /** Such as `launched`, `active`, `launchSpecUnusable`: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EventInformation.html */
  subType: string
  description?: string
  instanceId?: string
}

/** What a row of a fleet's history says. */
export type FleetHistoryDoc = Omit<FleetEvent, 'type'>

const DETAIL_TYPES = {
  instanceChange: 'Instance Change', fleetRequestChange: 'State Change', error: 'Error', information: 'Information',
} as const

/**
 * Writes down what happened to a fleet of type `request` or `maintain`, and tells it as an event; those of type `instant` have
 * neither: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-event-types.html. `subType` is in the words of
 * EC2 Fleet: to a Spot Fleet `deleted…` is `cancelled…`.
 */
export async function noteFleetEvent(
  db: Db,
  fleet: Pick<FleetTable, 'fleet_id' | 'kind' | 'account_id'>,
  region: string,
  event: FleetEvent,
  nowMs: number,
): Promise<void> {
  const { type, instanceId, description } = event
  const subType = fleet.kind === 'spot-fleet' ? event.subType.replace(/^deleted/, 'cancelled') : event.subType
  const last = await db
    .selectFrom('fleet_history').select((eb) => eb.fn.max('seq').as('seq')).where('fleet_id', '=', fleet.fleet_id).executeTakeFirst()
  const doc: FleetHistoryDoc = { subType, ...(description === undefined ? {} : { description }), ...(instanceId === undefined ? {} : { instanceId }) }
  await db
    .insertInto('fleet_history')
    .values({ fleet_id: fleet.fleet_id, seq: (last?.seq ?? 0) + 1, at_ms: nowMs, event_type: type, doc: JSON.stringify(doc) }).execute()
  const kind = fleet.kind === 'spot-fleet' ? 'EC2 Spot Fleet' : 'EC2 Fleet'
  await emitEvent(db, {
    accountId: fleet.account_id, detailType: `${kind} ${DETAIL_TYPES[type]}` satisfies DetailType, resources: [fleetArn(fleet, region)],
    detail: { ...(instanceId === undefined ? {} : { 'instance-id': instanceId }), ...(description === undefined ? {} : { description }), 'sub-type': subType },
  }, nowMs)
}

/** arn:aws:ec2:us-east-1:000000000000:fleet/fleet-… */
export function fleetArn({ fleet_id: id, kind, account_id: account }: Pick<FleetTable, 'fleet_id' | 'kind' | 'account_id'>, region: string): string {
  return `arn:aws:ec2:${region}:${account}:${kind === 'spot-fleet' ? 'spot-fleet-request' : 'fleet'}/${id}`
}

/** Records of a fleet's history since `fromMs`, oldest first; as far back as EC2 keeps them, two days. */
export async function fleetHistory(db: Db, fleetId: string, fromMs: number): Promise<FleetHistoryTable[]> {
  return db
    .selectFrom('fleet_history').selectAll().where('fleet_id', '=', fleetId).where('at_ms', '>=', fromMs).orderBy('seq').execute()
}

/** How long EC2 tells of what happened to a fleet. */
export const FLEET_HISTORY_MS = 48 * 60 * 60 * 1000
