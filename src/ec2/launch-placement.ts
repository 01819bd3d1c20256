import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { takeCapacity } from '../model/capacity.ts'
import { hostDoc } from '../model/host.ts'
import { instanceDoc } from '../model/instance.ts'
import { ANYWHERE, type Place, type PlacementWish } from '../model/placement.ts'
import { zoneStates } from '../model/zone.ts'
import { place, type HostCapacity, type Placement, type PlacementRequest } from '../scheduler/place.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Context } from './context.ts'

/** What a launch asks of the place of its instances. */
export async function requestedPlacement(_context: Context, _input: RunInstancesRequest): Promise<PlacementWish> {
  return ANYWHERE
}

/** What of a request for places its caller knows. */
export interface PlaceRequest extends Omit<PlacementRequest, 'accountId' | 'group' | 'strategy'> {
  /** The node that it has to be on: its data are there. Any unless given. */
  nodeId?: string
}

/**
 * Decides where instances go, and counts them against what is there.
 *
 * @throws ApiError InsufficientInstanceCapacity, and what `place` throws.
 */
export async function takePlaces(context: Context, request: PlaceRequest): Promise<Placement[]> {
  const { nodeId } = request
  const hosts = (await loadHosts(context)).filter((host) => nodeId === undefined || host.nodeId === nodeId)
  const placements = place(hosts, { ...request, accountId: context.account, group: null, strategy: context.placement })
  for (const each of placements) {
    if (await takeCapacity(context.db, placeOf(each), request, each.count)) continue
    throw new ApiError('InsufficientInstanceCapacity', `There is no room for ${request.instanceType} on ${each.hostId} any more.`)
  }
  return placements
}

/**
 * A place for a stopped instance: where it was, or wherever else in its zone there is room on the node that its data are on.
 *
 * @returns the columns of its row that say so.
 */
export async function takePlaceAgain(context: Context, row: InstanceTable): Promise<Place> {
  const { placement: wish = ANYWHERE, architecture } = instanceDoc(row)
  const [found] = await takePlaces(context, {
    instanceType: row.instance_type, zone: row.zone, architecture, vcpus: row.vcpus, memoryMib: row.memory_mib,
    minCount: 1, maxCount: 1, wish, preferredHostId: row.host_id,
    nodeId: row.node_id,
  })
  if (!found) throw new Error(`no place for ${row.instance_id}, and no error either`)
  return placeOf(found)
}

/** The columns of an instance that say where it is. */
export function placeOf({ hostId, nodeId, dedicatedHostId, capacityReservationId, partitionNumber }: Placement): Place {
  return {
    host_id: hostId, node_id: nodeId, dedicated_host_id: dedicatedHostId, capacity_reservation_id: capacityReservationId,
    partition_number: partitionNumber,
  }
}

/** The hosts of zones that have not failed. */
async function loadHosts({ db, region }: Context): Promise<HostCapacity[]> {
  const rows = await db.selectFrom('hosts').selectAll().where('region', '=', region).execute()
  const zones = await zoneStates(db)
  const isUp = (zone: string | null) => zone === null || (zones.get(zone)?.state ?? 'available') === 'available'
  return rows.filter((host) => isUp(host.zone)).map((host) => ({
    hostId: host.host_id, nodeId: host.node_id, zone: host.zone, vcpus: host.vcpus, memoryMib: host.memory_mib,
    vcpusUsed: host.vcpus_used, memoryMibUsed: host.memory_mib_used, architectures: hostDoc(host).architectures,
  }))
}
