import type { NewDhcpConfiguration } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { associateDhcpOptions, createDhcpOptions, deleteDhcpOptions, describeDhcpOptions } from './dhcp-options.ts'
import { createTags, describeTags } from './tags.ts'
import { describeVpcs } from './vpcs.ts'

const NOBODY = 'dopt-0123456789abcdef0'

let account: MemoryAccount
beforeEach(async () => {
  account = await openMemoryAccount()
})
afterEach(() => account.store.close())

const config = (Key: string, ...Values: string[]): NewDhcpConfiguration => ({ Key, Values })
const create = async (...DhcpConfigurations: NewDhcpConfiguration[]) => {
  account.pass(1000)
  const { DhcpOptions: created } = await account.call(createDhcpOptions, { DhcpConfigurations })
  return created?.DhcpOptionsId ?? ''
}
const failure = (...DhcpConfigurations: NewDhcpConfiguration[]) => account.failure(createDhcpOptions, { DhcpConfigurations })
const idsOf = async (Name: string, ...Values: string[]) =>
  (await account.call(describeDhcpOptions, { Filters: [{ Name, Values }] })).DhcpOptions?.map((each) => each.DhcpOptionsId)
const associate = (DhcpOptionsId: string, VpcId = account.defaultVpcId) =>
  account.call(associateDhcpOptions, { DhcpOptionsId, VpcId })
const ofVpc = async () => (await account.call(describeVpcs, {})).Vpcs?.[0]?.DhcpOptionsId ?? ''

describe('the default DHCP options', () => {
  it('are those of the default VPC from the start', async () => {
    const { DhcpOptions: all } = await account.call(describeDhcpOptions, {})
    expect(all).toEqual([{
      DhcpOptionsId: await ofVpc(), OwnerId: DEFAULT_ACCOUNT, Tags: [],
      DhcpConfigurations: [
        { Key: 'domain-name', Values: [{ Value: 'ec2.internal' }] },
        { Key: 'domain-name-servers', Values: [{ Value: 'AmazonProvidedDNS' }] },
      ],
    }])
  })

  it('name the domain of the region', async () => {
    const elsewhere = await account.call(
      (context, input) => describeDhcpOptions({ ...context, region: 'eu-west-1' }, input), {})
    expect(elsewhere.DhcpOptions?.[0]?.DhcpConfigurations?.[0]?.Values).toEqual([{ Value: 'eu-west-1.compute.internal' }])
  })
})

describe('CreateDhcpOptions', () => {
  it('makes a set of all options, with tags', async () => {
    const { DhcpOptions: created } = await account.call(createDhcpOptions, {
      DhcpConfigurations: [
        config('domain-name', 'example.com'), config('domain-name-servers', '10.0.0.5', 'AmazonProvidedDNS'),
        config('ntp-servers', '10.0.0.6,10.0.0.7'), config('netbios-name-servers', '10.0.0.8'),
        config('netbios-node-type', '2'),
      ],
      TagSpecifications: [{ ResourceType: 'dhcp-options', Tags: [{ Key: 'Name', Value: 'lab' }] }],
    })
    expect(created).toEqual({
      DhcpOptionsId: expect.stringMatching(/^dopt-[0-9a-f]{17}$/), OwnerId: DEFAULT_ACCOUNT,
      Tags: [{ Key: 'Name', Value: 'lab' }],
      DhcpConfigurations: [
        { Key: 'domain-name', Values: [{ Value: 'example.com' }] },
        { Key: 'domain-name-servers', Values: [{ Value: '10.0.0.5' }, { Value: 'AmazonProvidedDNS' }] },
        { Key: 'ntp-servers', Values: [{ Value: '10.0.0.6' }, { Value: '10.0.0.7' }] },
        { Key: 'netbios-name-servers', Values: [{ Value: '10.0.0.8' }] },
        { Key: 'netbios-node-type', Values: [{ Value: '2' }] },
      ],
    })
    const { DhcpOptions: found } = await account.call(describeDhcpOptions, { DhcpOptionsIds: [created?.DhcpOptionsId ?? ''] })
    expect(found).toEqual([created])
  })

  it.each([
    [[], 'MissingParameter: The request must contain the parameter dhcpConfigurationSet'],
    [[{}], 'MissingParameter: The request must contain the parameter name'],
    [[config('domain-name')], 'MissingParameter: The request must contain the parameter value'],
    [[config('domain-name', '')], 'MissingParameter: The request must contain the parameter value'],
    [[config('color', 'red')], 'InvalidParameterValue: Value (color) for parameter name is invalid. Unknown DHCP option'],
    [[config('constructor', 'x')], /Unknown DHCP option$/],
    [[config('domain-name', 'a.example'), config('domain-name', 'b.example')], /^InvalidParameterValue: .*more than once$/],
    [[config('domain-name', 'a.example', 'b.example')], /^InvalidParameterValue: .*Only one value/],
    [[config('domain-name', 'not_a/domain')], /^InvalidParameterValue: Value \(not_a\/domain\) for parameter value/],
    [[config('domain-name', `${'a'.repeat(63)}.`.repeat(4))], /^InvalidParameterValue/],
    [[config('domain-name-servers', '10.0.0.300')], /^InvalidParameterValue: Value \(10\.0\.0\.300\) .*IPv4/],
    [[config('domain-name-servers', 'amazonprovideddns')], /^InvalidParameterValue/],
    [[config('domain-name-servers', '10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4,10.0.0.5')], /^InvalidParameterValue: .*No more than 4/],
    [[config('ntp-servers', 'AmazonProvidedDNS')], /^InvalidParameterValue/],
    [[config('ntp-servers', 'fd00:ec2::123')], /^UnsupportedOperation: .*IPv6/],
    [[config('netbios-node-type', '3')], /^InvalidParameterValue: Value \(3\) .*1, 2, 4, 8/],
    [[config('ipv6-address-preferred-lease-time', '140')], /^UnsupportedOperation/],
  ])('refuses %j', async (configurations, message) => {
    expect(await failure(...configurations)).toMatch(message)
    expect((await account.call(describeDhcpOptions, {})).DhcpOptions).toHaveLength(1)
  })

  it('takes several domains in one name, which some systems know', async () => {
    expect(await create(config('domain-name', 'a.example b.example.'))).toMatch(/^dopt-/)
  })

  it('refuses tags of another type', async () => {
    expect(await account.failure(createDhcpOptions, {
      DhcpConfigurations: [config('domain-name', 'a.example')],
      TagSpecifications: [{ ResourceType: 'vpc', Tags: [{ Key: 'Name', Value: 'lab' }] }],
    })).toMatch(/^InvalidParameterValue/)
  })
})

describe('DescribeDhcpOptions', () => {
  it.each([
    ['key', 'ntp-servers'], ['value', '10.0.0.*'], ['tag:Name', 'lab'], ['tag-key', 'Name'],
  ])('filters by %s', async (name, value) => {
    const id = await create(config('ntp-servers', '10.0.0.6', '10.1.0.6'))
    await account.call(createTags, { Resources: [id], Tags: [{ Key: 'Name', Value: 'lab' }] })
    expect(await idsOf(name, value)).toEqual([id])
  })

  it('filters by id and owner, oldest first', async () => {
    const id = await create(config('ntp-servers', '10.0.0.6'))
    expect(await idsOf('dhcp-options-id', id)).toEqual([id])
    expect(await idsOf('owner-id', DEFAULT_ACCOUNT)).toEqual([await ofVpc(), id])
    expect(await idsOf('value', 'AmazonProvidedDNS')).toEqual([await ofVpc()])
  })

  it.each(DOCUMENTED_FILTERS.DescribeDhcpOptions)('knows %s', async (name) => {
    expect(await idsOf(name, 'nothing')).toEqual([])
  })

  it('pages through more than a page', async () => {
    const made: string[] = [await ofVpc()]
    for (let n = 0; n < 6; n++) made.push(await create(config('ntp-servers', `10.0.0.${n}`)))
    const first = await account.call(describeDhcpOptions, { MaxResults: 5 })
    const second = await account.call(describeDhcpOptions, { MaxResults: 5, NextToken: first.NextToken })
    const pages = [first, second].map((page) => page.DhcpOptions?.map((each) => each.DhcpOptionsId))
    expect(pages).toEqual([made.slice(0, 5), made.slice(5)])
    expect(second.NextToken).toBeUndefined()
    expect(await account.failure(describeDhcpOptions, { MaxResults: 4 })).toMatch(/^InvalidParameterValue/)
  })

  it('says which id is malformed or does not exist, for this account', async () => {
    expect(await account.failure(describeDhcpOptions, { DhcpOptionsIds: ['default'] }))
      .toBe("InvalidDhcpOptionsId.Malformed: The dhcp-options ID 'default' is malformed")
    const foreign = await account.query((db) => db
      .selectFrom('dhcp_options').select('dhcp_options_id').where('account_id', '=', OTHER_ACCOUNT).executeTakeFirstOrThrow())
    expect(await account.failure(describeDhcpOptions, { DhcpOptionsIds: [foreign.dhcp_options_id] }))
      .toBe(`InvalidDhcpOptionID.NotFound: The dhcpOption ID '${foreign.dhcp_options_id}' does not exist`)
  })
})

describe('AssociateDhcpOptions', () => {
  it('gives a VPC another set, and none with default', async () => {
    const id = await create(config('ntp-servers', '10.0.0.6'))
    await associate(id)
    expect(await ofVpc()).toBe(id)
    await associate('default')
    expect(await ofVpc()).toBe('default')
  })

  it.each([
    ['dopt-1', undefined, /^InvalidDhcpOptionsId.Malformed/],
    [NOBODY, undefined, `InvalidDhcpOptionID.NotFound: The dhcpOption ID '${NOBODY}' does not exist`],
    ['default', 'vpc-1', /^InvalidVpcID.Malformed/],
    ['default', 'vpc-0123456789abcdef0', /^InvalidVpcID.NotFound/],
  ])('refuses %s for %s', async (DhcpOptionsId, VpcId = account.defaultVpcId, message) => {
    expect(await account.failure(associateDhcpOptions, { DhcpOptionsId, VpcId })).toMatch(message)
  })
})

describe('DeleteDhcpOptions', () => {
  it('deletes a set with its tags, once no VPC has it', async () => {
    const id = await create(config('ntp-servers', '10.0.0.6'))
    await account.call(createTags, { Resources: [id], Tags: [{ Key: 'Name', Value: 'lab' }] })
    await associate(id)
    expect(await account.failure(deleteDhcpOptions, { DhcpOptionsId: id }))
      .toBe(`DependencyViolation: The dhcpOptions '${id}' has dependencies and cannot be deleted.`)
    await associate('default')
    await account.call(deleteDhcpOptions, { DhcpOptionsId: id })
    expect((await account.call(describeTags, {})).Tags).toEqual([])
    expect(await account.failure(deleteDhcpOptions, { DhcpOptionsId: id }))
      .toBe(`InvalidDhcpOptionsID.NotFound: The dhcpOptions ID '${id}' does not exist`)
  })

  it('knows nothing of malformed ids', async () => {
    expect(await account.failure(deleteDhcpOptions, { DhcpOptionsId: 'default' })).toMatch(/^InvalidDhcpOptionsId.Malformed/)
  })
})
