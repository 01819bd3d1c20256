import {
  CreateLaunchTemplateCommand, CreatePlacementGroupCommand, DeletePlacementGroupCommand, DescribeInstancesCommand,
  DescribePlacementGroupsCommand, DescribeTagsCommand, ModifyInstancePlacementCommand, RunInstancesCommand, StartInstancesCommand,
  StopInstancesCommand, TerminateInstancesCommand, type CreatePlacementGroupRequest, type Instance, type Placement, type RunInstancesRequest,
} from '@aws-sdk/client-ec2'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { OTHER_ACCOUNT } from '../support/rows.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

// Three zones of three hosts each, with room for four m5.large each.

let cloud: TestCloud
let imageId: string

beforeAll(async () => {
  cloud = await startTestCloud({ hostsPerZone: 3, capacity: { cpus: 24, memoryMib: 96 * 1024, guestLimits: { vcpus: 8, memoryMib: 32 * 1024 } } })
  imageId = await tinyImageId(cloud)
})
afterAll(() => cloud.close())
afterEach(async () => {
  const { Reservations = [] } = await cloud.ec2.send(new DescribeInstancesCommand({
    Filters: [{ Name: 'instance-state-name', Values: ['pending', 'running', 'stopping', 'stopped'] }],
  }))
  const InstanceIds = Reservations.flatMap((each) => each.Instances ?? []).flatMap((each) => each.InstanceId ?? [])
  if (InstanceIds.length > 0) await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds }))
})

const group = async (GroupName: string, Strategy: CreatePlacementGroupRequest['Strategy'], more: object = {}) =>
  (await cloud.ec2.send(new CreatePlacementGroupCommand({ GroupName, Strategy, ...more }))).PlacementGroup
const run = async (Placement: Placement = {}, more: Partial<RunInstancesRequest> = {}): Promise<Instance[]> => {
  const launched = await cloud.ec2.send(new RunInstancesCommand({ ImageId: imageId, InstanceType: 'm5.large', MinCount: 1, MaxCount: 1, Placement, ...more }))
  const InstanceIds = launched.Instances?.flatMap((each) => each.InstanceId ?? []) ?? []
  const { Reservations = [] } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds }))
  return Reservations.flatMap((each) => each.Instances ?? [])
}
const find = async (Name: string, value: string) => {
  const { Reservations = [] } = await cloud.ec2.send(new DescribeInstancesCommand({
    Filters: [{ Name, Values: [value] }, { Name: 'instance-state-name', Values: ['running', 'stopped'] }],
  }))
  return Reservations.flatMap((each) => each.Instances ?? [])
}
const hosts = () => cloud.store.read((db) =>
  db.selectFrom('instances').select(['instance_id', 'host_id', 'zone', 'partition_number']).where('holds_capacity', '=', 1).execute())
const text = (attempt: Promise<unknown>) => attempt.then(() => 'no error', (error: Error) => `${error.name}: ${error.message}`)

describe('placement', () => {
  test('spreads instances over zones, and those of a call over the hosts of one', async () => {
    for (let n = 0; n < 3; n++) await run()
    expect((await hosts()).map((each) => each.zone).toSorted()).toEqual(['us-east-1a', 'us-east-1b', 'us-east-1c'])
    const launched = await run({}, { MinCount: 5, MaxCount: 5 })
    expect(new Set(launched.map((each) => each.Placement?.AvailabilityZone)).size).toBe(1)
    expect(launched.every((each) => each.State?.Name === 'running')).toBe(true)
    const ids = (await hosts()).filter((each) => launched.some((one) => one.InstanceId === each.instance_id)).map((each) => each.host_id)
    expect(ids.map((id) => ids.filter((each) => each === id).length).toSorted()).toEqual([1, 2, 2, 2, 2])
  })

  test('runs as many between MinCount and MaxCount as one zone has room for', async () => {
    expect(await run({ AvailabilityZone: 'us-east-1b' }, { MinCount: 1, MaxCount: 40 })).toHaveLength(12)
    expect(await text(run({ AvailabilityZone: 'us-east-1b' }))).toMatch(
      /^InsufficientInstanceCapacity: We currently do not have sufficient m5\.large capacity in the Availability Zone you requested \(us-east-1b\)\. .* or choosing us-east-1a, us-east-1c\. \[Hearth: /)
    expect((await run())[0]?.Placement?.AvailabilityZone).not.toBe('us-east-1b')
  })
})

describe('placement groups', () => {
  test('spread instances over hosts, and start them apart again', async () => {
    const made = await group('apart', 'spread', { TagSpecifications: [{ ResourceType: 'placement-group', Tags: [{ Key: 'team', Value: 'db' }] }] })
    const placement = { GroupName: 'apart', AvailabilityZone: 'us-east-1a' }
    const [first, second, third] = await run(placement, { MinCount: 3, MaxCount: 3 })
    expect(first?.Placement).toEqual({
      AvailabilityZone: 'us-east-1a', AvailabilityZoneId: 'use1-az1', GroupName: 'apart', GroupId: made?.GroupId, Tenancy: 'default',
    })
    expect(new Set((await hosts()).map((each) => each.host_id)).size).toBe(3)
    expect(await text(run(placement))).toMatch(/^InsufficientInstanceCapacity: .*Placement Group 'apart'.*"hearth up --hosts-per-zone 4"/)
    const InstanceIds = [first, second].flatMap((each) => each?.InstanceId ?? [])
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds }))
    const [taker] = await run(placement)
    const [isFull] = (await Promise.allSettled(InstanceIds.map((each) =>
      cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [each] }))))).map((each) => each.status).toSorted()
    expect([isFull, new Set((await hosts()).map((each) => each.host_id)).size, (await hosts()).length]).toEqual(['fulfilled', 3, 3])
    expect([third, taker].every((each) => each !== undefined)).toBe(true)
    expect(await find('placement-group-name', 'apart')).toHaveLength(4)
    const { Tags } = await cloud.ec2.send(new DescribeTagsCommand({ Filters: [{ Name: 'resource-type', Values: ['placement-group'] }] }))
    expect(Tags).toEqual([{ Key: 'team', Value: 'db', ResourceId: made?.GroupId, ResourceType: 'placement-group' }])
  })

  test('of partitions give each its own hosts, evenly; a start keeps the partition', async () => {
    await group('parts', 'partition', { PartitionCount: 3 })
    const launched = await run({ GroupName: 'parts', AvailabilityZone: 'us-east-1c' }, { MinCount: 6, MaxCount: 6 })
    expect(launched.map((each) => each.Placement?.PartitionNumber).toSorted()).toEqual([1, 1, 2, 2, 3, 3])
    expect(new Set((await hosts()).map((each) => `${each.host_id} ${each.partition_number}`)).size).toBe(3)
    const [moved] = await find('placement-partition-number', '3')
    const InstanceIds = [moved?.InstanceId ?? '']
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds }))
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds }))
    expect((await find('instance-id', InstanceIds[0] ?? ''))[0]?.Placement?.PartitionNumber).toBe(3)
  })

  test('cluster instances in one zone, and say which when another is asked for', async () => {
    await group('near', 'cluster')
    const [first] = await run({ GroupName: 'near', AvailabilityZone: 'us-east-1b' })
    const [next] = await run({ GroupName: 'near' })
    expect([first, next].map((each) => each?.Placement?.AvailabilityZone)).toEqual(['us-east-1b', 'us-east-1b'])
    expect(await text(run({ GroupName: 'near', AvailabilityZone: 'us-east-1a' })))
      .toBe("InvalidPlacementGroup.InUse: The placement group 'near' is in use in another availability zone: us-east-1b")
    expect(await text(run({ GroupName: 'near' }, { InstanceType: 't3.micro' }))).toMatch(/^InvalidParameterCombination: Cluster placement groups/)
  })

  test('are joined and left by stopped instances, an empty name taking one out', async () => {
    await group('later', 'spread')
    const [instance] = await run()
    const InstanceId = instance?.InstanceId ?? ''
    const modify = (more: object) => cloud.ec2.send(new ModifyInstancePlacementCommand({ InstanceId, ...more }))
    expect(await text(modify({ GroupName: 'later' }))).toBe(`IncorrectInstanceState: The instance '${InstanceId}' is not in the 'stopped' state.`)
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [InstanceId] }))
    expect((await modify({ GroupName: 'later' })).Return).toBe(true)
    expect(await find('placement-group-name', 'later')).toHaveLength(1)
    expect(await text(cloud.ec2.send(new DeletePlacementGroupCommand({ GroupName: 'later' }))))
      .toBe("InvalidPlacementGroup.InUse: The placement group 'later' is in use and may not be deleted.")
    await modify({ GroupName: '' })
    expect(await find('placement-group-name', 'later')).toHaveLength(0)
    await cloud.ec2.send(new DeletePlacementGroupCommand({ GroupName: 'later' }))
    expect(await text(cloud.ec2.send(new DescribePlacementGroupsCommand({ GroupNames: ['later'] }))))
      .toBe("InvalidPlacementGroup.Unknown: The Placement Group 'later' is unknown.")
  })

  test('are what a launch template says, and belong to one account', async () => {
    await group('mine', 'spread')
    await cloud.ec2.send(new CreateLaunchTemplateCommand({ LaunchTemplateName: 'placed', LaunchTemplateData: {
      ImageId: imageId, InstanceType: 'm5.large', Placement: { GroupName: 'mine' },
    } }))
    const { Instances } = await cloud.ec2.send(new RunInstancesCommand({ MinCount: 1, MaxCount: 1, LaunchTemplate: { LaunchTemplateName: 'placed' } }))
    expect(Instances?.[0]?.Placement?.GroupName).toBe('mine')
    const other = cloud.client({ account: OTHER_ACCOUNT })
    expect((await other.send(new DescribePlacementGroupsCommand({}))).PlacementGroups).toEqual([])
    expect(await text(other.send(new RunInstancesCommand({
      ImageId: imageId, InstanceType: 'm5.large', MinCount: 1, MaxCount: 1, Placement: { GroupName: 'mine' },
    })))).toMatch(/^InvalidPlacementGroup.Unknown/)
    other.destroy()
  })

  test('are not made by a dry run', async () => {
    expect(await text(group('dry', 'spread', { DryRun: true }))).toMatch(/^DryRunOperation/)
    expect((await cloud.ec2.send(new DescribePlacementGroupsCommand({}))).PlacementGroups?.map((each) => each.GroupName)).not.toContain('dry')
  })
})

describe('dedicated tenancy', () => {
  test('keeps other accounts off a host', async () => {
    const other = cloud.client({ account: OTHER_ACCOUNT })
    // One of three hosts of the zone for each call.
    await run({ Tenancy: 'dedicated', AvailabilityZone: 'us-east-1a' }, { MinCount: 3, MaxCount: 3 })
    const theirs = (letter: string) => other.send(new RunInstancesCommand({
      ImageId: imageId, InstanceType: 'm5.large', MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: `us-east-1${letter}` },
    }))
    expect(await text(theirs('a'))).toMatch(/^InsufficientInstanceCapacity: .* or choosing us-east-1b, us-east-1c\./)
    await theirs('b')
    expect((await find('tenancy', 'dedicated')).map((each) => each.Placement?.Tenancy)).toEqual(['dedicated', 'dedicated', 'dedicated'])
    const { Reservations = [] } = await other.send(new DescribeInstancesCommand({}))
    await other.send(new TerminateInstancesCommand({ InstanceIds: Reservations.flatMap((each) => each.Instances ?? []).flatMap((each) => each.InstanceId ?? []) }))
    other.destroy()
  })
})
