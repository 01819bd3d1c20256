import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { instanceDoc } from '../model/instance.ts'
import { moveSpotRequest, SPOT_STATUSES, spotRequestDoc, toStatus, type SpotRequestMove, type SpotStatusCode } from '../model/spot-request.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { launchInstances } from './run-instances.ts'
import { tellFulfilled } from './spot-launch.ts'

/** What keeps a request from being fulfilled that has nothing to do with price or room: its status says so. */
class ConstraintError extends ApiError {
  readonly status: SpotStatusCode

  constructor(status: SpotStatusCode) {
    super('SpotConstraint', SPOT_STATUSES[status].message)
    this.status = status
  }
}

/**
 * Launches the instance of an open request in a zone that the market has given it, in this transaction, and makes the request
 * active. One that belongs to a launch group is launched together with all others of the group that are open, or not at all; one
 * of an Availability Zone group goes where the group is. `context` is of the request's account.
 *
 * @returns the id of the request's instance.
 * @throws ApiError where it cannot be launched; the caller rolls back, and tells the request with `noteFulfilmentFailure`.
 */
export async function fulfilSpotRequest(context: Context, row: SpotRequestTable, zone: string): Promise<string> {
  const members = row.launch_group === null ? [row] : await requireWholeGroup(context, row)
  let instanceId: string | undefined
  for (const member of members) {
    if (member.request_id === row.request_id) instanceId = await launchFor(context, member, await zoneFor(context, member, zone))
    else await launchMate(context, member, zone)
  }
  if (instanceId === undefined) throw new ApiError('IncorrectSpotRequestState', `The Spot Instance request '${row.request_id}' is not open.`)
  return instanceId
}

/** Launches another one of the group: what is wrong with that is not the request's own fault, and is told to that one in its turn. */
async function launchMate(context: Context, mate: SpotRequestTable, zone: string): Promise<void> {
  try {
    await launchFor(context, mate, await zoneFor(context, mate, mate.zone ?? zone))
  } catch (error) {
    if (error instanceof ApiError && !OF_ROOM.has(error.code)) throw new ConstraintError('launch-group-constraint')
    throw error
  }
}

/** The open requests of a launch group, all of which have to be startable: none is to begin later, none of its instances to end. */
async function requireWholeGroup({ db, account, nowMs }: Context, row: SpotRequestTable): Promise<SpotRequestTable[]> {
  const group = await groupOf(db, account, row.launch_group ?? '')
  const open = group.filter((each) => each.state === 'open')
  if (open.some((each) => (each.valid_from_ms ?? nowMs) > nowMs)) throw new ConstraintError('launch-group-constraint')
  for (const each of group) {
    if (each.state !== 'active' || each.instance_id === null) continue
    const [instance] = await db.selectFrom('instances').selectAll().where('instance_id', '=', each.instance_id).execute()
    if (!instance || isLeaving(instance)) throw new ConstraintError('launch-group-constraint')
  }
  return open
}

/** Requests of a launch group that want an instance, or have one. */
export function groupOf(db: Db, account: string, launchGroup: string): Promise<SpotRequestTable[]> {
  return db
    .selectFrom('spot_requests').selectAll()
    .where('account_id', '=', account).where('launch_group', '=', launchGroup).where('state', 'in', ['open', 'active', 'disabled'])
    .orderBy('request_id').execute()
}

function isLeaving(instance: InstanceTable): boolean {
  return (instance.state !== 'pending' && instance.state !== 'running') || Boolean(instanceDoc(instance).spot?.interruption)
}

/** Where a group of a type has an instance, all others of it go; without one the zone is free. */
async function zoneFor(context: Context, row: SpotRequestTable, zone: string): Promise<string> {
  const groupZone = await zoneOfGroup(context, row)
  if (groupZone !== undefined && row.zone !== null && row.zone !== groupZone) throw new ConstraintError('az-group-constraint')
  return groupZone ?? zone
}

/** The zone that others of its Availability Zone group run in; undefined without a group, and where none runs. */
async function zoneOfGroup({ db, account }: Context, row: SpotRequestTable): Promise<string | undefined> {
  if (row.az_group === null) return undefined
  const mate = await db
    .selectFrom('spot_requests').innerJoin('instances', 'instances.instance_id', 'spot_requests.instance_id').select('instances.zone')
    .where('spot_requests.account_id', '=', account).where('spot_requests.az_group', '=', row.az_group)
    .where('spot_requests.instance_type', '=', row.instance_type).where('spot_requests.state', '=', 'active')
    .where('instances.state', 'in', ['pending', 'running']).orderBy('spot_requests.created_ms').limit(1).executeTakeFirst()
  return mate?.zone
}

async function launchFor(context: Context, row: SpotRequestTable, zone: string): Promise<string> {
  const { db, random, nowMs } = context
  const current = await db
    .selectFrom('spot_requests').selectAll().where('request_id', '=', row.request_id).where('state', '=', 'open').executeTakeFirst()
  if (!current) throw new ApiError('IncorrectSpotRequestState', `The Spot Instance request '${row.request_id}' is not open.`)
  const doc = spotRequestDoc(current)
  const reservationId = newId(random, 'r')
  const input = { ...doc.launch, ...(doc.launchTags ? { TagSpecifications: doc.launchTags } : {}), MinCount: 1, MaxCount: 1 }
  await launchInstances(context, input, {
    reservationId, tags: doc.ownTags ?? [], fleetId: current.fleet_id,
    spot: { requestIds: [current.request_id], behavior: doc.behavior, maxPriceMicroUsd: current.max_price_micro_usd, zones: [zone] },
  })
  const instance = await db.selectFrom('instances').selectAll().where('reservation_id', '=', reservationId).executeTakeFirstOrThrow()
  await moveSpotRequest(db, current, toStatus('active', 'fulfilled'), nowMs, {
    instance_id: instance.instance_id, doc: { launchedZone: instance.zone, fault: null },
  })
  await tellFulfilled(db, instance, nowMs)
  return instance.instance_id
}

/** What a launch that failed is to its request: it waits for room, for a group, or has failed for good. */
export async function noteFulfilmentFailure(context: Context, row: SpotRequestTable, error: Error): Promise<void> {
  const { db, nowMs } = context
  const current = await db
    .selectFrom('spot_requests').selectAll().where('request_id', '=', row.request_id).where('state', '=', 'open').executeTakeFirst()
  if (!current) return
  const to = moveAfter(current, error, (await zoneOfGroup(context, current)) !== undefined)
  if (!to) return
  // Told once: every move wakes the market, which tries again.
  if (current.status_code === to.status && spotRequestDoc(current).statusMessage === to.message && to.state === 'open') return
  const fault = error instanceof ApiError ? { code: error.code, message: error.message } : { code: 'InternalError', message: 'An internal error has occurred' }
  await moveSpotRequest(db, current, to, nowMs, to.state === 'open' ? {} : { doc: { fault } })
}

/** Codes of what is only for now. */
export const OF_ROOM: ReadonlySet<string> = new Set([
  'InsufficientInstanceCapacity', 'InsufficientHostCapacity', 'InsufficientFreeAddressesInSubnet', 'InsufficientAddressCapacity',
  // Its zone has failed meanwhile.
  'Unavailable',
])

function moveAfter(row: SpotRequestTable, error: Error, isBoundToZone: boolean): SpotRequestMove | undefined {
  if (!(error instanceof ApiError) || error.httpStatus >= 500 && !OF_ROOM.has(error.code)) return toStatus('closed', 'system-error')
  if (error instanceof ConstraintError) return toStatus('open', error.status)
  if (error.code === 'IncorrectSpotRequestState') return undefined
  const isOfRoom = OF_ROOM.has(error.code)
  if (isOfRoom && row.launch_group !== null) return toStatus('open', 'launch-group-constraint')
  if (error.code === 'InvalidPlacementGroup.InUse' || (isOfRoom && error.message.includes('Placement Group'))) {
    return toStatus('open', 'placement-group-constraint')
  }
  if (isOfRoom && isBoundToZone) return toStatus('open', 'az-group-constraint')
  if (error.code === 'SpotMaxPriceTooLow') return toStatus('open', 'price-too-low', error.message)
  if (isOfRoom) return toStatus('open', 'capacity-not-available')
  // An interface or an address that its last instance has not given back yet.
  if (error.code.endsWith('.InUse')) return toStatus('open', 'pending-fulfillment', error.message)
  if (error.code.endsWith('LimitExceeded')) return toStatus('open', 'limit-exceeded', error.message)
  if (error.code === 'Unsupported' || error.message.includes('vailability zone')) return toStatus('open', 'constraint-not-fulfillable', error.message)
  return toStatus('failed', 'bad-parameters')
}
