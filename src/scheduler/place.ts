import { ApiError } from '../core/errors.ts'
import type { PlacementWish } from '../model/placement.ts'

/** What the scheduler knows of a host: nominal capacity, overcommit included, and what is promised. */
export interface HostCapacity {
  hostId: string
  nodeId: string
  /** Null for a host that is in every zone, as one of an earlier version is. */
  zone: string | null
  vcpus: number
  memoryMib: number
  vcpusUsed: number
  memoryMibUsed: number
  /** What guests can boot there; x86_64 ones unless told otherwise. */
  architectures?: readonly string[] | undefined
  /** Whose instances are there, dedicated hosts and those of terminated or stopped instances not counted. */
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
  strategy: 'cluster' | 'spread' | 'partition'
  partitionCount: number
  /** Instances that hold capacity, in this zone and others. */
  members: readonly { hostId: string; zone: string; partitionNumber: number | null }[]
}

export interface PlacementRequest {
  accountId: string
  instanceType: string
  zone: string
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
}

/** How many instances go where. */
export interface Placement {
  hostId: string
  nodeId: string
  count: number
  dedicatedHostId: string | null
  capacityReservationId: string | null
  partitionNumber: number | null
}

/**
 * Decides where instances go: as many as possible up to `maxCount`, hosts with the most free
 * memory first. Pure.
 *
 * @throws ApiError InsufficientInstanceCapacity when fewer than `minCount` fit.
 */
export function place(hosts: readonly HostCapacity[], request: PlacementRequest): Placement[] {
  const inZone = hosts.filter((host) => host.zone === null || host.zone === request.zone)
  const able = inZone.filter((host) => canBoot(host, request.architecture))
  if (able.length === 0 && inZone.length > 0) throw cannotBoot(request.architecture)
  const placements: Placement[] = []
  let left = request.maxCount
  for (const host of byFreeMemory(able)) {
    const count = Math.min(left, roomFor(host, request))
    if (count > 0) placements.push({
      hostId: host.hostId, nodeId: host.nodeId, count, dedicatedHostId: null, capacityReservationId: null, partitionNumber: null,
    })
    left -= Math.max(0, count)
  }
  if (request.maxCount - left < request.minCount) {
    throw new ApiError(
      'InsufficientInstanceCapacity',
      `We currently do not have sufficient ${request.instanceType} capacity in the Availability Zone you requested ` +
        `(${request.zone}). Terminate or stop instances, or choose a smaller type; "hearth status" shows what is free.`,
    )
  }
  return placements
}

/** The hosts with the most free memory first. */
export function byFreeMemory<Host extends Pick<HostCapacity, 'memoryMib' | 'memoryMibUsed'>>(hosts: readonly Host[]): Host[] {
  return hosts.toSorted((a, b) => b.memoryMib - b.memoryMibUsed - (a.memoryMib - a.memoryMibUsed))
}

/** i386 guests run on x86_64 hosts. */
function canBoot({ architectures = ['x86_64'] }: HostCapacity, architecture: string): boolean {
  return architectures.includes(architecture === 'i386' ? 'x86_64' : architecture)
}

function cannotBoot(architecture: string): ApiError {
  const remedy = architecture === 'arm64' ? 'sudo apt-get install qemu-system-arm qemu-efi-aarch64' : 'sudo apt-get install qemu-system-x86'
  return new ApiError('Unsupported', `No host can boot images of architecture ${architecture}: run "${remedy}" there, then start Hearth again.`)
}

function roomFor(host: HostCapacity, request: PlacementRequest): number {
  const byVcpus = Math.floor((host.vcpus - host.vcpusUsed) / request.vcpus)
  const byMemory = Math.floor((host.memoryMib - host.memoryMibUsed) / request.memoryMib)
  return Math.max(0, Math.min(byVcpus, byMemory))
}
