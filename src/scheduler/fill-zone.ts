import { GroupRules } from './group-rules.ts'
import type { DedicatedHostCapacity, HostCapacity, Placement, PlacementRequest, ReservedCapacity } from './place.ts'

/** A piece of room on a host that instances of the request may take, as it is while they take it. */
interface Room {
  hostId: string
  nodeId: string
  dedicatedHostId: string | null
  capacityReservationId: string | null
  vcpus: number
  memoryMib: number
  /** Room that is paid for comes first: when its reservation was made; Infinity for any other. */
  reservedMs: number
  isPreferred: boolean
}

/** How many instances were placed. */
export function countOf(placements: readonly Placement[]): number {
  return placements.reduce((sum, each) => sum + each.count, 0)
}

/** As many instances as the zone takes, `maxCount` at most; hosts are chosen for one after another. */
export function fillZone(hosts: readonly HostCapacity[], request: PlacementRequest, zone: string): Placement[] {
  const usable = hosts.filter((host) => host.zone === zone && canBoot(host, request.architecture) && isOpenTo(host, request))
  const rooms = usable.flatMap((host) => roomsOf(host, request))
  const group = new GroupRules(request, zone, usable.length)
  const placements: Placement[] = []
  for (let left = request.maxCount; left > 0; left--) {
    const found = nextRoom(rooms, request, group)
    if (!found) break
    const { room, partitionNumber } = found
    room.vcpus -= request.vcpus
    room.memoryMib -= request.memoryMib
    group.add(room.hostId, partitionNumber)
    const { hostId, nodeId, dedicatedHostId, capacityReservationId } = room
    add(placements, { hostId, nodeId, zone, count: 1, dedicatedHostId, capacityReservationId, partitionNumber })
  }
  return placements
}

/** Instances that the request's zones have room for in capacity reservations, whatever a placement group says. */
export function countReservedRooms(hosts: readonly HostCapacity[], request: PlacementRequest): number {
  return hosts
    .filter((host) => request.zones.includes(host.zone) && canBoot(host, request.architecture) && isOpenTo(host, request))
    .flatMap((host) => reservedRooms(host, request))
    .reduce((sum, { free }) => sum + free, 0)
}

/** What a host's reservations have free for instances of the request. */
function reservedRooms({ reservations = [] }: HostCapacity, request: PlacementRequest): ReservedCapacity[] {
  return request.wish.tenancy === 'host' ? [] : reservations.filter((each) => matches(each, request))
}

function add(placements: Placement[], one: Placement): void {
  const same = placements.find((each) =>
    each.hostId === one.hostId && each.dedicatedHostId === one.dedicatedHostId
    && each.capacityReservationId === one.capacityReservationId && each.partitionNumber === one.partitionNumber)
  if (same) same.count++
  else placements.push(one)
}

/** The room for one more instance, and its partition; undefined where there is none. */
function nextRoom(
  rooms: readonly Room[],
  request: PlacementRequest,
  group: GroupRules,
): { room: Room; partitionNumber: number | null } | undefined {
  for (const partitionNumber of group.partitions()) {
    let best: Room | undefined
    for (const room of rooms) {
      if (room.vcpus < request.vcpus || room.memoryMib < request.memoryMib || !group.allows(room.hostId, partitionNumber)) continue
      if (best === undefined || compare(room, best, request, group) < 0) best = room
    }
    if (best) return { room: best, partitionNumber }
    if (!group.mayBeUneven) return undefined
  }
  return undefined
}

/** Which of two rooms comes first. */
function compare(a: Room, b: Room, request: PlacementRequest, group: GroupRules): number {
  return compareNumbers(a.reservedMs, b.reservedMs)
    || group.attraction(b.hostId) - group.attraction(a.hostId)
    || Number(b.isPreferred) - Number(a.isPreferred)
    || (request.strategy === 'spread' ? b.memoryMib - a.memoryMib : a.memoryMib - b.memoryMib)
    || compareTexts(a.hostId, b.hostId)
    || compareTexts(a.capacityReservationId ?? a.dedicatedHostId ?? '', b.capacityReservationId ?? b.dedicatedHostId ?? '')
}

/** Infinity minus itself is no number. */
function compareNumbers(a: number, b: number): number {
  return a === b ? 0 : a - b
}

function compareTexts(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

/** i386 guests run on x86_64 hosts. */
export function canBoot({ architectures = ['x86_64'] }: HostCapacity, architecture: string): boolean {
  return architectures.includes(architecture === 'i386' ? 'x86_64' : architecture)
}

/** Dedicated instances share a host with instances of their own account only; dedicated hosts are nobody else's anyway. */
function isOpenTo({ tenants = [] }: HostCapacity, { accountId, wish }: PlacementRequest): boolean {
  if (wish.tenancy === 'host') return true
  return !tenants.some((each) => each.accountId !== accountId && (wish.tenancy === 'dedicated' || each.tenancy === 'dedicated'))
}

/** What is free of the zone's hosts that could boot the image. */
export function freeMemoryMib(hosts: readonly HostCapacity[], { architecture }: PlacementRequest, zone: string): number {
  return hosts
    .filter((host) => host.zone === zone && canBoot(host, architecture))
    .reduce((sum, host) => sum + host.memoryMib - host.memoryMibUsed, 0)
}

function roomsOf(host: HostCapacity, request: PlacementRequest): Room[] {
  const { wish, preferredHostId } = request
  const at = {
    hostId: host.hostId, nodeId: host.nodeId, dedicatedHostId: null, capacityReservationId: null, reservedMs: Infinity,
    isPreferred: host.hostId === preferredHostId,
  }
  if (wish.tenancy === 'host') {
    return (host.dedicatedHosts ?? []).filter((each) => takes(each, request)).map((each) => ({
      ...at, dedicatedHostId: each.dedicatedHostId, isPreferred: each.dedicatedHostId === request.preferredDedicatedHostId,
      vcpus: each.vcpus - each.vcpusUsed, memoryMib: each.memoryMib - each.memoryMibUsed,
    }))
  }
  const { preference, targetId } = wish.reservation
  // What a reservation holds is room for so many instances of the type, whatever CPU options make of one.
  const reserved = reservedRooms(host, request).map((each) => ({
    ...at, capacityReservationId: each.capacityReservationId, reservedMs: each.createdMs,
    vcpus: each.free * request.vcpus, memoryMib: each.free * request.memoryMib,
  }))
  if (targetId !== null || preference === 'capacity-reservations-only') return reserved
  return [...reserved, { ...at, vcpus: host.vcpus - host.vcpusUsed, memoryMib: host.memoryMib - host.memoryMibUsed }]
}

/** Whether a dedicated host may have instances of the request. */
function takes(host: DedicatedHostCapacity, { instanceType, wish, preferredDedicatedHostId }: PlacementRequest): boolean {
  const family = instanceType.split('.')[0]
  if (!host.instanceTypes.includes(instanceType) && host.instanceFamily !== family) return false
  if (wish.dedicatedHostId !== null) return host.dedicatedHostId === wish.dedicatedHostId
  return host.autoPlacement || host.dedicatedHostId === preferredDedicatedHostId
}

/** Whether a reservation's room is for instances of the request: the one meant, or an open one of the same tenancy. */
function matches(each: ReservedCapacity, { wish }: PlacementRequest): boolean {
  const { preference, targetId } = wish.reservation
  if (each.tenancy !== wish.tenancy) return false
  if (targetId !== null) return each.capacityReservationId === targetId
  return preference !== 'none' && each.matchCriteria === 'open'
}
