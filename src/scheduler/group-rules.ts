import type { PlacementRequest } from './place.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/limitations-placement-groups.html: running instances, for each zone and group. */
export const SPREAD_LIMIT = 7

/**
 * What a placement group asks of a zone's hosts, while instances are added to it. Cluster: all members in one zone, and here
 * on one host as far as that has room. Spread: each on a host of its own. Partition: no host has members of two partitions, and
 * one that has, since hosts have become one, gets no more of either.
 */
export class GroupRules {
  readonly #request: PlacementRequest
  /** Whether another partition will do where the one that has the fewest members has no host. */
  readonly mayBeUneven: boolean
  readonly #isElsewhere: boolean
  readonly #members = new Map<string, number>()
  /** Of each host: several where hosts have become one. */
  readonly #partitions = new Map<string, Set<number>>()
  /** Members in this zone, of each partition; of other groups at 0. */
  readonly #counts: number[] = []

  /** `hostCount` is that of the zone. */
  constructor(request: PlacementRequest, zone: string, hostCount: number) {
    const { group } = request
    this.#request = request
    this.mayBeUneven = group === null || hostCount >= group.partitionCount
    this.#isElsewhere = group?.strategy === 'cluster' && group.members.some((each) => each.zone !== zone)
    for (const each of group?.members ?? []) {
      this.#note(each.hostId, each.partitionNumber)
      if (each.zone === zone) this.#count(each.partitionNumber)
    }
  }

  /** Partitions that the next instance may be in, that with the fewest members first; one that is none without a partition group. */
  partitions(): readonly (number | null)[] {
    const { group, wish } = this.#request
    if (group?.strategy !== 'partition') return [null]
    if (wish.partitionNumber !== null) return [wish.partitionNumber]
    const all = Array.from({ length: group.partitionCount }, (_each, index) => index + 1)
    return all.toSorted((a, b) => (this.#counts[a] ?? 0) - (this.#counts[b] ?? 0) || a - b)
  }

  /** Whether a host may have one more instance, of that partition. */
  allows(hostId: string, partitionNumber: number | null): boolean {
    switch (this.#request.group?.strategy) {
      case undefined: return true
      case 'cluster': return !this.#isElsewhere
      case 'spread': return !this.#members.has(hostId) && (this.#counts[0] ?? 0) < SPREAD_LIMIT
      case 'partition': return [...(this.#partitions.get(hostId) ?? [])].every((each) => each === partitionNumber)
    }
  }

  /**
   * How much better than others a host is for one more: by the members of a cluster that are there; and a partition leaves
   * hosts that have nobody of the group to other partitions.
   */
  attraction(hostId: string): number {
    switch (this.#request.group?.strategy) {
      case 'cluster': return this.#members.get(hostId) ?? 0
      case 'partition': return Number(this.#members.has(hostId))
      default: return 0
    }
  }

  /** One more instance is on the host. */
  add(hostId: string, partitionNumber: number | null): void {
    if (this.#request.group === null) return
    this.#note(hostId, partitionNumber)
    this.#count(partitionNumber)
  }

  #note(hostId: string, partitionNumber: number | null): void {
    this.#members.set(hostId, (this.#members.get(hostId) ?? 0) + 1)
    if (partitionNumber === null) return
    const there = this.#partitions.get(hostId) ?? new Set()
    this.#partitions.set(hostId, there.add(partitionNumber))
  }

  #count(partitionNumber: number | null): void {
    const at = partitionNumber ?? 0
    this.#counts[at] = (this.#counts[at] ?? 0) + 1
  }
}
