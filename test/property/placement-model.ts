import type { HostCapacity, Placement, PlacementRequest } from '../../src/scheduler/place.ts'

/** Where one instance could be: the rules of EC2, and nothing of which place is better. */
interface Spot {
  host: HostCapacity
  source: { kind: 'common' } | { kind: 'reserved'; id: string } | { kind: 'dedicated'; id: string }
  partition: number | null
}

/** Whether any zone of the request could take one instance. */
export function couldPlace(hosts: readonly HostCapacity[], request: PlacementRequest): boolean {
  return spots(hosts, request).some((spot) => faults(spot, hosts, request).length === 0)
}

/** What is wrong with placements; each instance is added after others, in some order: that of the answer has those of a place together. */
export function violations(hosts: readonly HostCapacity[], request: PlacementRequest, placements: readonly Placement[]): string[] {
  const wrong: string[] = []
  if (new Set(placements.map((each) => each.zone)).size > 1) wrong.push('several zones')
  let now = hosts
  let group = request.group
  let left = placements.flatMap((each) => Array.from({ length: each.count }, () => each))
  while (left.length > 0) {
    const tries = left.map((each) => ({ each, faults: faultsOf(each, now, { ...request, group }) }))
    const next = tries.find(({ faults }) => faults.length === 0) ?? tries[0]
    if (!next) break
    const { each, faults } = next
    wrong.push(...faults)
    now = now.map((one) => (one.hostId === each.hostId ? taken(one, sourceOf(each), request) : one))
    const member = { hostId: each.hostId, zone: each.zone, partitionNumber: each.partitionNumber }
    group = group && { ...group, members: [...group.members, member] }
    left = left.toSpliced(left.indexOf(each), 1)
  }
  return wrong
}

function faultsOf(each: Placement, hosts: readonly HostCapacity[], request: PlacementRequest): string[] {
  const host = hosts.find((one) => one.hostId === each.hostId)
  if (!host) return [`${each.hostId} is not there`]
  const isAnother = host.zone !== each.zone || host.nodeId !== each.nodeId
  return [...(isAnother ? ['not the host it says'] : []), ...faults({ host, source: sourceOf(each), partition: each.partitionNumber }, hosts, request)]
}

function sourceOf({ dedicatedHostId, capacityReservationId }: Placement): Spot['source'] {
  if (dedicatedHostId !== null) return { kind: 'dedicated', id: dedicatedHostId }
  return capacityReservationId === null ? { kind: 'common' } : { kind: 'reserved', id: capacityReservationId }
}

function spots(hosts: readonly HostCapacity[], { group }: PlacementRequest): Spot[] {
  const partitions = group?.strategy === 'partition' ? Array.from({ length: group.partitionCount }, (_each, index) => index + 1) : [null]
  return hosts.flatMap((host) => {
    const sources: Spot['source'][] = [
      { kind: 'common' },
      ...(host.reservations ?? []).map(({ capacityReservationId: id }) => ({ kind: 'reserved', id } as const)),
      ...(host.dedicatedHosts ?? []).map(({ dedicatedHostId: id }) => ({ kind: 'dedicated', id } as const)),
    ]
    return sources.flatMap((source) => partitions.map((partition) => ({ host, source, partition })))
  })
}

function faults(spot: Spot, hosts: readonly HostCapacity[], request: PlacementRequest): string[] {
  const checks: [string, boolean][] = [
    ['another zone', !request.zones.includes(spot.host.zone)],
    ['cannot boot', !(spot.host.architectures ?? ['x86_64']).includes(request.architecture === 'arm64' ? 'arm64' : 'x86_64')],
    ['no room', !hasRoom(spot, request)],
    ['not for it', !isForIt(spot, request)],
    ['together with others', !mayShare(spot, request)],
    ['against its group', !isInGroup(spot, hosts, request)],
  ]
  return checks.flatMap(([what, isWrong]) => (isWrong ? [what] : []))
}

function hasRoom({ host, source }: Spot, { vcpus, memoryMib }: PlacementRequest): boolean {
  if (source.kind === 'reserved') return (host.reservations?.find((each) => each.capacityReservationId === source.id)?.free ?? 0) >= 1
  const of = source.kind === 'common' ? host : host.dedicatedHosts?.find((each) => each.dedicatedHostId === source.id)
  return of !== undefined && of.vcpusUsed + vcpus <= of.vcpus && of.memoryMibUsed + memoryMib <= of.memoryMib
}

function isForIt({ host, source }: Spot, { wish, instanceType, preferredDedicatedHostId }: PlacementRequest): boolean {
  const { preference, targetId } = wish.reservation
  if (source.kind === 'dedicated') {
    const of = host.dedicatedHosts?.find((each) => each.dedicatedHostId === source.id)
    if (!of || wish.tenancy !== 'host') return false
    const isOfType = of.instanceTypes.includes(instanceType) || of.instanceFamily === instanceType.replace(/\..*/, '')
    const isMeant = wish.dedicatedHostId === null ? of.autoPlacement || source.id === preferredDedicatedHostId : source.id === wish.dedicatedHostId
    return isOfType && isMeant
  }
  if (wish.tenancy === 'host') return false
  if (source.kind === 'common') return targetId === null && preference !== 'capacity-reservations-only'
  const of = host.reservations?.find((each) => each.capacityReservationId === source.id)
  if (of?.tenancy !== wish.tenancy) return false
  return targetId === null ? preference !== 'none' && of.matchCriteria === 'open' : source.id === targetId
}

function mayShare({ host, source }: Spot, { accountId, wish }: PlacementRequest): boolean {
  if (source.kind === 'dedicated') return true
  const others = (host.tenants ?? []).filter((each) => each.accountId !== accountId)
  return wish.tenancy === 'dedicated' ? others.length === 0 : others.every((each) => each.tenancy === 'default')
}

function isInGroup({ host, partition }: Spot, hosts: readonly HostCapacity[], request: PlacementRequest): boolean {
  const { group, wish } = request
  if (group === null) return partition === null
  const here = group.members.filter((each) => each.hostId === host.hostId)
  if (group.strategy === 'cluster') return group.members.every((each) => each.zone === host.zone)
  if (group.strategy === 'spread') return here.length === 0 && group.members.filter((each) => each.zone === host.zone).length < 7
  if (here.some((each) => each.partitionNumber !== partition)) return false
  if (wish.partitionNumber !== null) return partition === wish.partitionNumber
  return isEven(partition, hosts, host, request)
}

/**
 * A zone with fewer hosts than the group has partitions takes into a partition only what belongs there: the partition with
 * the fewest members is next.
 */
function isEven(partition: number | null, hosts: readonly HostCapacity[], { zone }: HostCapacity, request: PlacementRequest): boolean {
  const { group } = request
  if (group === null) return true
  const usable = hosts.filter((host) => host.zone === zone
    && (host.architectures ?? ['x86_64']).includes(request.architecture === 'arm64' ? 'arm64' : 'x86_64')
    && (request.wish.tenancy === 'host' || mayShare({ host, source: { kind: 'common' }, partition }, request)))
  if (usable.length >= group.partitionCount) return true
  const counts = Array.from({ length: group.partitionCount }, (_each, index) =>
    group.members.filter((each) => each.zone === zone && each.partitionNumber === index + 1).length)
  const next = counts.indexOf(Math.min(...counts)) + 1
  return partition === next
}

function taken(host: HostCapacity, source: Spot['source'], { vcpus, memoryMib }: PlacementRequest): HostCapacity {
  const less = <T extends { vcpusUsed: number; memoryMibUsed: number }>(of: T): T =>
    ({ ...of, vcpusUsed: of.vcpusUsed + vcpus, memoryMibUsed: of.memoryMibUsed + memoryMib })
  if (source.kind === 'common') return less(host)
  if (source.kind === 'dedicated') {
    return { ...host, dedicatedHosts: host.dedicatedHosts?.map((each) => (each.dedicatedHostId === source.id ? less(each) : each)) ?? [] }
  }
  return {
    ...host,
    reservations: host.reservations?.map((each) => (each.capacityReservationId === source.id ? { ...each, free: each.free - 1 } : each)) ?? [],
  }
}
