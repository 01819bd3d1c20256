import type { DescribeSubnetsRequest, DescribeVpcAttributeRequest, DescribeVpcsRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { OTHER_ACCOUNT, REGION } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { describeSubnets } from './subnets.ts'
import { createTags } from './tags.ts'
import { describeVpcAttribute } from './vpc-attributes.ts'
import { describeVpcs } from './vpcs.ts'

let account: MemoryAccount
beforeEach(async () => {
  account = await openMemoryAccount()
})
afterEach(() => account.store.close())

const foreignId = (table: 'vpcs' | 'subnets') => account.query(async (db) =>
  (await db.selectFrom(table).select(table === 'vpcs' ? 'vpc_id as id' : 'subnet_id as id')
    .where('account_id', '=', OTHER_ACCOUNT).executeTakeFirstOrThrow()).id)

/** A second VPC with one /28 subnet, younger than the default one. */
const addVpc = () => account.query(async (db) => {
  const created_ms = Date.UTC(2026, 0, 2)
  const vpc_id = 'vpc-0123456789abcdef0'
  await db.insertInto('vpcs').values({
    vpc_id, account_id: DEFAULT_ACCOUNT, cidr: '10.0.0.0/16', is_default: 0, state: 'pending', created_ms,
    doc: JSON.stringify({ dhcpOptionsId: 'dopt-0123456789abcdef0' }),
  }).execute()
  await db.insertInto('subnets').values({
    subnet_id: 'subnet-0123456789abcdef0', account_id: DEFAULT_ACCOUNT, vpc_id, zone: `${REGION}b`, cidr: '10.0.1.0/28',
    default_for_az: 0, map_public_ip: 0, state: 'available', created_ms, doc: '{}',
  }).execute()
})

const idsOf = async (input: DescribeVpcsRequest) =>
  (await account.call(describeVpcs, input)).Vpcs?.map((vpc) => vpc.VpcId)
const list = async (input: DescribeSubnetsRequest = {}) => (await account.call(describeSubnets, input)).Subnets ?? []

describe('describeVpcs', () => {
  it("shows the account's own VPC whole", async () => {
    const { Vpcs: vpcs } = await account.call(describeVpcs, {})
    expect(vpcs).toEqual([{
      VpcId: account.defaultVpcId, OwnerId: DEFAULT_ACCOUNT, State: 'available', CidrBlock: '172.31.0.0/16',
      CidrBlockAssociationSet: [{
        AssociationId: account.defaultVpcId.replace('vpc-', 'vpc-cidr-assoc-'), CidrBlock: '172.31.0.0/16',
        CidrBlockState: { State: 'associated' },
      }],
      DhcpOptionsId: expect.stringMatching(/^dopt-[0-9a-f]{17}$/), InstanceTenancy: 'default', IsDefault: true,
      BlockPublicAccessStates: { InternetGatewayBlockMode: 'off' }, Tags: [],
    }])
  })

  it.each([
    ['cidr', '10.0.*'],
    ['cidr-block', '10.0.0.0/16'],
    ['cidrBlock', '10.0.0.0/16'],
    ['cidr-block-association.cidr-block', '10.0.0.0/16'],
    ['cidr-block-association.association-id', 'vpc-cidr-assoc-0123456789abcdef0'],
    ['dhcp-options-id', 'dopt-0123456789abcdef0'],
    ['dhcpOptionsId', 'dopt-0123456789abcdef0'],
    ['is-default', 'false'],
    ['isDefault', 'false'],
    ['state', 'pending'],
    ['vpc-id', 'vpc-0123456789abcdef0'],
    ['tag:Name', 'lab'],
    ['tag-key', 'Name'],
  ])('filters by %s', async (Name, value) => {
    await addVpc()
    await account.call(createTags, { Resources: ['vpc-0123456789abcdef0'], Tags: [{ Key: 'Name', Value: 'lab' }] })
    expect(await idsOf({ Filters: [{ Name, Values: [value] }] })).toEqual(['vpc-0123456789abcdef0'])
  })

  it.each(DOCUMENTED_FILTERS.DescribeVpcs)('knows %s', async (Name) => {
    expect(await idsOf({ Filters: [{ Name, Values: ['nothing'] }] })).toEqual([])
  })

  it('knows what is the same for all, and what none has', async () => {
    await addVpc()
    expect(await idsOf({ Filters: [{ Name: 'ipv6-cidr-block-association.state', Values: ['*'] }] })).toEqual([])
    expect(await idsOf({ Filters: [{ Name: 'owner-id', Values: [DEFAULT_ACCOUNT] }] })).toHaveLength(2)
    expect(await idsOf({ Filters: [{ Name: 'cidr-block-association.state', Values: ['associated'] }] })).toHaveLength(2)
  })

  it('says which id is malformed or does not exist, for this account', async () => {
    expect(await account.failure(describeVpcs, { VpcIds: ['nonsense'] })).toMatch(/^InvalidVpcID.Malformed: Invalid id/)
    const foreign = await foreignId('vpcs')
    expect(await account.failure(describeVpcs, { VpcIds: [account.defaultVpcId, foreign] }))
      .toBe(`InvalidVpcID.NotFound: The vpc ID '${foreign}' does not exist`)
  })

  it('checks MaxResults', async () => {
    expect(await idsOf({ MaxResults: 5 })).toEqual([account.defaultVpcId])
    expect(await account.failure(describeVpcs, { MaxResults: 4 })).toMatch(/^InvalidParameterValue/)
    expect(await account.failure(describeVpcs, { MaxResults: 1001 })).toMatch(/^InvalidParameterValue/)
    expect(await account.failure(describeVpcs, { NextToken: 'x' })).toMatch(/^InvalidParameterValue/)
  })
})

describe('describeSubnets', () => {
  it('shows a default subnet in each zone, whole', async () => {
    const subnets = await list()
    expect(subnets.map((subnet) => [subnet.AvailabilityZone, subnet.AvailabilityZoneId, subnet.CidrBlock])).toEqual([
      ['us-east-1a', 'use1-az1', '172.31.0.0/20'],
      ['us-east-1b', 'use1-az2', '172.31.16.0/20'],
      ['us-east-1c', 'use1-az3', '172.31.32.0/20'],
    ])
    expect(subnets[0]).toMatchObject({
      VpcId: account.defaultVpcId, OwnerId: DEFAULT_ACCOUNT, State: 'available', DefaultForAz: true,
      MapPublicIpOnLaunch: true, AvailableIpAddressCount: 4091, Tags: [],
      SubnetArn: `arn:aws:ec2:us-east-1:${DEFAULT_ACCOUNT}:subnet/${subnets[0]?.SubnetId}`,
    })
  })

  it.each(DOCUMENTED_FILTERS.DescribeSubnets)('knows %s', async (Name) => {
    expect(await list({ Filters: [{ Name, Values: ['nothing'] }] })).toEqual([])
  })

  it('counts the addresses that are free, subnet by subnet', async () => {
    const [first, second] = await list()
    await account.addInterface(first?.SubnetId ?? '', '172.31.0.10', 'host-1')
    await account.addInterface(first?.SubnetId ?? '', '172.31.0.11', null)
    await account.addInterface(second?.SubnetId ?? '', '172.31.16.10', 'host-1')
    await addVpc()
    expect((await list()).map((subnet) => subnet.AvailableIpAddressCount)).toEqual([4089, 4090, 4091, 11])
    const found = await list({ Filters: [{ Name: 'available-ip-address-count', Values: ['4089'] }] })
    expect(found.map((subnet) => subnet.SubnetId)).toEqual([first?.SubnetId])
  })

  it.each([
    ['cidr-block', '10.0.1.0/28'],
    ['cidr', '10.0.1.0/28'],
    ['cidrBlock', '10.0.1.0/28'],
    ['default-for-az', 'false'],
    ['defaultForAz', 'false'],
    ['map-public-ip-on-launch', 'false'],
    ['subnet-arn', '*:subnet/subnet-0123456789abcdef0'],
    ['subnet-id', 'subnet-0123456789abcdef0'],
    ['vpc-id', 'vpc-0123456789abcdef0'],
    ['tag:Name', 'lab'],
  ])('filters by %s', async (Name, value) => {
    await addVpc()
    await account.call(createTags, { Resources: ['subnet-0123456789abcdef0'], Tags: [{ Key: 'Name', Value: 'lab' }] })
    const found = await list({ Filters: [{ Name, Values: [value] }] })
    expect(found.map((subnet) => subnet.SubnetId)).toEqual(['subnet-0123456789abcdef0'])
  })

  it.each([
    ['availability-zone', 'us-east-1b', 2],
    ['availabilityZone', 'us-east-1b', 2],
    ['availability-zone-id', 'use1-az2', 2],
    ['state', 'available', 4],
    ['owner-id', DEFAULT_ACCOUNT, 4],
    ['ipv6-native', 'false', 4],
    ['ipv6-native', 'true', 0],
    ['private-dns-name-options-on-launch.hostname-type', 'ip-name', 4],
    ['outpost-arn', '*', 0],
  ])('finds by %s=%s', async (Name, value, count) => {
    await addVpc()
    expect(await list({ Filters: [{ Name, Values: [value] }] })).toHaveLength(count)
  })

  it('says which id is malformed or does not exist, for this account', async () => {
    expect(await account.failure(describeSubnets, { SubnetIds: ['vpc-0123456789abcdef0'] }))
      .toMatch(/^InvalidSubnetID.Malformed/)
    const foreign = await foreignId('subnets')
    expect(await account.failure(describeSubnets, { SubnetIds: [foreign] }))
      .toBe(`InvalidSubnetID.NotFound: The subnet ID '${foreign}' does not exist`)
  })

  it('pages through more than a page', async () => {
    await account.query((db) => db.insertInto('subnets').values(Array.from({ length: 9 }, (_, index) => ({
      subnet_id: `subnet-0000000000000000${index}`, account_id: DEFAULT_ACCOUNT, vpc_id: account.defaultVpcId,
      zone: `${REGION}a`, cidr: `172.31.${64 + index}.0/24`, default_for_az: 0, map_public_ip: 0, state: 'available',
      created_ms: Date.UTC(2026, 0, 2), doc: '{}',
    }))).execute())
    const seen: (string | undefined)[] = []
    const sizes: number[] = []
    let token: string | undefined
    do {
      const page = await account.call(describeSubnets, { MaxResults: 5, NextToken: token })
      seen.push(...(page.Subnets ?? []).map((subnet) => subnet.SubnetId))
      sizes.push(page.Subnets?.length ?? 0)
      token = page.NextToken
    } while (token !== undefined)
    expect(sizes).toEqual([5, 5, 2])
    expect(seen).toEqual((await list()).map((subnet) => subnet.SubnetId))
  })
})

describe('DescribeVpcAttribute', () => {
  const ask = (VpcId: string | undefined, Attribute: string | undefined) =>
    ({ VpcId, Attribute }) as DescribeVpcAttributeRequest

  it('tells that names and the resolver work, and that usage is not metered', async () => {
    const VpcId = account.defaultVpcId
    const tell = (attribute: string) => account.call(describeVpcAttribute, ask(VpcId, attribute))
    expect(await tell('enableDnsSupport')).toEqual({ VpcId, EnableDnsSupport: { Value: true } })
    expect(await tell('enableDnsHostnames')).toEqual({ VpcId, EnableDnsHostnames: { Value: true } })
    expect(await tell('enableNetworkAddressUsageMetrics')).toEqual({ VpcId, EnableNetworkAddressUsageMetrics: { Value: false } })
  })

  it.each([
    [undefined, 'enableDnsSupport', /^MissingParameter/], ['vpc-1', 'enableDnsSupport', /^InvalidVpcID.Malformed/],
    ['vpc-00000000000000000', 'enableDnsSupport', /^InvalidVpcID.NotFound/], ['vpc-00000000000000000', undefined, /^MissingParameter/],
    ['vpc-00000000000000000', 'color', /^InvalidParameterValue/],
  ])('refuses %s with %s', async (vpcId, attribute, failure) => {
    expect(await account.failure(describeVpcAttribute, ask(vpcId, attribute))).toMatch(failure)
  })

  it('does not know the VPCs of others', async () => {
    const foreign = await foreignId('vpcs')
    expect(await account.failure(describeVpcAttribute, ask(foreign, 'enableDnsSupport'))).toMatch(/^InvalidVpcID.NotFound/)
  })
})
