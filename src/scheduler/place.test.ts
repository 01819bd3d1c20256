import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ANYWHERE } from '../model/placement.ts'
import { place, type HostCapacity, type Placement, type PlacementRequest } from './place.ts'

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
