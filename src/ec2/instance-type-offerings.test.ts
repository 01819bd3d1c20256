import { describe, expect, it } from 'vitest'
import { openMemoryAccount } from '../../test/support/memory-account.ts'
import { instanceTypeNames } from '../catalogue/instance-types.ts'
import { describeInstanceTypeOfferings as describeOfferings } from './instance-type-offerings.ts'

const account = await openMemoryAccount()
const only = (name: string, ...values: string[]) => ({ Filters: [{ Name: name, Values: values }] })

describe('describeInstanceTypeOfferings', () => {
  it('offers a type in the region, in its zones, and by their ids', async () => {
    expect(await account.call(describeOfferings, only('instance-type', 't3.micro'))).toEqual({
      InstanceTypeOfferings: [{ InstanceType: 't3.micro', LocationType: 'region', Location: 'us-east-1' }],
      NextToken: undefined,
    })
    const locations = async (type: 'availability-zone' | 'availability-zone-id' | 'outpost') =>
      (await account.call(describeOfferings, { LocationType: type, ...only('instance-type', 't3.micro') }))
        .InstanceTypeOfferings?.map((each) => each.Location)
    expect(await locations('availability-zone')).toEqual(['us-east-1a', 'us-east-1b', 'us-east-1c'])
    expect(await locations('availability-zone-id')).toEqual(['use1-az1', 'use1-az2', 'use1-az3'])
    expect(await locations('outpost')).toEqual([])
  })

  it('filters by location and by types with wildcards', async () => {
    const result = await account.call(describeOfferings, {
      LocationType: 'availability-zone',
      Filters: [{ Name: 'location', Values: ['us-east-1b'] }, { Name: 'instance-type', Values: ['t3.?icro', 't3a.nano*'] }],
    })
    expect(result.InstanceTypeOfferings?.map((each) => [each.InstanceType, each.Location]))
      .toEqual([['t3.micro', 'us-east-1b'], ['t3a.nano', 'us-east-1b']])
  })

  it('pages through all of them', async () => {
    const seen: string[] = []
    let token: string | undefined
    do {
      const page = await account.call(describeOfferings, { LocationType: 'availability-zone', NextToken: token })
      expect(page.InstanceTypeOfferings?.length).toBeLessThanOrEqual(1000)
      seen.push(...(page.InstanceTypeOfferings ?? []).map((each) => `${each.InstanceType} ${each.Location}`))
      token = page.NextToken
    } while (token)
    expect(new Set(seen).size).toBe(seen.length)
    expect(seen).toHaveLength(instanceTypeNames().length * 3)
    expect((await account.call(describeOfferings, { MaxResults: 7 })).InstanceTypeOfferings).toHaveLength(7)
  })

  it('refuses what EC2 refuses', async () => {
    expect(await account.failure(describeOfferings, { LocationType: 'moon' as 'region' })).toMatch(/^InvalidParameterValue/)
    expect(await account.failure(describeOfferings, { MaxResults: 4 })).toMatch(/^InvalidParameterValue/)
    expect(await account.failure(describeOfferings, only('vcpus', '2'))).toBe("InvalidParameterValue: The filter 'vcpus' is invalid")
  })

  it.each(['instance-type', 'location'])('knows the filter %s', async (name) => {
    expect(await account.failure(describeOfferings, only(name, 'x'))).toBe('no failure')
  })
})
