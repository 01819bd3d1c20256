import {
  AllocateHostsCommand, CancelCapacityReservationCommand, CreateCapacityReservationCommand, DescribeCapacityReservationsCommand,
  DescribeHostsCommand, DescribeInstancesCommand, DescribeSpotInstanceRequestsCommand, GetCapacityReservationUsageCommand,
  ModifyCapacityReservationCommand, ReleaseHostsCommand, RunInstancesCommand, StartInstancesCommand, StopInstancesCommand, TerminateInstancesCommand, type CreateCapacityReservationCommandInput,
  type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { capacityProblems } from '../../src/model/capacity-audit.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

const ZONE = 'us-east-1a'

let cloud: TestCloud
let imageId: string
beforeAll(async () => {
  cloud = await startTestCloud({ capacity: { cpus: 24, memoryMib: 49_152, guestLimits: { vcpus: 24, memoryMib: 49_152 } } })
  imageId = await tinyImageId(cloud)
})
afterAll(() => cloud.close())
afterEach(async () => {
  expect(await cloud.store.read(capacityProblems)).toEqual([])
})

async function reserve(change: Partial<CreateCapacityReservationCommandInput> = {}): Promise<string> {
  const { CapacityReservation } = await cloud.ec2.send(new CreateCapacityReservationCommand({
    InstanceType: 't3.medium', InstancePlatform: 'Linux/UNIX', AvailabilityZone: ZONE, InstanceCount: 2, ...change,
  }))
  return CapacityReservation?.CapacityReservationId ?? ''
}
const launch = (change: Partial<RunInstancesCommandInput> = {}) => cloud.ec2.send(new RunInstancesCommand({
  ImageId: imageId, InstanceType: 't3.medium', MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: ZONE }, ...change,
}))
async function launchOne(change: Partial<RunInstancesCommandInput> = {}): Promise<string> {
  return (await launch(change)).Instances?.[0]?.InstanceId ?? ''
}
/** How many instances of t3.medium the zone has room for: 2 vCPUs and 4 GiB. */
async function placesInZone(): Promise<number> {
  const hosts = await cloud.store.read((db) => db.selectFrom('hosts').selectAll().execute())
  return hosts.filter((host) => (host.zone ?? ZONE) === ZONE)
    .reduce((sum, host) => sum + Math.min(Math.floor(host.vcpus / 2), Math.floor(host.memory_mib / 4096)), 0)
}
async function instance(id: string) {
  const { Reservations } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
  return Reservations?.[0]?.Instances?.[0]
}
async function reservation(id: string) {
  const { CapacityReservations } = await cloud.ec2.send(new DescribeCapacityReservationsCommand({ CapacityReservationIds: [id] }))
  return CapacityReservations?.[0]
}
const terminate = (...InstanceIds: string[]) => cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds }))
const cancel = (CapacityReservationId: string) => cloud.ec2.send(new CancelCapacityReservationCommand({ CapacityReservationId }))

describe('a capacity reservation', () => {
  test('is used by the instances that match it, and outlives them', async () => {
    const id = await reserve()
    const launched = await launchOne()
    expect(await instance(launched)).toMatchObject({
      CapacityReservationId: id, CapacityReservationSpecification: { CapacityReservationPreference: 'open' },
    })
    expect(await cloud.ec2.send(new GetCapacityReservationUsageCommand({ CapacityReservationId: id }))).toMatchObject({
      TotalInstanceCount: 2, AvailableInstanceCount: 1, InstanceUsages: [{ UsedInstanceCount: 1 }],
    })
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [launched] }))
    expect((await instance(launched))?.CapacityReservationId).toBeUndefined()
    expect((await reservation(id))?.AvailableInstanceCount).toBe(2)
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [launched] }))
    expect((await instance(launched))?.CapacityReservationId).toBe(id)
    const found = await cloud.ec2.send(new DescribeInstancesCommand({ Filters: [{ Name: 'capacity-reservation-id', Values: [id] }] }))
    expect(found.Reservations?.flatMap((each) => each.Instances ?? []).map((each) => each.InstanceId)).toEqual([launched])
    await terminate(launched)
    expect((await reservation(id))?.AvailableInstanceCount).toBe(2)
    await cancel(id)
  })

  test('that is meant is used, or nothing is', async () => {
    const id = await reserve({ InstanceCount: 1, InstanceMatchCriteria: 'targeted' })
    const target = { CapacityReservationSpecification: { CapacityReservationTarget: { CapacityReservationId: id } } }
    const launched = await launchOne(target)
    expect(await instance(launched)).toMatchObject({ CapacityReservationId: id, ...target })
    await expect(launch(target)).rejects.toMatchObject({
      name: 'ReservationCapacityExceeded',
      message: 'The requested reservation does not have sufficient compatible and available capacity for this request.',
    })
    const found = await cloud.ec2.send(new DescribeInstancesCommand({
      Filters: [{ Name: 'capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id', Values: [id] }],
    }))
    expect(found.Reservations).toHaveLength(1)
    await terminate(launched)
    await cancel(id)
  })

  test('keeps others out, until it is cancelled', async () => {
    const places = await placesInZone()
    const id = await reserve({ InstanceCount: places, InstanceMatchCriteria: 'targeted' })
    await expect(launch()).rejects.toMatchObject({ name: 'InsufficientInstanceCapacity' })
    await expect(cloud.ec2.send(new ModifyCapacityReservationCommand({ CapacityReservationId: id, InstanceCount: places + 1 }))).rejects.toMatchObject({
      name: 'InsufficientInstanceCapacity',
    })
    await cancel(id)
    await terminate(await launchOne())
    expect((await reservation(id))?.State).toBe('cancelled')
  })

  test('expires by itself', async () => {
    const id = await reserve({ EndDate: new Date(systemClock.now() + 1500), EndDateType: 'limited' })
    // Whatever changes something waits until what is due soon is done.
    const launched = await launchOne({ CapacityReservationSpecification: { CapacityReservationPreference: 'none' } })
    await cloud.settle()
    expect((await reservation(id))?.State).toBe('expired')
    const rows = await cloud.store.read((db) => db.selectFrom('capacity_reservation_hosts').selectAll().execute())
    expect(rows.filter((row) => row.capacity_reservation_id === id)).toEqual([])
    await terminate(launched)
  })

  test('takes the room of a spot instance, and lets its own start when that has left', async () => {
    const places = await placesInZone()
    const rest = await reserve({ InstanceCount: places - 4, InstanceMatchCriteria: 'targeted' })
    const spot = await launchOne({ InstanceMarketOptions: { MarketType: 'spot' } })
    const id = await reserve({ InstanceCount: 4 })
    expect(await reservation(id)).toMatchObject({ State: 'active', AvailableInstanceCount: 4 })
    const { SpotInstanceRequests: [request] = [] } = await cloud.ec2.send(new DescribeSpotInstanceRequestsCommand({
      Filters: [{ Name: 'instance-id', Values: [spot] }],
    }))
    expect(request?.Status?.Code).toBe('marked-for-termination')
    const launched = await launchOne({ CapacityReservationSpecification: { CapacityReservationTarget: { CapacityReservationId: id } } })
    expect((await instance(launched))?.State?.Name).toBe('pending')
    await terminate(spot)
    await cloud.settle()
    expect((await instance(launched))?.State?.Name).toBe('running')
    await terminate(launched)
    for (const each of [rest, id]) await cancel(each)
  })

  test('and launches that come at once never promise more than there is', async () => {
    const places = await placesInZone()
    const calls = Array.from({ length: places + 4 }, (_, each) => (each % 2 === 0
      ? launchOne({ CapacityReservationSpecification: { CapacityReservationPreference: 'none' } })
      : reserve({ InstanceCount: 1, InstanceMatchCriteria: 'targeted' })))
    const outcomes = await Promise.allSettled(calls)
    const made = outcomes.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
    const refused = outcomes.flatMap((each) => (each.status === 'rejected' ? [(each.reason as Error).name] : []))
    expect([made.length, new Set(refused)]).toEqual([places, new Set(['InsufficientInstanceCapacity'])])
    expect(await cloud.store.read(capacityProblems)).toEqual([])
    await terminate(...made.filter((id) => id.startsWith('i-')))
    for (const id of made.filter((each) => each.startsWith('cr-'))) await cancel(id)
  })

  test('can be tried without being made', async () => {
    await expect(reserve({ DryRun: true })).rejects.toMatchObject({ name: 'DryRunOperation' })
  })
})

describe('a dedicated host', () => {
  test('has instances of its account, and is released when they are gone', async () => {
    const { HostIds: [id = ''] = [] } = await cloud.ec2.send(
      new AllocateHostsCommand({ InstanceType: 't3.medium', AvailabilityZone: ZONE, Quantity: 1, AutoPlacement: 'on' }))
    const launched = await launchOne({ Placement: { AvailabilityZone: ZONE, Tenancy: 'host', HostId: id } })
    expect((await instance(launched))?.Placement).toMatchObject({ Tenancy: 'host', HostId: id })
    const describeOne = async () => (await cloud.ec2.send(new DescribeHostsCommand({ HostIds: [id] }))).Hosts?.[0]
    expect(await describeOne()).toMatchObject({ State: 'available', Instances: [{ InstanceId: launched, InstanceType: 't3.medium' }] })
    const release = () => cloud.ec2.send(new ReleaseHostsCommand({ HostIds: [id] }))
    expect(await release()).toMatchObject({ Successful: [], Unsuccessful: [{ ResourceId: id, Error: { Code: 'Client.InvalidHost.Occupied' } }] })
    await terminate(launched)
    expect(await release()).toMatchObject({ Successful: [id], Unsuccessful: [] })
    expect((await describeOne())?.State).toBe('released')
  })

  test('that nothing has room for is refused', async () => {
    await expect(cloud.ec2.send(new AllocateHostsCommand({ InstanceType: 'm5.24xlarge', AvailabilityZone: ZONE, Quantity: 1 })))
      .rejects.toMatchObject({ name: 'InsufficientHostCapacity' })
  })
})
