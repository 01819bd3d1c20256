import type { InstanceNetworkInterfaceSpecification, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { openInterfaceLab, type InterfaceLab } from '../../test/support/interface-lab.ts'
import { runInstances } from './run-instances.ts'
import { createSecurityGroup } from './security-groups.ts'

let lab: InterfaceLab
beforeEach(async () => {
  lab = await openInterfaceLab()
})

type Nic = InstanceNetworkInterfaceSpecification
/** New interfaces of the default subnet, in the order of their device indexes. */
const nics = (...changes: Partial<Nic>[]): Nic[] =>
  changes.map((change, DeviceIndex) => ({ DeviceIndex, SubnetId: lab.subnet.subnet_id, ...change }))
const launch = (NetworkInterfaces: Nic[], change: Partial<RunInstancesRequest> = {}) =>
  lab.launch({ InstanceType: 't3.medium', NetworkInterfaces, ...change })
const failure = (change: Partial<RunInstancesRequest>) => lab.failure(runInstances, {
  ImageId: lab.imageId, InstanceType: 't3.medium', MinCount: 1, MaxCount: 1, ...change,
})

describe('a launch with interfaces', () => {
  it('gives an instance several, each as it was asked for', async () => {
    const { GroupId: web = '' } = await lab.call(createSecurityGroup, { GroupName: 'web', Description: 'web' })
    const instance = await launch([
      ...nics(
        { Description: 'front', PrivateIpAddress: '172.31.0.40', Groups: [web] },
        { SecondaryPrivateIpAddressCount: 2, DeleteOnTermination: false },
      ),
      { DeviceIndex: 2, SubnetId: lab.subnet.subnet_id, PrivateIpAddresses: [
        { PrivateIpAddress: '172.31.0.43' }, { PrivateIpAddress: '172.31.0.42', Primary: true },
      ] },
    ].toReversed(), { TagSpecifications: [{ ResourceType: 'network-interface', Tags: [{ Key: 'a', Value: 'b' }] }] })
    const shown = instance.NetworkInterfaces ?? []
    expect(shown.map((each) => each.Attachment?.DeviceIndex)).toEqual([0, 1, 2])
    expect(shown.map((each) => each.PrivateIpAddresses?.length)).toEqual([1, 3, 2])
    expect(shown.map((each) => each.Attachment?.DeleteOnTermination)).toEqual([true, false, true])
    expect(shown.map((each) => each.Groups?.[0]?.GroupName)).toEqual(['web', 'default', 'default'])
    expect([shown[0]?.Description, shown[0]?.PrivateIpAddress, shown[2]?.PrivateIpAddress]).toEqual(['front', '172.31.0.40', '172.31.0.42'])
    expect(instance.PrivateIpAddress).toBe('172.31.0.40')
    for (const each of shown) {
      expect((await lab.describeInterface(each.NetworkInterfaceId)).TagSet).toEqual([{ Key: 'a', Value: 'b' }])
    }
    const rows = await Promise.all(shown.map((each) => lab.interfaceRow(each.NetworkInterfaceId)))
    expect(rows.map((row) => row.slot === rows[0]?.slot)).toEqual([true, false, false])
    expect((await lab.row(instance.InstanceId ?? '')).slot).toBe(rows[0]?.slot)
  })

  it('gives a public address with one interface only', async () => {
    expect((await launch(nics({}))).PublicIpAddress).toMatch(/^198\.18\./)
    expect((await launch(nics({ AssociatePublicIpAddress: false }))).PublicIpAddress).toBeUndefined()
    expect((await launch(nics({}, {}))).PublicIpAddress).toBeUndefined()
    expect(await failure({ NetworkInterfaces: nics({ AssociatePublicIpAddress: true }, {}) })).toBe(
      'InvalidParameterCombination: The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces.')
  })

  it('takes one that exists, which stays when the instance ends', async () => {
    const { NetworkInterfaceId = '', PrivateIpAddress } = await lab.create({ SecondaryPrivateIpAddressCount: 1 })
    const input = { NetworkInterfaces: [{ DeviceIndex: 0, NetworkInterfaceId }] }
    const instance = await lab.running(input)
    expect(instance).toMatchObject({
      PrivateIpAddress, SubnetId: lab.subnet.subnet_id,
      NetworkInterfaces: [{ NetworkInterfaceId, Attachment: { DeleteOnTermination: false } }],
    })
    expect(instance.PublicIpAddress).toBeUndefined()
    expect((await lab.interfaceRow(NetworkInterfaceId)).slot).toBe((await lab.row(instance.InstanceId ?? '')).slot)
    expect(await failure(input)).toBe(`InvalidNetworkInterface.InUse: Interface: [${NetworkInterfaceId}] in use.`)
    await lab.terminate(instance)
    expect(await lab.describeInterface(NetworkInterfaceId)).toMatchObject({ Status: 'available', PrivateIpAddress })
    expect(await lab.running(input)).toMatchObject({ PrivateIpAddress })
  })

  it('answers the same for a client token, though its interface is in use by then', async () => {
    const { NetworkInterfaceId = '' } = await lab.create()
    const input = { ClientToken: 'once', NetworkInterfaces: [{ DeviceIndex: 0, NetworkInterfaceId }] }
    const { InstanceId } = await lab.launch(input)
    expect((await lab.launch(input)).InstanceId).toBe(InstanceId)
  })

  it('tells an interface that exists nothing else', async () => {
    const { NetworkInterfaceId = '' } = await lab.create()
    const fail = (change: Partial<Nic>) => failure({ NetworkInterfaces: [{ DeviceIndex: 0, NetworkInterfaceId, ...change }] })
    for (const change of [
      { SubnetId: lab.subnet.subnet_id }, { Groups: [lab.groupId] }, { PrivateIpAddress: '172.31.0.9' },
      { SecondaryPrivateIpAddressCount: 1 }, { Description: 'x' },
    ]) {
      expect(await fail(change)).toMatch(/^InvalidParameterCombination: A network interface may not specify both a network interface ID and /)
    }
    expect(await fail({ AssociatePublicIpAddress: true })).toBe(
      'InvalidParameterCombination: The associatePublicIPAddress parameter cannot be specified for a network interface with an ID.')
    expect(await fail({ DeleteOnTermination: true })).toBe(
      'InvalidParameterCombination: A network interface may not specify a network interface ID and delete on termination as true')
    expect(await failure({ NetworkInterfaces: [0, 1].map((DeviceIndex) => ({ DeviceIndex, NetworkInterfaceId })) })).toMatch(/^InvalidNetworkInterface.InUse/)
  })

  it('gives what only one can have to one instance', async () => {
    const { NetworkInterfaceId = '' } = await lab.create()
    for (const change of [
      { NetworkInterfaces: [{ DeviceIndex: 0, NetworkInterfaceId }] }, { PrivateIpAddress: '172.31.0.9' },
      { NetworkInterfaces: nics({}, { PrivateIpAddress: '172.31.0.9' }) },
      { NetworkInterfaces: nics({ PrivateIpAddresses: [{ PrivateIpAddress: '172.31.0.9' }] }) },
    ]) {
      expect(await failure({ ...change, MaxCount: 2 })).toMatch(/^InvalidParameterCombination: .*set MaxCount to 1/)
    }
    const { Instances: two = [] } = await lab.call(runInstances, {
      ImageId: lab.imageId, InstanceType: 't3.medium', MinCount: 2, MaxCount: 2,
      NetworkInterfaces: nics({ SecondaryPrivateIpAddressCount: 1 }, {}),
    })
    const addresses = two.flatMap((each) => each.NetworkInterfaces ?? []).flatMap((each) => each.PrivateIpAddresses ?? [])
    expect(new Set(addresses.map((each) => each.PrivateIpAddress)).size).toBe(6)
  })

  it('wants device indexes that make sense', async () => {
    const fail = (...NetworkInterfaces: Nic[]) => failure({ NetworkInterfaces })
    expect(await fail({})).toBe('InvalidParameterValue: Each network interface requires a device index.')
    expect(await fail({ DeviceIndex: 0 }, { DeviceIndex: 0 })).toBe('InvalidParameterValue: Each network interface requires a unique device index.')
    expect(await fail({ DeviceIndex: 1 })).toBe(
      'InvalidParameterValue: When specifying network interfaces, you must include a device at index 0.')
    expect(await failure({ InstanceType: 't3.micro', NetworkInterfaces: nics({}, {}, {}) })).toBe(
      'AttachmentLimitExceeded: Interface count 3 exceeds the limit for t3.micro')
    expect(await failure({ InstanceType: 't3.nano', NetworkInterfaces: nics({ SecondaryPrivateIpAddressCount: 2 }) })).toMatch(/^PrivateIpAddressLimitExceeded/)
  })

  it('says what of an interface is not honoured', async () => {
    for (const change of [{ Ipv6AddressCount: 1 }, { NetworkCardIndex: 1 }, { InterfaceType: 'efa' }, { PrimaryIpv6: true }]) {
      expect(await failure({ NetworkInterfaces: nics(change) })).toMatch(/^UnsupportedOperation: The parameter NetworkInterface\./)
    }
    expect((await launch(nics({ Ipv6AddressCount: 0, NetworkCardIndex: 0, InterfaceType: 'interface' }))).InstanceId).toMatch(/^i-/)
    expect(await failure({ NetworkInterfaces: nics({}), SubnetId: lab.subnet.subnet_id })).toMatch(/^InvalidParameterCombination/)
  })
})

describe('a launch', () => {
  it('is in any subnet of any VPC, in its default group and with the address that it gives', async () => {
    const { subnetId, vpcId, groupId } = await lab.addVpc()
    const hidden = await lab.launch({ SubnetId: subnetId })
    expect(hidden).toMatchObject({ VpcId: vpcId, SubnetId: subnetId, SecurityGroups: [{ GroupId: groupId, GroupName: 'default' }] })
    expect(hidden.PublicIpAddress).toBeUndefined()
    await lab.run(({ db }) => db.updateTable('subnets').set({ map_public_ip: 1 }).where('subnet_id', '=', subnetId).execute())
    expect((await lab.launch({ SubnetId: subnetId })).PublicIpAddress).toMatch(/^198\.18\./)
    expect(await failure({ SubnetId: subnetId, SecurityGroups: ['default'] })).toBe(
      'InvalidParameterCombination: The parameter groupName cannot be used with the parameter subnet')
    expect(await failure({ SubnetId: subnetId, SecurityGroupIds: [lab.groupId] })).toMatch(/^InvalidParameter: .*different networks/)
    expect(await failure({ NetworkInterfaces: [...nics({}), { DeviceIndex: 1, SubnetId: subnetId }] })).toMatch(/^UnsupportedOperation/)
  })

  it('names its zone by name or by id', async () => {
    const zoned = async (Placement: object) => (await lab.launch({ SubnetId: '', Placement })).Placement?.AvailabilityZone
    expect(await zoned({ AvailabilityZoneId: 'use1-az2' })).toBe('us-east-1b')
    expect(await zoned({ AvailabilityZone: 'us-east-1c' })).toBe('us-east-1c')
    expect(await failure({ Placement: { AvailabilityZoneId: 'use1-az9' } })).toMatch(/^InvalidParameterValue/)
    expect(await failure({ Placement: { AvailabilityZoneId: 'use1-az1', AvailabilityZone: 'us-east-1a' } })).toMatch(/^InvalidParameterCombination/)
    expect(await failure({ SubnetId: lab.subnet.subnet_id, Placement: { AvailabilityZoneId: 'use1-az2' } })).toMatch(/is not in the Availability Zone 'us-east-1b'/)
    const { NetworkInterfaceId = '' } = await lab.create()
    expect(await failure({
      NetworkInterfaces: [{ DeviceIndex: 0, NetworkInterfaceId }], Placement: { AvailabilityZone: 'us-east-1b' },
    })).toMatch(/is not in the Availability Zone 'us-east-1b'/)
  })
})
