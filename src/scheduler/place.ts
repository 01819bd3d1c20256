import { ApiError } from '../core/errors.ts'

/** What the scheduler knows of a host: nominal capacity, overcommit included, and what is promised. */
export interface HostCapacity {
  hostId: string
  vcpus: number
  memoryMib: number
  vcpusUsed: number
  memoryMibUsed: number
  /** What guests can boot there; x86_64 ones unless told otherwise. */
  architectures?: readonly string[] | undefined
}

export interface PlacementRequest {
  instanceType: string
  zone: string
  /** Of the image. */
  architecture: string
  vcpus: number
  memoryMib: number
  minCount: number
  maxCount: number
}

/** How many instances go to which host. */
export interface Placement {
  hostId: string
  count: number
}

/**
 * Decides where instances go: as many as possible up to `maxCount`, hosts with the most free
 * memory first. Pure.
 *
 * @throws ApiError InsufficientInstanceCapacity when fewer than `minCount` fit.
 */
export function place(hosts: readonly HostCapacity[], request: PlacementRequest): Placement[] {
  const able = hosts.filter((host) => canBoot(host, request.architecture))
  if (able.length === 0 && hosts.length > 0) throw cannotBoot(request.architecture)
  const placements: Placement[] = []
  let left = request.maxCount
  for (const host of byFreeMemory(able)) {
    const count = Math.min(left, roomFor(host, request))
    if (count > 0) placements.push({ hostId: host.hostId, count })
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
export function byFreeMemory(hosts: readonly HostCapacity[]): HostCapacity[] {
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
