import { compareBids, type Bid } from '../spot/book.ts'
import { canBoot, countOf, fillZone } from './fill-zone.ts'
import type { HostCapacity, Placement, PlacementRequest } from './place.ts'

/** A spot instance whose room on a host may be taken over by one on demand. */
export interface SpotTenant {
  instanceId: string
  hostId: string
  vcpus: number
  memoryMib: number
  bid: Bid
  /** It goes in any case: it has had notice, or is being ended. */
  isGoing: boolean
}

/** Room that spot instances give up, and what free room is beside it. */
export interface Preemption {
  zone: string
  /** None where room is free for all that can be had. */
  victims: SpotTenant[]
  /** Instances of the request that have places in the zone then. */
  count: number
}

/**
 * Which spot instances have to go for a request that finds too little room: on one host after another until `maxCount` has places in
 * one zone, or no more can be had; on each the fewest, those first that go anyway, then those that come last in the order of bids. Of
 * zones it is the one that takes most, of those and of hosts that would do it the one on which fewest are told to go, then the one
 * whose best bid is the lowest. What groups, tenancy and architectures ask for is `fillZone`'s to say. Pure and deterministic.
 *
 * @returns undefined where no zone has `minCount` places even so.
 */
export function preempt(hosts: readonly HostCapacity[], request: PlacementRequest, tenants: readonly SpotTenant[]): Preemption | undefined {
  if (request.wish.tenancy === 'host') return undefined
  const choices = request.zones.map((zone) => preemptIn(hosts, request, tenants, zone)).filter(({ count }) => count >= request.minCount)
  const most = Math.max(...choices.map(({ count }) => count))
  return best(choices.filter(({ count }) => count === most))
}

/** The hosts as they are without those instances. */
export function withoutTenants(hosts: readonly HostCapacity[], gone: readonly SpotTenant[]): HostCapacity[] {
  return hosts.map((host) => gone.filter((each) => each.hostId === host.hostId).reduce(
    (left, each) => ({ ...left, vcpusUsed: left.vcpusUsed - each.vcpus, memoryMibUsed: left.memoryMibUsed - each.memoryMib }), host))
}

/** `at` decides between equals. */
interface Choice {
  victims: SpotTenant[]
  at: string
}

function preemptIn(
  hosts: readonly HostCapacity[],
  request: PlacementRequest,
  tenants: readonly SpotTenant[],
  zone: string,
): Preemption & Choice {
  const placesAfter = (gone: readonly SpotTenant[]) => fillZone(withoutTenants(hosts, gone), request, zone)
  const victims: SpotTenant[] = []
  // No more than that can be had, and many a request finds nobody who would have to go for it.
  const most = countOf(placesAfter(tenants))
  let places = placesAfter(victims)
  while (countOf(places) < most) {
    const count = countOf(places)
    const left = withPlaces(withoutTenants(hosts, victims), places, request)
    const choices = left.filter((host) => host.zone === zone && canBoot(host, request.architecture)).flatMap((host) => {
      const onHost = tenants.filter((each) => each.hostId === host.hostId && !victims.includes(each))
      const enough = fewest(host, request, onHost)
      return enough && countOf(placesAfter([...victims, ...enough])) > count ? [{ victims: enough, at: host.hostId }] : []
    })
    const next = best(choices)
    if (!next) break
    victims.push(...next.victims)
    places = placesAfter(victims)
  }
  const count = countOf(places)
  return { zone, victims, count, at: zone }
}

/** The hosts as they are with those places taken: what one has got is no room for another. */
function withPlaces(hosts: readonly HostCapacity[], places: readonly Placement[], { vcpus, memoryMib }: PlacementRequest): HostCapacity[] {
  return hosts.map((host) => {
    const count = countOf(places.filter((each) => each.hostId === host.hostId && each.capacityReservationId === null))
    return { ...host, vcpusUsed: host.vcpusUsed + count * vcpus, memoryMibUsed: host.memoryMibUsed + count * memoryMib }
  })
}

/** The instances of a host that make room for one of the request's, none of which could stay; undefined where all are too few. */
function fewest(host: HostCapacity, request: PlacementRequest, tenants: readonly SpotTenant[]): SpotTenant[] | undefined {
  const isEnough = (gone: readonly SpotTenant[]) => {
    const freeOf = (total: number, used: number, of: (each: SpotTenant) => number) => total - used + gone.reduce((sum, each) => sum + of(each), 0)
    return freeOf(host.vcpus, host.vcpusUsed, (each) => each.vcpus) >= request.vcpus
      && freeOf(host.memoryMib, host.memoryMibUsed, (each) => each.memoryMib) >= request.memoryMib
  }
  const inOrder = tenants.toSorted(comesFirst)
  const until = inOrder.findIndex((_each, index) => isEnough(inOrder.slice(0, index + 1)))
  if (until === -1) return undefined
  let gone = inOrder.slice(0, until + 1)
  // Small ones may have been passed over on the way to one that is enough by itself.
  for (const each of gone.toReversed()) {
    const rest = gone.filter((other) => other !== each)
    if (isEnough(rest)) gone = rest
  }
  return gone
}

/** Who goes first. */
function comesFirst(a: SpotTenant, b: SpotTenant): number {
  return Number(b.isGoing) - Number(a.isGoing) || compareBids(b.bid, a.bid)
}

function best<T extends Choice>(choices: readonly T[]): T | undefined {
  return choices.toSorted((a, b) => toldIn(a).length - toldIn(b).length || a.victims.length - b.victims.length
    || highestIn(a) - highestIn(b) || (a.at < b.at ? -1 : 1))[0]
}

function toldIn({ victims }: Choice): SpotTenant[] {
  return victims.filter((each) => !each.isGoing)
}

function highestIn(choice: Choice): number {
  return Math.max(0, ...toldIn(choice).map((each) => each.bid.bidPpm))
}
