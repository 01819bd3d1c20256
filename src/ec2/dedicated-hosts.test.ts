import type { AllocateHostsRequest, DescribeHostsRequest, ModifyHostsRequest, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openCapacityLab, type CapacityLab } from '../../test/support/capacity-lab.ts'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { NOW_MS } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { allocateHosts } from './dedicated-hosts-allocate.ts'
import { describeHosts, modifyHosts, releaseHosts } from './dedicated-hosts.ts'
import { describeTags } from './tags.ts'

const HOUR_MS = 3_600_000
const ZONE = 'us-east-1a'

let lab: CapacityLab
/** A quarter of a host: 16 vCPUs and 32 GiB; of t3 there is nothing larger than 8 and 32. */
beforeEach(async () => {
  lab = await openCapacityLab({ hosts: { 'host-a1': ZONE, 'host-b1': 'us-east-1b' }, vcpus: 64, memoryMib: 131_072 })
})
afterEach(async () => {
  expect(await lab.problems()).toEqual([])
  await lab.close()
})

const inputOf = (change: Partial<AllocateHostsRequest> = {}): AllocateHostsRequest => ({
  InstanceType: 't3.medium', AvailabilityZone: ZONE, Quantity: 1, ...change,
})
async function allocate(change: Partial<AllocateHostsRequest> = {}): Promise<string[]> {
  lab.pass(1)
  return (await lab.call(allocateHosts, inputOf(change))).HostIds ?? []
}
const allocateOne = async (change: Partial<AllocateHostsRequest> = {}) => (await allocate(change))[0] ?? ''
const refusal = (change: Partial<AllocateHostsRequest>) => lab.failure(allocateHosts, inputOf(change))
const list = async (input: DescribeHostsRequest = {}) => (await lab.call(describeHosts, input)).Hosts ?? []
const one = async (id: string) => (await list({ HostIds: [id] }))[0]
const onHost = (HostId?: string, change: Partial<RunInstancesRequest> = {}): Partial<RunInstancesRequest> => ({
  InstanceType: 't3.medium', Placement: { AvailabilityZone: ZONE, Tenancy: 'host', ...(HostId ? { HostId } : {}) }, ...change,
})
const modify = (HostIds: string[], change: Partial<ModifyHostsRequest>) => lab.call(modifyHosts, { HostIds, ...change })

describe('allocateHosts', () => {
  it('takes a part of a host of the zone', async () => {
    const tags = [{ Key: 'Env', Value: 'test' }]
    const id = await allocateOne({ TagSpecifications: [{ ResourceType: 'dedicated-host', Tags: tags }], ClientToken: 'once' })
    expect(await one(id)).toEqual({
      HostId: expect.stringMatching(/^h-[0-9a-f]{17}$/), OwnerId: DEFAULT_ACCOUNT, AvailabilityZone: ZONE, AvailabilityZoneId: 'use1-az1',
      State: 'available', AutoPlacement: 'off', AllowsMultipleInstanceTypes: 'off', HostRecovery: 'off', HostMaintenance: 'off',
      HostProperties: { InstanceType: 't3.medium', Cores: 4, Sockets: 1, TotalVCpus: 8 },
      AvailableCapacity: {
        AvailableVCpus: 8, AvailableInstanceCapacity: [{ InstanceType: 't3.medium', AvailableCapacity: 4, TotalCapacity: 4 }],
      },
      Instances: [], AllocationTime: new Date(NOW_MS + 1), ReleaseTime: undefined, ClientToken: 'once',
      MemberOfServiceLinkedResourceGroup: false, Tags: tags,
    })
    expect(await lab.used()).toEqual({ 'host-a1': '8 32768', 'host-b1': '0 0' })
  })

  it('of a family takes all of its sizes that fit', async () => {
    const id = await allocateOne({ InstanceType: undefined, InstanceFamily: 'm5', AutoPlacement: 'on' })
    expect(await one(id)).toMatchObject({
      AutoPlacement: 'on', AllowsMultipleInstanceTypes: 'on', HostProperties: { InstanceFamily: 'm5', TotalVCpus: 16 },
      AvailableCapacity: {
        AvailableVCpus: 16, AvailableInstanceCapacity: [
          { InstanceType: 'm5.large', AvailableCapacity: 4, TotalCapacity: 4 }, { InstanceType: 'm5.xlarge', AvailableCapacity: 2, TotalCapacity: 2 },
          { InstanceType: 'm5.2xlarge', AvailableCapacity: 1, TotalCapacity: 1 },
        ],
      },
    })
    expect((await one(id))?.HostProperties?.InstanceType).toBeUndefined()
  })

  it('allocates all or none, the same again with the same token', async () => {
    const ids = await allocate({ Quantity: 2, ClientToken: 'once' })
    expect(await allocate({ Quantity: 2, ClientToken: 'once' })).toEqual(ids)
    expect(await refusal({ Quantity: 3 })).toMatch(/^InsufficientHostCapacity: There is not enough capacity to fulfill your Dedicated Host request/)
    expect(await list()).toHaveLength(2)
    expect(await lab.used()).toEqual({ 'host-a1': '16 65536', 'host-b1': '0 0' })
  })

  it('needs room for one instance at least', async () => {
    expect(await refusal({ InstanceType: 'm5.24xlarge' })).toMatch(/^InsufficientHostCapacity/)
    const id = await allocateOne({ InstanceType: 'm5.4xlarge' })
    expect((await one(id))?.AvailableCapacity?.AvailableInstanceCapacity).toEqual([{ InstanceType: 'm5.4xlarge', AvailableCapacity: 1, TotalCapacity: 1 }])
  })

  it('has spot instances go where they have all room: as few as are in the way of one instance', async () => {
    const spot = await lab.launch({
      InstanceType: 'm5.4xlarge', Placement: { AvailabilityZone: ZONE }, InstanceMarketOptions: { MarketType: 'spot' }, MinCount: 2, MaxCount: 2,
    })
    const id = await allocateOne({ InstanceType: 'm5.4xlarge' })
    expect((await one(id))?.AvailableCapacity?.AvailableInstanceCapacity).toEqual([{ InstanceType: 'm5.4xlarge', AvailableCapacity: 1, TotalCapacity: 1 }])
    const [instance = ''] = await lab.launch(onHost(id, { InstanceType: 'm5.4xlarge' }))
    expect((await lab.states())[instance]).toBe('pending')
    for (const each of spot) await lab.terminate(each)
    expect((await lab.states())[instance]).toBe('running')
    expect(await refusal({ InstanceType: 'm5.24xlarge' })).toMatch(/^InsufficientHostCapacity/)
  })

  it('refuses what is wrong with it, and what it does not honour', async () => {
    expect(await refusal({ InstanceFamily: 't3' })).toMatch(/^InvalidParameterCombination/)
    expect(await refusal({ InstanceType: undefined })).toMatch(/^MissingParameter/)
    expect(await refusal({ Quantity: undefined })).toMatch(/^MissingParameter/)
    expect(await refusal({ Quantity: 0 })).toMatch(/^InvalidParameterValue/)
    expect(await refusal({ AvailabilityZone: undefined })).toMatch(/^MissingParameter/)
    expect(await refusal({ InstanceType: 't2.micro' })).toBe("InvalidHostConfiguration: The instance type 't2.micro' is not supported.")
    expect(await refusal({ InstanceType: undefined, InstanceFamily: 'Mac1' })).toBe(
      "InvalidHostConfiguration: The instance family 'Mac1' is not supported.")
    expect(await refusal({ HostRecovery: 'on' })).toMatch(/^UnsupportedOperation: The parameter HostRecovery=on/)
    expect(await refusal({ HostMaintenance: 'on' })).toMatch(/^UnsupportedOperation: The parameter HostMaintenance=on/)
    expect(await refusal({ OutpostArn: 'arn' })).toMatch(/^UnsupportedOperation/)
    expect(await refusal({ AssetIds: ['x'] })).toMatch(/^UnsupportedOperation/)
    expect(await lab.used()).toEqual({ 'host-a1': '0 0', 'host-b1': '0 0' })
  })
})

describe('instances on dedicated hosts', () => {
  it('take of the dedicated host, and a stop gives that back', async () => {
    const id = await allocateOne()
    const before = await lab.used()
    const [instance] = await lab.launch(onHost(id))
    expect(await one(id)).toMatchObject({
      Instances: [{ InstanceId: instance, InstanceType: 't3.medium', OwnerId: DEFAULT_ACCOUNT }],
      AvailableCapacity: { AvailableVCpus: 6, AvailableInstanceCapacity: [{ AvailableCapacity: 3, TotalCapacity: 4 }] },
    })
    expect(await lab.used()).toEqual(before)
    await lab.stop(instance)
    expect(await one(id)).toMatchObject({ Instances: [], AvailableCapacity: { AvailableVCpus: 8 } })
  })

  it('with affinity start on the same one again, or not at all', async () => {
    const [first = '', second = ''] = await allocate({ Quantity: 2, AutoPlacement: 'on' })
    const [instance = ''] = await lab.launch(onHost(first, { Placement: { Tenancy: 'host', HostId: first, Affinity: 'host' } }))
    await lab.stop(instance)
    await lab.start(instance)
    expect((await one(first))?.Instances).toMatchObject([{ InstanceId: instance }])
    await lab.stop(instance)
    await lab.launch(onHost(first, { MinCount: 4, MaxCount: 4 }))
    expect(await lab.startFailure(instance)).toBe(
      `InsufficientCapacityOnHost: Dedicated host ${first} has insufficient capacity to launch the instances in this request.`)
    expect((await one(second))?.Instances).toEqual([])
  })

  it('that name none go to one with auto-placement', async () => {
    const id = await allocateOne()
    expect(await lab.launchFailure(onHost())).toMatch(/^InsufficientHostCapacity: You do not have a host with a matching configuration/)
    expect(await modify([id], { AutoPlacement: 'on' })).toEqual({ Successful: [id], Unsuccessful: [] })
    const [instance] = await lab.launch(onHost())
    expect((await one(id))?.Instances).toMatchObject([{ InstanceId: instance }])
  })

  it('of other types do not come there, nor those of another account', async () => {
    const id = await allocateOne({ AutoPlacement: 'on' })
    expect(await lab.launchFailure(onHost(id, { InstanceType: 't3.small' }))).toMatch(/^InsufficientCapacityOnHost/)
    expect(await lab.as('other').launchFailure(onHost())).toMatch(/^InsufficientHostCapacity/)
    expect(await lab.as('other').launchFailure(onHost(id))).toMatch(/^InvalidHostID.NotFound/)
  })
})

describe('modifyHosts', () => {
  it('changes the types of one that nobody is on, within its family', async () => {
    const id = await allocateOne()
    expect(await modify([id], { InstanceFamily: 't3' })).toEqual({ Successful: [id], Unsuccessful: [] })
    expect(await one(id)).toMatchObject({ AllowsMultipleInstanceTypes: 'on', HostProperties: { InstanceFamily: 't3' } })
    const codes = async (change: Partial<ModifyHostsRequest>) => (await modify([id], change)).Unsuccessful?.map((each) => each.Error?.Code)
    expect(await codes({ InstanceType: 'm5.large' })).toEqual(['Client.InvalidHostConfiguration'])
    const [instance] = await lab.launch(onHost(id, { InstanceType: 't3.small' }))
    expect(await codes({ InstanceType: 't3.small' })).toEqual(['Client.InvalidHost.Occupied'])
    await lab.terminate(instance)
    expect(await codes({ InstanceType: 't3.small' })).toEqual([])
    expect(await one(id)).toMatchObject({ AllowsMultipleInstanceTypes: 'off', HostProperties: { InstanceType: 't3.small' } })
  })

  it('tells of those that are not there, and refuses a change of nothing', async () => {
    const id = await allocateOne()
    const unknown = 'h-00000000000000000'
    expect(await modify([id, unknown], { AutoPlacement: 'on' })).toEqual({
      Successful: [id],
      Unsuccessful: [{ ResourceId: unknown, Error: { Code: 'Client.InvalidHostID.NotFound', Message: `The host ID '${unknown}' does not exist` } }],
    })
    expect(await lab.failure(modifyHosts, { HostIds: [id] })).toMatch(/^MissingParameter/)
    expect(await lab.failure(modifyHosts, { HostIds: [], AutoPlacement: 'on' })).toMatch(/^MissingParameter/)
    expect(await lab.failure(modifyHosts, { HostIds: ['h-x'], AutoPlacement: 'on' })).toMatch(/^InvalidHostID.Malformed/)
    expect(await lab.failure(modifyHosts, { HostIds: [id], HostRecovery: 'on' })).toMatch(/^UnsupportedOperation/)
  })
})

describe('releaseHosts', () => {
  const release = (...HostIds: string[]) => lab.call(releaseHosts, { HostIds })

  it('gives the room of those that nobody is on back, and spares the others', async () => {
    const [busy = '', idle = ''] = await allocate({ Quantity: 2 })
    const [instance] = await lab.launch(onHost(busy))
    expect(await release(busy, idle)).toEqual({
      Successful: [idle],
      Unsuccessful: [{
        ResourceId: busy,
        Error: { Code: 'Client.InvalidHost.Occupied', Message: `Dedicated host '${busy}' cannot be released as it is occupied.` },
      }],
    })
    expect(await lab.used()).toEqual({ 'host-a1': '8 32768', 'host-b1': '0 0' })
    await lab.stop(instance)
    expect((await release(busy)).Successful).toEqual([busy])
    expect(await lab.used()).toEqual({ 'host-a1': '0 0', 'host-b1': '0 0' })
    expect((await release(busy)).Unsuccessful?.[0]?.Error?.Code).toBe('Client.InvalidHostID.NotFound')
  })

  it('leaves them to be seen for an hour', async () => {
    const id = await allocateOne({ TagSpecifications: [{ ResourceType: 'dedicated-host', Tags: [{ Key: 'a', Value: 'b' }] }] })
    await release(id)
    expect(await one(id)).toMatchObject({
      State: 'released', ReleaseTime: new Date(NOW_MS + 1), AvailableCapacity: { AvailableVCpus: 0, AvailableInstanceCapacity: [] },
    })
    expect(await lab.launchFailure(onHost(id))).toMatch(/^InvalidHostID.NotFound/)
    lab.pass(HOUR_MS)
    expect(await list()).toEqual([])
    await allocate()
    expect((await lab.call(describeTags, {})).Tags).toEqual([])
  })
})

describe('describeHosts', () => {
  it('tells of a zone that has failed', async () => {
    const id = await allocateOne()
    const fail = (state: 'available' | 'unavailable') => lab.store.transaction('test', (db) => db
      .insertInto('zones').values({ zone: ZONE, state, revision: 1, power_cuts: 0, since_ms: NOW_MS, doc: '{}' })
      .onConflict((conflict) => conflict.column('zone').doUpdateSet({ state })).execute())
    await fail('unavailable')
    expect((await one(id))?.State).toBe('under-assessment')
    await fail('available')
    expect((await one(id))?.State).toBe('available')
  })

  it('knows the documented filters, and tags', async () => {
    const id = await allocateOne({
      AutoPlacement: 'on', ClientToken: 'once', TagSpecifications: [{ ResourceType: 'dedicated-host', Tags: [{ Key: 'a', Value: 'b' }] }],
    })
    await allocate({ AvailabilityZone: 'us-east-1b', InstanceType: 't3.small' })
    const by = async (Name: string, value: string) => (await list({ Filter: [{ Name, Values: [value] }] })).map((host) => host.HostId)
    for (const name of DOCUMENTED_FILTERS.DescribeHosts) expect(await by(name, 'nothing-has-this'), name).toEqual([])
    for (const [name, value] of [
      ['auto-placement', 'on'], ['availability-zone', ZONE], ['client-token', 'once'], ['instance-type', 't3.medium'], ['tag:a', 'b'], ['tag-key', 'a'],
    ] as const) expect(await by(name, value), name).toEqual([id])
    expect(await by('state', 'available')).toHaveLength(2)
  })

  it('answers page by page, and for ids all or an error', async () => {
    const [id = ''] = await allocate({ Quantity: 4 })
    await allocate({ AvailabilityZone: 'us-east-1b', Quantity: 2 })
    const first = await lab.call(describeHosts, { MaxResults: 5 })
    expect(first.Hosts).toHaveLength(5)
    expect((await lab.call(describeHosts, { MaxResults: 5, NextToken: first.NextToken })).Hosts).toHaveLength(1)
    expect(await lab.failure(describeHosts, { MaxResults: 501 })).toMatch(/^InvalidParameterValue/)
    expect(await lab.failure(describeHosts, { MaxResults: 5, HostIds: [id] })).toMatch(/^InvalidParameterCombination/)
    expect(await lab.failure(describeHosts, { HostIds: ['h-00000000000000000'] })).toMatch(/^InvalidHostID.NotFound/)
  })
})
