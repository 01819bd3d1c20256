import {
  CreateImageCommand, CreateTagsCommand, DescribeImagesCommand, DescribeInstancesCommand, DescribeNetworkInterfacesCommand,
  DescribeVolumesCommand, GetConsoleOutputCommand, ModifyInstanceAttributeCommand, RebootInstancesCommand, RunInstancesCommand,
  StartInstancesCommand, StopInstancesCommand, TerminateInstancesCommand, waitUntilInstanceRunning, type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let imageId: string

beforeAll(async () => {
  cloud = await startTestCloud()
  imageId = await tinyImageId(cloud)
})
afterAll(() => cloud.close())

async function launch(input: Partial<RunInstancesCommandInput> = {}) {
  const reservation = await cloud.ec2.send(
    new RunInstancesCommand({ ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, ...input }))
  return (reservation.Instances ?? []).map((instance) => instance.InstanceId ?? '')
}

async function describeOne(id: string) {
  const result = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
  const instance = result.Reservations?.[0]?.Instances?.[0]
  if (!instance) throw new Error(`${id} is not there`)
  return instance
}

const failure = (code: string, message?: string | RegExp) =>
  expect.objectContaining({ name: code, ...(message ? { message: expect.stringMatching(message) } : {}) })

describe('RunInstances', () => {
  test('answers pending and the instance runs, with a private and a public address', async () => {
    const reservation = await cloud.ec2.send(
      new RunInstancesCommand({ ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1 }))
    expect(reservation.ReservationId).toMatch(/^r-[0-9a-f]{17}$/)
    expect(reservation.Instances?.[0]?.State?.Name).toBe('pending')
    const id = reservation.Instances?.[0]?.InstanceId ?? ''
    await waitUntilInstanceRunning({ client: cloud.ec2, minDelay: 1, maxWaitTime: 10 }, { InstanceIds: [id] })
    const instance = await describeOne(id)
    expect(instance.PrivateIpAddress).toMatch(/^172\.31\./)
    expect(instance.PublicIpAddress).toMatch(/^198\.1[89]\./)
    expect(instance.BlockDeviceMappings?.[0]).toMatchObject({ DeviceName: '/dev/xvda', Ebs: { Status: 'attached' } })
    expect(cloud.host.world.machines.get(id)?.process?.status).toBe('running')
  })

  test('launches as many as fit between MinCount and MaxCount, each with an index of its own', async () => {
    const reservation = await cloud.ec2.send(
      new RunInstancesCommand({ ImageId: imageId, InstanceType: 't3.nano', MinCount: 2, MaxCount: 5 }))
    expect(reservation.Instances?.map((each) => each.AmiLaunchIndex)).toEqual([0, 1, 2, 3, 4])
  })

  test('tags the instance, its volume and its interface', async () => {
    const tag = (type: 'instance' | 'volume' | 'network-interface') => ({ ResourceType: type, Tags: [{ Key: 'of', Value: type }] })
    const [id = ''] = await launch({ TagSpecifications: [tag('instance'), tag('volume'), tag('network-interface')] })
    const filter = { Filters: [{ Name: 'attachment.instance-id', Values: [id] }] }
    const volumes = await cloud.ec2.send(new DescribeVolumesCommand(filter))
    const interfaces = await cloud.ec2.send(new DescribeNetworkInterfacesCommand(filter))
    expect((await describeOne(id)).Tags).toEqual([{ Key: 'of', Value: 'instance' }])
    expect(volumes.Volumes?.[0]?.Tags).toEqual([{ Key: 'of', Value: 'volume' }])
    expect(interfaces.NetworkInterfaces?.[0]?.TagSet).toEqual([{ Key: 'of', Value: 'network-interface' }])
  })

  test('with the same client token answers the same instances, and refuses other parameters', async () => {
    const input = { ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, ClientToken: 'once' } as const
    const first = await launch(input)
    expect(await launch(input)).toEqual(first)
    await expect(launch({ ...input, InstanceType: 't3.small' })).rejects.toEqual(failure('IdempotentParameterMismatch'))
  })

  test.each([
    ['an image that does not exist', { ImageId: 'ami-00000000000000000' }, 'InvalidAMIID.NotFound'],
    ['an image id of no form', { ImageId: 'tiny' }, 'InvalidAMIID.Malformed'],
    ['a type that does not exist', { InstanceType: 't3.mikro' }, 'InvalidParameterValue'],
    ['a key pair that does not exist', { KeyName: 'nobody' }, 'InvalidKeyPair.NotFound'],
    ['a group that does not exist', { SecurityGroupIds: ['sg-00000000000000000'] }, 'InvalidGroup.NotFound'],
    ['a subnet that does not exist', { SubnetId: 'subnet-00000000000000000' }, 'InvalidSubnetID.NotFound'],
    ['a zone that does not exist', { Placement: { AvailabilityZone: 'us-east-1z' } }, 'InvalidParameterValue'],
    ['more at least than at most', { MinCount: 3, MaxCount: 2 }, 'InvalidParameterValue'],
    ['user data that is not base64', { UserData: '***' }, 'InvalidParameterValue'],
    ['user data of more than 16 KB', { UserData: Buffer.alloc(16_385).toString('base64') }, 'InvalidParameterValue'],
    ['a root volume smaller than its image', { BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { VolumeSize: 0 } }] }, 'InvalidBlockDeviceMapping'],
    ['blocks of capacity, which are not there yet', { InstanceMarketOptions: { MarketType: 'capacity-block' } }, 'UnsupportedOperation'],
    ['hibernation without an encrypted root', { HibernationOptions: { Configured: true } }, 'UnsupportedHibernationConfiguration'],
  ] as const)('refuses %s, and changes nothing', async (_what, input, code) => {
    const count = async () => (await cloud.store.read((db) => db.selectFrom('instances').select('instance_id').execute())).length
    const before = await count()
    await expect(launch(input as Partial<RunInstancesCommandInput>)).rejects.toEqual(failure(code))
    expect(await count()).toBe(before)
  })

  test('with DryRun says that it would have succeeded, and launches nothing', async () => {
    const before = await cloud.ec2.send(new DescribeInstancesCommand({}))
    await expect(launch({ DryRun: true })).rejects.toEqual(failure('DryRunOperation'))
    await expect(launch({ DryRun: true, KeyName: 'nobody' })).rejects.toEqual(failure('InvalidKeyPair.NotFound'))
    const after = await cloud.ec2.send(new DescribeInstancesCommand({}))
    expect(after.Reservations?.length).toBe(before.Reservations?.length)
  })
})

describe('an instance', () => {
  test('that is stopped keeps its private address and loses its public one; started it gets a new one', async () => {
    const [id = ''] = await launch()
    const before = await describeOne(id)
    const stopped = await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    expect(stopped.StoppingInstances?.[0]).toMatchObject({ PreviousState: { Name: 'running' }, CurrentState: { Name: 'stopping' } })
    const down = await describeOne(id)
    expect(down.State).toEqual({ Code: 80, Name: 'stopped' })
    expect(down.PublicIpAddress).toBeUndefined()
    expect(down.PrivateIpAddress).toBe(before.PrivateIpAddress)
    expect(down.StateReason?.Code).toBe('Client.UserInitiatedShutdown')
    expect(down.StateTransitionReason).toMatch(/^User initiated \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d GMT\)$/)
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    const up = await describeOne(id)
    expect(up.State?.Name).toBe('running')
    expect(up.PrivateIpAddress).toBe(before.PrivateIpAddress)
    expect(up.PublicIpAddress).toBeDefined()
  })

  test('that is rebooted keeps its addresses and boots once more', async () => {
    const [id = ''] = await launch()
    const before = await describeOne(id)
    await cloud.ec2.send(new RebootInstancesCommand({ InstanceIds: [id] }))
    const after = await describeOne(id)
    expect(after.State?.Name).toBe('running')
    expect(after.PublicIpAddress).toBe(before.PublicIpAddress)
    expect(cloud.host.world.machines.get(id)?.boots).toBe(2)
  })

  test('that is terminated loses its volume, interface and addresses, and stays visible', async () => {
    const [id = ''] = await launch()
    const volumeId = (await describeOne(id)).BlockDeviceMappings?.[0]?.Ebs?.VolumeId ?? ''
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
    const gone = await describeOne(id)
    expect(gone.State).toEqual({ Code: 48, Name: 'terminated' })
    expect(gone.PrivateIpAddress).toBeUndefined()
    expect(gone.NetworkInterfaces).toEqual([])
    await expect(cloud.ec2.send(new DescribeVolumesCommand({ VolumeIds: [volumeId] }))).rejects.toEqual(failure('InvalidVolume.NotFound'))
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
  })

  test('that shuts itself down follows its shutdown behaviour', async () => {
    const [stops = ''] = await launch({ InstanceInitiatedShutdownBehavior: 'stop' })
    const [ends = ''] = await launch({ InstanceInitiatedShutdownBehavior: 'terminate' })
    cloud.host.world.guestPowersOff(stops)
    cloud.host.world.guestPowersOff(ends)
    await expect.poll(async () => (await describeOne(stops)).State?.Name).toBe('stopped')
    await expect.poll(async () => (await describeOne(ends)).State?.Name).toBe('terminated')
    expect((await describeOne(stops)).StateReason?.Code).toBe('Client.InstanceInitiatedShutdown')
  })

  test('refuses moves that its state does not allow, in the words of EC2', async () => {
    const [id = ''] = await launch()
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
    await expect(cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))).rejects.toEqual(
      failure('IncorrectInstanceState', `^The instance '${id}' is not in a state from which it can be started.$`))
    await expect(cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))).rejects.toEqual(
      failure('IncorrectInstanceState', `^This instance '${id}' is not in a state from which it can be stopped.$`))
  })

  test('is spared when another id of the same call does not exist', async () => {
    const [id = ''] = await launch()
    await expect(cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id, 'i-00000000000000000'] }))).rejects.toEqual(
      failure('InvalidInstanceID.NotFound', "^The instance ID 'i-00000000000000000' does not exist$"))
    expect((await describeOne(id)).State?.Name).toBe('running')
  })

  test('that cannot be started goes back to stopped, and keeps its disk', async () => {
    const [id = ''] = await launch()
    const volumeId = (await describeOne(id)).BlockDeviceMappings?.[0]?.Ebs?.VolumeId ?? ''
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    const layerId = [...cloud.host.world.machines.get(id)?.spec.disks ?? []][0]?.layers[0]?.layerId ?? ''
    expect(cloud.host.world.layers.delete(layerId)).toBe(true)
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    await expect.poll(async () => (await describeOne(id)).State?.Name, { timeout: 20_000 }).toBe('stopped')
    expect((await describeOne(id)).StateReason?.Code).toBe('Server.InternalError')
    expect((await cloud.ec2.send(new DescribeVolumesCommand({ VolumeIds: [volumeId] }))).Volumes).toHaveLength(1)
  })

  test('shows its console', async () => {
    const [id = ''] = await launch()
    const { Output } = await cloud.ec2.send(new GetConsoleOutputCommand({ InstanceId: id }))
    expect(Buffer.from(Output ?? '', 'base64').toString()).toContain('simulated guest')
  })

  test('is found by its tags, with wildcards', async () => {
    const [id = ''] = await launch()
    await cloud.ec2.send(new CreateTagsCommand({ Resources: [id], Tags: [{ Key: 'role', Value: 'web-7' }] }))
    const find = async (value: string) =>
      (await cloud.ec2.send(new DescribeInstancesCommand({ Filters: [{ Name: 'tag:role', Values: [value] }] }))).Reservations
    expect((await find('web-*'))?.[0]?.Instances?.[0]?.InstanceId).toBe(id)
    expect(await find('db-*')).toEqual([])
  })
})

describe('an instance that was launched for hibernation', () => {
  const root = { BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { Encrypted: true } }] }
  const hibernating = { HibernationOptions: { Configured: true }, ...root }
  const counterOf = (id: string) => cloud.host.world.machines.get(id)?.process?.memory.counter

  test('goes on where it was, under its private address and a new public one', async () => {
    const [id = ''] = await launch(hibernating)
    const before = await describeOne(id)
    expect(before.HibernationOptions).toEqual({ Configured: true })
    for (let each = 0; each < 3; each++) cloud.host.world.guestComputes(id)
    const stopped = await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id], Hibernate: true }))
    expect(stopped.StoppingInstances?.[0]).toMatchObject({ PreviousState: { Name: 'running' }, CurrentState: { Name: 'stopping' } })
    const down = await describeOne(id)
    expect(down.State?.Name).toBe('stopped')
    expect(down.StateReason).toEqual({
      Code: 'Client.UserInitiatedHibernate', Message: 'Client.UserInitiatedHibernate: User initiated hibernate',
    })
    expect(down.StateTransitionReason).toMatch(/^User initiated \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d GMT\)$/)
    await expect(cloud.ec2.send(new ModifyInstanceAttributeCommand({ InstanceId: id, InstanceType: { Value: 't3.small' } })))
      .rejects.toEqual(failure('UnsupportedOperation', / is hibernated, and so its instance type cannot be changed/))
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    const up = await describeOne(id)
    expect(up).toMatchObject({ State: { Name: 'running' }, PrivateIpAddress: before.PrivateIpAddress, StateTransitionReason: '' })
    expect(up.StateReason).toBeUndefined()
    expect(counterOf(id)).toBe(3)
    expect(cloud.host.world.machines.get(id)?.boots).toBe(1)
  })

  test('can be made an image of while it is hibernated, and goes on all the same', async () => {
    const [id = ''] = await launch(hibernating)
    cloud.host.world.guestComputes(id)
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id], Hibernate: true }))
    const { ImageId = '' } = await cloud.ec2.send(new CreateImageCommand({ InstanceId: id, Name: 'of a sleeper' }))
    const images = await cloud.ec2.send(new DescribeImagesCommand({ ImageIds: [ImageId] }))
    expect(images.Images?.[0]?.State).toBe('available')
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    expect([counterOf(id), cloud.host.world.machines.get(id)?.boots]).toEqual([1, 1])
    expect(cloud.host.world.harm).toEqual([])
  })

  test('boots after a stop without hibernation', async () => {
    const [id = ''] = await launch(hibernating)
    cloud.host.world.guestComputes(id)
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    expect((await describeOne(id)).StateReason?.Code).toBe('Client.UserInitiatedShutdown')
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    expect([counterOf(id), cloud.host.world.machines.get(id)?.boots]).toEqual([0, 2])
  })

  test('can be terminated while it is hibernated', async () => {
    const [id = ''] = await launch(hibernating)
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id], Hibernate: true }))
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
    expect((await describeOne(id)).State?.Name).toBe('terminated')
    expect(cloud.host.world.machines.get(id)?.images.size).toBe(0)
  })

  test.each([
    ['StartInstances', (id: string) => new StartInstancesCommand({ InstanceIds: [id], DryRun: true })],
    ['StopInstances', (id: string) => new StopInstancesCommand({ InstanceIds: [id], Hibernate: true, DryRun: true })],
    ['RebootInstances', (id: string) => new RebootInstancesCommand({ InstanceIds: [id], DryRun: true })],
    ['TerminateInstances', (id: string) => new TerminateInstancesCommand({ InstanceIds: [id], DryRun: true })],
  ])('stays as it is by a dry run of %s', async (_name, command) => {
    const [id = ''] = await launch(hibernating)
    await expect(cloud.ec2.send(command(id) as StopInstancesCommand)).rejects.toEqual(failure('DryRunOperation'))
    expect((await describeOne(id)).State?.Name).toBe('running')
    expect(cloud.host.world.machines.get(id)?.boots).toBe(1)
  })
})

describe('a zone that is full', () => {
  test('answers InsufficientInstanceCapacity, and has room again after a stop', async () => {
    const small = await startTestCloud({ capacity: { cpus: 4, memoryMib: 8192, guestLimits: { vcpus: 4, memoryMib: 8192 } } })
    const image = await tinyImageId(small)
    const run = (type: 't3.micro', count: number) =>
      small.ec2.send(new RunInstancesCommand({
        ImageId: image, InstanceType: type, MinCount: count, MaxCount: count, Placement: { AvailabilityZone: 'us-east-1a' },
      }))
    const first = await run('t3.micro', 2)
    await expect(run('t3.micro', 1)).rejects.toEqual(failure('InsufficientInstanceCapacity'))
    await small.ec2.send(new StopInstancesCommand({ InstanceIds: [first.Instances?.[0]?.InstanceId ?? ''] }))
    expect((await run('t3.micro', 1)).Instances).toHaveLength(1)
    await small.close()
  })
})

describe('a type that promises more than one guest can have here', () => {
  test('runs shrunk, and says so in a tag', async () => {
    const small = await startTestCloud({ capacity: { cpus: 64, memoryMib: 65_536, guestLimits: { vcpus: 2, memoryMib: 4096 } } })
    const result = await small.ec2.send(
      new RunInstancesCommand({ ImageId: await tinyImageId(small), InstanceType: 'm5.xlarge', MinCount: 1, MaxCount: 1 }))
    const id = result.Instances?.[0]?.InstanceId ?? ''
    const found = await small.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
    expect(found.Reservations?.[0]?.Instances?.[0]?.Tags).toEqual([
      { Key: 'hearth:shrunk', Value: '2 of 4 vCPUs, 4096 of 16384 MiB' },
    ])
    expect(small.host.world.machines.get(id)?.spec).toMatchObject({ vcpus: 2, memoryMib: 4096 })
    await small.close()
  })
})
