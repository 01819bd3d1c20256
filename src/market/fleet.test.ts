import { describe, expect, it } from 'vitest'
import { failZone, NOW_MS, ZONES } from '../../test/support/rows.ts'
import { openFleetLab, type FleetLab } from '../../test/support/fleet-lab.ts'
import { deleteFleets } from '../ec2/fleets.ts'
import { terminateInstances } from '../ec2/instance-lifecycle.ts'
import { modifyFleet } from '../ec2/modify-fleet.ts'
import { pinPrice } from '../model/market-orders.ts'
import { stopRunning } from '../cli/down.ts'

const [A = '', B = '', C = ''] = ZONES
const stopping = { SpotOptions: { InstanceInterruptionBehavior: 'stop' } } as const
const rebalancing = (ReplacementStrategy: 'launch' | 'launch-before-terminate', TerminationDelay?: number) =>
  ({ SpotOptions: { AllocationStrategy: 'capacity-optimized', MaintenanceStrategies: { CapacityRebalance: { ReplacementStrategy, TerminationDelay } } } }) as const
const zones = (...names: string[]) => names.map((AvailabilityZone) => ({ AvailabilityZone }))
const resize = (lab: FleetLab, FleetId: string, TotalTargetCapacity: number, change = {}) =>
  lab.run((context) => modifyFleet(context, { FleetId, TargetCapacitySpecification: { TotalTargetCapacity }, ...change }))
const remove = (lab: FleetLab, id: string, TerminateInstances = true) => lab.run((context) => deleteFleets(context, { FleetIds: [id], TerminateInstances }))

describe('The requests of a fleet whose instances are stopped when they are interrupted', () => {
  it('are closed with an instance that its user has terminated: the fleet alone replaces it', async () => {
    const lab = await openFleetLab()
    const id = await lab.create(2, stopping)
    await lab.pass(1000)
    const [lost] = await lab.inState('running')
    await lab.run((context) => terminateInstances(context, { InstanceIds: [lost?.instance_id ?? ''] }))
    await lab.pass(10_000)
    expect(await lab.census()).toEqual({ running: 2, terminated: 1 })
    expect((await lab.requests()).toSorted()).toEqual(['active fulfilled', 'active fulfilled', 'closed instance-terminated-by-user'])
    expect(await lab.fleet(id)).toEqual({ state: 'active', activity: 'fulfilled', fulfilled: 2, retryMs: null })
  })

  it('are closed when it is deleted', async () => {
    const lab = await openFleetLab()
    const id = await lab.create(2, stopping)
    await lab.pass(1000)
    await remove(lab, id)
    await lab.pass(10_000)
    expect(await lab.census()).toEqual({ terminated: 2 })
    expect(await lab.fleet(id)).toMatchObject({ state: 'deleted' })
    expect(await lab.requests()).toEqual(['closed instance-terminated-by-user', 'closed instance-terminated-by-user'])
  })
})

describe('A fleet whose instances are stopped', () => {
  it('has them back, or replacements of them, and no more than it wants', async () => {
    const lab = await openFleetLab()
    const id = await lab.create(2, stopping, zones(A, B))
    await lab.pass(1000)
    const first = await lab.inState('running')
    for (let round = 0; round < 6; round++) {
      const [from, to] = round % 2 === 0 ? [A, B] : [B, A]
      await lab.cap(1_000_000, [to])
      await lab.cap(0, [from])
      await lab.pass(600_000)
      const counts = await lab.census()
      expect([round, counts.running, (counts.stopped ?? 0) <= 2]).toEqual([round, 2, true])
    }
    expect(await lab.fleet(id)).toEqual({ state: 'active', activity: 'fulfilled', fulfilled: 2, retryMs: null })
    expect(first).toHaveLength(2)
    await lab.cap(1_000_000)
    await lab.pass(600_000)
    const { running, stopped = 0 } = await lab.census()
    // With room for all of them those that are stopped stay so: none is missing.
    expect([running, stopped <= 2]).toEqual([2, true])
    await remove(lab, id)
    await lab.pass(10_000)
    expect(Object.keys(await lab.census())).toEqual(['terminated'])
  })

  it('does not gather them while the room goes from zone to zone', async () => {
    const lab = await openFleetLab()
    await lab.create(2, stopping, zones(A, B, C))
    await lab.cap(0)
    for (let round = 0; round < 9; round++) {
      const zone = ZONES[round % 3] ?? ''
      await lab.cap(1_000_000, [zone])
      await lab.pass(300_000)
      await lab.cap(0, [zone])
      await lab.pass(300_000)
      const { running = 0, stopped = 0 } = await lab.census()
      expect([round, running, stopped <= 2]).toEqual([round, 0, true])
    }
  })
})

describe('A fleet with capacity rebalancing', () => {
  it('launches a replacement at once, and terminates the old one after its delay', async () => {
    const lab = await openFleetLab()
    const id = await lab.create(2, rebalancing('launch-before-terminate', 300), zones(A, B))
    await lab.pass(1000)
    const [risky] = await lab.inState('running')
    if (!risky) throw new Error('nothing was launched')
    await lab.advise([risky])
    await lab.pass(0)
    expect(await lab.census()).toEqual({ running: 3 })
    await lab.pass(299_999)
    expect(await lab.census()).toEqual({ running: 3 })
    await lab.pass(1)
    await lab.pass(1000)
    expect(await lab.census()).toEqual({ running: 2, terminated: 1 })
    expect((await lab.inState('terminated'))[0]?.instance_id).toBe(risky.instance_id)
    expect(await lab.fleet(id)).toEqual({ state: 'active', activity: 'fulfilled', fulfilled: 2, retryMs: null })
  })

  it('has twice its target at most, whatever is likely to be interrupted', async () => {
    const lab = await openFleetLab()
    await lab.create(3, rebalancing('launch'), zones(A, B))
    await lab.pass(1000)
    for (let round = 0; round < 4; round++) {
      await lab.advise(await lab.inState('running'))
      await lab.pass(60_000)
    }
    expect(await lab.census()).toEqual({ running: 6 })
    await lab.pass(600_000)
    expect(await lab.census()).toEqual({ running: 6 })
  })
})

describe('A fleet that replaces unhealthy instances', () => {
  it('terminates them and launches others', async () => {
    const lab = await openFleetLab()
    const id = await lab.create(2, { ReplaceUnhealthyInstances: true })
    await lab.pass(1000)
    const [ill] = await lab.inState('running')
    if (!ill) throw new Error('nothing was launched')
    await lab.impair([ill])
    await lab.pass(61_000)
    expect(await lab.census()).toEqual({ running: 2, terminated: 1 })
    expect((await lab.inState('terminated'))[0]?.instance_id).toBe(ill.instance_id)
    expect(await lab.fleet(id)).toEqual({ state: 'active', activity: 'fulfilled', fulfilled: 2, retryMs: null })
  })
})

describe('A fleet in a zone that fails', () => {
  it('waits for its instances there, or replaces them elsewhere where it is to', async () => {
    const lab = await openFleetLab()
    const waits = await lab.create(2, {}, zones(A, B))
    const replaces = await lab.create(2, { ReplaceUnhealthyInstances: true, SpotOptions: { AllocationStrategy: 'diversified' } }, zones(A, B))
    await lab.pass(1000)
    const zonesOf = async (id: string) => (await lab.inState('running')).filter((each) => each.fleet_id === id).map((each) => each.zone).toSorted()
    const before = await zonesOf(waits)
    expect(await zonesOf(replaces)).toEqual([A, B])
    await lab.run(({ db }) => failZone(db, A))
    await lab.pass(300_000)
    expect([await zonesOf(waits), await zonesOf(replaces)]).toEqual([before, [B, B]])
    await lab.run(({ db }) => failZone(db, A, 'available'))
    await lab.pass(300_000)
    expect([await zonesOf(waits), await zonesOf(replaces)]).toEqual([before, [B, B]])
  })
})

describe('The time of a fleet', () => {
  it('is kept to by one that is changed before it has begun', async () => {
    const lab = await openFleetLab()
    const id = await lab.create(1, { ValidFrom: new Date(NOW_MS + 60_000) })
    await resize(lab, id, 2)
    await lab.pass(59_999)
    expect([await lab.census(), await lab.fleet(id)]).toMatchObject([{}, { state: 'submitted' }])
    await lab.pass(1)
    expect(await lab.census()).toEqual({ running: 2 })
  })

  it('begins at ValidFrom, and ends with its instances, or without them', async () => {
    const lab = await openFleetLab()
    const times = { ValidFrom: new Date(NOW_MS + 60_000), ValidUntil: new Date(NOW_MS + 120_000) }
    const [goes, stays] = [await lab.create(1, { ...times, TerminateInstancesWithExpiration: true }), await lab.create(1, times)]
    await lab.pass(59_999)
    expect([await lab.census(), await lab.fleet(goes)]).toMatchObject([{}, { state: 'submitted' }])
    await lab.pass(1)
    expect(await lab.census()).toEqual({ running: 2 })
    await lab.pass(59_999)
    expect(await lab.census()).toEqual({ running: 2 })
    await lab.pass(1)
    await lab.pass(1000)
    expect(await lab.census()).toEqual({ running: 1, terminated: 1 })
    expect([await lab.fleet(goes), await lab.fleet(stays)]).toMatchObject([{ state: 'deleted' }, { state: 'deleted_running' }])
    expect((await lab.history(goes)).map((each) => each.subType)).toContain('expired')
  })
})

describe('A fleet that is made smaller', () => {
  it('gives spot instances the notice of two minutes, and those on demand none', async () => {
    const lab = await openFleetLab()
    const id = await lab.create(3, { TargetCapacitySpecification: { TotalTargetCapacity: 5, OnDemandTargetCapacity: 2, DefaultTargetCapacityType: 'spot' } })
    await lab.pass(1000)
    expect(await lab.census()).toEqual({ running: 5 })
    await resize(lab, id, 2, { TargetCapacitySpecification: { TotalTargetCapacity: 2, OnDemandTargetCapacity: 1 } })
    await lab.pass(119_999)
    expect(await lab.census()).toEqual({ running: 4, terminated: 1 })
    expect((await lab.requests()).toSorted()).toEqual(['active fulfilled', 'active marked-for-termination', 'active marked-for-termination'])
    expect(await lab.fleet(id)).toMatchObject({ state: 'active', activity: 'pending_termination' })
    await lab.pass(1)
    await lab.pass(1000)
    expect(await lab.census()).toEqual({ running: 2, terminated: 3 })
    expect((await lab.requests()).toSorted()).toEqual(['active fulfilled', 'closed instance-terminated-by-user', 'closed instance-terminated-by-user'])
    expect(await lab.fleet(id)).toEqual({ state: 'active', activity: 'fulfilled', fulfilled: 2, retryMs: null })
    expect((await lab.history(id)).filter((each) => each.subType === 'termination_notified')).toHaveLength(3)
  })

  it('terminates them though they would be stopped by an interruption, and launches anew what it is to have after all', async () => {
    const lab = await openFleetLab()
    const id = await lab.create(2, stopping)
    await lab.pass(1000)
    await resize(lab, id, 1)
    await lab.pass(60_000)
    await resize(lab, id, 2)
    await lab.pass(1000)
    expect(await lab.census()).toEqual({ running: 3 })
    await lab.pass(60_000)
    expect(await lab.census()).toEqual({ running: 2, terminated: 1 })
  })
})

describe('A fleet that could not launch', () => {
  it('does so as soon as there is room, and not before for a change that is nothing to it', async () => {
    const lab = await openFleetLab()
    await lab.cap(0)
    const id = await lab.create(2, {}, zones(A))
    await lab.pass(60_000)
    const triedMs = () => lab.fleet(id).then((fleet) => fleet.retryMs)
    const before = await triedMs()
    await lab.cap(1_000_000, [B])
    await lab.pass(100)
    expect([await lab.census(), await triedMs()]).toEqual([{}, before])
    await lab.cap(1_000_000, [A])
    await lab.pass(100)
    expect(await lab.census()).toEqual({ running: 2 })
  })

  it('does so as soon as an instance leaves it room, though nobody else is on spot, and when a price falls', async () => {
    const lab = await openFleetLab()
    const other = await lab.create(1, { TargetCapacitySpecification: { TotalTargetCapacity: 1, DefaultTargetCapacityType: 'on-demand' } }, [{ InstanceType: 'm5.2xlarge', AvailabilityZone: A }])
    await lab.pass(1000)
    await lab.create(1, {}, [{ InstanceType: 'c5.4xlarge', AvailabilityZone: A }])
    await lab.pass(1000)
    expect((await lab.inState('running')).map((each) => each.instance_type)).not.toContain('c5.4xlarge')
    await remove(lab, other)
    await lab.pass(100)
    expect((await lab.inState('running')).map((each) => each.instance_type)).toEqual(['c5.4xlarge'])
    await lab.run(({ db, nowMs }) => pinPrice(db, { zone: B, instanceType: 't3.micro', priceMicroUsd: 5000 }, nowMs))
    await lab.create(1, {}, [{ MaxPrice: '0.004', AvailabilityZone: B }])
    await lab.pass(40_000)
    expect(await lab.inState('running')).toHaveLength(1)
    await lab.run(({ db, nowMs }) => pinPrice(db, { zone: B, instanceType: 't3.micro', priceMicroUsd: 3000 }, nowMs))
    await lab.pass(100)
    expect(await lab.inState('running')).toHaveLength(2)
  })

  it('keeps to its money, and spends it up to the last instance that it can pay for', async () => {
    const lab = await openFleetLab()
    for (const zone of ZONES) await lab.run(({ db, nowMs }) => pinPrice(db, { zone, instanceType: 't3.micro', priceMicroUsd: 4000 }, nowMs))
    const id = await lab.create(9, { SpotOptions: { MaxTotalPrice: '0.012' } })
    await lab.pass(300_000)
    expect([await lab.census(), await lab.fleet(id)]).toMatchObject([{ running: 3 }, { activity: 'error', fulfilled: 3 }])
    for (const zone of ZONES) await lab.run(({ db, nowMs }) => pinPrice(db, { zone, instanceType: 't3.micro', priceMicroUsd: 3000 }, nowMs))
    await lab.pass(300_000)
    expect(await lab.census()).toEqual({ running: 4 })
    const [lost] = await lab.inState('running')
    await lab.run((context) => terminateInstances(context, { InstanceIds: [lost?.instance_id ?? ''] }))
    await lab.pass(300_000)
    expect(await lab.census()).toEqual({ running: 4, terminated: 1 })
  })
})

describe('hearth down', () => {
  const down = async (lab: FleetLab) => {
    for (let seconds = 0; seconds < 5; seconds++) {
      await lab.run(({ db, nowMs }) => stopRunning(db, nowMs))
      await lab.pass(1000)
    }
  }

  it('is not undone by fleets, which have the same instances again when the cloud is up', async () => {
    const lab = await openFleetLab()
    const id = await lab.create(3, { TargetCapacitySpecification: { TotalTargetCapacity: 3, OnDemandTargetCapacity: 1, DefaultTargetCapacityType: 'spot' } })
    await lab.pass(1000)
    const before = (await lab.inState('running')).map((each) => each.instance_id)
    for (let times = 0; times < 3; times++) {
      await down(lab)
      expect(await lab.census()).toEqual({ stopped: 3 })
      await lab.begin()
      await lab.pass(1000)
      expect((await lab.inState('running')).map((each) => each.instance_id)).toEqual(before)
    }
    expect(await lab.fleet(id)).toEqual({ state: 'active', activity: 'fulfilled', fulfilled: 3, retryMs: null })
  })

  it('that is given up lets the cloud go on', async () => {
    const lab = await openFleetLab()
    await lab.create(1)
    await lab.pass(1000)
    await down(lab)
    await lab.pass(61_000)
    expect(await lab.census()).toEqual({ running: 1 })
  })
})

describe('An agent that dies anywhere', () => {
  const life = async (lab: FleetLab) => {
    const id = await lab.create(2, {
      ...rebalancing('launch-before-terminate', 120), ReplaceUnhealthyInstances: true, ValidFrom: new Date(NOW_MS + 1000), ValidUntil: new Date(NOW_MS + 700_000),
      TerminateInstancesWithExpiration: true,
    }, zones(A, B))
    await lab.pass(10_000)
    await lab.advise((await lab.inState('running')).slice(0, 1))
    await lab.pass(10_000)
    await lab.pass(200_000)
    await lab.impair((await lab.inState('running')).slice(0, 1))
    await lab.pass(70_000)
    await lab.notice((await lab.inState('running')).slice(0, 1))
    await lab.pass(200_000)
    await resize(lab, id, 1)
    await lab.pass(200_000)
    const mid = await lab.census()
    await lab.pass(100_000)
    return { id, mid }
  }

  it('leaves a fleet with as many instances as it is to have, and none after its end', async () => {
    const whole = await openFleetLab()
    const { id, mid } = await life(whole)
    expect([mid.running, await whole.census(), (await whole.fleet(id)).state]).toEqual([1, { terminated: 5 }, 'deleted'])
    const points = whole.hits()
    expect(points).toBeGreaterThan(20)
    // Every fifth, which are before a commit and after one in turn.
    for (let dieAt = 1; dieAt <= points; dieAt += 5) {
      const lab = await openFleetLab(dieAt)
      const lived = await life(lab)
      expect([dieAt, lived.mid.running, await lab.census(), (await lab.fleet(lived.id)).state]).toEqual([dieAt, 1, { terminated: 5 }, 'deleted'])
      const { vcpus } = await lab.store.read((db) => db.selectFrom('hosts').select((eb) => eb.fn.sum<number>('vcpus_used').as('vcpus')).executeTakeFirstOrThrow())
      expect(vcpus).toBe(0)
    }
  }, 120_000)
})
