import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ApiError } from '../../src/core/errors.ts'
import { ANYWHERE, type PlacementWish } from '../../src/model/placement.ts'
import {
  place, type GroupPlacement, type HostCapacity, type Placement, type PlacementRequest,
} from '../../src/scheduler/place.ts'
import { couldPlace, violations } from './placement-model.ts'

// The scheduler against a model that knows no order and no preference: what may be where, and whether one more can be anywhere.

const ZONES = ['us-east-1a', 'us-east-1b', 'us-east-1c']
const ME = 'me'

const hostOf = (index: number): fc.Arbitrary<HostCapacity> => fc.record({
  hostId: fc.constant(`h${index}`),
  nodeId: fc.constant('node'),
  zone: fc.constantFrom(...ZONES),
  vcpus: fc.nat(12),
  memoryMib: fc.nat(12),
  vcpusUsed: fc.nat(6),
  memoryMibUsed: fc.nat(6),
  architectures: fc.constantFrom(['x86_64'], ['x86_64', 'arm64']),
  tenants: fc.array(fc.record({ accountId: fc.constantFrom(ME, 'other'), tenancy: fc.constantFrom('default', 'dedicated') }), { maxLength: 2 }),
  dedicatedHosts: fc.array(fc.record({
    vcpus: fc.nat(6), memoryMib: fc.nat(6), vcpusUsed: fc.nat(3), memoryMibUsed: fc.nat(3),
    instanceTypes: fc.constantFrom(['m5.large'], ['t3.micro'], []), instanceFamily: fc.constantFrom('m5', null), autoPlacement: fc.boolean(),
  }), { maxLength: 2 }).map((all) => all.map((each, n) => ({ ...each, dedicatedHostId: `d${index}${n}` }))),
  reservations: fc.uniqueArray(fc.record({
    capacityReservationId: fc.constantFrom('cr1', 'cr2', 'cr3'), matchCriteria: fc.constantFrom('open', 'targeted'),
    tenancy: fc.constantFrom('default', 'dedicated'), free: fc.nat(3), createdMs: fc.nat(3),
  }), { maxLength: 3, selector: (each) => each.capacityReservationId }),
})

const someHosts = fc.integer({ min: 0, max: 7 }).chain((count) => fc.tuple(...Array.from({ length: count }, (_each, index) => hostOf(index))))

const wishes: fc.Arbitrary<PlacementWish> = fc.record({
  tenancy: fc.constantFrom('default', 'default', 'dedicated', 'host'),
  placementGroupId: fc.constant(null),
  partitionNumber: fc.constant(null),
  dedicatedHostId: fc.constantFrom(null, 'd00', 'd10'),
  affinity: fc.constantFrom('default', 'host'),
  reservation: fc.record({
    preference: fc.constantFrom('open', 'open', 'none', 'capacity-reservations-only'), targetId: fc.constantFrom(null, null, 'cr1', 'cr2'),
  }),
})

/** A group whose members are where its strategy lets them be. */
const groupIn = (hosts: readonly HostCapacity[]): fc.Arbitrary<GroupPlacement | null> => {
  const [first] = hosts
  if (!first) return fc.constant(null)
  return fc.record({
    strategy: fc.constantFrom('cluster', 'spread', 'partition'), partitionCount: fc.integer({ min: 1, max: 7 }),
    chosen: fc.uniqueArray(fc.constantFrom(...hosts), { maxLength: 4 }), perHost: fc.integer({ min: 1, max: 3 }), seed: fc.nat(6),
    // Hosts that have become one may have members of several partitions.
    isMixed: fc.boolean(),
  }).map(({ strategy, partitionCount, chosen, perHost, seed, isMixed }) => {
    const inZone = strategy === 'cluster' ? chosen.filter((host) => host.zone === chosen[0]?.zone) : chosen
    const members = inZone.flatMap((host, index) => Array.from({ length: strategy === 'spread' ? 1 : perHost }, (_each, n) => ({
      hostId: host.hostId, zone: host.zone, partitionNumber: strategy === 'partition' ? 1 + ((index + seed + (isMixed ? n : 0)) % partitionCount) : null,
    })))
    return { groupId: 'pg-1', name: 'group', strategy, partitionCount: strategy === 'partition' ? partitionCount : 0, members }
  })
}

const cases = someHosts.chain((hosts) => fc.record({
  hosts: fc.constant(hosts as HostCapacity[]),
  group: fc.oneof(fc.constant(null), groupIn(hosts as HostCapacity[])),
  wish: wishes,
  partitionNumber: fc.option(fc.integer({ min: 1, max: 7 })),
  request: fc.record({
    accountId: fc.constant(ME), instanceType: fc.constantFrom('m5.large', 't3.micro'),
    zones: fc.subarray(ZONES, { minLength: 1 }), architecture: fc.constantFrom('x86_64', 'arm64', 'i386'),
    vcpus: fc.integer({ min: 1, max: 3 }), memoryMib: fc.integer({ min: 1, max: 3 }),
    minCount: fc.integer({ min: 1, max: 4 }), more: fc.nat(4), strategy: fc.constantFrom('spread', 'pack'),
    preferredHostId: fc.constantFrom('h0', 'h3'), preferredDedicatedHostId: fc.constantFrom(null, 'd01'),
  }),
})).map(({ hosts, group, wish, partitionNumber, request: { more, ...request } }): { hosts: HostCapacity[]; request: PlacementRequest } => ({
  hosts,
  request: {
    ...request, group, maxCount: request.minCount + more,
    wish: {
      ...wish, placementGroupId: group?.groupId ?? null,
      partitionNumber: group?.strategy === 'partition' && partitionNumber !== null && partitionNumber <= group.partitionCount ? partitionNumber : null,
    },
  },
}))

function outcome(hosts: readonly HostCapacity[], request: PlacementRequest): Placement[] | ApiError {
  try {
    return place(hosts, request)
  } catch (error) {
    if (error instanceof ApiError) return error
    throw error
  }
}

describe('places', () => {
  test('have room, and keep what tenancy, dedicated hosts, reservations and groups ask for', () => {
    fc.assert(fc.property(cases, ({ hosts, request }) => {
      const placements = outcome(hosts, request)
      if (placements instanceof ApiError) return
      const count = placements.reduce((sum, each) => sum + each.count, 0)
      expect(count).toBeGreaterThanOrEqual(request.minCount)
      expect(count).toBeLessThanOrEqual(request.maxCount)
      expect(violations(hosts, request, placements)).toEqual([])
    }), { numRuns: 2000 })
  })

  test('are refused only where no zone has any for a single instance', () => {
    fc.assert(fc.property(cases, ({ hosts, request }) => {
      const one = { ...request, minCount: 1, maxCount: 1 }
      const placements = outcome(hosts, one)
      expect(placements instanceof ApiError).toBe(!couldPlace(hosts, one))
    }), { numRuns: 2000 })
  })

  test('are as many as could be had one after another', () => {
    fc.assert(fc.property(cases, ({ hosts, request }) => {
      const placements = outcome(hosts, request)
      if (placements instanceof ApiError) return
      const count = placements.reduce((sum, each) => sum + each.count, 0)
      if (count === request.maxCount) return
      // Whoever asks for more than there is gets all there is of the zone that has most.
      expect(outcome(hosts, { ...request, minCount: count + 1, maxCount: count + 1 })).toBeInstanceOf(ApiError)
    }))
  })

  test('follow from hosts and request alone, in whatever order the hosts come', () => {
    fc.assert(fc.property(cases, ({ hosts, request }) => {
      const text = (value: Placement[] | ApiError) => value instanceof ApiError ? `${value.code}: ${value.message}` : JSON.stringify(value)
      const first = text(outcome(hosts, request))
      expect(text(outcome(hosts, request))).toBe(first)
      expect(text(outcome(hosts.toReversed(), request))).toBe(first)
    }))
  })

  test('change nothing of what they were found from', () => {
    fc.assert(fc.property(cases, ({ hosts, request }) => {
      const before = JSON.stringify({ hosts, request })
      outcome(hosts, request)
      expect(JSON.stringify({ hosts, request })).toBe(before)
    }))
  })

  test('that a refusal names are there', () => {
    fc.assert(fc.property(cases, ({ hosts, request }) => {
      const error = outcome(hosts, request)
      if (!(error instanceof ApiError) || error.code !== 'InsufficientInstanceCapacity') return
      const named = /or choosing (.*?)\. \[/.exec(error.message)?.[1]?.split(', ') ?? []
      for (const zone of ZONES.filter((each) => !request.zones.includes(each))) {
        const there = outcome(hosts, { ...request, zones: [zone] })
        if (named.length > 0) expect(named.includes(zone)).toBe(!(there instanceof ApiError))
      }
    }))
  })

  test('of one call are spread evenly over equal hosts, or packed on as few as possible', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 24 }), (hostCount, count) => {
      const hosts = Array.from({ length: hostCount }, (_each, index): HostCapacity => (
        { hostId: `h${index}`, nodeId: 'node', zone: 'us-east-1a', vcpus: 24, memoryMib: 24, vcpusUsed: 0, memoryMibUsed: 0 }))
      const request: PlacementRequest = {
        accountId: ME, instanceType: 'm5.large', zones: ['us-east-1a'], architecture: 'x86_64', vcpus: 1, memoryMib: 1,
        minCount: count, maxCount: count, wish: ANYWHERE, group: null, strategy: 'spread',
      }
      const counts = place(hosts, request).map((each) => each.count)
      expect(counts).toHaveLength(Math.min(count, hostCount))
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
      expect(place(hosts, { ...request, strategy: 'pack' })).toHaveLength(1)
    }))
  })
})
