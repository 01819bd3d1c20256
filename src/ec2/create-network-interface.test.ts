import { beforeEach, describe, expect, it } from 'vitest'
import { openInterfaceLab, type InterfaceLab } from '../../test/support/interface-lab.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { allocateAddress } from './addresses.ts'
import { associateAddress } from './associate-address.ts'
import { createNetworkInterface, deleteNetworkInterface } from './create-network-interface.ts'
import { describeNetworkInterfaces } from './network-interfaces.ts'
import { createSecurityGroup } from './security-groups.ts'
import { describeTags } from './tags.ts'

let lab: InterfaceLab
beforeEach(async () => {
  lab = await openInterfaceLab()
})

const failure = (input: object) => lab.failure(createNetworkInterface, { SubnetId: lab.subnet.subnet_id, ...input })
const addresses = (each: { PrivateIpAddresses?: { PrivateIpAddress?: string | undefined }[] | undefined }) =>
  each.PrivateIpAddresses?.map((address) => address.PrivateIpAddress)

describe('CreateNetworkInterface', () => {
  it('makes one that nothing has, in the default group', async () => {
    const created = await lab.create({
      Description: 'spare', PrivateIpAddress: '172.31.0.50',
      TagSpecifications: [{ ResourceType: 'network-interface', Tags: [{ Key: 'a', Value: 'b' }] }],
    })
    expect(created).toMatchObject({
      AvailabilityZone: 'us-east-1a', Description: 'spare', Groups: [{ GroupId: lab.groupId, GroupName: 'default' }],
      InterfaceType: 'interface', MacAddress: expect.stringMatching(/^02:/), OwnerId: DEFAULT_ACCOUNT,
      PrivateIpAddress: '172.31.0.50', RequesterManaged: false, SourceDestCheck: true, Status: 'available',
      SubnetId: lab.subnet.subnet_id, TagSet: [{ Key: 'a', Value: 'b' }], VpcId: lab.subnet.vpc_id,
    })
    expect([created.Attachment, created.Association]).toEqual([undefined, undefined])
    expect(await lab.describeInterface(created.NetworkInterfaceId)).toEqual(created)
  })

  it('gives it the addresses that are named, and any others', async () => {
    const named = await lab.create({
      PrivateIpAddresses: [
        { PrivateIpAddress: '172.31.0.61' }, { PrivateIpAddress: '172.31.0.60', Primary: true }, { PrivateIpAddress: '172.31.0.62' },
      ],
    })
    expect(addresses(named)).toEqual(['172.31.0.60', '172.31.0.61', '172.31.0.62'])
    const any = await lab.create({ SecondaryPrivateIpAddressCount: 2 })
    expect(new Set(addresses(any)).size).toBe(3)
    expect(any.PrivateIpAddresses?.map((each) => each.Primary)).toEqual([true, false, false])
  })

  it('gives no address twice, be it primary or secondary', async () => {
    await lab.create({ PrivateIpAddresses: [{ PrivateIpAddress: '172.31.0.60', Primary: true }, { PrivateIpAddress: '172.31.0.61' }] })
    for (const taken of ['172.31.0.60', '172.31.0.61']) {
      expect(await failure({ PrivateIpAddress: taken })).toBe(`InvalidIPAddress.InUse: Address ${taken} is in use.`)
      expect(await failure({ PrivateIpAddresses: [{ PrivateIpAddress: taken }] })).toMatch(/^InvalidIPAddress.InUse/)
    }
    expect(await failure({ PrivateIpAddress: '172.31.0.3' })).toMatch(/reserved address range/)
    expect(await failure({ PrivateIpAddress: '10.0.0.1' })).toMatch(/does not fall within/)
    expect(await failure({ PrivateIpAddresses: [{ PrivateIpAddress: '172.31.0.9' }, { PrivateIpAddress: '172.31.0.9' }] })).toMatch(/^InvalidParameterValue/)
  })

  it('fills a subnet to its last address', async () => {
    const { subnetId } = await lab.addVpc()
    await lab.run(({ db }) => db.updateTable('subnets').set({ cidr: '10.0.0.0/28' }).where('subnet_id', '=', subnetId).execute())
    const all = await lab.create({ SubnetId: subnetId, SecondaryPrivateIpAddressCount: 10 })
    expect(new Set(addresses(all)).size).toBe(11)
    expect(await failure({ SubnetId: subnetId })).toBe(
      'InsufficientFreeAddressesInSubnet: The specified subnet does not have enough free addresses to satisfy the request.')
  })

  it('takes groups of its VPC only', async () => {
    const { GroupId: web = '' } = await lab.call(createSecurityGroup, { GroupName: 'web', Description: 'web' })
    expect((await lab.create({ Groups: [web, lab.groupId] })).Groups?.map((each) => each.GroupName)).toEqual(['web', 'default'])
    const { groupId } = await lab.addVpc()
    expect(await failure({ Groups: [groupId] })).toMatch(/^InvalidParameter: .*different networks/)
    expect(await failure({ Groups: ['sg-00000000000000099'] })).toMatch(/^InvalidGroup.NotFound/)
    expect(await failure({ SubnetId: 'subnet-00000000000000099' })).toMatch(/^InvalidSubnetID.NotFound/)
  })

  it('makes one for a client token, however often', async () => {
    const input = { SubnetId: lab.subnet.subnet_id, ClientToken: 'once', Description: 'a' }
    const first = await lab.call(createNetworkInterface, input)
    expect(first.ClientToken).toBe('once')
    expect(await lab.call(createNetworkInterface, input)).toEqual(first)
    expect(await failure({ ...input, Description: 'b' })).toMatch(/^IdempotentParameterMismatch/)
    await lab.call(deleteNetworkInterface, { NetworkInterfaceId: first.NetworkInterface?.NetworkInterfaceId })
    const second = await lab.call(createNetworkInterface, input)
    expect(second.NetworkInterface?.NetworkInterfaceId).not.toBe(first.NetworkInterface?.NetworkInterfaceId)
  })

  it.each([
    { PrivateIpAddress: '172.31.0.9', PrivateIpAddresses: [{ PrivateIpAddress: '172.31.0.10', Primary: true }] },
    { PrivateIpAddresses: [{ PrivateIpAddress: '172.31.0.10' }], SecondaryPrivateIpAddressCount: 1 },
  ])('finds that %j contradicts itself', async (input) => {
    expect(await failure(input)).toMatch(/^InvalidParameterCombination/)
  })

  it.each([
    { InterfaceType: 'efa' }, { Ipv6AddressCount: 1 }, { Ipv4PrefixCount: 1 }, { EnablePrimaryIpv6: true },
    { ConnectionTrackingSpecification: { UdpTimeout: 30 } },
  ])('says that %j is not honoured', async (input) => {
    expect(await failure(input)).toMatch(/^UnsupportedOperation/)
  })

  it('refuses a number of addresses that no type has', async () => {
    expect(await failure({ SecondaryPrivateIpAddressCount: 64 })).toBe(
      'PrivateIpAddressLimitExceeded: Number of private addresses will exceed limit.')
    expect(await failure({ SecondaryPrivateIpAddressCount: -1 })).toMatch(/^InvalidParameterValue/)
    expect(await failure({ Description: 'x'.repeat(256) })).toMatch(/^InvalidParameterValue/)
  })
})

describe('DeleteNetworkInterface', () => {
  it('deletes one that nothing has, with its tags, and frees its Elastic IP', async () => {
    const { NetworkInterfaceId } = await lab.create({
      SecondaryPrivateIpAddressCount: 1, TagSpecifications: [{ ResourceType: 'network-interface', Tags: [{ Key: 'a', Value: 'b' }] }],
    })
    const { AllocationId } = await lab.call(allocateAddress, {})
    await lab.call(associateAddress, { AllocationId, NetworkInterfaceId })
    await lab.call(deleteNetworkInterface, { NetworkInterfaceId })
    expect((await lab.call(describeNetworkInterfaces, {})).NetworkInterfaces).toEqual([])
    expect((await lab.call(describeTags, {})).Tags).toEqual([])
    const left = await lab.run(async ({ db }) => [
      await db.selectFrom('interface_addresses').selectAll().execute(),
      await db.selectFrom('addresses').select(['interface_id', 'association_id']).execute(),
    ])
    expect(left).toEqual([[], [{ interface_id: null, association_id: null }]])
    expect(await lab.failure(deleteNetworkInterface, { NetworkInterfaceId })).toBe(
      `InvalidNetworkInterfaceID.NotFound: The networkInterface ID '${NetworkInterfaceId}' does not exist`)
  })

  it('leaves one that is attached', async () => {
    const { NetworkInterfaces: [nic] = [] } = await lab.running()
    expect(await lab.failure(deleteNetworkInterface, { NetworkInterfaceId: nic?.NetworkInterfaceId })).toBe(
      `InvalidParameterValue: Network interface '${nic?.NetworkInterfaceId}' is currently in use.`)
    expect(await lab.failure(deleteNetworkInterface, { NetworkInterfaceId: 'eni-1' })).toMatch(/^InvalidNetworkInterfaceId.Malformed/)
  })
})
