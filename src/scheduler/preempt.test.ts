import { describe, expect, it } from 'vitest'
import { ANYWHERE } from '../model/placement.ts'
import { place, type GroupPlacement, type HostCapacity, type PlacementRequest } from './place.ts'
import { preempt, withoutTenants, type Preemption, type SpotTenant } from './preempt.ts'

const ZONE = 'us-east-1a'
const host = (hostId: string, used: number, change: Partial<HostCapacity> = {}): HostCapacity => ({
  hostId, nodeId: 'node', zone: ZONE, vcpus: 8, memoryMib: 8192, vcpusUsed: used, memoryMibUsed: used * 1024, ...change,
})
const request = (vcpus: number, change: Partial<PlacementRequest> = {}): PlacementRequest => ({
  accountId: '1', instanceType: 'm5.large', zones: [ZONE], architecture: 'x86_64', vcpus, memoryMib: vcpus * 1024, minCount: 1, maxCount: 1,
  wish: ANYWHERE, group: null, strategy: 'spread', ...change,
})
const tenant = (instanceId: string, hostId: string, { vcpus = 2, bidPpm = 500_000, isGoing = false } = {}): SpotTenant => ({
  instanceId, hostId, vcpus, memoryMib: vcpus * 1024, isGoing,
  bid: { id: `sir-${instanceId}`, instanceType: 'm5.large', bidPpm, units: 0, isIncumbent: true, arrivedMs: 0 },
})
const idsOf = (found: Preemption | undefined) => found?.victims.map((each) => each.instanceId).toSorted()

describe('an instance on demand that finds no room', () => {
  it('has the one go that pays least', () => {
    const tenants = [tenant('a', 'h1', { bidPpm: 300_000 }), tenant('b', 'h1', { bidPpm: 200_000 }), tenant('c', 'h1', { bidPpm: 900_000 })]
    expect(idsOf(preempt([host('h1', 8)], request(2), tenants))).toEqual(['b'])
  })

  it('has as few go as make room for it, on one host', () => {
    const tenants = [
      tenant('a', 'h1', { vcpus: 1, bidPpm: 1 }), tenant('b', 'h1', { vcpus: 1, bidPpm: 2 }), tenant('c', 'h2', { vcpus: 2, bidPpm: 900_000 }),
    ]
    expect(idsOf(preempt([host('h1', 8), host('h2', 8)], request(2), tenants))).toEqual(['c'])
  })

  it('lets a small one stay that pays less, where a larger one has to go in any case', () => {
    const tenants = [tenant('small', 'h1', { vcpus: 1, bidPpm: 1 }), tenant('large', 'h1', { vcpus: 4, bidPpm: 500_000 })]
    expect(idsOf(preempt([host('h1', 8)], request(4), tenants))).toEqual(['large'])
  })

  it('takes the room of those that go already before anybody else is told to', () => {
    const tenants = [tenant('cheap', 'h1', { bidPpm: 1 }), tenant('going', 'h2', { bidPpm: 1_000_000, isGoing: true })]
    expect(idsOf(preempt([host('h1', 8), host('h2', 8)], request(2), tenants))).toEqual(['going'])
  })

  it('counts what is free beside them', () => {
    expect(idsOf(preempt([host('h1', 6)], request(4), [tenant('a', 'h1'), tenant('b', 'h1', { bidPpm: 1 })]))).toEqual(['b'])
  })

  it('goes on until all of a launch has places in one zone', () => {
    const tenants = [tenant('a', 'h1'), tenant('b', 'h2'), tenant('c', 'h3')]
    const hosts = [host('h1', 8), host('h2', 8), host('h3', 8, { zone: 'us-east-1b' })]
    expect(idsOf(preempt(hosts, request(2, { minCount: 2, maxCount: 2, zones: [ZONE, 'us-east-1b'] }), tenants))).toEqual(['a', 'b'])
  })

  it('goes on to as many as are asked for where fewer would do, and no further than there is anything to be had', () => {
    const tenants = [tenant('a', 'h1'), tenant('b', 'h1'), tenant('c', 'h1'), tenant('small', 'h2', { vcpus: 1 })]
    const hosts = [host('h1', 8), host('h2', 8)]
    expect(preempt(hosts, request(2, { maxCount: 2 }), tenants)).toMatchObject({ count: 2, victims: [{ hostId: 'h1' }, { hostId: 'h1' }] })
    const most = preempt(hosts, request(2, { maxCount: 10 }), tenants)
    expect([most?.count, idsOf(most)]).toEqual([3, ['a', 'b', 'c']])
    expect(preempt([host('h1', 6)], request(2, { maxCount: 10 }), [tenant('small', 'h1', { vcpus: 1 })])).toMatchObject({ count: 1, victims: [] })
  })

  it('goes to the zone that has most for it', () => {
    const tenants = [tenant('a', 'h1'), tenant('b', 'h2', { bidPpm: 900_000 }), tenant('c', 'h2', { bidPpm: 900_000 })]
    const hosts = [host('h1', 8), host('h2', 8, { zone: 'us-east-1b' })]
    const asked = { zones: [ZONE, 'us-east-1b'], maxCount: 3 }
    expect(preempt(hosts, request(2, asked), tenants)).toMatchObject({ zone: 'us-east-1b', count: 2 })
    expect(preempt(hosts, request(2, { ...asked, maxCount: 1 }), tenants)).toMatchObject({ zone: ZONE, count: 1 })
  })

  it('of two that would each be enough has the one go that pays less, and of several hosts chooses the one where fewest go', () => {
    const hosts = [host('h1', 8), host('h2', 8)]
    expect(idsOf(preempt(hosts, request(2), [tenant('dear', 'h1', { bidPpm: 900_000 }), tenant('cheap', 'h2', { bidPpm: 100_000 })]))).toEqual(['cheap'])
    const going = [tenant('a', 'h1', { vcpus: 1, isGoing: true }), tenant('b', 'h1', { vcpus: 1, isGoing: true }), tenant('c', 'h2', { isGoing: true })]
    expect(idsOf(preempt(hosts, request(2), going))).toEqual(['c'])
  })

  it('counts what a reservation gives to some of a launch as no room of the host', () => {
    const wish = { ...ANYWHERE, reservation: { preference: 'open', targetId: null } } as const
    const reservations = [{ capacityReservationId: 'cr-1', matchCriteria: 'open', tenancy: 'default', free: 1, createdMs: 0 }] as const
    // Of the second one's two processors one is free already.
    const tenants = [tenant('small', 'h1', { vcpus: 1, bidPpm: 1 }), tenant('large', 'h1', { vcpus: 4 })]
    const found = preempt([host('h1', 7, { reservations })], request(2, { minCount: 2, maxCount: 2, wish }), tenants)
    expect([found?.count, idsOf(found)]).toEqual([2, ['small']])
  })

  it('is not helped where all of them are too few, where no host can boot it, or by those of other zones', () => {
    expect(preempt([host('h1', 8)], request(4), [tenant('a', 'h1')])).toBeUndefined()
    expect(preempt([host('h1', 8)], request(2, { architecture: 'arm64' }), [tenant('a', 'h1')])).toBeUndefined()
    expect(preempt([host('h1', 8, { zone: 'us-east-1b' })], request(2), [tenant('a', 'h1')])).toBeUndefined()
  })

  it('goes where its group lets it', () => {
    const group: GroupPlacement = {
      groupId: 'pg-1', name: 'apart', strategy: 'spread', partitionCount: 0, members: [{ hostId: 'h1', zone: ZONE, partitionNumber: null }],
    }
    const tenants = [tenant('a', 'h1', { bidPpm: 1 }), tenant('b', 'h2')]
    expect(idsOf(preempt([host('h1', 8), host('h2', 8)], request(2, { group }), tenants))).toEqual(['b'])
  })

  it('goes to no host that has others where it is dedicated, and takes nothing on dedicated hosts', () => {
    const others = host('h1', 8, { tenants: [{ accountId: '2', tenancy: 'default' }] })
    expect(preempt([others], request(2, { wish: { ...ANYWHERE, tenancy: 'dedicated' } }), [tenant('a', 'h1')])).toBeUndefined()
    expect(preempt([host('h1', 8)], request(2, { wish: { ...ANYWHERE, tenancy: 'host' } }), [tenant('a', 'h1')])).toBeUndefined()
  })

  it('has a place when they are gone', () => {
    const hosts = [host('h1', 8), host('h2', 8)]
    const { victims = [] } = preempt(hosts, request(3), [tenant('a', 'h1'), tenant('b', 'h1'), tenant('c', 'h2')]) ?? {}
    expect(place(withoutTenants(hosts, victims), request(3)).map((each) => each.hostId)).toEqual(['h1'])
  })
})
