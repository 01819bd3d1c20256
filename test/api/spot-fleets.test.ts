import {
  CancelSpotFleetRequestsCommand, CreateLaunchTemplateCommand, DescribeInstancesCommand, DescribeSpotFleetInstancesCommand,
  DescribeSpotFleetRequestHistoryCommand, DescribeSpotFleetRequestsCommand, DescribeSpotInstanceRequestsCommand, DescribeTagsCommand,
  ModifySpotFleetRequestCommand, RequestSpotFleetCommand, TerminateInstancesCommand, type SpotFleetRequestConfigData,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let imageId: string
let templateId: string

beforeAll(async () => {
  cloud = await startTestCloud({ spotNoticeMs: 0, capacity: { cpus: 64, memoryMib: 131_072, guestLimits: { vcpus: 16, memoryMib: 16_384 } } })
  imageId = await tinyImageId(cloud)
  const { LaunchTemplate } = await cloud.ec2.send(new CreateLaunchTemplateCommand({
    LaunchTemplateName: 'spot-fleet', LaunchTemplateData: { ImageId: imageId, InstanceType: 't3.micro' },
  }))
  templateId = LaunchTemplate?.LaunchTemplateId ?? ''
})
afterAll(() => cloud.close())

const request = async (change: Partial<SpotFleetRequestConfigData> = {}) => {
  const { SpotFleetRequestId: id = '' } = await cloud.ec2.send(new RequestSpotFleetCommand({
    SpotFleetRequestConfig: {
      IamFleetRole: 'arn:aws:iam::000000000000:role/fleet', TargetCapacity: 2,
      LaunchSpecifications: [{
        ImageId: imageId, InstanceType: 't3.micro', Placement: { AvailabilityZone: 'us-east-1a, us-east-1b' },
        TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'team', Value: 'a' }] }],
      }],
      ...change,
    },
  }))
  await cloud.settle()
  return id
}
const show = async (id: string) => {
  const { SpotFleetRequestConfigs: [fleet] = [] } = await cloud.ec2.send(new DescribeSpotFleetRequestsCommand({ SpotFleetRequestIds: [id] }))
  return fleet
}
const members = async (id: string) => (await cloud.ec2.send(new DescribeSpotFleetInstancesCommand({ SpotFleetRequestId: id }))).ActiveInstances ?? []
const instances = async (id: string) => {
  const ids = (await members(id)).map((each) => each.InstanceId ?? '')
  if (ids.length === 0) return []
  const { Reservations = [] } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: ids }))
  return Reservations.flatMap((each) => each.Instances ?? [])
}
const history = async (id: string, EventType?: 'instanceChange' | 'fleetRequestChange' | 'error') => {
  const { HistoryRecords = [] } = await cloud.ec2.send(
    new DescribeSpotFleetRequestHistoryCommand({ SpotFleetRequestId: id, StartTime: new Date(0), ...(EventType ? { EventType } : {}) }))
  return HistoryRecords.map((each) => each.EventInformation?.EventSubType)
}
const cancel = async (id: string, terminates = true) => {
  await cloud.ec2.send(new CancelSpotFleetRequestsCommand({ SpotFleetRequestIds: [id], TerminateInstances: terminates }))
  await cloud.settle()
}

describe('a Spot Fleet of launch specifications', () => {
  test('launches spot instances with its tags, and says which requests they fulfil', async () => {
    const id = await request()
    expect(await show(id)).toMatchObject({
      SpotFleetRequestState: 'active', ActivityStatus: 'fulfilled', SpotFleetRequestConfig: { TargetCapacity: 2, FulfilledCapacity: 2 },
    })
    const active = await members(id)
    expect(active.map((each) => [each.InstanceType, each.InstanceHealth])).toEqual([['t3.micro', 'healthy'], ['t3.micro', 'healthy']])
    for (const each of await instances(id)) {
      expect(each.InstanceLifecycle).toBe('spot')
      expect(Object.fromEntries(each.Tags?.map((tag) => [tag.Key, tag.Value]) ?? [])).toEqual({ team: 'a', 'aws:ec2spot:fleet-request-id': id })
    }
    const { SpotInstanceRequests = [] } = await cloud.ec2.send(
      new DescribeSpotInstanceRequestsCommand({ SpotInstanceRequestIds: active.map((each) => each.SpotInstanceRequestId ?? '') }))
    expect(SpotInstanceRequests.map((each) => each.State)).toEqual(['active', 'active'])
    expect((await history(id)).toSorted()).toEqual(['active', 'launched', 'launched', 'submitted'])
    await cancel(id)
  })

  test('is kept at its target, and follows a change of that', async () => {
    const id = await request()
    const [first] = await members(id)
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [first?.InstanceId ?? ''] }))
    await cloud.settle()
    expect(await members(id)).toHaveLength(2)
    for (const [target, excess] of [[4, 'default'], [1, 'default']] as const) {
      await cloud.ec2.send(new ModifySpotFleetRequestCommand({ SpotFleetRequestId: id, TargetCapacity: target, ExcessCapacityTerminationPolicy: excess }))
      await cloud.settle()
      expect(await members(id)).toHaveLength(target)
      expect((await show(id))?.SpotFleetRequestState).toBe('active')
    }
    expect((await history(id, 'fleetRequestChange')).filter((each) => each?.startsWith('modify'))).toEqual([
      'modify_in_progress', 'modify_succeeded', 'modify_in_progress', 'modify_succeeded',
    ])
    await cancel(id)
  })

  test('leaves its instances when it is cancelled without them, and ends with the last of them', async () => {
    const id = await request({ TargetCapacity: 1 })
    await cancel(id, false)
    expect((await show(id))?.SpotFleetRequestState).toBe('cancelled_running')
    expect(await members(id)).toHaveLength(1)
    await cancel(id, true)
    expect(await members(id)).toEqual([])
    expect((await show(id))?.SpotFleetRequestState).toBe('cancelled')
    expect((await history(id, 'fleetRequestChange'))).toEqual(['submitted', 'active', 'cancelled_running', 'cancelled_terminating', 'cancelled'])
  })

  test('of type request launches once', async () => {
    const id = await request({ Type: 'request' })
    const [first] = await members(id)
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [first?.InstanceId ?? ''] }))
    await cloud.settle()
    expect(await members(id)).toHaveLength(1)
    await cancel(id)
  })

  test('has paged answers, and tags that DescribeTags knows', async () => {
    const id = await request({ TagSpecifications: [{ ResourceType: 'spot-fleet-request', Tags: [{ Key: 'team', Value: 'b' }] }] })
    const { Tags } = await cloud.ec2.send(new DescribeTagsCommand({ Filters: [{ Name: 'resource-type', Values: ['spot-fleet-request'] }] }))
    expect(Tags).toEqual([{ Key: 'team', ResourceId: id, ResourceType: 'spot-fleet-request', Value: 'b' }])
    const page = await cloud.ec2.send(new DescribeSpotFleetInstancesCommand({ SpotFleetRequestId: id, MaxResults: 1 }))
    const rest = await cloud.ec2.send(new DescribeSpotFleetInstancesCommand({ SpotFleetRequestId: id, MaxResults: 1, NextToken: page.NextToken }))
    expect(new Set([...page.ActiveInstances ?? [], ...rest.ActiveInstances ?? []].map((each) => each.InstanceId)).size).toBe(2)
    expect(rest.NextToken).toBeUndefined()
    await cancel(id)
  })
})

describe('a Spot Fleet of templates', () => {
  test('has a part on demand, weights, and types by attributes', async () => {
    const id = await request({
      LaunchSpecifications: [], TargetCapacity: 6, OnDemandTargetCapacity: 2, AllocationStrategy: 'diversified',
      LaunchTemplateConfigs: [{
        LaunchTemplateSpecification: { LaunchTemplateId: templateId, Version: '$Latest' },
        Overrides: [
          { InstanceType: 't3.small', WeightedCapacity: 2, AvailabilityZone: 'us-east-1a' },
          { InstanceType: 't3.medium', WeightedCapacity: 2, AvailabilityZone: 'us-east-1b' },
        ],
      }],
    })
    const found = await instances(id)
    expect(found.map((each) => each.InstanceLifecycle ?? 'on-demand').toSorted()).toEqual(['on-demand', 'spot', 'spot'])
    expect(new Set(found.filter((each) => each.InstanceLifecycle === 'spot').map((each) => each.InstanceType))).toEqual(new Set(['t3.small', 't3.medium']))
    expect((await show(id))?.SpotFleetRequestConfig).toMatchObject({
      FulfilledCapacity: 6, OnDemandFulfilledCapacity: 2,
      LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateId: templateId, Version: '$Latest' } }],
    })
    await cancel(id)
    const chosen = await request({
      LaunchSpecifications: [], TargetCapacity: 4, TargetCapacityUnitType: 'vcpu',
      LaunchTemplateConfigs: [{
        LaunchTemplateSpecification: { LaunchTemplateId: templateId, Version: '1' },
        Overrides: [{ InstanceRequirements: { VCpuCount: { Min: 2, Max: 2 }, MemoryMiB: { Min: 1024, Max: 4096 }, BurstablePerformance: 'required' } }],
      }],
    })
    expect((await show(chosen))?.SpotFleetRequestConfig).toMatchObject({ FulfilledCapacity: 4, TargetCapacityUnitType: 'vcpu' })
    await cancel(chosen)
  })
})
