import type { CreatePlacementGroupRequest, DescribePlacementGroupsRequest, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { addHost, openHostsAccount, type HostsAccount } from '../../test/support/hosts-account.ts'
import { describeInstances } from './describe-instances.ts'
import { createPlacementGroup, deletePlacementGroup, describePlacementGroups } from './placement-groups.ts'
import { createTags, describeTags } from './tags.ts'

let account: HostsAccount
beforeEach(async () => {
  account = await openHostsAccount()
})
afterEach(() => account.store.close())

const create = async (input: Partial<CreatePlacementGroupRequest>) =>
  (await account.call(createPlacementGroup, { GroupName: 'group', ...input })).PlacementGroup
const failure = (input: CreatePlacementGroupRequest) => account.failure(createPlacementGroup, input)
const names = async (input: DescribePlacementGroupsRequest = {}) =>
  (await account.call(describePlacementGroups, input)).PlacementGroups?.map((each) => each.GroupName)
const launch = (GroupName: string, more: Partial<RunInstancesRequest> = {}) =>
  account.launch({ InstanceType: 'm5.large', Placement: { GroupName }, ...more })

describe('createPlacementGroup', () => {
  it('makes groups of the three strategies, and shows of each what only it has', async () => {
    expect(await create({ Strategy: 'cluster' })).toEqual({
      GroupName: 'group', GroupId: expect.stringMatching(/^pg-[0-9a-f]{17}$/), State: 'available', Strategy: 'cluster',
      GroupArn: `arn:aws:ec2:us-east-1:${account.accountId}:placement-group/group`,
    })
    expect(await create({ GroupName: 'far', Strategy: 'spread', SpreadLevel: 'rack' })).toMatchObject({ SpreadLevel: 'rack' })
    expect(await create({ GroupName: 'two', Strategy: 'partition' })).toMatchObject({ PartitionCount: 2 })
    expect(await create({ GroupName: 'seven', Strategy: 'partition', PartitionCount: 7 })).toMatchObject({ PartitionCount: 7 })
  })

  it('tags what it makes', async () => {
    const Tags = [{ Key: 'purpose', Value: 'test' }]
    const group = await create({ Strategy: 'spread', TagSpecifications: [{ ResourceType: 'placement-group', Tags }] })
    expect(group?.Tags).toEqual(Tags)
    await account.call(createTags, { Resources: [group?.GroupId ?? ''], Tags: [{ Key: 'more', Value: '' }] })
    expect((await account.call(describeTags, {})).Tags?.map((each) => [each.ResourceType, each.Key]))
      .toEqual([['placement-group', 'more'], ['placement-group', 'purpose']])
  })

  it.each<[CreatePlacementGroupRequest, RegExp]>([
    [{ Strategy: 'spread' }, /^MissingParameter.*groupName/],
    [{ GroupName: 'x' }, /^MissingParameter.*strategy/],
    [{ GroupName: 'x ', Strategy: 'spread' }, /^InvalidParameterValue.*groupName/],
    [{ GroupName: 'ä', Strategy: 'spread' }, /^InvalidParameterValue.*groupName/],
    [{ GroupName: 'x', Strategy: 'near' as 'spread' }, /^InvalidParameterValue.*\(near\) for parameter strategy/],
    [{ GroupName: 'x', Strategy: 'partition', PartitionCount: 8 }, /^InvalidParameterValue.*\(8\) for parameter partitionCount/],
    [{ GroupName: 'x', Strategy: 'partition', PartitionCount: 0 }, /^InvalidParameterValue/],
    [{ GroupName: 'x', Strategy: 'spread', PartitionCount: 2 }, /^InvalidParameterCombination.*'partition'/],
    [{ GroupName: 'x', Strategy: 'cluster', SpreadLevel: 'rack' }, /^InvalidParameterCombination.*'spread'/],
    [{ GroupName: 'x', Strategy: 'spread', SpreadLevel: 'host' }, /^UnsupportedOperation.*SpreadLevel=host/],
    [{ GroupName: 'x', Strategy: 'precision-time' }, /^UnsupportedOperation/],
    [{ GroupName: 'x', Strategy: 'cluster', ParentGroupId: 'pg-1' }, /^UnsupportedOperation.*ParentGroupId/],
    [{ GroupName: 'taken', Strategy: 'spread' }, /^InvalidPlacementGroup.Duplicate: The placement group 'taken' already exists\.$/],
  ])('refuses %j', async (input, error) => {
    await create({ GroupName: 'taken', Strategy: 'cluster' })
    expect(await failure(input)).toMatch(error)
    expect(await names()).toEqual(['taken'])
  })

  it('makes 500 at most', async () => {
    for (let n = 0; n < 500; n++) await create({ GroupName: `group-${n}`, Strategy: 'cluster' })
    expect(await failure({ GroupName: 'one', Strategy: 'cluster' })).toMatch(/^PlacementGroupLimitExceeded/)
  })
})

describe('deletePlacementGroup', () => {
  it('deletes an empty group, and one whose instances are terminated', async () => {
    await create({ Strategy: 'spread' })
    const [instance] = await launch('group')
    expect(await account.failure(deletePlacementGroup, { GroupName: 'group' }))
      .toBe("InvalidPlacementGroup.InUse: The placement group 'group' is in use and may not be deleted.")
    await account.setState(instance?.InstanceId, 'stopped')
    expect(await account.failure(deletePlacementGroup, { GroupName: 'group' })).toMatch(/^InvalidPlacementGroup.InUse/)
    await account.setState(instance?.InstanceId, 'shutting-down')
    await account.setState(instance?.InstanceId, 'terminated')
    await account.call(deletePlacementGroup, { GroupName: 'group' })
    expect(await names()).toEqual([])
    expect((await account.call(describeInstances, {})).Reservations?.[0]?.Instances?.[0]?.Placement?.GroupName).toBe('')
  })

  it('says what is not there', async () => {
    expect(await account.failure(deletePlacementGroup, { GroupName: 'nothing' }))
      .toBe("InvalidPlacementGroup.Unknown: The Placement Group 'nothing' is unknown.")
    expect(await account.failure(deletePlacementGroup, { GroupName: undefined })).toMatch(/^MissingParameter/)
  })
})

describe('describePlacementGroups', () => {
  it('finds by names, ids and filters', async () => {
    const first = await create({ GroupName: 'b', Strategy: 'spread' })
    await create({ GroupName: 'a', Strategy: 'partition', TagSpecifications: [{ ResourceType: 'placement-group', Tags: [{ Key: 'k', Value: 'v' }] }] })
    expect(await names()).toEqual(['a', 'b'])
    expect(await names({ GroupNames: ['b'] })).toEqual(['b'])
    expect(await names({ GroupIds: [first?.GroupId ?? ''] })).toEqual(['b'])
    const by = (Name: string, value: string) => names({ Filters: [{ Name, Values: [value] }] })
    expect(await by('strategy', 'partition')).toEqual(['a'])
    expect(await by('spread-level', 'rack')).toEqual(['b'])
    expect(await by('group-arn', '*/a')).toEqual(['a'])
    expect(await by('group-name', 'b')).toEqual(['b'])
    expect(await by('state', 'available')).toEqual(['a', 'b'])
    expect(await by('tag:k', 'v')).toEqual(['a'])
    expect(await account.failure(describePlacementGroups, { Filters: [{ Name: 'zone', Values: ['a'] }] })).toMatch(/filter 'zone' is invalid/)
    expect(await account.failure(describePlacementGroups, { GroupNames: ['c'] }))
      .toBe("InvalidPlacementGroup.Unknown: The Placement Group 'c' is unknown.")
    expect(await account.failure(describePlacementGroups, { GroupIds: ['pg-00000000'] })).toMatch(/^InvalidPlacementGroup.Unknown/)
    expect(await account.failure(describePlacementGroups, { GroupIds: ['b'] })).toMatch(/^InvalidPlacementGroupId.Malformed/)
  })

  it('knows every documented filter', async () => {
    for (const Name of DOCUMENTED_FILTERS.DescribePlacementGroups) {
      expect(await names({ Filters: [{ Name, Values: ['nothing'] }] })).toEqual([])
    }
  })
})

describe('instances of a group', () => {
  it('of a spread group are each on a host of their own, at most as many as the zone has', async () => {
    await create({ Strategy: 'spread' })
    await addHost(account, 'a2', 'a')
    const [first] = await launch('group', { Placement: { GroupName: 'group', AvailabilityZone: 'us-east-1a' } })
    expect(first?.Placement).toEqual({
      AvailabilityZone: 'us-east-1a', AvailabilityZoneId: 'use1-az1', GroupName: 'group', GroupId: expect.stringMatching(/^pg-/), Tenancy: 'default',
    })
    await launch('group', { Placement: { GroupName: 'group', AvailabilityZone: 'us-east-1a' } })
    expect(new Set((await account.rows()).map((each) => each.host_id)).size).toBe(2)
    expect(await account.launchFailure({ InstanceType: 'm5.large', Placement: { GroupName: 'group', AvailabilityZone: 'us-east-1a' } })).toBe(
      'InsufficientInstanceCapacity: We currently do not have sufficient capacity to launch all of the additional requested instances into ' +
        "Placement Group 'group'. [Hearth: each instance of a spread placement group is on a host of its own. us-east-1a has 2 hosts: " +
        '"hearth up --hosts-per-zone 3" makes more of the computer\'s share.]')
    // Other zones have hosts without one.
    expect((await launch('group'))[0]?.Placement?.AvailabilityZone).not.toBe('us-east-1a')
  })

  it('of a partition group share no host with another partition, and are told their number', async () => {
    await create({ Strategy: 'partition' })
    await addHost(account, 'a2', 'a')
    const inZone = (PartitionNumber?: number) => launch('group', { Placement: { GroupName: 'group', AvailabilityZone: 'us-east-1a', PartitionNumber } })
    const launched = [...await inZone(), ...await inZone(), ...await inZone(2), ...await inZone(1)]
    expect(launched.map((each) => each.Placement?.PartitionNumber)).toEqual([1, 2, 2, 1])
    const partitions = new Map((await account.rows()).map((each) => [each.host_id, each.partition_number]))
    expect([...partitions.values()].toSorted()).toEqual([1, 2])
    const found = await account.call(describeInstances, { Filters: [
      { Name: 'placement-group-name', Values: ['group'] }, { Name: 'placement-partition-number', Values: ['2'] },
    ] })
    expect(found.Reservations).toHaveLength(2)
  })

  it('of a partition group with more partitions than hosts are refused rather than put together', async () => {
    await create({ Strategy: 'partition', PartitionCount: 3 })
    const inZone = { InstanceType: 'm5.large', Placement: { GroupName: 'group', AvailabilityZone: 'us-east-1b' } } as const
    await account.launch(inZone)
    expect(await account.launchFailure(inZone)).toMatch(
      /^InsufficientInstanceCapacity: .*Placement Group 'group'.*us-east-1b has 1 host: "hearth up --hosts-per-zone 3"/)
  })

  it('of a cluster are in one zone, and on one host while that has room', async () => {
    await create({ Strategy: 'cluster' })
    await addHost(account, 'b2', 'b')
    await launch('group', { Placement: { GroupName: 'group', AvailabilityZone: 'us-east-1b' } })
    await launch('group', { MinCount: 2, MaxCount: 2 })
    const rows = await account.rows()
    expect(new Set(rows.map((each) => each.zone))).toEqual(new Set(['us-east-1b']))
    expect(new Set(rows.map((each) => each.host_id)).size).toBe(1)
    expect(await account.launchFailure({ InstanceType: 'm5.large', Placement: { GroupName: 'group', AvailabilityZone: 'us-east-1c' } }))
      .toBe("InvalidPlacementGroup.InUse: The placement group 'group' is in use in another availability zone: us-east-1b")
  })

  it.each<[Partial<RunInstancesRequest>, RegExp]>([
    [{ Placement: { GroupName: 'nothing' } }, /^InvalidPlacementGroup.Unknown: The Placement Group 'nothing' is unknown\.$/],
    [{ Placement: { GroupName: 'near', GroupId: 'pg-00000000' } }, /^InvalidParameterCombination/],
    [{ Placement: { GroupName: 'near', PartitionNumber: 1 } }, /^InvalidParameterCombination.*PartitionNumber/],
    [{ Placement: { GroupName: 'parts', PartitionNumber: 3 } }, /^InvalidParameterValue.*partitions 1 to 2/],
    [{ Placement: { PartitionNumber: 1 } }, /^InvalidParameterCombination.*PartitionNumber/],
    [{ Placement: { GroupName: 'near', Tenancy: 'host' } }, /^InvalidParameterCombination: You cannot launch an instance with a tenancy of 'host' into a placement group/],
    [{ Placement: { GroupName: 'far', Tenancy: 'dedicated' } }, /^InvalidParameterCombination: .*spread placement group/],
    [{ InstanceType: 't3.micro', Placement: { GroupName: 'near' } },
      /^InvalidParameterCombination: Cluster placement groups are not supported by the 't3.micro' instance type\. Specify a supported/],
    [{ Placement: { Affinity: 'host' } }, /^InvalidParameterCombination: The parameter affinity cannot be used without specifying a tenancy of 'host'$/],
    [{ Placement: { HostId: 'h-1' } }, /^InvalidParameterCombination: The parameter hostId/],
    [{ Placement: { Tenancy: 'host', HostId: 'h-00000000000000000' } }, /^InvalidHostID.NotFound/],
    [{ Placement: { Tenancy: 'host', HostId: 'h-1' } }, /^InvalidHostID.Malformed/],
    [{ Placement: { Tenancy: 'mine' as 'host' } }, /^InvalidParameterValue.*Tenancy/],
    [{ Placement: { Tenancy: 'host' } }, /^InsufficientHostCapacity: You do not have a host with a matching configuration/],
    [{ Placement: { HostResourceGroupArn: 'arn' } }, /^UnsupportedOperation.*HostResourceGroupArn/],
    [{ Placement: { SpreadDomain: 'x' } }, /^UnsupportedOperation.*SpreadDomain/],
    [{ CapacityReservationSpecification: { CapacityReservationPreference: 'capacity-reservations-only' } }, /^ReservationCapacityExceeded/],
    [{ CapacityReservationSpecification: { CapacityReservationTarget: { CapacityReservationId: 'cr-00000000000000000' } } }, /^InvalidCapacityReservationId.NotFound/],
    [{ CapacityReservationSpecification: { CapacityReservationPreference: 'open', CapacityReservationTarget: { CapacityReservationId: 'cr-1' } } },
      /^InvalidParameterCombination/],
    [{ CapacityReservationSpecification: { CapacityReservationTarget: { CapacityReservationResourceGroupArn: 'arn' } } }, /^UnsupportedOperation/],
  ])('are not launched with %j', async (input, error) => {
    await create({ GroupName: 'near', Strategy: 'cluster' })
    await create({ GroupName: 'far', Strategy: 'spread' })
    await create({ GroupName: 'parts', Strategy: 'partition' })
    expect(await account.launchFailure({ InstanceType: 'm5.large', ...input })).toMatch(error)
    expect(await account.rows()).toEqual([])
  })
})
