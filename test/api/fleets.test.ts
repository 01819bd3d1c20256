import {
  CreateFleetCommand, CreateLaunchTemplateCommand, CreateLaunchTemplateVersionCommand, CreateSubnetCommand, CreateTagsCommand,
  CreateVpcCommand, DeleteFleetsCommand,
  DescribeFleetHistoryCommand, DescribeFleetInstancesCommand, DescribeFleetsCommand, DescribeInstanceAttributeCommand, DescribeInstancesCommand, DescribeSubnetsCommand,
  DescribeTagsCommand, DescribeVolumesCommand, ModifyFleetCommand, ModifyInstanceAttributeCommand, TerminateInstancesCommand,
  type CreateFleetRequest, type FleetLaunchTemplateOverridesRequest, type RequestLaunchTemplateData,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { OTHER_ACCOUNT } from '../support/rows.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let imageId: string
let templateId: string
let names = 0

beforeAll(async () => {
  cloud = await startTestCloud({ capacity: { cpus: 36, memoryMib: 73_728, guestLimits: { vcpus: 16, memoryMib: 16_384 } } })
  imageId = await tinyImageId(cloud)
})
afterAll(() => cloud.close())

const template = async (data: RequestLaunchTemplateData) => {
  const { LaunchTemplate } = await cloud.ec2.send(new CreateLaunchTemplateCommand({ LaunchTemplateName: `fleet-${names++}`, LaunchTemplateData: data }))
  return LaunchTemplate?.LaunchTemplateId ?? ''
}
beforeEach(async () => {
  // Each test has the whole host.
  const { Reservations = [] } = await cloud.ec2.send(new DescribeInstancesCommand({}))
  const ids = Reservations.flatMap((each) => each.Instances?.map((instance) => instance.InstanceId ?? '') ?? [])
  if (ids.length > 0) await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: ids }))
  templateId = await template({ ImageId: imageId, InstanceType: 't3.micro', TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'of', Value: 'template' }] }] })
})

const request = (total: number, overrides: FleetLaunchTemplateOverridesRequest[] = [], change: Partial<CreateFleetRequest> = {}): CreateFleetRequest => ({
  Type: 'instant', TargetCapacitySpecification: { TotalTargetCapacity: total, DefaultTargetCapacityType: 'on-demand' },
  LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateId: templateId, Version: '$Default' }, Overrides: overrides }],
  ...change,
})
const create = (...words: Parameters<typeof request>) => cloud.ec2.send(new CreateFleetCommand(request(...words)))
const zone = (letter: string, change: FleetLaunchTemplateOverridesRequest = {}) => ({ AvailabilityZone: `us-east-1${letter}`, ...change })
const instancesOf = async (fleetId: string | undefined) => {
  const { Reservations = [] } = await cloud.ec2.send(new DescribeInstancesCommand({ Filters: [{ Name: 'tag:aws:ec2:fleet-id', Values: [fleetId ?? ''] }] }))
  return Reservations.flatMap((each) => each.Instances ?? [])
}
const living = async () => {
  const { Reservations = [] } = await cloud.ec2.send(new DescribeInstancesCommand({ Filters: [{ Name: 'instance-state-name', Values: ['pending', 'running'] }] }))
  return Reservations.flatMap((each) => each.Instances ?? [])
}
const show = async (...ids: (string | undefined)[]) =>
  (await cloud.ec2.send(new DescribeFleetsCommand({ FleetIds: ids.map((id) => id ?? '') }))).Fleets ?? []
/** For how many virtual processors there is room in a zone, with nothing there. */
const vcpusIn = async (name: string) => {
  const hosts = await cloud.store.read((db) => db.selectFrom('hosts').select(['zone', 'vcpus']).execute())
  return hosts.reduce((sum, host) => (host.zone === null || host.zone === name ? sum + host.vcpus : sum), 0)
}
const code = (attempt: Promise<unknown>) => attempt.then(() => 'no error', (error: Error) => `${error.name}: ${error.message}`)

describe('a fleet of type instant', () => {
  test('launches one instance in each of three zones, and tells what came of it', async () => {
    const fleet = await create(3, ['a', 'b', 'c'].map((letter) => zone(letter)), {
      TagSpecifications: [
        { ResourceType: 'fleet', Tags: [{ Key: 'team', Value: 'a' }] }, { ResourceType: 'instance', Tags: [{ Key: 'Name', Value: 'web' }] },
        { ResourceType: 'volume', Tags: [{ Key: 'of', Value: 'fleet' }] },
      ],
    })
    expect(fleet).toMatchObject({ FleetId: expect.stringMatching(/^fleet-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/), Errors: [] })
    expect(fleet.Instances?.map((each) => [each.AvailabilityZone, each.AvailabilityZoneId, each.InstanceIds?.length])).toEqual([
      ['us-east-1a', 'use1-az1', 1], ['us-east-1b', 'use1-az2', 1], ['us-east-1c', 'use1-az3', 1],
    ])
    expect(fleet.Instances?.[1]).toMatchObject({
      Lifecycle: 'on-demand', InstanceType: 't3.micro', SubnetId: expect.stringMatching(/^subnet-/),
      LaunchTemplateAndOverrides: {
        LaunchTemplateSpecification: { LaunchTemplateId: templateId, Version: '1' }, Overrides: { AvailabilityZone: 'us-east-1b' },
      },
    })
    const instances = await instancesOf(fleet.FleetId)
    expect(instances.map((each) => each.Placement?.AvailabilityZone).toSorted()).toEqual(['us-east-1a', 'us-east-1b', 'us-east-1c'])
    expect(Object.fromEntries(instances[0]?.Tags?.map((tag) => [tag.Key, tag.Value]) ?? [])).toEqual({
      Name: 'web', of: 'template', 'aws:ec2:fleet-id': fleet.FleetId, 'aws:ec2launchtemplate:id': templateId, 'aws:ec2launchtemplate:version': '1',
    })
    const { Volumes } = await cloud.ec2.send(new DescribeVolumesCommand({ Filters: [{ Name: 'tag:of', Values: ['fleet'] }] }))
    expect(Volumes).toHaveLength(3)
    expect(await show(fleet.FleetId)).toMatchObject([{
      FleetState: 'active', ActivityStatus: 'fulfilled', Type: 'instant', FulfilledCapacity: 3, FulfilledOnDemandCapacity: 3,
      Tags: [{ Key: 'team', Value: 'a' }], OnDemandOptions: { AllocationStrategy: 'lowestPrice' }, CreateTime: expect.any(Date),
      TargetCapacitySpecification: { TotalTargetCapacity: 3, OnDemandTargetCapacity: 3, SpotTargetCapacity: 0, DefaultTargetCapacityType: 'on-demand' },
      LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateId: templateId, Version: '1' } }],
      Instances: [{ InstanceIds: fleet.Instances?.[0]?.InstanceIds }, {}, {}], Errors: [],
    }])
  })

  test('spreads over the zones of the default VPC where nothing says in which it is to be', async () => {
    const { FleetId, Instances } = await create(3)
    expect(Instances?.map((each) => each.AvailabilityZone)).toEqual(['us-east-1a', 'us-east-1b', 'us-east-1c'])
    expect(Instances?.[0]?.LaunchTemplateAndOverrides).toEqual({ LaunchTemplateSpecification: { LaunchTemplateId: templateId, Version: '1' } })
    expect(await instancesOf(FleetId)).toHaveLength(3)
  })

  test('takes the cheapest type, and the next where that has no room', async () => {
    // One c5.2xlarge has eight processors, and all of them leave room for two t3.micro.
    const most = Math.floor(await vcpusIn('us-east-1a') / 8)
    const overrides = [{ InstanceType: 't3.micro' as const }, { InstanceType: 'c5.2xlarge' as const }].map((each) => zone('a', each))
    expect((await create(2, overrides)).Instances).toMatchObject([{ InstanceType: 't3.micro' }])
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: (await living()).map((each) => each.InstanceId ?? '') }))
    const prioritized = { OnDemandOptions: { AllocationStrategy: 'prioritized' as const } }
    const { FleetId, Instances, Errors } = await create(most + 2, [{ ...overrides[0], Priority: 2 }, { ...overrides[1], Priority: 1 }], prioritized)
    expect(Instances?.map((each) => [each.InstanceType, each.InstanceIds?.length])).toEqual([['c5.2xlarge', most], ['t3.micro', 2]])
    expect(Errors).toMatchObject([{
      ErrorCode: 'InsufficientInstanceCapacity', Lifecycle: 'on-demand', ErrorMessage: expect.stringContaining('c5.2xlarge'),
      LaunchTemplateAndOverrides: { Overrides: { InstanceType: 'c5.2xlarge', Priority: 1 } },
    }])
    expect(await show(FleetId)).toMatchObject([{ Errors, OnDemandOptions: { AllocationStrategy: 'prioritized' } }])
  })

  test('that has too little room launches what there is room for, and leaves nothing of the rest', async () => {
    const most = await vcpusIn('us-east-1a') / 2
    const { FleetId, Instances, Errors } = await create(most + 1, [zone('a')])
    expect(Instances?.[0]?.InstanceIds).toHaveLength(most)
    expect(Errors).toMatchObject([{ ErrorCode: 'InsufficientInstanceCapacity' }])
    expect(await living()).toHaveLength(most)
    const { Volumes } = await cloud.ec2.send(new DescribeVolumesCommand({ Filters: [{ Name: 'attachment.status', Values: ['attaching', 'attached'] }] }))
    expect(Volumes).toHaveLength(most)
    expect(await show(FleetId)).toMatchObject([{ FulfilledCapacity: most }])
    const none = await create(1, [zone('a')])
    expect(none).toMatchObject({ FleetId: expect.any(String), Instances: [], Errors: [{ ErrorCode: 'InsufficientInstanceCapacity' }] })
  })

  test('launches as many as its subnet has addresses for, and of what was tried beyond that nothing is left', async () => {
    const { Vpc } = await cloud.ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))
    const { Subnet } = await cloud.ec2.send(new CreateSubnetCommand({ VpcId: Vpc?.VpcId, CidrBlock: '10.0.0.0/28', AvailabilityZone: 'us-east-1a' }))
    const rows = () => cloud.store.read(async (db) => ({
      instances: (await db.selectFrom('instances').select('instance_id').execute()).length,
      interfaces: (await db.selectFrom('interfaces').select('interface_id').execute()).length,
      volumes: (await db.selectFrom('volumes').select('volume_id').execute()).length,
      tags: (await db.selectFrom('tags').select('key').where('resource_type', '=', 'instance').execute()).length,
    }))
    const vcpusUsed = () => cloud.store.read(async (db) =>
      (await db.selectFrom('hosts').select('vcpus_used').execute()).reduce((sum, host) => sum + host.vcpus_used, 0))
    const [before, usedBefore] = [await rows(), await vcpusUsed()]
    // Eleven of sixteen: EC2 keeps five for itself.
    const { Instances, Errors } = await create(12, [{ SubnetId: Subnet?.SubnetId, InstanceType: 't3.nano' }])
    expect(Instances?.[0]?.InstanceIds).toHaveLength(11)
    expect(Errors).toMatchObject([{ ErrorCode: 'InsufficientFreeAddressesInSubnet' }])
    const after = await rows()
    // The tags say which fleet and which template it is of, with its version, and what the template gives.
    expect(after).toEqual({
      instances: before.instances + 11, interfaces: before.interfaces + 11, volumes: before.volumes + 11, tags: before.tags + 44,
    })
    expect(await vcpusUsed()).toBe(usedBefore + 22)
  })

  test('launches nothing where its least is not reached', async () => {
    const most = await vcpusIn('us-east-1a') / 2
    const single = (MinTargetCapacity: number) => ({ OnDemandOptions: { SingleAvailabilityZone: true, MinTargetCapacity } })
    const fleet = await create(most + 2, [zone('a'), zone('b')], single(most + 1))
    expect(fleet.Instances).toEqual([])
    expect(fleet.Errors?.map((each) => each.LaunchTemplateAndOverrides?.Overrides?.AvailabilityZone)).toEqual(['us-east-1a', 'us-east-1b'])
    expect(await living()).toEqual([])
    const enough = await create(most + 2, [zone('a'), zone('b')], single(most))
    expect(enough.Instances).toMatchObject([{ AvailabilityZone: 'us-east-1a' }])
    expect(await living()).toHaveLength(most)
  })

  test('of a single type or in a single zone does not mix', async () => {
    const overrides = ['a', 'b'].flatMap((letter) => [zone(letter, { InstanceType: 't3.nano' }), zone(letter, { InstanceType: 'c5.2xlarge' })])
    const { Instances } = await create(2, overrides, { OnDemandOptions: { SingleAvailabilityZone: true } })
    expect(Instances).toMatchObject([{ InstanceType: 't3.nano', AvailabilityZone: 'us-east-1a', InstanceIds: [expect.any(String), expect.any(String)] }])
    const mixed = await create(2, overrides, { OnDemandOptions: { SingleInstanceType: true } })
    expect(mixed.Instances).toMatchObject([{ InstanceType: 't3.nano', AvailabilityZone: 'us-east-1a' }, { InstanceType: 't3.nano', AvailabilityZone: 'us-east-1b' }])
  })

  test('counts weights and money', async () => {
    const weighted = await create(5, [zone('a', { InstanceType: 't3.small', WeightedCapacity: 2 })])
    expect(weighted.Instances?.[0]?.InstanceIds).toHaveLength(3)
    expect(await show(weighted.FleetId)).toMatchObject([{ FulfilledCapacity: 6 }])
    const cheap = await create(3, [zone('b')], { OnDemandOptions: { MaxTotalPrice: '0.021' } })
    expect(cheap.Instances?.[0]?.InstanceIds).toHaveLength(2)
    const broke = await create(3, [zone('b')], { OnDemandOptions: { MaxTotalPrice: '0.001' } })
    expect(broke).toMatchObject({ Instances: [], Errors: [{ ErrorCode: 'UnfulfillableCapacity' }] })
  })

  test('puts an override over its template', async () => {
    const { Subnets } = await cloud.ec2.send(new DescribeSubnetsCommand({ Filters: [{ Name: 'availability-zone', Values: ['us-east-1c'] }] }))
    const subnetId = Subnets?.[0]?.SubnetId ?? ''
    templateId = await template({ InstanceType: 't3.nano', NetworkInterfaces: [{ DeviceIndex: 0, Description: 'mine' }], Placement: { Tenancy: 'default' } })
    await cloud.ec2.send(new CreateLaunchTemplateVersionCommand({ LaunchTemplateId: templateId, LaunchTemplateData: { InstanceType: 't3.small' } }))
    const { FleetId } = await create(1, [{
      ImageId: imageId, InstanceType: 't3.micro', SubnetId: subnetId, MetadataOptions: { HttpTokens: 'required' },
      BlockDeviceMappings: [{ DeviceName: '/dev/sdf', Ebs: { VolumeSize: 3 } }],
    }])
    expect(await instancesOf(FleetId)).toMatchObject([{
      InstanceType: 't3.micro', SubnetId: subnetId, MetadataOptions: { HttpTokens: 'required' }, NetworkInterfaces: [{ Description: 'mine' }],
      BlockDeviceMappings: [{}, { DeviceName: '/dev/sdf' }], Placement: { AvailabilityZone: 'us-east-1c' },
    }])
  })

  test('chooses types by their attributes, the cheapest first, and counts in their units', async () => {
    const requirements = { VCpuCount: { Min: 2, Max: 2 }, MemoryMiB: { Min: 512, Max: 4096 }, BurstablePerformance: 'required' as const }
    const one = await create(1, [zone('a', { InstanceRequirements: requirements })])
    expect(one).toMatchObject({
      Errors: [], Instances: [{
        InstanceType: 't3a.nano', LaunchTemplateAndOverrides: { Overrides: { InstanceType: 't3a.nano', AvailabilityZone: 'us-east-1a', InstanceRequirements: requirements } },
      }],
    })
    const vcpus = { TotalTargetCapacity: 4, DefaultTargetCapacityType: 'on-demand' as const, TargetCapacityUnitType: 'vcpu' as const }
    const two = await create(0, [{ InstanceRequirements: { ...requirements, AllowedInstanceTypes: ['t3.*'] } }], { TargetCapacitySpecification: vcpus })
    expect(two.Instances?.map((each) => [each.InstanceType, each.AvailabilityZone])).toEqual([['t3.nano', 'us-east-1a'], ['t3.nano', 'us-east-1b']])
    expect(await show(two.FleetId)).toMatchObject([{ FulfilledCapacity: 4, TargetCapacitySpecification: vcpus }])
    const none = await create(1, [zone('a', { InstanceRequirements: { ...requirements, AllowedInstanceTypes: ['x9*'] } })])
    expect(none).toMatchObject({ Instances: [], Errors: [{ ErrorCode: 'InvalidFleetConfiguration' }] })
    templateId = await template({ ImageId: imageId, InstanceRequirements: { ...requirements, AllowedInstanceTypes: ['t3.small'] } })
    expect((await create(1)).Instances).toMatchObject([{ InstanceType: 't3.small' }])
  })

  test('gives its instances user-data of its own instead of the template\'s', async () => {
    templateId = await template({ ImageId: imageId, InstanceType: 't3.nano', UserData: Buffer.from('theirs').toString('base64') })
    const own = Buffer.from('own').toString('base64')
    const specification = { LaunchTemplateId: templateId, Version: '1', LaunchTemplateSpecificationUserData: own }
    const LaunchTemplateConfigs = [{ LaunchTemplateSpecification: specification }]
    const { Instances } = await create(1, [], { LaunchTemplateConfigs })
    const InstanceId = Instances?.[0]?.InstanceIds?.[0]
    const { UserData } = await cloud.ec2.send(new DescribeInstanceAttributeCommand({ InstanceId, Attribute: 'userData' }))
    expect(UserData).toEqual({ Value: own })
    expect(await code(create(1, [], { Type: 'maintain', LaunchTemplateConfigs }))).toMatch(/^InvalidFleetConfig: .*LaunchTemplateSpecificationUserData/)
    const malformed = [{ LaunchTemplateSpecification: { ...specification, LaunchTemplateSpecificationUserData: 'not base64' } }]
    expect(await code(create(1, [], { LaunchTemplateConfigs: malformed }))).toBe('InvalidParameterValue: Invalid BASE64 encoding of user data.')
  })

  test('tells what is wrong with a pool, and launches from the others', async () => {
    const { Instances, Errors } = await create(2, [
      zone('a', { ImageId: 'ami-00000000000000000' }), { SubnetId: 'subnet-00000000000000000' }, zone('b', { InstanceType: 't3.medium' }),
    ])
    expect(Instances).toMatchObject([{ InstanceType: 't3.medium', AvailabilityZone: 'us-east-1b' }])
    expect(Errors?.map((each) => each.ErrorCode).toSorted()).toEqual(['InvalidAMIID.NotFound', 'InvalidSubnetID.NotFound'])
  })

  test('is made once for one client token, and not at all by a dry run', async () => {
    const first = await create(1, [], { ClientToken: 'once' })
    const again = await create(1, [], { ClientToken: 'once' })
    expect([again.FleetId, again.Instances]).toEqual([first.FleetId, first.Instances])
    expect(await show(first.FleetId)).toMatchObject([{ ClientToken: 'once' }])
    expect(await code(create(2, [], { ClientToken: 'once' }))).toMatch(/^IdempotentParameterMismatch/)
    expect(await living()).toHaveLength(1)
    expect(await code(create(1, [], { DryRun: true }))).toBe('DryRunOperation: Request would have succeeded, but DryRun flag is set.')
    expect(await living()).toHaveLength(1)
  })

  test('is refused with a reason', async () => {
    const total = (more: object) => ({ TargetCapacitySpecification: { TotalTargetCapacity: 2, ...more } })
    const refusals: [Partial<CreateFleetRequest>, string | RegExp][] = [
      [total({ DefaultTargetCapacityType: 'on-demand', SpotTargetCapacity: 3 }), /^InvalidFleetConfig/],
      [total({}), /^MissingParameter/], [total({ OnDemandTargetCapacity: 3 }), /^InvalidFleetConfig/],
      [total({ DefaultTargetCapacityType: 'on-demand', TargetCapacityUnitType: 'vcpu' }), /^InvalidFleetConfig/],
      [{ ValidUntil: new Date() }, /^InvalidFleetConfig/], [{ ReplaceUnhealthyInstances: true }, /^InvalidFleetConfig/],
      [{ OnDemandOptions: { MinTargetCapacity: 1 } }, /^InvalidFleetConfig/],
      [{ OnDemandOptions: { MaxTotalPrice: 'much' } }, /^InvalidParameterValue/],
      [{ LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateId: templateId } }] }, /^MissingParameter/],
      [{ LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateName: 'nobody', Version: '1' } }] }, /^InvalidLaunchTemplateName.NotFoundException/],
      [{ LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateId: templateId, Version: '7' } }] }, /^InvalidLaunchTemplateId.VersionNotFound/],
      [request(1, [zone('a'), { AvailabilityZoneId: 'use1-az1' }]), 'InvalidFleetConfig: The fleet configuration contains duplicate instance pools.'],
      [request(1, [{ SubnetId: 'subnet-1,subnet-2' }]), /^InvalidFleetConfig/],
      [request(1, [{ InstanceType: 't3.nano', InstanceRequirements: { VCpuCount: { Min: 1 }, MemoryMiB: { Min: 1 } } }]), /^InvalidParameterCombination/],
      [request(1, [{ InstanceRequirements: { VCpuCount: { Min: 4, Max: 2 }, MemoryMiB: { Min: 1 } } }]), /^InvalidParameterValue/],
      [request(1, ['a', 'us-east-1a'].map((name) => ({ AvailabilityZone: name.length > 1 ? name : 'us-east-1a', InstanceRequirements: { VCpuCount: { Min: 2 }, MemoryMiB: { Min: 1024 } } }))),
        /^InvalidParameterValue: Two or more of your InstanceRequirements structures/],
      [request(1, Array.from({ length: 5 }, () => ({ InstanceRequirements: { VCpuCount: { Min: 1 }, MemoryMiB: { Min: 1 } } }))),
        'InvalidParameterValue: Your request contains more than the maximum allowed number of InstanceRequirements (4)'],
      [{ TagSpecifications: [{ ResourceType: 'vpc', Tags: [{ Key: 'a', Value: 'b' }] }] }, /^InvalidParameterValue/],
    ]
    for (const [change, sentence] of refusals) expect(await code(create(2, [], change))).toMatch(sentence)
    expect(await living()).toEqual([])
  })
})

describe('fleets', () => {
  test('of type instant are shown only to who names them, and to their owner', async () => {
    const { FleetId } = await create(1)
    expect((await cloud.ec2.send(new DescribeFleetsCommand({}))).Fleets).toEqual([])
    const filtered = async (Name: string, Value: string) =>
      (await cloud.ec2.send(new DescribeFleetsCommand({ FleetIds: [FleetId ?? ''], Filters: [{ Name, Values: [Value] }] }))).Fleets?.length
    expect(await Promise.all([
      filtered('type', 'instant'), filtered('fleet-state', 'active'), filtered('activity-status', 'fulfilled'),
      filtered('replace-unhealthy-instances', 'false'), filtered('excess-capacity-termination-policy', 'termination'), filtered('type', 'maintain'),
    ])).toEqual([1, 1, 1, 1, 0, 0])
    const other = cloud.client({ account: OTHER_ACCOUNT })
    expect(await code(other.send(new DescribeFleetsCommand({ FleetIds: [FleetId ?? ''] }))))
      .toBe(`InvalidFleetId.NotFound: The fleet ID '${FleetId}' does not exist`)
    expect(await code(show('fleet-1'))).toMatch(/^InvalidFleetId.Malformed/)
  })

  test('come page by page', async () => {
    const ids = [(await create(0)).FleetId ?? '', (await create(0)).FleetId ?? '']
    const first = await cloud.ec2.send(new DescribeFleetsCommand({ FleetIds: ids, MaxResults: 1 }))
    const second = await cloud.ec2.send(new DescribeFleetsCommand({ FleetIds: ids, MaxResults: 1, NextToken: first.NextToken }))
    expect([...first.Fleets ?? [], ...second.Fleets ?? []].map((each) => each.FleetId).toSorted()).toEqual(ids.toSorted())
    expect(second.NextToken).toBeUndefined()
  })

  test('of type instant have no list of instances, no history and no other size', async () => {
    const FleetId = (await create(1)).FleetId ?? ''
    expect(await code(cloud.ec2.send(new DescribeFleetInstancesCommand({ FleetId })))).toBe(
      `Unsupported: Fleet ${FleetId} is instant fleet. Describe fleet instances is not supported by this type of fleet`)
    expect(await code(cloud.ec2.send(new DescribeFleetHistoryCommand({ FleetId, StartTime: new Date() })))).toMatch(/^Unsupported: /)
    expect(await code(cloud.ec2.send(new ModifyFleetCommand({ FleetId, TargetCapacitySpecification: { TotalTargetCapacity: 2 } }))))
      .toMatch(/^FleetNotInModifiableState: /)
  })

  test('can be tagged', async () => {
    const FleetId = (await create(0)).FleetId ?? ''
    await cloud.ec2.send(new CreateTagsCommand({ Resources: [FleetId], Tags: [{ Key: 'a', Value: 'b' }] }))
    const { Tags } = await cloud.ec2.send(new DescribeTagsCommand({ Filters: [{ Name: 'resource-id', Values: [FleetId] }] }))
    expect(Tags).toMatchObject([{ ResourceType: 'fleet', Key: 'a', Value: 'b' }])
    expect((await show(FleetId))[0]?.Tags).toEqual([{ Key: 'a', Value: 'b' }])
  })

  test('that are deleted terminate their instances, and are deleted when these are gone', async () => {
    const { FleetId = '' } = await create(2, [zone('a')])
    const remove = (ids: string[], TerminateInstances = true) => cloud.ec2.send(new DeleteFleetsCommand({ FleetIds: ids, TerminateInstances }))
    expect((await remove([FleetId], false)).UnsuccessfulFleetDeletions).toEqual([{
      FleetId, Error: { Code: 'NoTerminateInstancesNotSupported', Message: 'NoTerminateInstances option is not supported for instant fleet' },
    }])
    const gone = 'fleet-00000000-0000-0000-0000-000000000000'
    const result = await remove([FleetId, gone, 'fleet-1'])
    expect(result.SuccessfulFleetDeletions).toEqual([{ FleetId, PreviousFleetState: 'active', CurrentFleetState: 'deleted_terminating' }])
    expect(result.UnsuccessfulFleetDeletions?.map((each) => [each.FleetId, each.Error?.Code])).toEqual([
      [gone, 'fleetIdDoesNotExist'], ['fleet-1', 'fleetIdMalformed'],
    ])
    expect((await instancesOf(FleetId)).map((each) => each.State?.Name)).toEqual(['terminated', 'terminated'])
    expect(await show(FleetId)).toMatchObject([{ FleetState: 'deleted', FulfilledCapacity: 0 }])
    expect((await remove([FleetId])).UnsuccessfulFleetDeletions).toMatchObject([{ Error: { Code: 'fleetNotInDeletableState' } }])
  })

  test('with a protected instance stay as they are', async () => {
    const { FleetId = '', Instances } = await create(2, [zone('a'), zone('b')])
    const InstanceId = Instances?.[0]?.InstanceIds?.[0] ?? ''
    const protect = (Value: boolean) => cloud.ec2.send(new ModifyInstanceAttributeCommand({ InstanceId, DisableApiTermination: { Value } }))
    await protect(true)
    const { UnsuccessfulFleetDeletions } = await cloud.ec2.send(new DeleteFleetsCommand({ FleetIds: [FleetId], TerminateInstances: true }))
    expect(UnsuccessfulFleetDeletions).toMatchObject([{ FleetId, Error: { Code: 'unexpectedError', Message: expect.stringContaining(InstanceId) } }])
    expect(await living()).toHaveLength(2)
    expect(await show(FleetId)).toMatchObject([{ FleetState: 'active' }])
    await protect(false)
  })

  test('too many to be deleted in one call are all kept', async () => {
    const ids: string[] = []
    for (let index = 0; index < 26; index++) ids.push((await create(0)).FleetId ?? '')
    const { SuccessfulFleetDeletions, UnsuccessfulFleetDeletions } = await cloud.ec2.send(new DeleteFleetsCommand({ FleetIds: ids, TerminateInstances: true }))
    expect(SuccessfulFleetDeletions).toEqual([])
    expect(new Set(UnsuccessfulFleetDeletions?.map((each) => each.Error?.Code))).toEqual(new Set(['ExceededInstantFleetNumForDeletion']))
  })
})
