import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ANYWHERE } from '../model/placement.ts'
import {
  place, type DedicatedHostCapacity, type HostCapacity, type Placement, type PlacementRequest, type ReservedCapacity,
} from './place.ts'

const host = (hostId: string, free: number): HostCapacity =>
  ({ hostId, nodeId: hostId, zone: 'us-east-1a', vcpus: free, memoryMib: free * 1024, vcpusUsed: 0, memoryMibUsed: 0 })
const request: PlacementRequest = {
  accountId: '1', instanceType: 't', zones: ['us-east-1a'], architecture: 'x86_64', vcpus: 1, memoryMib: 1024, minCount: 1, maxCount: 1,
  wish: ANYWHERE, group: null, strategy: 'spread',
}
const placed = (hostId: string, count: number): Placement =>
  ({ hostId, nodeId: hostId, zone: 'us-east-1a', count, dedicatedHostId: null, capacityReservationId: null, partitionNumber: null })

describe('placement', () => {
  test('takes the host with the most free memory first, and goes on to the next when it is full', () => {
    expect(place([host('small', 1), host('large', 3)], { ...request, maxCount: 4 })).toEqual([
      placed('large', 3), placed('small', 1),
    ])
  })
  test('gives as many as fit between the least and the most asked for', () => {
    expect(place([host('a', 2)], { ...request, minCount: 1, maxCount: 5 })).toEqual([placed('a', 2)])
  })
  test('is refused when fewer than the least fit', () => {
    expect(() => place([host('a', 2)], { ...request, minCount: 3, maxCount: 5 })).toThrow(/sufficient t capacity/)
    expect(() => place([], request)).toThrow(expect.objectContaining({ code: 'InsufficientInstanceCapacity' }))
  })
  test('is in the zone that has places for most, the first of those that have enough', () => {
    const inZone = (letter: string, free: number): HostCapacity => ({ ...host(letter, free), zone: `us-east-1${letter}` })
    // The zone with the most memory has the fewest processors.
    const hosts = [{ ...inZone('a', 8), vcpus: 1 }, inZone('b', 4), inZone('c', 3)]
    const zoneOf = (maxCount: number) => place(hosts, { ...request, zones: ['us-east-1a', 'us-east-1b', 'us-east-1c'], maxCount })
      .map((each) => [each.zone, each.count])
    expect(zoneOf(1)).toEqual([['us-east-1a', 1]])
    expect(zoneOf(3)).toEqual([['us-east-1b', 3]])
    expect(zoneOf(9)).toEqual([['us-east-1b', 4]])
  })
  test('leaves a host with members of two partitions, which were two hosts once, to neither', () => {
    const member = (partitionNumber: number) => ({ hostId: 'both', zone: 'us-east-1a', partitionNumber })
    const group = { groupId: 'pg-1', name: 'p', strategy: 'partition' as const, partitionCount: 2 }
    for (const members of [[member(1), member(2)], [member(2), member(1)]]) {
      for (const partitionNumber of [1, 2]) {
        const asked = { ...request, group: { ...group, members }, wish: { ...ANYWHERE, partitionNumber } }
        expect(() => place([host('both', 8)], asked)).toThrow(/partitions of a placement group share no host/)
        expect(place([host('both', 8), host('other', 1)], asked)).toEqual([{ ...placed('other', 1), partitionNumber }])
      }
    }
  })
  test('takes the oldest reservation first, and room that is nobody\'s last', () => {
    const reserved = (capacityReservationId: string, createdMs: number, free: number): ReservedCapacity =>
      ({ capacityReservationId, matchCriteria: 'open', tenancy: 'default', createdMs, free })
    const hosts = [
      { ...host('empty', 9), reservations: [] }, { ...host('young', 5), reservations: [reserved('cr-young', 2, 2)] },
      { ...host('old', 4), reservations: [reserved('cr-old', 1, 1)] },
    ]
    expect(place(hosts, { ...request, maxCount: 4 })).toEqual([
      { ...placed('old', 1), capacityReservationId: 'cr-old' }, { ...placed('young', 2), capacityReservationId: 'cr-young' }, placed('empty', 1),
    ])
    // A place is one, however many processors are asked for.
    expect(place(hosts.slice(2), { ...request, vcpus: 3, wish: { ...ANYWHERE, reservation: { preference: 'capacity-reservations-only', targetId: null } } }))
      .toEqual([{ ...placed('old', 1), capacityReservationId: 'cr-old' }])
  })
  test('stays on the host that was preferred, while that has room', () => {
    const hosts = [host('small', 1), host('large', 8)]
    expect(place(hosts, { ...request, preferredHostId: 'small' })).toEqual([placed('small', 1)])
    expect(place(hosts, { ...request, preferredHostId: 'small', maxCount: 2 })).toEqual([placed('small', 1), placed('large', 1)])
  })
  test('on dedicated hosts is where it was meant to be, and else where those are that take everybody', () => {
    const dedicated = (dedicatedHostId: string, autoPlacement: boolean): DedicatedHostCapacity =>
      ({ dedicatedHostId, autoPlacement, vcpus: 2, memoryMib: 2048, vcpusUsed: 0, memoryMibUsed: 0, instanceTypes: ['t'], instanceFamily: null })
    const hosts = [{ ...host('a', 8), dedicatedHosts: [dedicated('h-closed', false), dedicated('h-open', true)] }]
    const on = (dedicatedHostId: string | null, more: Partial<PlacementRequest> = {}) =>
      place(hosts, { ...request, ...more, wish: { ...ANYWHERE, tenancy: 'host', dedicatedHostId } }).map((each) => each.dedicatedHostId)
    expect(on(null)).toEqual(['h-open'])
    expect(on('h-closed')).toEqual(['h-closed'])
    expect(on(null, { preferredDedicatedHostId: 'h-closed' })).toEqual(['h-closed'])
    expect(() => on(null, { instanceType: 'u' })).toThrow(expect.objectContaining({ code: 'InsufficientHostCapacity' }))
  })
  test('of a spread group is at most seven in a zone, on however many hosts', () => {
    const hosts = Array.from({ length: 9 }, (_each, index) => host(`h${index}`, 8))
    const group = { groupId: 'pg-1', name: 's', strategy: 'spread' as const, partitionCount: 0, members: [] }
    expect(place(hosts, { ...request, maxCount: 9, group })).toHaveLength(7)
    expect(() => place(hosts, { ...request, minCount: 8, maxCount: 9, group })).toThrow(/at most 7 running instances/)
  })
  test('of a cluster is on one host while that has room, though others have more', () => {
    const group = {
      groupId: 'pg-1', name: 'c', strategy: 'cluster' as const, partitionCount: 0, members: [{ hostId: 'a', zone: 'us-east-1a', partitionNumber: null }],
    }
    expect(place([host('a', 2), host('b', 8)], { ...request, maxCount: 4, group })).toEqual([placed('a', 2), placed('b', 2)])
  })
  test('comes first in the zone with the most free memory, or packed with the least that will do', () => {
    const hosts = [host('a', 4), { ...host('b', 8), zone: 'us-east-1b' }]
    const zoneOf = (strategy: 'spread' | 'pack') => place(hosts, { ...request, strategy, zones: ['us-east-1a', 'us-east-1b'] })[0]?.zone
    expect([zoneOf('spread'), zoneOf('pack')]).toEqual(['us-east-1b', 'us-east-1a'])
  })
  test('goes to another partition than the next one only where each of them could have a host', () => {
    const member = (hostId: string, partitionNumber: number) => ({ hostId, zone: 'us-east-1a', partitionNumber })
    const full = { ...host('first', 4), vcpusUsed: 4 }
    const group = (partitionCount: number) => ({
      groupId: 'pg-1', name: 'p', strategy: 'partition' as const, partitionCount, members: [member('first', 1), member('second', 2)],
    })
    expect(place([full, host('second', 4)], { ...request, group: group(2) })).toEqual([{ ...placed('second', 1), partitionNumber: 2 }])
    expect(() => place([full, host('second', 4)], { ...request, group: group(3) })).toThrow(/no host with room is left for the partition/)
  })
  test('looks only at hosts that can boot the image', () => {
    const arm = { ...host('arm', 1), architectures: ['x86_64', 'arm64'] }
    const hosts = [host('plain', 8), arm]
    expect(place(hosts, { ...request, architecture: 'arm64' })).toEqual([placed('arm', 1)])
    expect(place(hosts, { ...request, architecture: 'i386' })).toEqual([placed('plain', 1)])
    expect(() => place([host('plain', 8)], { ...request, architecture: 'arm64' })).toThrow(/qemu-system-arm/)
    expect(() => place([arm], { ...request, architecture: 'arm64', minCount: 2, maxCount: 2 })).toThrow(/sufficient t capacity/)
  })
  test('never promises more than a host has, and never fewer than the least', () => {
    const hosts = fc.array(fc.record({ vcpus: fc.nat(64), memoryMib: fc.nat(65_536), used: fc.nat(32) }), { maxLength: 6 })
    fc.assert(fc.property(hosts, fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 8192 }), fc.integer({ min: 1, max: 9 }), fc.nat(9),
      (given, vcpus, memoryMib, minCount, more) => {
        const all = given.map((each, index) => ({
          hostId: String(index), nodeId: '', zone: 'us-east-1a', vcpus: each.vcpus, memoryMib: each.memoryMib, vcpusUsed: each.used, memoryMibUsed: each.used * 64,
        }))
        const asked = { ...request, vcpus, memoryMib, minCount, maxCount: minCount + more }
        let placements
        try {
          placements = place(all, asked)
        } catch {
          const room = all.map((each) => Math.max(0, Math.min(
            Math.floor((each.vcpus - each.vcpusUsed) / vcpus), Math.floor((each.memoryMib - each.memoryMibUsed) / memoryMib))))
          return room.reduce((sum, count) => sum + count, 0) < minCount
        }
        const total = placements.reduce((sum, each) => sum + each.count, 0)
        return total >= minCount && total <= asked.maxCount && placements.every(({ hostId, count }) => {
          const one = all[Number(hostId)]
          return one !== undefined && one.vcpusUsed + count * vcpus <= one.vcpus && one.memoryMibUsed + count * memoryMib <= one.memoryMib
        })
      }))
  })
})
