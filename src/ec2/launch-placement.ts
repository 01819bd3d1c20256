import { sql } from 'kysely'
import { ApiError } from '../core/errors.ts'
import { takeCapacity } from '../model/capacity.ts'
import { hostDoc } from '../model/host.ts'
import { changeInstanceDoc, instanceDoc, placementWish } from '../model/instance.ts'
import type { Place, PlacementWish } from '../model/placement.ts'
import { failedZones } from '../model/zone.ts'
import { countOf, countReservedRooms } from '../scheduler/fill-zone.ts'
import { noRoom } from '../scheduler/no-room.ts'
import { place, placeMost, type HostCapacity, type HostTenant, type Placement, type PlacementRequest } from '../scheduler/place.ts'
import { preempt, withoutTenants } from '../scheduler/preempt.ts'
import { prepared } from '../store/prepared.ts'
import type { HostTable, InstanceTable } from '../store/schema.ts'
import { loadReservations } from './capacity-reservation-rows.ts'
import type { Context } from './context.ts'
import { loadDedicatedHosts } from './dedicated-host-rows.ts'
import { loadGroupPlacement } from './placement-group-rows.ts'
import { loadLeaving, loadSpotTenants, takeOver, waitsForOn, withLeaving, type LeavingInstance } from './take-over-room.ts'

/** What of a request for places its caller knows. */
export interface PlaceRequest extends Omit<PlacementRequest, 'accountId' | 'group' | 'strategy' | 'failedZones'> {
  /** The node that it has to be on: its data are there. Any unless given. */
  nodeId?: string
  /** For spot instances: they take nobody's room, nor what is reserved. */
  isSpot?: boolean
}

/** A place that was taken, and who has to have left before anything starts there. */
export interface TakenPlace extends Placement {
  waitsFor: readonly string[]
}

/**
 * Decides where instances go, and counts them against what is there. What it reads is of the same transaction, which the
 * store lets through only where nobody else has changed it. On demand, where no room is left, that of spot instances is taken,
 * which are told to go.
 *
 * @throws ApiError InsufficientInstanceCapacity, and what `place` throws.
 */
export async function takePlaces(context: Context, request: PlaceRequest): Promise<TakenPlace[]> {
  const failed = await failedZones(context.db)
  const leaving = await loadLeaving(context)
  const hosts = await loadHosts(context, request, { failed, leaving })
  const { placementGroupId } = request.wish
  const group = placementGroupId === null ? null : await loadGroupPlacement(context.db, placementGroupId)
  const placements = await findPlaces(context, hosts, leaving, {
    ...request, accountId: context.account, group, strategy: context.placement, failedZones: failed,
  })
  for (const each of placements) {
    if (await takeCapacity(context.db, placeOf(each), request, each.count)) continue
    throw new ApiError('InsufficientInstanceCapacity', `There is no room for ${request.instanceType} on ${each.hostId} any more.`)
  }
  const taken: TakenPlace[] = []
  for (const each of placements) taken.push({ ...each, waitsFor: await waitsForOn(context.db, each.hostId, leaving) })
  return taken
}

/**
 * Rooms that nobody is in any more come first, then those that are being left, and those of spot instances last; these are
 * added to `leaving`. As many as there is room for, at most as many as are asked for: EC2 "launches the largest possible number
 * of instances above the specified minimum count", and on demand may have what spot has.
 */
async function findPlaces(
  context: Context,
  hosts: readonly HostCapacity[],
  leaving: LeavingInstance[],
  request: PlacementRequest & Pick<PlaceRequest, 'isSpot'>,
): Promise<Placement[]> {
  const quiet = leaving.length === 0 ? [] : placeMost(withLeaving(hosts, leaving), request)
  if (countOf(quiet) === request.maxCount) return quiet
  const free = placeMost(hosts, request)
  if (countOf(free) === request.maxCount) return free
  const room = request.isSpot === true ? undefined : preempt(hosts, request, await loadSpotTenants(context, request.zones))
  if (room && room.count > countOf(free)) {
    leaving.push(...await takeOver(context, room.victims))
    return place(withoutTenants(hosts, room.victims), { ...request, zones: [room.zone] })
  }
  const most = countOf(free) > countOf(quiet) ? free : quiet
  if (countOf(most) >= request.minCount) return most
  throw noRoom(hosts, request)
}

/** How many instances of a request capacity reservations have room for, in the zones that it may go to. */
export async function countReservedPlaces(context: Context, request: PlaceRequest): Promise<number> {
  const hosts = await loadHosts(context, request, { failed: await failedZones(context.db), leaving: [] })
  return countReservedRooms(hosts, { ...request, accountId: context.account, group: null, strategy: context.placement })
}

/**
 * A place for a stopped instance: where it was, or wherever else in its zone there is room on the node that its data are on. It
 * stays in its partition; with affinity it stays on its dedicated host, and one that is on none yet stays from now on. Without,
 * it goes back to the one it was on where it can, unless it was told since to go to one.
 *
 * @returns the columns of its row that say so, and who has to have left before it starts there.
 */
export async function takePlaceAgain(context: Context, row: InstanceTable): Promise<{ place: Place; waitsFor: readonly string[] }> {
  const doc = instanceDoc(row)
  const wish = placementWish(doc)
  const isBound = wish.affinity === 'host' || wish.isHostNamed === true
  const [found] = await takePlaces(context, {
    instanceType: row.instance_type, zones: [row.zone], isZoneFixed: true, architecture: doc.architecture, vcpus: row.vcpus, memoryMib: row.memory_mib,
    minCount: 1, maxCount: 1, isSpot: row.lifecycle === 'spot', nodeId: row.node_id, preferredHostId: row.host_id, preferredDedicatedHostId: wish.dedicatedHostId,
    wish: {
      ...wish, dedicatedHostId: isBound ? wish.dedicatedHostId : null, partitionNumber: row.partition_number ?? wish.partitionNumber,
    },
  })
  if (!found) throw new Error(`no place for ${row.instance_id}, and no error either`)
  if (wish.tenancy === 'host') await changeInstanceDoc(context.db, row.instance_id, { placement: boundTo(wish, found) })
  return { place: placeOf(found), waitsFor: found.waitsFor }
}

/** What an instance wishes for once it is there: to come back to its dedicated host, with affinity in any case. */
export function boundTo(wish: PlacementWish, { dedicatedHostId }: Pick<Placement, 'dedicatedHostId'>): PlacementWish {
  return wish.tenancy === 'host' ? { ...wish, dedicatedHostId, isHostNamed: undefined } : wish
}

/** The columns of an instance that say where it is. */
export function placeOf({ hostId, nodeId, dedicatedHostId, capacityReservationId, partitionNumber }: Placement): Place {
  return {
    host_id: hostId, node_id: nodeId, dedicated_host_id: dedicatedHostId, capacity_reservation_id: capacityReservationId,
    partition_number: partitionNumber,
  }
}

const hostsOf = prepared((db, region: string) =>
  db
    .selectFrom('hosts')
    .select(['host_id', 'node_id', 'zone', 'vcpus', 'memory_mib', 'vcpus_used', 'memory_mib_used', 'doc'])
    .where('region', '=', region).where('zone', 'is not', null).orderBy('host_id'))

/** A host as placement sees it: what it promises, and what of that is taken. */
export function roomOf(
  host: Pick<HostTable, 'host_id' | 'node_id' | 'zone' | 'vcpus' | 'memory_mib' | 'vcpus_used' | 'memory_mib_used'>,
): Omit<HostCapacity, 'architectures'> {
  return {
    hostId: host.host_id, nodeId: host.node_id, zone: host.zone ?? '', vcpus: host.vcpus, memoryMib: host.memory_mib,
    vcpusUsed: host.vcpus_used, memoryMibUsed: host.memory_mib_used,
  }
}

/** Hosts of the region that may be asked, in zones that have not failed, with what of them matters for the request. */
async function loadHosts(
  context: Context,
  { wish, instanceType, nodeId, isSpot = false }: PlaceRequest,
  { failed, leaving }: { failed: readonly string[]; leaving: readonly LeavingInstance[] },
): Promise<HostCapacity[]> {
  const rows = await hostsOf(context.db, context.region)
  const { tenancy } = wish
  const dedicatedHosts = tenancy === 'host' ? await loadDedicatedHosts(context) : undefined
  const mayBeReserved = tenancy !== 'host' && !isSpot && (wish.reservation.preference !== 'none' || wish.reservation.targetId !== null)
  const reservations = mayBeReserved ? await loadReservations(context, instanceType) : undefined
  const tenants = tenancy === 'host' ? undefined : await loadTenants(context, tenancy, leaving)
  // Most hosts of a node say the same of themselves.
  const architectures = new Map([...new Set(rows.map(({ doc }) => doc))].map((doc) => [doc, hostDoc({ doc }).architectures]))
  const mayServe = (host: typeof rows[number]) => !failed.includes(host.zone ?? '') && (nodeId === undefined || host.node_id === nodeId)
  return rows.filter(mayServe).map((host) => ({
    ...roomOf(host), architectures: architectures.get(host.doc),
    tenants: tenants?.get(host.host_id) ?? [],
    dedicatedHosts: dedicatedHosts?.get(host.host_id) ?? [],
    reservations: reservations?.get(host.host_id) ?? [],
  }))
}

/** An index of its own: most clouds have none of these. SQLite would compare it anew with each value that is bound. */
const dedicatedOfOthers = prepared((db, account: string) =>
  db
    .selectFrom('instances').select(['host_id', 'account_id', 'tenancy'])
    .where('tenancy', '=', sql.lit('dedicated')).where('holds_capacity', '=', sql.lit(1)).where('account_id', '<>', account))

const allOfOthers = prepared((db, account: string) =>
  db
    .selectFrom('instances').select(['host_id', 'account_id', 'tenancy']).distinct()
    .where('tenancy', '<>', 'host').where('holds_capacity', '=', 1).where('account_id', '<>', account))

const reservationsOfOthers = prepared((db, account: string) =>
  db
    .selectFrom('capacity_reservation_hosts as at')
    .innerJoin('capacity_reservations as of', 'of.capacity_reservation_id', 'at.capacity_reservation_id')
    .select(['at.host_id', 'of.account_id', 'of.doc']).where('of.state', '=', 'active').where('of.account_id', '<>', account))

/** Other accounts' instances and reservations by host, as far as they forbid anything to one of that tenancy. */
async function loadTenants(
  { db, account }: Context,
  tenancy: 'default' | 'dedicated',
  leaving: readonly LeavingInstance[] = [],
): Promise<Map<string, HostTenant[]>> {
  const tenants = new Map<string, HostTenant[]>()
  const add = (hostId: string, tenant: HostTenant) => {
    tenants.set(hostId, [...(tenants.get(hostId) ?? []), tenant])
  }
  for (const row of await (tenancy === 'dedicated' ? allOfOthers : dedicatedOfOthers)(db, account)) {
    add(row.host_id, { accountId: row.account_id, tenancy: row.tenancy === 'dedicated' ? 'dedicated' : 'default' })
  }
  for (const row of leaving) {
    const isSeen = row.account_id !== account && (tenancy === 'dedicated' || row.tenancy === 'dedicated')
    if (isSeen) add(row.host_id, { accountId: row.account_id, tenancy: row.tenancy === 'dedicated' ? 'dedicated' : 'default' })
  }
  for (const row of await reservationsOfOthers(db, account)) {
    const doc = JSON.parse(row.doc) as { tenancy?: HostTenant['tenancy'] }
    add(row.host_id, { accountId: row.account_id, tenancy: doc.tenancy ?? 'default' })
  }
  return tenants
}
