import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openInterfaceLab, type InterfaceLab } from '../../test/support/interface-lab.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { allocateAddress, describeAddresses, describeAddressesAttribute, releaseAddress } from './addresses.ts'
import { associateAddress } from './associate-address.ts'
import { createTags, describeTags } from './tags.ts'

let lab: InterfaceLab
beforeEach(async () => {
  lab = await openInterfaceLab()
})

describe('AllocateAddress', () => {
  it('answers an address of the pool, which is shown with its tags', async () => {
    const allocated = await lab.call(allocateAddress, {
      Domain: 'vpc', TagSpecifications: [{ ResourceType: 'elastic-ip', Tags: [{ Key: 'Name', Value: 'web' }] }],
    })
    expect(allocated).toEqual({
      AllocationId: expect.stringMatching(/^eipalloc-[0-9a-f]{17}$/), Domain: 'vpc', NetworkBorderGroup: 'us-east-1',
      PublicIp: expect.stringMatching(/^198\.18\.0\.\d+$/), PublicIpv4Pool: 'amazon',
    })
    expect(await lab.call(describeAddresses, {})).toEqual({
      Addresses: [{
        AllocationId: allocated.AllocationId, Domain: 'vpc', NetworkBorderGroup: 'us-east-1', PublicIp: allocated.PublicIp,
        PublicIpv4Pool: 'amazon', Tags: [{ Key: 'Name', Value: 'web' }],
      }],
    })
  })

  it('gives the address that is asked for, where it is of the pool and free', async () => {
    expect(await lab.call(allocateAddress, { Address: '198.18.0.77' })).toMatchObject({ PublicIp: '198.18.0.77' })
    expect(await lab.failure(allocateAddress, { Address: '198.18.0.77' })).toBe('InvalidIPAddress.InUse: Address 198.18.0.77 is in use.')
    expect(await lab.failure(allocateAddress, { Address: '203.0.113.1' })).toBe("InvalidAddress.NotFound: Address '203.0.113.1' not found.")
    expect(await lab.failure(allocateAddress, { Address: '198.18.0.0' })).toMatch(/^InvalidAddress.NotFound/)
    expect(await lab.failure(allocateAddress, { Address: 'here' })).toMatch(/^InvalidAddress.Malformed/)
  })

  it('gives no address that an instance has, nor instances an allocated one', async () => {
    const { PublicIpAddress: automatic } = await lab.launch()
    expect(await lab.failure(allocateAddress, { Address: automatic ?? '' })).toMatch(/^InvalidIPAddress.InUse/)
    const pool = { base: 0xc6120000, prefix: 30 }
    const inSmallPool = (body: typeof allocateAddress) => lab.run((context) => body({ ...context, publicPool: pool }, {}))
    const given = [await inSmallPool(allocateAddress), await inSmallPool(allocateAddress)].map((each) => each.PublicIp)
    expect(given.toSorted()).toEqual(['198.18.0.1', '198.18.0.2'])
    await expect(inSmallPool(allocateAddress)).rejects.toMatchObject({ code: 'InsufficientAddressCapacity' })
  })

  it('stops at the quota', async () => {
    for (let each = 0; each < 5; each++) await lab.allocate()
    expect(await lab.failure(allocateAddress, {})).toBe('AddressLimitExceeded: The maximum number of addresses has been reached.')
  })

  it.each([
    { Domain: 'standard' as const }, { IpamPoolId: 'ipam-pool-1' }, { CustomerOwnedIpv4Pool: 'coip-1' }, { PublicIpv4Pool: 'ipv4pool-1' },
    { NetworkBorderGroup: 'us-east-1-wl1' },
  ])('says that %j is not honoured', async (input) => {
    expect(await lab.failure(allocateAddress, input)).toMatch(/^UnsupportedOperation/)
  })
})

describe('ReleaseAddress', () => {
  it('frees an address that is associated with nothing, and its tags with it', async () => {
    const { AllocationId } = await lab.allocate()
    await lab.call(createTags, { Resources: [AllocationId], Tags: [{ Key: 'a', Value: 'b' }] })
    expect((await lab.call(describeTags, {})).Tags).toMatchObject([{ ResourceType: 'elastic-ip', ResourceId: AllocationId }])
    await lab.call(releaseAddress, { AllocationId })
    expect((await lab.call(describeAddresses, {})).Addresses).toEqual([])
    expect((await lab.call(describeTags, {})).Tags).toEqual([])
    expect(await lab.failure(releaseAddress, { AllocationId })).toBe(
      `InvalidAllocationID.NotFound: The allocation ID '${AllocationId}' does not exist`)
  })

  it('leaves one that is in use', async () => {
    const { AllocationId, PublicIp } = await lab.allocate()
    const { InstanceId } = await lab.running()
    await lab.call(associateAddress, { AllocationId, InstanceId })
    expect(await lab.failure(releaseAddress, { AllocationId })).toBe(`InvalidIPAddress.InUse: Address ${PublicIp} is in use.`)
  })

  it('wants the allocation id', async () => {
    const { AllocationId, PublicIp } = await lab.allocate()
    expect(await lab.failure(releaseAddress, {})).toMatch(/^MissingParameter/)
    expect(await lab.failure(releaseAddress, { PublicIp })).toBe(
      'InvalidParameterValue: You must specify an allocation id when releasing a VPC elastic IP address')
    expect(await lab.failure(releaseAddress, { AllocationId, PublicIp })).toMatch(/^InvalidParameterCombination/)
    expect(await lab.failure(releaseAddress, { AllocationId, NetworkBorderGroup: 'elsewhere' })).toMatch(/^InvalidAddress.NotFound/)
  })
})

describe('DescribeAddresses', () => {
  const associated = async () => {
    const address = await lab.allocate()
    const instance = await lab.running()
    const { AssociationId } = await lab.call(associateAddress, {
      AllocationId: address.AllocationId, InstanceId: instance.InstanceId,
    })
    await lab.call(createTags, { Resources: [address.AllocationId], Tags: [{ Key: 'a', Value: 'b' }] })
    await lab.allocate()
    return { ...address, AssociationId, instance }
  }

  it('shows what an address is associated with', async () => {
    const { AllocationId, PublicIp, AssociationId, instance } = await associated()
    expect((await lab.call(describeAddresses, { PublicIps: [PublicIp] })).Addresses).toEqual([{
      AllocationId, AssociationId, Domain: 'vpc', InstanceId: instance.InstanceId, NetworkBorderGroup: 'us-east-1',
      NetworkInterfaceId: instance.NetworkInterfaces?.[0]?.NetworkInterfaceId, NetworkInterfaceOwnerId: DEFAULT_ACCOUNT,
      PrivateIpAddress: instance.PrivateIpAddress, PublicIp, PublicIpv4Pool: 'amazon', Tags: [{ Key: 'a', Value: 'b' }],
    }])
    expect((await lab.call(describeAddresses, { AllocationIds: [AllocationId] })).Addresses).toHaveLength(1)
  })

  it('filters by everything that it shows', async () => {
    const { AllocationId, PublicIp, AssociationId = '', instance } = await associated()
    const values: [string, string | undefined][] = [
      ['allocation-id', AllocationId], ['association-id', AssociationId], ['instance-id', instance.InstanceId],
      ['network-interface-id', instance.NetworkInterfaces?.[0]?.NetworkInterfaceId],
      ['network-interface-owner-id', DEFAULT_ACCOUNT], ['private-ip-address', instance.PrivateIpAddress],
      ['public-ip', PublicIp], ['tag:a', 'b'], ['tag-key', 'a'],
    ]
    for (const [Name, value = ''] of values) {
      const { Addresses: found = [] } = await lab.call(describeAddresses, { Filters: [{ Name, Values: [value] }] })
      expect([Name, found.map((each) => each.AllocationId)]).toEqual([Name, [AllocationId]])
    }
    const all = await lab.call(describeAddresses, { Filters: [{ Name: 'network-border-group', Values: ['us-east-1'] }] })
    expect(all.Addresses).toHaveLength(2)
  })

  it.each(DOCUMENTED_FILTERS.DescribeAddresses ?? [])('knows the filter %s', async (Name) => {
    await lab.allocate()
    expect(await lab.call(describeAddresses, { Filters: [{ Name, Values: ['no such value'] }] })).toEqual({ Addresses: [] })
  })

  it('refuses what is not there', async () => {
    expect(await lab.failure(describeAddresses, { AllocationIds: ['eipalloc-00000000000000000'] })).toMatch(/^InvalidAllocationID.NotFound/)
    expect(await lab.failure(describeAddresses, { PublicIps: ['198.18.0.9'] })).toBe("InvalidAddress.NotFound: Address '198.18.0.9' not found.")
    expect(await lab.failure(describeAddresses, { Filters: [{ Name: 'colour', Values: ['red'] }] })).toBe(
      "InvalidParameterValue: The filter 'colour' is invalid")
  })
})

describe('DescribeAddressesAttribute', () => {
  it('shows that addresses have no domain names, in pages', async () => {
    const first = await lab.allocate()
    lab.pass(1000)
    const second = await lab.allocate()
    const input = { AllocationIds: [first.AllocationId], Attribute: 'domain-name' as const }
    expect(await lab.call(describeAddressesAttribute, input)).toEqual({ Addresses: [first] })
    const page = await lab.call(describeAddressesAttribute, { MaxResults: 1 })
    expect(page.Addresses).toEqual([first])
    expect(await lab.call(describeAddressesAttribute, { MaxResults: 1, NextToken: page.NextToken })).toEqual({ Addresses: [second] })
    expect(await lab.failure(describeAddressesAttribute, { AllocationIds: ['eipalloc-1'] })).toMatch(/^InvalidAllocationID.NotFound/)
  })
})
