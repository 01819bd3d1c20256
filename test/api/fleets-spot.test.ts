import {
  CreateFleetCommand, CreateLaunchTemplateCommand, DeleteFleetsCommand, DescribeFleetHistoryCommand, DescribeFleetInstancesCommand,
  DescribeFleetsCommand, DescribeInstancesCommand, DescribeSpotInstanceRequestsCommand, ModifyFleetCommand, ModifyInstanceAttributeCommand,
  TerminateInstancesCommand, type CreateFleetRequest, type FleetLaunchTemplateOverridesRequest,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { onDemandPrice } from '../../src/catalogue/on-demand-prices.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let templateId: string

beforeAll(async () => {
  cloud = await startTestCloud({ spotNoticeMs: 0, capacity: { cpus: 36, memoryMib: 73_728, guestLimits: { vcpus: 16, memoryMib: 16_384 } } })
  const { LaunchTemplate } = await cloud.ec2.send(new CreateLaunchTemplateCommand({
    LaunchTemplateName: 'spot', LaunchTemplateData: { ImageId: await tinyImageId(cloud), InstanceType: 't3.micro' },
  }))
  templateId = LaunchTemplate?.LaunchTemplateId ?? ''
})
afterAll(() => cloud.close())

const request = (total: number, overrides: FleetLaunchTemplateOverridesRequest[] = [], change: Partial<CreateFleetRequest> = {}): CreateFleetRequest => ({
  Type: 'maintain', TargetCapacitySpecification: { TotalTargetCapacity: total, DefaultTargetCapacityType: 'spot' },
  LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateId: templateId, Version: '$Latest' }, Overrides: overrides }],
  ...change,
})
const create = async (...words: Parameters<typeof request>) => {
  const fleet = await cloud.ec2.send(new CreateFleetCommand(request(...words)))
  await cloud.settle()
  return { ...fleet, id: fleet.FleetId ?? '' }
}
const zone = (letter: string, change: FleetLaunchTemplateOverridesRequest = {}) => ({ AvailabilityZone: `us-east-1${letter}`, ...change })
const show = async (id: string) => (await cloud.ec2.send(new DescribeFleetsCommand({ FleetIds: [id] }))).Fleets?.[0]
const active = async (FleetId: string) => (await cloud.ec2.send(new DescribeFleetInstancesCommand({ FleetId }))).ActiveInstances ?? []
const activeIds = async (id: string) => (await active(id)).map((each) => each.InstanceId ?? '')
const instancesOf = async (ids: string[]) => {
  const { Reservations = [] } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: ids }))
  return Reservations.flatMap((each) => each.Instances ?? [])
}
const history = async (FleetId: string, change = {}) => {
  const { HistoryRecords = [] } = await cloud.ec2.send(new DescribeFleetHistoryCommand({ FleetId, StartTime: new Date(0), ...change }))
  return HistoryRecords.map((each) => each.EventInformation?.EventSubType)
}
const terminate = async (InstanceIds: string[]) => {
  await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds }))
  await cloud.settle()
}
const resize = async (FleetId: string, TotalTargetCapacity: number, change = {}) => {
  await cloud.ec2.send(new ModifyFleetCommand({ FleetId, TargetCapacitySpecification: { TotalTargetCapacity }, ...change }))
  await cloud.settle()
}
const remove = async (id: string, TerminateInstances = true) => {
  const result = await cloud.ec2.send(new DeleteFleetsCommand({ FleetIds: [id], TerminateInstances }))
  await cloud.settle()
  return result
}
const code = (attempt: Promise<unknown>) => attempt.then(() => 'no error', (error: Error) => `${error.name}: ${error.message}`)

describe('a fleet that is maintained', () => {
  test('launches on spot in its own time, and tells how far it is', async () => {
    const { id, Instances, Errors } = await create(3, ['a', 'b', 'c'].map((letter) => zone(letter)), { SpotOptions: { AllocationStrategy: 'diversified' } })
    expect([Instances, Errors]).toEqual([undefined, undefined])
    expect(await show(id)).toMatchObject({
      FleetState: 'active', ActivityStatus: 'fulfilled', Type: 'maintain', FulfilledCapacity: 3, FulfilledOnDemandCapacity: 0,
      ExcessCapacityTerminationPolicy: 'termination', ReplaceUnhealthyInstances: false, TerminateInstancesWithExpiration: false,
      SpotOptions: { AllocationStrategy: 'diversified', InstanceInterruptionBehavior: 'terminate' },
      TargetCapacitySpecification: { TotalTargetCapacity: 3, OnDemandTargetCapacity: 0, SpotTargetCapacity: 3, DefaultTargetCapacityType: 'spot' },
    })
    const members = await active(id)
    expect(members).toMatchObject(Array.from({ length: 3 }, () => ({ InstanceType: 't3.micro', InstanceHealth: 'healthy', SpotInstanceRequestId: expect.stringMatching(/^sir-/) })))
    const instances = await instancesOf(members.map((each) => each.InstanceId ?? ''))
    expect(instances.map((each) => each.Placement?.AvailabilityZone).toSorted()).toEqual(['us-east-1a', 'us-east-1b', 'us-east-1c'])
    expect(instances[0]).toMatchObject({ InstanceLifecycle: 'spot', State: { Name: 'running' } })
    const { SpotInstanceRequests } = await cloud.ec2.send(new DescribeSpotInstanceRequestsCommand({
      SpotInstanceRequestIds: members.map((each) => each.SpotInstanceRequestId ?? ''),
    }))
    expect(SpotInstanceRequests?.map((each) => [each.State, each.Status?.Code])).toEqual(Array.from({ length: 3 }, () => ['active', 'fulfilled']))
    expect(await history(id)).toEqual(['submitted', 'active', 'launched', 'launched', 'launched'])
    await remove(id)
  })

  test('that loses an instance launches another', async () => {
    const { id } = await create(2, [zone('a')])
    const [lost = '', kept = ''] = await activeIds(id)
    await terminate([lost])
    const after = await activeIds(id)
    expect(after).toHaveLength(2)
    expect(after).toContain(kept)
    expect(after).not.toContain(lost)
    expect(await show(id)).toMatchObject({ ActivityStatus: 'fulfilled', FulfilledCapacity: 2 })
    expect((await history(id, { EventType: 'instance-change' })).toSorted()).toEqual(['launched', 'launched', 'launched', 'terminated'])
    await remove(id)
  })

  test('is made smaller by its policy, and larger', async () => {
    const { id } = await create(3, ['a', 'b', 'c'].map((letter) => zone(letter)), { SpotOptions: { AllocationStrategy: 'diversified' } })
    await resize(id, 1)
    expect(await activeIds(id)).toHaveLength(1)
    expect(await show(id)).toMatchObject({ FleetState: 'active', TargetCapacitySpecification: { TotalTargetCapacity: 1, SpotTargetCapacity: 1 } })
    await resize(id, 3, { ExcessCapacityTerminationPolicy: 'no-termination' })
    expect(await activeIds(id)).toHaveLength(3)
    await resize(id, 0)
    expect(await activeIds(id)).toHaveLength(3)
    expect(await show(id)).toMatchObject({ ExcessCapacityTerminationPolicy: 'no-termination', FulfilledCapacity: 3 })
    expect((await history(id)).filter((each) => each !== 'launched' && each !== 'terminated')).toEqual([
      'submitted', 'active', 'modify_in_progress', 'modify_succeeded', 'termination_notified', 'termination_notified',
      'modify_in_progress', 'modify_succeeded', 'modify_in_progress', 'modify_succeeded',
    ])
    await remove(id)
  })

  test('has a part on demand, and keeps both', async () => {
    const { id } = await create(3, [zone('b')], { TargetCapacitySpecification: { TotalTargetCapacity: 3, OnDemandTargetCapacity: 1, DefaultTargetCapacityType: 'spot' } })
    const members = await active(id)
    expect(members.filter((each) => each.SpotInstanceRequestId === undefined)).toHaveLength(1)
    expect(await show(id)).toMatchObject({ FulfilledCapacity: 3, FulfilledOnDemandCapacity: 1 })
    await terminate(members.map((each) => each.InstanceId ?? ''))
    expect(await show(id)).toMatchObject({ FulfilledCapacity: 3, FulfilledOnDemandCapacity: 1 })
    await resize(id, 2)
    expect(await show(id)).toMatchObject({ FulfilledCapacity: 2, FulfilledOnDemandCapacity: 1 })
    await remove(id)
  })

  test('has what was asked for last, whatever is done to it at once', async () => {
    const { id } = await create(2, [zone('a'), zone('b'), zone('c')])
    for (const round of [1, 2, 3]) {
      const [lost = ''] = await activeIds(id)
      const [, ...answers] = await Promise.all([
        cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [lost] })),
        ...[5, 1, 4].map((TotalTargetCapacity) => code(cloud.ec2.send(new ModifyFleetCommand({ FleetId: id, TargetCapacitySpecification: { TotalTargetCapacity } })))),
      ])
      // One that comes while another is being carried out is refused, as a whole.
      for (const answer of answers) expect(answer).toMatch(/^no error|^FleetNotInModifiableState/)
      await cloud.settle()
      await resize(id, round)
      expect(await activeIds(id)).toHaveLength(round)
      expect(await show(id)).toMatchObject({ FleetState: 'active', ActivityStatus: 'fulfilled', FulfilledCapacity: round, TargetCapacitySpecification: { TotalTargetCapacity: round } })
    }
    await remove(id)
  })

  test('counts weights', async () => {
    const { id } = await create(5, [zone('a', { InstanceType: 't3.small', WeightedCapacity: 2 })])
    expect(await activeIds(id)).toHaveLength(3)
    expect(await show(id)).toMatchObject({ FulfilledCapacity: 6, ActivityStatus: 'fulfilled' })
    await remove(id)
  })

  test('whose offers are too low launches nothing and says why', async () => {
    const { id } = await create(1, [zone('a', { MaxPrice: '0.001' })])
    expect(await show(id)).toMatchObject({ FleetState: 'active', ActivityStatus: 'error', FulfilledCapacity: 0 })
    expect(await history(id)).toEqual(['submitted', 'active', 'launchSpecUnusable', 'fleetProgressHalted'])
    const { HistoryRecords } = await cloud.ec2.send(new DescribeFleetHistoryCommand({ FleetId: id, StartTime: new Date(0), EventType: 'service-error' }))
    expect(HistoryRecords?.[0]?.EventInformation?.EventDescription).toMatch(/^t3\.micro, ami-\w+, Linux\/UNIX, us-east-1a, Spot price in either .* is less than Spot market price \$0\.\d+$/)
    await cloud.ec2.send(new ModifyFleetCommand({ FleetId: id, LaunchTemplateConfigs: request(1, [zone('a')]).LaunchTemplateConfigs }))
    await cloud.settle()
    expect(await show(id)).toMatchObject({ ActivityStatus: 'fulfilled', FulfilledCapacity: 1 })
    await remove(id)
  })

  test('tells its events, as fleets of the other types do but for instant', async () => {
    const { id } = await create(1, [zone('c')])
    await remove(id)
    const all = await cloud.store.read((db) => db
      .selectFrom('cloud_events').select(['source', 'detail_type', 'detail', 'resources']).where('resources', 'like', `%${id}%`).orderBy('seq').execute())
    const isOfRequest = (each: { detail_type: string }) => each.detail_type === 'EC2 Fleet Spot Instance Request Change'
    const [requests, events] = [all.filter(isOfRequest), all.filter((each) => !isOfRequest(each))]
    expect(events.map((each) => [each.source, each.detail_type, (JSON.parse(each.detail) as Record<string, unknown>)['sub-type']])).toEqual([
      ['aws.ec2fleet', 'EC2 Fleet State Change', 'submitted'], ['aws.ec2fleet', 'EC2 Fleet State Change', 'active'],
      ['aws.ec2fleet', 'EC2 Fleet Instance Change', 'launched'], ['aws.ec2fleet', 'EC2 Fleet State Change', 'deleted_terminating'],
      ['aws.ec2fleet', 'EC2 Fleet Instance Change', 'terminated'], ['aws.ec2fleet', 'EC2 Fleet State Change', 'deleted'],
    ])
    expect(requests.map((each) => JSON.parse(each.detail) as unknown)).toEqual([{
      'spot-instance-request-id': expect.stringMatching(/^sir-/), 'sub-type': 'cancelled', description: expect.stringMatching(/^SpotInstanceRequestId sir-\w+, PreviousState: active$/),
    }])
    expect(JSON.parse(events[2]?.detail ?? '')).toMatchObject({ 'instance-id': expect.stringMatching(/^i-/), description: expect.stringContaining('"availabilityZone":"us-east-1c"') })
  })
})

describe('a fleet that is deleted', () => {
  test('terminates its instances, or leaves them', async () => {
    const { id: first } = await create(2, [zone('a')])
    const ids = await activeIds(first)
    expect((await remove(first)).SuccessfulFleetDeletions).toEqual([{ FleetId: first, PreviousFleetState: 'active', CurrentFleetState: 'deleted_terminating' }])
    expect((await instancesOf(ids)).map((each) => each.State?.Name)).toEqual(['terminated', 'terminated'])
    expect(await show(first)).toMatchObject({ FleetState: 'deleted', FulfilledCapacity: 0 })
    const { id: second } = await create(1, [zone('a')])
    const [left = ''] = await activeIds(second)
    expect((await remove(second, false)).SuccessfulFleetDeletions).toMatchObject([{ CurrentFleetState: 'deleted_running' }])
    expect(await show(second)).toMatchObject({ FleetState: 'deleted_running', FulfilledCapacity: 1 })
    await terminate([left])
    expect(await show(second)).toMatchObject({ FleetState: 'deleted', FulfilledCapacity: 0 })
    expect(await code(cloud.ec2.send(new ModifyFleetCommand({ FleetId: second, TargetCapacitySpecification: { TotalTargetCapacity: 1 } }))))
      .toMatch(/^FleetNotInModifiableState/)
  })

  test('is not gone while one of its instances may not be terminated', async () => {
    const { id } = await create(1, [zone('a')], { TargetCapacitySpecification: { TotalTargetCapacity: 1, DefaultTargetCapacityType: 'on-demand' } })
    const [InstanceId = ''] = await activeIds(id)
    const protect = (Value: boolean) => cloud.ec2.send(new ModifyInstanceAttributeCommand({ InstanceId, DisableApiTermination: { Value } }))
    await protect(true)
    await remove(id)
    expect(await show(id)).toMatchObject({ FleetState: 'deleted_terminating', FulfilledCapacity: 1 })
    await protect(false)
    await terminate([InstanceId])
    expect(await show(id)).toMatchObject({ FleetState: 'deleted' })
  })
})

describe('a fleet of type request', () => {
  test('launches once, and replaces nothing', async () => {
    const { id } = await create(2, [zone('a')], { Type: 'request' })
    const [lost = ''] = await activeIds(id)
    await terminate([lost])
    expect(await activeIds(id)).toHaveLength(1)
    expect(await show(id)).toMatchObject({ FleetState: 'active', ActivityStatus: 'fulfilled', FulfilledCapacity: 1 })
    expect(await code(cloud.ec2.send(new ModifyFleetCommand({ FleetId: id, TargetCapacitySpecification: { TotalTargetCapacity: 3 } }))))
      .toBe(`FleetNotInModifiableState: Fleet Request: ${id} is not a modifiable fleet request type.`)
    await remove(id)
  })

  test('begins when it is valid', async () => {
    const { id } = await create(1, [zone('a')], { Type: 'request', ValidFrom: new Date(Date.now() + 3_600_000) })
    expect(await show(id)).toMatchObject({ FleetState: 'submitted', ActivityStatus: 'pending_fulfillment', ValidFrom: expect.any(Date) })
    await remove(id)
    expect(await show(id)).toMatchObject({ FleetState: 'deleted' })
  })
})

describe('a fleet of type instant on spot', () => {
  /** As Karpenter asks for a node. */
  const karpenter = (): Parameters<typeof request> => [
    1, ['t3.small', 't3.medium', 'm5.large'].flatMap((InstanceType) => ['a', 'b', 'c'].map((letter) =>
      zone(letter, { InstanceType: InstanceType as 'm5.large' }))),
    { Type: 'instant', SpotOptions: { AllocationStrategy: 'price-capacity-optimized' }, TagSpecifications: [
      { ResourceType: 'instance', Tags: [{ Key: 'karpenter.sh/nodepool', Value: 'default' }] }, { ResourceType: 'fleet', Tags: [{ Key: 'a', Value: 'b' }] },
      { ResourceType: 'spot-instances-request', Tags: [{ Key: 'c', Value: 'd' }] },
    ] },
  ]

  test('answers what it launched at once', async () => {
    const { id, Instances, Errors } = await create(...karpenter())
    expect(Errors).toEqual([])
    expect(Instances).toMatchObject([{ Lifecycle: 'spot', InstanceIds: [expect.stringMatching(/^i-/)], LaunchTemplateAndOverrides: { Overrides: { InstanceType: Instances?.[0]?.InstanceType } } }])
    const [instance] = await instancesOf(Instances?.[0]?.InstanceIds ?? [])
    expect(instance).toMatchObject({ InstanceLifecycle: 'spot', SpotInstanceRequestId: expect.stringMatching(/^sir-/), InstanceType: Instances?.[0]?.InstanceType })
    expect(instance?.Tags).toContainEqual({ Key: 'karpenter.sh/nodepool', Value: 'default' })
    expect(instance?.Tags).toContainEqual({ Key: 'aws:ec2:fleet-id', Value: id })
    const { SpotInstanceRequests } = await cloud.ec2.send(new DescribeSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [instance?.SpotInstanceRequestId ?? ''] }))
    expect(SpotInstanceRequests).toMatchObject([{ State: 'active', Type: 'one-time', Tags: [{ Key: 'c', Value: 'd' }] }])
    expect(await show(id)).toMatchObject({ FulfilledCapacity: 1, FulfilledOnDemandCapacity: 0, Instances: [{ Lifecycle: 'spot' }], SpotOptions: { AllocationStrategy: 'price-capacity-optimized' } })
    await remove(id)
    expect(await show(id)).toMatchObject({ FleetState: 'deleted' })
  })

  test('says why it launched less', async () => {
    const { id, Instances, Errors } = await create(1, [zone('a', { MaxPrice: '0.001' })], { Type: 'instant' })
    expect(Instances).toEqual([])
    expect(Errors).toMatchObject([{
      Lifecycle: 'spot', ErrorCode: 'SpotMaxPriceTooLow',
      ErrorMessage: expect.stringMatching(/^Your Spot request price of 0\.001 is lower than the minimum required Spot request fulfillment price of 0\.\d+\.$/),
    }])
    await remove(id)
    const many = await create(1000, [zone('a')], { Type: 'instant' })
    expect(many.Instances?.[0]?.InstanceIds?.length).toBeGreaterThan(10)
    expect(many.Errors).toMatchObject([{ Lifecycle: 'spot', ErrorCode: 'InsufficientInstanceCapacity', ErrorMessage: expect.stringContaining('There is no Spot capacity available that matches your request.') }])
    await remove(many.id)
    const least = await create(1000, [zone('a')], { Type: 'instant', SpotOptions: { SingleAvailabilityZone: true, MinTargetCapacity: 900 } })
    expect(least.Instances).toEqual([])
    await remove(least.id)
  })

  test('keeps to its money', async () => {
    const price = onDemandPrice('t3.micro') ?? 0
    const { id, Instances } = await create(9, [zone('a')], { Type: 'instant', SpotOptions: { MaxTotalPrice: String(price * 3) } })
    const count = Instances?.[0]?.InstanceIds?.length ?? 0
    expect(count).toBeGreaterThanOrEqual(3)
    await remove(id)
  })

  test('has both kinds', async () => {
    const { id, Instances } = await create(3, [zone('a'), zone('b')], {
      Type: 'instant', SpotOptions: { AllocationStrategy: 'lowest-price', InstancePoolsToUseCount: 2 },
      TargetCapacitySpecification: { TotalTargetCapacity: 3, OnDemandTargetCapacity: 1, SpotTargetCapacity: 2, DefaultTargetCapacityType: 'spot' },
    })
    expect(Instances?.map((each) => [each.Lifecycle, each.InstanceIds?.length])).toEqual([['on-demand', 1], ['spot', 1], ['spot', 1]])
    expect(await show(id)).toMatchObject({ FulfilledCapacity: 3, FulfilledOnDemandCapacity: 1 })
    await remove(id)
  })

  test('chooses types by their attributes, at the prices of spot', async () => {
    const requirements = { VCpuCount: { Min: 2, Max: 2 }, MemoryMiB: { Min: 512, Max: 4096 }, BurstablePerformance: 'required' as const }
    const { id, Instances, Errors } = await create(1, [zone('a', { InstanceRequirements: { ...requirements, SpotMaxPricePercentageOverLowestPrice: 50 } })], { Type: 'instant' })
    expect(Errors).toEqual([])
    expect(Instances).toMatchObject([{ Lifecycle: 'spot', InstanceType: expect.stringMatching(/^t[23]/) }])
    await remove(id)
  })
})

describe('a fleet on spot', () => {
  test('is refused with a reason', async () => {
    const delay = (change: object) => ({ SpotOptions: { MaintenanceStrategies: { CapacityRebalance: change } } })
    const refusals: [Partial<CreateFleetRequest>, RegExp][] = [
      [{ SpotOptions: { InstancePoolsToUseCount: 2, AllocationStrategy: 'diversified' } }, /^InvalidFleetConfig: .*InstancePoolsToUseCount/],
      [{ SpotOptions: { SingleInstanceType: true } }, /^InvalidFleetConfig: .*SingleInstanceType/],
      [{ SpotOptions: { MinTargetCapacity: 1 } }, /^InvalidFleetConfig/],
      [{ SpotOptions: { MaxTotalPrice: 'much' } }, /^InvalidParameterValue/],
      [{ Type: 'request', SpotOptions: { InstanceInterruptionBehavior: 'stop' } }, /^InvalidFleetConfig/],
      [{ Type: 'request', ...delay({ ReplacementStrategy: 'launch' }) }, /^InvalidFleetConfig/],
      [delay({ ReplacementStrategy: 'launch', TerminationDelay: 120 }), /^InvalidFleetConfig/],
      [delay({ ReplacementStrategy: 'launch-before-terminate' }), /^MissingParameter/],
      [delay({ ReplacementStrategy: 'launch-before-terminate', TerminationDelay: 60 }), /^InvalidParameterValue/],
      [{ Type: 'request', ExcessCapacityTerminationPolicy: 'termination' }, /^InvalidFleetConfig/],
      [{ ValidUntil: new Date(0) }, /^InvalidParameterValue/],
      [{ TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'a', Value: 'b' }] }] }, /^InvalidParameterValue/],
      [{ OnDemandOptions: { SingleAvailabilityZone: true } }, /^InvalidFleetConfig/],
    ]
    for (const [change, sentence] of refusals) expect(await code(create(2, [zone('a')], change))).toMatch(sentence)
  })

  test('is found by the filters, and its instances by their types, page by page', async () => {
    const { id } = await create(2, [zone('a')])
    const found = async (Name: string, Value: string) =>
      ((await cloud.ec2.send(new DescribeFleetsCommand({ Filters: [{ Name, Values: [Value] }] }))).Fleets ?? []).some((each) => each.FleetId === id)
    expect(await Promise.all([
      found('type', 'maintain'), found('fleet-state', 'active'), found('activity-status', 'fulfilled'), found('excess-capacity-termination-policy', 'termination'),
      found('replace-unhealthy-instances', 'false'), found('type', 'request'),
    ])).toEqual([true, true, true, true, true, false])
    const list = (change: object) => cloud.ec2.send(new DescribeFleetInstancesCommand({ FleetId: id, ...change }))
    expect((await list({ Filters: [{ Name: 'instance-type', Values: ['m5.large'] }] })).ActiveInstances).toEqual([])
    const first = await list({ MaxResults: 1 })
    const second = await list({ MaxResults: 1, NextToken: first.NextToken })
    expect([first, second].map((each) => each.ActiveInstances?.length)).toEqual([1, 1])
    const page = await cloud.ec2.send(new DescribeFleetHistoryCommand({ FleetId: id, StartTime: new Date(0), MaxResults: 2 }))
    expect(page).toMatchObject({ FleetId: id, HistoryRecords: [{ EventType: 'fleet-change' }, {}], NextToken: expect.any(String) })
    expect(page.LastEvaluatedTime).toBeUndefined()
    await remove(id)
  })
})
