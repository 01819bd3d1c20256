import { ApiError } from '../core/errors.ts'
import { howToHeal } from '../model/zone.ts'
import { canBoot, countOf, fillZone } from './fill-zone.ts'
import { SPREAD_LIMIT } from './group-rules.ts'
import type { GroupPlacement, HostCapacity, PlacementRequest } from './place.ts'

/** The error of a request that no zone has places for: what EC2 would say of it, and what helps here. */
export function noRoom(hosts: readonly HostCapacity[], request: PlacementRequest): ApiError {
  const inZones = hosts.filter((host) => request.zones.includes(host.zone))
  if (inZones.length > 0 && !inZones.some((host) => canBoot(host, request.architecture))) return cannotBoot(request.architecture)
  const { tenancy, dedicatedHostId, reservation } = request.wish
  if (tenancy === 'host') return noDedicatedHost(dedicatedHostId)
  if (reservation.targetId !== null || reservation.preference === 'capacity-reservations-only') {
    return new ApiError(
      'ReservationCapacityExceeded',
      'The requested reservation does not have sufficient compatible and available capacity for this request.',
    )
  }
  return noRoomInGroup(hosts, request) ?? noCapacity(hosts, request)
}

function cannotBoot(architecture: string): ApiError {
  const remedy = architecture === 'arm64' ? 'sudo apt-get install qemu-system-arm qemu-efi-aarch64' : 'sudo apt-get install qemu-system-x86'
  return new ApiError('Unsupported', `No host can boot images of architecture ${architecture}: run "${remedy}" there, then start Hearth again.`)
}

function noDedicatedHost(dedicatedHostId: string | null): ApiError {
  if (dedicatedHostId !== null) {
    return new ApiError(
      'InsufficientCapacityOnHost',
      `Dedicated host ${dedicatedHostId} has insufficient capacity to launch the instances in this request.`,
    )
  }
  return new ApiError(
    'InsufficientHostCapacity',
    'You do not have a host with a matching configuration and sufficient capacity. Either target a host resource group that can ' +
      'automatically allocate hosts on your behalf, or manually allocate a new host to your account and then try again.',
  )
}

/** Whether a zone would take the least that is asked for. */
function fits(hosts: readonly HostCapacity[], request: PlacementRequest, zone: string): boolean {
  return countOf(fillZone(hosts, { ...request, maxCount: request.minCount }, zone)) >= request.minCount
}

/** EC2's sentence for a type that a zone, or the region, has no room for; it names zones only where that is true. */
function noCapacity(hosts: readonly HostCapacity[], request: PlacementRequest): ApiError {
  const { instanceType, zones, isZoneFixed = false } = request
  const [zone = ''] = zones
  const others = new Set(hosts.flatMap((host) => (zones.includes(host.zone) ? [] : [host.zone])))
  const choices = [...others].toSorted().filter((each) => fits(hosts, request, each))
  const where = zones.length === 1 ? `the Availability Zone you requested (${zone})` : `the Availability Zones ${zones.join(', ')}`
  return new ApiError(
    'InsufficientInstanceCapacity',
    `We currently do not have sufficient ${instanceType} capacity in ${where}. ` +
      'Our system will be working on provisioning additional capacity.' +
      (choices.length === 0 || isZoneFixed
        ? ''
        : ` You can currently get ${instanceType} capacity by not specifying an Availability Zone in your request or choosing ` +
          `${choices.join(', ')}.`) +
      ` [Hearth: ${remedy(request)}]`,
  )
}

function remedy({ zones, failedZones = [] }: PlacementRequest): string {
  const failed = zones.filter((each) => failedZones.includes(each))
  const parts = failed.length === 0 ? [] : [howToHeal(failed)]
  if (failed.length < zones.length) {
    parts.push(
      '"hearth status" shows what is free. Terminate or stop instances, choose a smaller type, or promise more of the ' +
        'computer with "hearth up --overcommit-vcpus" and "--overcommit-memory".',
    )
  }
  return parts.join(' ')
}

/** The error of a request that finds no place only because of its placement group; undefined where the group changes nothing. */
function noRoomInGroup(hosts: readonly HostCapacity[], request: PlacementRequest): ApiError | undefined {
  const { group, zones } = request
  if (group === null) return undefined
  const elsewhere = group.members.find((each) => !zones.includes(each.zone))
  if (group.strategy === 'cluster' && elsewhere) {
    return new ApiError('InvalidPlacementGroup.InUse', `The placement group '${group.name}' is in use in another availability zone: ${elsewhere.zone}`)
  }
  if (group.strategy === 'cluster' || !zones.some((zone) => fits(hosts, { ...request, group: null }, zone))) return undefined
  return new ApiError(
    'InsufficientInstanceCapacity',
    `We currently do not have sufficient capacity to launch all of the additional requested instances into Placement Group '${group.name}'. ` +
      `[Hearth: ${group.strategy === 'spread' ? spreadRemedy(hosts, request, group) : partitionRemedy(hosts, request, group)}]`,
  )
}

function spreadRemedy(hosts: readonly HostCapacity[], request: PlacementRequest, group: GroupPlacement): string {
  const membersIn = (zone: string) => group.members.filter((each) => each.zone === zone).length
  const zone = request.zones.toSorted((a, b) => membersIn(a) - membersIn(b))[0] ?? ''
  const needed = membersIn(zone) + request.minCount
  if (needed > SPREAD_LIMIT) return `a spread placement group has at most ${SPREAD_LIMIT} running instances in an Availability Zone.`
  return `each instance of a spread placement group is on a host of its own. ${moreHosts(hosts, zone, needed)}`
}

function partitionRemedy(hosts: readonly HostCapacity[], { zones }: PlacementRequest, group: GroupPlacement): string {
  return 'partitions of a placement group share no host, and no host with room is left for the partition. ' +
    moreHosts(hosts, zones[0] ?? '', group.partitionCount)
}

function moreHosts(hosts: readonly HostCapacity[], zone: string, needed: number): string {
  const count = hosts.filter((host) => host.zone === zone).length
  if (count >= needed) return `Hosts of ${zone} that the group may use are full: "hearth status" shows what is free.`
  return `${zone} has ${count} ${count === 1 ? 'host' : 'hosts'}: "hearth up --hosts-per-zone ${needed}" makes more of the computer's share.`
}
