import {
  AllocateAddressCommand, AssignPrivateIpAddressesCommand, AssociateAddressCommand, AttachNetworkInterfaceCommand,
  CreateNetworkInterfaceCommand, DeleteNetworkInterfaceCommand, DescribeAddressesCommand, DescribeInstancesCommand,
  DescribeNetworkInterfaceAttributeCommand, DescribeNetworkInterfacesCommand, DescribeTagsCommand,
  DetachNetworkInterfaceCommand, DisassociateAddressCommand, ModifyInstanceAttributeCommand,
  ModifyNetworkInterfaceAttributeCommand, paginateDescribeNetworkInterfaces, ReleaseAddressCommand,
  ResetNetworkInterfaceAttributeCommand, RunInstancesCommand, StartInstancesCommand, StopInstancesCommand,
  TerminateInstancesCommand, UnassignPrivateIpAddressesCommand, waitUntilNetworkInterfaceAvailable,
  type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let imageId: string
let subnetId: string

beforeAll(async () => {
  cloud = await startTestCloud()
  imageId = await tinyImageId(cloud)
  subnetId = await cloud.store.read(async (db) =>
    (await db.selectFrom('subnets').select('subnet_id').where('zone', '=', 'us-east-1a').executeTakeFirstOrThrow()).subnet_id)
})
afterAll(() => cloud.close())

async function launch(input: Partial<RunInstancesCommandInput> = {}): Promise<string> {
  const { Instances: [instance] = [] } = await cloud.ec2.send(new RunInstancesCommand({
    ImageId: imageId, InstanceType: 't3.medium', MinCount: 1, MaxCount: 1, ...(input.NetworkInterfaces ? {} : { SubnetId: subnetId }), ...input,
  }))
  return instance?.InstanceId ?? ''
}

async function create(input: object = {}): Promise<string> {
  const { NetworkInterface: created } = await cloud.ec2.send(new CreateNetworkInterfaceCommand({ SubnetId: subnetId, ...input }))
  return created?.NetworkInterfaceId ?? ''
}

async function describeInstance(id: string) {
  const { Reservations: [reservation] = [] } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
  return reservation?.Instances?.[0] ?? {}
}

async function describeInterface(id: string) {
  const { NetworkInterfaces: [nic] = [] } = await cloud.ec2.send(new DescribeNetworkInterfacesCommand({ NetworkInterfaceIds: [id] }))
  return nic ?? {}
}

const attach = async (InstanceId: string, NetworkInterfaceId: string, DeviceIndex = 1) =>
  (await cloud.ec2.send(new AttachNetworkInterfaceCommand({ InstanceId, NetworkInterfaceId, DeviceIndex }))).AttachmentId
const terminate = (...InstanceIds: string[]) => cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds }))
const failure = (code: string) => expect.objectContaining({ name: code })
/** Public addresses of ports in force, by the private ones. */
const portsInForce = () => new Map(cloud.host.network.ports().map((port) => [port.privateIp, port.publicIp]))
const machineSlots = () => cloud.store.read((db) =>
  db.selectFrom('slots').select('owner_id').where('kind', '=', 'machine').where('owner_id', 'like', 'eni-%').execute())

describe('a network interface', () => {
  test('is attached to a running instance, and detached, and attached elsewhere', async () => {
    const [first, second, nic] = [await launch(), await launch(), await create({ Description: 'wanders' })]
    const AttachmentId = await attach(first, nic)
    const attached = await describeInterface(nic)
    expect(attached).toMatchObject({
      Status: 'in-use', Attachment: { AttachmentId, InstanceId: first, Status: 'attached', DeviceIndex: 1, DeleteOnTermination: false },
    })
    expect((await describeInstance(first)).NetworkInterfaces?.map((each) => each.NetworkInterfaceId)[1]).toBe(nic)
    expect(portsInForce().has(attached.PrivateIpAddress ?? '')).toBe(true)

    await cloud.ec2.send(new DetachNetworkInterfaceCommand({ AttachmentId }))
    await waitUntilNetworkInterfaceAvailable({ client: cloud.ec2, minDelay: 1, maxWaitTime: 10 }, { NetworkInterfaceIds: [nic] })
    expect((await describeInterface(nic)).Attachment).toBeUndefined()
    expect((await describeInstance(first)).NetworkInterfaces).toHaveLength(1)
    expect(portsInForce().has(attached.PrivateIpAddress ?? '')).toBe(false)
    expect(await machineSlots()).toEqual([])

    await attach(second, nic)
    expect((await describeInterface(nic)).PrivateIpAddress).toBe(attached.PrivateIpAddress)
    await terminate(first, second)
    expect(await describeInterface(nic)).toMatchObject({ Status: 'available', Description: 'wanders' })
    await cloud.ec2.send(new DeleteNetworkInterfaceCommand({ NetworkInterfaceId: nic }))
    await expect(describeInterface(nic)).rejects.toEqual(failure('InvalidNetworkInterfaceID.NotFound'))
    expect(await machineSlots()).toEqual([])
  })

  test('waits with a stopped instance, is there when it starts, and leaves it when it is stopped again', async () => {
    const [id, nic] = [await launch(), await create()]
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    const AttachmentId = await attach(id, nic)
    expect(await describeInterface(nic)).toMatchObject({ Status: 'in-use', Attachment: { Status: 'attached' } })
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    const { NetworkInterfaces: nics = [], State, PublicIpAddress } = await describeInstance(id)
    expect([State?.Name, nics.length, PublicIpAddress]).toEqual(['running', 2, undefined])
    for (const each of nics) expect(portsInForce().has(each.PrivateIpAddress ?? '')).toBe(true)
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    await cloud.ec2.send(new DetachNetworkInterfaceCommand({ AttachmentId }))
    expect(await describeInterface(nic)).toMatchObject({ Status: 'available' })
    await cloud.ec2.send(new DeleteNetworkInterfaceCommand({ NetworkInterfaceId: nic }))
    await terminate(id)
  })

  test('is one of two of a launch, each of which ends as it says', async () => {
    const existing = await create({ PrivateIpAddress: '172.31.0.200' })
    const id = await launch({
      NetworkInterfaces: [
        { DeviceIndex: 1, NetworkInterfaceId: existing },
        { DeviceIndex: 0, SubnetId: subnetId, SecondaryPrivateIpAddressCount: 1, Description: 'front' },
      ],
    })
    const { NetworkInterfaces: [front, back] = [], PrivateIpAddress } = await describeInstance(id)
    expect([front?.Description, front?.PrivateIpAddresses?.length, front?.PrivateIpAddress]).toEqual(['front', 2, PrivateIpAddress])
    expect([back?.NetworkInterfaceId, back?.Attachment?.Status, back?.Status]).toEqual([existing, 'attached', 'in-use'])
    await expect(cloud.ec2.send(new DetachNetworkInterfaceCommand({ AttachmentId: front?.Attachment?.AttachmentId }))).rejects.toEqual(
      failure('OperationNotPermitted'))
    await terminate(id)
    expect(await describeInterface(existing)).toMatchObject({ Status: 'available', PrivateIpAddress: '172.31.0.200' })
    await expect(describeInterface(front?.NetworkInterfaceId ?? '')).rejects.toEqual(failure('InvalidNetworkInterfaceID.NotFound'))
    await cloud.ec2.send(new DeleteNetworkInterfaceCommand({ NetworkInterfaceId: existing }))
  })

  test('gets and gives back secondary addresses, which its port has', async () => {
    const id = await launch()
    const nic = (await describeInstance(id)).NetworkInterfaces?.[0]?.NetworkInterfaceId ?? ''
    const port = () => [...cloud.host.network.vpcs.values()].flatMap((vpc) => vpc.ports.get(nic) ?? [])[0]
    const { AssignedPrivateIpAddresses: given = [] } = await cloud.ec2.send(new AssignPrivateIpAddressesCommand({
      NetworkInterfaceId: nic, SecondaryPrivateIpAddressCount: 2,
    }))
    const addresses = given.map((each) => each.PrivateIpAddress ?? '').toSorted()
    expect(port()?.secondary.map((each) => each.privateIp)).toEqual(addresses)
    await cloud.ec2.send(new UnassignPrivateIpAddressesCommand({ NetworkInterfaceId: nic, PrivateIpAddresses: addresses.slice(0, 1) }))
    expect(port()?.secondary.map((each) => each.privateIp)).toEqual(addresses.slice(1))
    await terminate(id)
  })

  test('has attributes, which its port follows', async () => {
    const id = await launch()
    const nic = (await describeInstance(id)).NetworkInterfaces?.[0]?.NetworkInterfaceId ?? ''
    const isChecked = () => [...cloud.host.network.vpcs.values()].flatMap((vpc) => vpc.ports.get(nic)?.sourceDestCheck ?? [])[0]
    await cloud.ec2.send(new ModifyInstanceAttributeCommand({ InstanceId: id, SourceDestCheck: { Value: false } }))
    expect([isChecked(), (await describeInstance(id)).SourceDestCheck]).toEqual([false, false])
    await cloud.ec2.send(new ResetNetworkInterfaceAttributeCommand({ NetworkInterfaceId: nic, SourceDestCheck: 'sourceDestCheck' }))
    expect(isChecked()).toBe(true)
    await cloud.ec2.send(new ModifyNetworkInterfaceAttributeCommand({ NetworkInterfaceId: nic, Description: { Value: 'mine' } }))
    expect(await cloud.ec2.send(new DescribeNetworkInterfaceAttributeCommand({ NetworkInterfaceId: nic, Attribute: 'description' })))
      .toMatchObject({ NetworkInterfaceId: nic, Description: { Value: 'mine' } })
    await terminate(id)
  })

  test('is found by filters, in pages', async () => {
    const created = new Set<string>()
    for (let each = 0; each < 7; each++) created.add(await create({ Description: 'paged' }))
    const found: string[] = []
    const pages = paginateDescribeNetworkInterfaces({ client: cloud.ec2, pageSize: 5 }, { Filters: [{ Name: 'description', Values: ['pag?d'] }] })
    for await (const page of pages) found.push(...(page.NetworkInterfaces ?? []).map((each) => each.NetworkInterfaceId ?? ''))
    expect(found).toEqual([...created].toSorted())
    for (const id of created) await cloud.ec2.send(new DeleteNetworkInterfaceCommand({ NetworkInterfaceId: id }))
  })
})

describe('an Elastic IP', () => {
  test('moves between running instances, and stays when one stops', async () => {
    const [first, second] = [await launch(), await launch()]
    const { AllocationId, PublicIp } = await cloud.ec2.send(new AllocateAddressCommand({
      Domain: 'vpc', TagSpecifications: [{ ResourceType: 'elastic-ip', Tags: [{ Key: 'Name', Value: 'site' }] }],
    }))
    await cloud.ec2.send(new AssociateAddressCommand({ AllocationId, InstanceId: first }))
    expect((await describeInstance(first)).PublicIpAddress).toBe(PublicIp)
    const { AssociationId } = await cloud.ec2.send(new AssociateAddressCommand({ AllocationId, InstanceId: second }))
    const [left, right] = [await describeInstance(first), await describeInstance(second)]
    expect(right.PublicIpAddress).toBe(PublicIp)
    expect(left.PublicIpAddress).not.toBe(PublicIp)
    expect(portsInForce().get(right.PrivateIpAddress ?? '')).toBe(PublicIp)
    expect(portsInForce().get(left.PrivateIpAddress ?? '')).toBe(left.PublicIpAddress)
    const { Addresses: addresses } = await cloud.ec2.send(new DescribeAddressesCommand({
      Filters: [{ Name: 'instance-id', Values: [second] }, { Name: 'tag:Name', Values: ['site'] }],
    }))
    expect(addresses).toMatchObject([{ AllocationId, AssociationId, PublicIp, PrivateIpAddress: right.PrivateIpAddress }])

    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [second] }))
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [second] }))
    expect((await describeInstance(second)).PublicIpAddress).toBe(PublicIp)
    await expect(cloud.ec2.send(new ReleaseAddressCommand({ AllocationId }))).rejects.toEqual(failure('InvalidIPAddress.InUse'))
    await cloud.ec2.send(new DisassociateAddressCommand({ AssociationId }))
    await cloud.ec2.send(new ReleaseAddressCommand({ AllocationId }))
    const { Tags: tags } = await cloud.ec2.send(new DescribeTagsCommand({ Filters: [{ Name: 'resource-type', Values: ['elastic-ip'] }] }))
    expect(tags).toEqual([])
    await terminate(first, second)
  })

  test('is free when its instance is terminated', async () => {
    const id = await launch()
    const { AllocationId } = await cloud.ec2.send(new AllocateAddressCommand({}))
    await cloud.ec2.send(new AssociateAddressCommand({ AllocationId, InstanceId: id }))
    await terminate(id)
    const { Addresses: [address] = [] } = await cloud.ec2.send(new DescribeAddressesCommand({}))
    expect([address?.AllocationId, address?.AssociationId, address?.InstanceId]).toEqual([AllocationId, undefined, undefined])
    await cloud.ec2.send(new ReleaseAddressCommand({ AllocationId }))
  })
})
