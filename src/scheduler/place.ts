import type { PlacementWish } from '../model/placement.ts'
import { countOf, fillZone, freeMemoryMib } from './fill-zone.ts'
import { noRoom } from './no-room.ts'

/** What the scheduler knows of a host: nominal capacity, overcommit included, and what is promised. */
export interface HostCapacity {
  hostId: string
  nodeId: string
  zone: string
  vcpus: number
  memoryMib: number
  vcpusUsed: number
  memoryMibUsed: number
  /** What guests can boot there; x86_64 ones unless told otherwise. */
  architectures?: readonly string[] | undefined
  /**
   * Whose instances and reservations are there, those of terminated or stopped instances and those on dedicated hosts not
   * counted. Other accounts' dedicated ones suffice for a request of tenancy `default`.
   */
  tenants?: readonly HostTenant[]
  /** The dedicated hosts of the request's account that are parts of it. */
  dedicatedHosts?: readonly DedicatedHostCapacity[]
  /** Reservations of the request's account, for its type and zone, that have room on this host. */
  reservations?: readonly ReservedCapacity[]
}

export interface HostTenant {
  accountId: string
  tenancy: 'default' | 'dedicated'
}

export interface DedicatedHostCapacity {
  dedicatedHostId: string
  vcpus: number
  memoryMib: number
  vcpusUsed: number
  memoryMibUsed: number
  /** Types or families that may run there. */
  instanceTypes: readonly string[]
  instanceFamily: string | null
  /** Whether it takes instances that name no dedicated host. */
  autoPlacement: boolean
}

export interface ReservedCapacity {
  capacityReservationId: string
  matchCriteria: 'open' | 'targeted'
  tenancy: 'default' | 'dedicated'
  /** Instances that there is room for still. */
  free: number
  createdMs: number
}

/** The group that instances are to be in, and who is in it. */
export interface GroupPlacement {
  groupId: string
  name: string
  strategy: 'cluster' | 'spread' | 'partition'
  partitionCount: number
  /** Instances that hold capacity, in this zone and others. */
  members: readonly GroupMember[]
}

export interface GroupMember {
  hostId: string
  zone: string
  partitionNumber: number | null
}

export interface PlacementRequest {
  accountId: string
  instanceType: string
  /** The zones that would do, by name; the one that was asked for, where one was. All instances come to be in the same. */
  zones: readonly string[]
  /** The caller cannot choose another one: a start, or a launch that names a subnet or an interface. */
  isZoneFixed?: boolean
  /** Zones that have failed, whose hosts are not among those to be asked. */
  failedZones?: readonly string[]
  /** Of the image. */
  architecture: string
  vcpus: number
  memoryMib: number
  minCount: number
  maxCount: number
  wish: PlacementWish
  /** Null without a placement group. */
  group: GroupPlacement | null
  strategy: 'spread' | 'pack'
  /** Where to stay if that will do: the host of an instance that is started again. */
  preferredHostId?: string
  /** The dedicated host to stay on if that will do, whether or not it takes instances that name none. */
  preferredDedicatedHostId?: string | null
}

/** How many instances go where. */
export interface Placement {
  hostId: string
  nodeId: string
  zone: string
  count: number
  dedicatedHostId: string | null
  capacityReservationId: string | null
  partitionNumber: number | null
}

/**
 * Decides where the instances of one call go: all into one zone, the first that takes `maxCount`, or else the one that takes most.
 * Zones with more free memory come first (with `pack` those with less), and names decide between equals. Pure: the same hosts and
 * request give the same places.
 *
 * @throws ApiError InsufficientInstanceCapacity where no zone takes `minCount`; Unsupported where no host can boot the
 *   image; InsufficientCapacityOnHost and InsufficientHostCapacity of dedicated hosts; ReservationCapacityExceeded;
 *   InvalidPlacementGroup.InUse for a cluster that is in another zone.
 */
export function place(hosts: readonly HostCapacity[], request: PlacementRequest): Placement[] {
  const most = placeMost(hosts, request)
  if (countOf(most) >= request.minCount) return most
  throw noRoom(hosts, request)
}

/** As `place`, with what there is where that is less than `minCount`: none, where there is nothing. */
export function placeMost(hosts: readonly HostCapacity[], request: PlacementRequest): Placement[] {
  let best: Placement[] = []
  for (const zone of inOrder(hosts, request)) {
    const placements = fillZone(hosts, request, zone)
    if (countOf(placements) > countOf(best)) best = placements
    if (countOf(best) === request.maxCount) break
  }
  return best
}

function inOrder(hosts: readonly HostCapacity[], request: PlacementRequest): readonly string[] {
  if (request.zones.length < 2) return request.zones
  const free = new Map(request.zones.map((zone) => [zone, freeMemoryMib(hosts, request, zone)]))
  const direction = request.strategy === 'spread' ? -1 : 1
  return request.zones.toSorted((a, b) => direction * ((free.get(a) ?? 0) - (free.get(b) ?? 0)) || (a < b ? -1 : 1))
}
