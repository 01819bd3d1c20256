import type {
  CreateFleetError, CreateFleetInstance, FleetLaunchTemplateConfig, OnDemandOptions, SpotOptionsRequest, TargetCapacitySpecification,
} from '@aws-sdk/client-ec2'
import type { FleetTable } from '../store/schema.ts'
import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { NO_PROGRESS, type EngineDoc } from './fleet-spec.ts'
import { leadingNode } from './spot-market.ts'

/** How an EC2 Fleet can stand: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/EC2-fleet-states.html */
export type FleetState = 'submitted' | 'active' | 'modifying' | 'failed' | 'deleted_running' | 'deleted_terminating' | 'deleted'

/**
 * Where a fleet may go from where it is. One of type `instant` is made active, having launched what it could, and only ends;
 * `submitted`, `modifying` and `deleted_running` are for those that go on launching.
 */
export const FLEET_TRANSITIONS: Readonly<Record<FleetState, readonly FleetState[]>> = {
  submitted: ['active', 'failed', 'deleted_running', 'deleted_terminating'],
  active: ['modifying', 'deleted_running', 'deleted_terminating'],
  modifying: ['active', 'deleted_running', 'deleted_terminating'],
  failed: [],
  deleted_running: ['deleted_terminating', 'deleted'],
  deleted_terminating: ['deleted'],
  deleted: [],
}

/** What of a fleet of CreateFleet SQL never looks into; one of an earlier version is instant, and has no `spec`. */
export interface FleetDoc extends Omit<EngineDoc, 'spec'> {
  spec: EngineDoc['spec'] | null
  /** What was asked for, with the numbers of the versions that it meant. */
  configs: FleetLaunchTemplateConfig[]
  target: TargetCapacitySpecification
  onDemand: OnDemandOptions
  spot: SpotOptionsRequest | null
  terminateInstancesWithExpiration: boolean
  context: string | null
  /** Of type instant: units that were launched, in all. */
  fulfilled: number
  /** Of type instant: what it launched, and why no more. */
  instances: CreateFleetInstance[]
  errors: CreateFleetError[]
}

/** How long a deleted fleet is shown: as long as EC2 keeps its history. */
const SHOWN_MS = 48 * 60 * 60 * 1000

/** The doc of a fleet's row. */
export function fleetDoc(row: Pick<FleetTable, 'doc'>): FleetDoc {
  const doc = JSON.parse(row.doc) as Omit<FleetDoc, 'spec' | 'progress'> & Partial<FleetDoc>
  return { ...doc, spec: doc.spec ?? null, progress: doc.progress ?? { ...NO_PROGRESS, activity: 'fulfilled', fulfilledOnDemand: doc.fulfilled } }
}

/**
 * Whether one, of any kind, was deleted so long ago that nobody is shown it; not while it has instances. Of one of type instant
 * nobody writes down that the last of them has ended.
 */
export function isForgotten(row: Pick<FleetTable, 'state' | 'type' | 'doc'>, nowMs: number): boolean {
  const isOver = row.state === 'deleted' || (row.state === 'deleted_terminating' && row.type === 'instant')
  return isOver && (fleetDoc(row).deletedMs ?? nowMs) <= nowMs - SHOWN_MS
}

/** Every instance that a fleet has launched. */
export function fleetInstanceIds(row: Pick<FleetTable, 'doc'>): string[] {
  return fleetDoc(row).instances.flatMap((each) => each.InstanceIds ?? [])
}

/**
 * A fleet's state as it is shown: one that terminates its instances is deleted when the last of them is gone, which nobody
 * writes down.
 */
export function shownState(row: FleetTable, hasLivingInstances: boolean): FleetState {
  return row.state === 'deleted_terminating' && !hasLivingInstances ? 'deleted' : row.state as FleetState
}

/**
 * Moves a fleet to another state.
 *
 * @returns false, having changed nothing, where it may not go there from where it is.
 */
export async function moveFleet(db: Db, row: FleetTable, to: FleetState, change: Partial<FleetDoc> = {}): Promise<boolean> {
  if (!FLEET_TRANSITIONS[row.state as FleetState].includes(to)) return false
  const moved = await db
    .updateTable('fleets').set({ state: to, doc: JSON.stringify({ ...fleetDoc(row), ...change } satisfies FleetDoc) })
    .where('fleet_id', '=', row.fleet_id).where('state', '=', row.state).executeTakeFirst()
  return moved.numUpdatedRows > 0n
}

/** Rewrites parts of a fleet's doc, and leaves its state. */
export async function changeFleet(db: Db, row: FleetTable, change: Partial<FleetDoc>): Promise<void> {
  await db.updateTable('fleets').set({ doc: JSON.stringify({ ...fleetDoc(row), ...change } satisfies FleetDoc) }).where('fleet_id', '=', row.fleet_id).execute()
}

const kindOf = prepared((db, fleetId: string) => db.selectFrom('fleets').selectAll().where('fleet_id', '=', fleetId))

/** One fleet, of any kind. */
export async function findFleet(db: Db, fleetId: string): Promise<FleetTable | undefined> {
  const [row] = await kindOf(db, fleetId)
  return row
}

/** The reconciler of fleets is to look at it, at `dueMs`: what changes a fleet, or one of its instances, calls this. */
export async function wakeFleet(db: Db, fleetId: string, dueMs: number): Promise<void> {
  const nodeId = await leadingNode(db)
  if (nodeId !== undefined) await enqueue(db, { kind: 'fleet', id: fleetId, hostId: nodeId }, dueMs)
}
