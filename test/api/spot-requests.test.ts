import {
  CancelSpotInstanceRequestsCommand, CreateLaunchTemplateCommand, DescribeInstancesCommand, DescribeSpotInstanceRequestsCommand,
  GetLaunchTemplateDataCommand, RequestSpotInstancesCommand, RunInstancesCommand, TerminateInstancesCommand,
  waitUntilSpotInstanceRequestFulfilled, type RequestSpotInstancesRequest, type SpotInstanceRequest,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { OTHER_ACCOUNT } from '../support/rows.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let imageId: string
beforeAll(async () => {
  cloud = await startTestCloud({ capacity: { cpus: 32, memoryMib: 65_536, guestLimits: { vcpus: 16, memoryMib: 16_384 } } })
  imageId = await tinyImageId(cloud)
})
afterAll(() => cloud.close())

const ask = async (change: Partial<RequestSpotInstancesRequest> = {}): Promise<string[]> => {
  const { SpotInstanceRequests: requests = [] } = await cloud.ec2.send(new RequestSpotInstancesCommand({
    LaunchSpecification: { ImageId: imageId, InstanceType: 't3.micro' }, ...change,
  }))
  return requests.map((each) => each.SpotInstanceRequestId ?? '')
}
const show = async (...ids: string[]): Promise<SpotInstanceRequest[]> =>
  (await cloud.ec2.send(new DescribeSpotInstanceRequestsCommand({ SpotInstanceRequestIds: ids }))).SpotInstanceRequests ?? []
const instance = async (id: string | undefined) =>
  (await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id ?? ''] }))).Reservations?.[0]?.Instances?.[0]
const code = (attempt: Promise<unknown>) => attempt.then(() => 'no error', (error: Error) => error.name)

describe('a spot request', () => {
  test('is fulfilled, which a waiter sees; its instance is terminated, and it is closed', async () => {
    const [id = ''] = await ask({ TagSpecifications: [{ ResourceType: 'spot-instances-request', Tags: [{ Key: 'job', Value: 'one' }] }] })
    const seen = await waitUntilSpotInstanceRequestFulfilled({ client: cloud.ec2, maxWaitTime: 30 }, { SpotInstanceRequestIds: [id] })
    expect(seen.state).toBe('SUCCESS')
    const [request] = await show(id)
    expect(request).toMatchObject({ State: 'active', Tags: [{ Key: 'job', Value: 'one' }] })
    expect(await instance(request?.InstanceId)).toMatchObject({ State: { Name: 'running' }, InstanceLifecycle: 'spot', SpotInstanceRequestId: id })
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [request?.InstanceId ?? ''] }))
    expect(await show(id)).toMatchObject([{ State: 'closed', Status: { Code: 'instance-terminated-by-user', Message: 'Spot Instance terminated due to user-initiated termination.' } }])
  })

  test('with a key, groups by name, disks and a zone launches just that', async () => {
    const [id = ''] = await ask({
      LaunchSpecification: {
        ImageId: imageId, InstanceType: 't3.micro', SecurityGroups: ['default'], Placement: { AvailabilityZone: 'us-east-1b' },
        BlockDeviceMappings: [{ DeviceName: '/dev/sdf', Ebs: { VolumeSize: 2, VolumeType: 'gp3', DeleteOnTermination: true } }],
        Monitoring: { Enabled: true }, UserData: Buffer.from('#!/bin/sh').toString('base64'),
      },
    })
    const [request] = await show(id)
    expect(request).toMatchObject({
      State: 'active', LaunchedAvailabilityZone: 'us-east-1b', LaunchedAvailabilityZoneId: expect.stringMatching(/^use1-az/) as string,
      LaunchSpecification: { SecurityGroups: [{ GroupName: 'default' }], Monitoring: { Enabled: true }, Placement: { AvailabilityZone: 'us-east-1b' } },
    })
    expect(await instance(request?.InstanceId)).toMatchObject({
      Placement: { AvailabilityZone: 'us-east-1b' }, Monitoring: { State: 'enabled' }, SecurityGroups: [{ GroupName: 'default' }],
    })
    const found = await cloud.ec2.send(new DescribeSpotInstanceRequestsCommand({ Filters: [
      { Name: 'launch.block-device-mapping.volume-size', Values: ['2'] }, { Name: 'launched-availability-zone', Values: ['us-east-1?'] }, { Name: 'state', Values: ['active'] },
    ] }))
    expect(found.SpotInstanceRequests?.map((each) => each.SpotInstanceRequestId)).toEqual([id])
  })

  test('of a persistent kind is filled again until it is cancelled', async () => {
    const [id = ''] = await ask({ Type: 'persistent' })
    const [first] = await show(id)
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [first?.InstanceId ?? ''] }))
    const [second] = await show(id)
    expect(second).toMatchObject({ State: 'active', Status: { Code: 'fulfilled' } })
    expect(second?.InstanceId).not.toBe(first?.InstanceId)
    await cloud.ec2.send(new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [id] }))
    expect((await instance(second?.InstanceId))?.State?.Name).toBe('running')
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [second?.InstanceId ?? ''] }))
    expect(await show(id)).toMatchObject([{ State: 'cancelled', Status: { Code: 'instance-terminated-by-user' } }])
  })

  test('waits while what is offered is too little, and is not another account\'s', async () => {
    const [id = ''] = await ask({ SpotPrice: '0.001' })
    expect(await show(id)).toMatchObject([{
      State: 'open', Status: { Code: 'price-too-low', Message: expect.stringMatching(/^Your Spot request price of 0\.001 is lower than the minimum required/) as string },
    }])
    const other = cloud.client({ account: OTHER_ACCOUNT })
    expect(await code(other.send(new DescribeSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [id] })))).toBe('InvalidSpotInstanceRequestID.NotFound')
    expect(await code(other.send(new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [id] })))).toBe('InvalidSpotInstanceRequestID.NotFound')
    other.destroy()
    await cloud.ec2.send(new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [id] }))
  })

  test('comes in pages, and with DryRun not at all', async () => {
    const before = (await cloud.ec2.send(new DescribeSpotInstanceRequestsCommand({}))).SpotInstanceRequests?.length
    expect(await code(ask({ DryRun: true }).then(() => {}))).toBe('DryRunOperation')
    expect((await cloud.ec2.send(new DescribeSpotInstanceRequestsCommand({}))).SpotInstanceRequests?.length).toBe(before)
    const ids = await ask({ InstanceCount: 12, SpotPrice: '0.001', LaunchGroup: 'pages' })
    const paged: string[] = []
    for (let token: string | undefined, pages = 0; pages < 5; pages++) {
      const page = await cloud.ec2.send(new DescribeSpotInstanceRequestsCommand({ MaxResults: 5, NextToken: token, Filters: [{ Name: 'launch-group', Values: ['pages'] }] }))
      paged.push(...(page.SpotInstanceRequests ?? []).map((each) => each.SpotInstanceRequestId ?? ''))
      token = page.NextToken
      if (token === undefined) break
    }
    expect(paged).toEqual(ids.toSorted())
    await cloud.ec2.send(new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: ids }))
  })
})

describe('RunInstances with a launch template that is for spot', () => {
  test('launches on spot, and the same once more from what a template of its instance would say', async () => {
    const { LaunchTemplate: template } = await cloud.ec2.send(new CreateLaunchTemplateCommand({
      LaunchTemplateName: 'on-spot', LaunchTemplateData: {
        ImageId: imageId, InstanceType: 't3.micro',
        InstanceMarketOptions: { MarketType: 'spot', SpotOptions: { SpotInstanceType: 'persistent', InstanceInterruptionBehavior: 'stop', MaxPrice: '0.01' } },
        TagSpecifications: [{ ResourceType: 'spot-instances-request', Tags: [{ Key: 'of', Value: 'template' }] }],
      },
    }))
    const { Instances: [launched] = [] } = await cloud.ec2.send(new RunInstancesCommand({
      MinCount: 1, MaxCount: 1, LaunchTemplate: { LaunchTemplateId: template?.LaunchTemplateId },
    }))
    expect(await show(launched?.SpotInstanceRequestId ?? '')).toMatchObject([{
      Type: 'persistent', InstanceInterruptionBehavior: 'stop', SpotPrice: '0.010000', Tags: [{ Key: 'of', Value: 'template' }],
    }])
    const { LaunchTemplateData: data } = await cloud.ec2.send(new GetLaunchTemplateDataCommand({ InstanceId: launched?.InstanceId }))
    expect(data?.InstanceMarketOptions).toEqual({
      MarketType: 'spot', SpotOptions: { SpotInstanceType: 'persistent', InstanceInterruptionBehavior: 'stop', MaxPrice: '0.01' },
    })
    const { LaunchTemplate: again } = await cloud.ec2.send(new CreateLaunchTemplateCommand({ LaunchTemplateName: 'once-more', LaunchTemplateData: data as object }))
    const { Instances: [copy] = [] } = await cloud.ec2.send(new RunInstancesCommand({
      MinCount: 1, MaxCount: 1, LaunchTemplate: { LaunchTemplateId: again?.LaunchTemplateId },
    }))
    expect(copy).toMatchObject({ InstanceLifecycle: 'spot' })
    const requests = [launched, copy].map((each) => each?.SpotInstanceRequestId ?? '')
    await cloud.ec2.send(new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: requests }))
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [launched, copy].map((each) => each?.InstanceId ?? '') }))
    expect((await show(...requests)).map((each) => each.State)).toEqual(['cancelled', 'cancelled'])
  })
})
