import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openTestStore, type TestStore } from '../../test/support/rows.ts'
import { describeAvailabilityZones, describeRegions } from './zones.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const zones = async (input: Parameters<typeof describeAvailabilityZones>[1]) =>
  (await test.run((context) => describeAvailabilityZones(context, input))).AvailabilityZones ?? []
const names = async (input: Parameters<typeof zones>[0]) => (await zones(input)).map((zone) => zone.ZoneName)
const regions = async (input: Parameters<typeof describeRegions>[1]) =>
  (await test.run((context) => describeRegions(context, input))).Regions ?? []

describe('describeAvailabilityZones', () => {
  it('answers three zones', async () => {
    const all = await zones({ AllAvailabilityZones: true })
    expect(all.map((zone) => [zone.ZoneName, zone.ZoneId, zone.State])).toEqual([
      ['us-east-1a', 'use1-az1', 'available'], ['us-east-1b', 'use1-az2', 'available'],
      ['us-east-1c', 'use1-az3', 'available'],
    ])
    expect(all[0]).toMatchObject({
      GroupName: 'us-east-1-zg-1', NetworkBorderGroup: 'us-east-1', OptInStatus: 'opt-in-not-required',
      RegionName: 'us-east-1', ZoneType: 'availability-zone', Messages: [],
    })
  })

  it('answers those asked for by name, id or filter', async () => {
    expect(await names({ ZoneNames: ['us-east-1b'] })).toEqual(['us-east-1b'])
    expect(await names({ ZoneIds: ['use1-az3', 'use1-az1'] })).toEqual(['us-east-1a', 'us-east-1c'])
    expect(await names({ ZoneNames: ['us-east-1a', 'us-east-1b'], ZoneIds: ['use1-az2'] })).toEqual(['us-east-1b'])
    const byName = [{ Name: 'zone-name', Values: ['*b', '*c'] }]
    expect(await names({ Filters: byName })).toEqual(['us-east-1b', 'us-east-1c'])
    expect(await names({ Filters: [{ Name: 'state', Values: ['impaired'] }] })).toEqual([])
    // As EC2's, the zones of a region are in one group.
    expect(await names({ Filters: [{ Name: 'group-name', Values: ['us-east-1-zg-1'] }] })).toHaveLength(3)
  })

  it('refuses zones of elsewhere', async () => {
    await expect(zones({ ZoneNames: ['us-east-1a', 'us-east-1z'] })).rejects.toMatchObject({
      code: 'InvalidParameterValue', message: 'Invalid availability zone: [us-east-1z]',
    })
    await expect(zones({ ZoneIds: ['use1-az9'] })).rejects.toMatchObject({ code: 'InvalidParameterValue' })
  })

  it.each(DOCUMENTED_FILTERS.DescribeAvailabilityZones)('knows the filter %s', async (Name) => {
    expect(await zones({ Filters: [{ Name, Values: ['no such value'] }] })).toEqual([])
  })

  it('refuses other filters', async () => {
    await expect(zones({ Filters: [{ Name: 'tag:x', Values: ['y'] }] })).rejects.toMatchObject({
      message: "The filter 'tag:x' is invalid",
    })
  })
})

describe('describeRegions', () => {
  it('answers the one that runs here', async () => {
    const expected = [{
      Endpoint: 'ec2.us-east-1.amazonaws.com', OptInStatus: 'opt-in-not-required', RegionName: 'us-east-1',
    }]
    expect(await regions({})).toEqual(expected)
    expect(await regions({ AllRegions: true, RegionNames: ['us-east-1'] })).toEqual(expected)
    expect(await regions({ Filters: [{ Name: 'endpoint', Values: ['*us-east-1*'] }] })).toEqual(expected)
    expect(await regions({ Filters: [{ Name: 'region-name', Values: ['eu-*'] }] })).toEqual([])
  })

  it('refuses others', async () => {
    await expect(regions({ RegionNames: ['mars-north-1'] })).rejects.toMatchObject({
      code: 'InvalidParameterValue', message: 'Invalid region provided: [mars-north-1]',
    })
  })

  it.each(DOCUMENTED_FILTERS.DescribeRegions)('knows the filter %s', async (Name) => {
    expect(await regions({ Filters: [{ Name, Values: ['no such value'] }] })).toEqual([])
  })
})
