import type { ModifyInstancePlacementRequest, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addHost, openHostsAccount, type HostsAccount } from '../../test/support/hosts-account.ts'
import { NOW_MS, REGION } from '../../test/support/rows.ts'
import type { DedicatedHostDoc } from '../model/dedicated-host.ts'
import { createSubnet } from './create-subnet.ts'
import { createVpc } from './create-vpc.ts'
import { describeInstances } from './describe-instances.ts'
import { startInstances } from './instance-lifecycle.ts'
import { modifyInstancePlacement } from './modify-instance-placement.ts'
import { createPlacementGroup } from './placement-groups.ts'

let account: HostsAccount
beforeEach(async () => {
  account = await openHostsAccount()
  for (const Strategy of ['cluster', 'spread', 'partition'] as const) {
    await account.call(createPlacementGroup, { GroupName: Strategy, Strategy })
  }
})
afterEach(() => account.store.close())

const [H1, H2] = ['h-00000000000000001', 'h-00000000000000002'] as const
const inZoneA = { AvailabilityZone: `${REGION}a` }
/** A stopped m5.large in us-east-1a. */
const stopped = async (input: Partial<RunInstancesRequest> = {}) => {
  const [instance] = await account.launch({ InstanceType: 'm5.large', Placement: inZoneA, ...input })
  await account.setState(instance?.InstanceId, 'stopped')
  return instance?.InstanceId ?? ''
}
const modify = (InstanceId: string, input: Partial<ModifyInstancePlacementRequest>) =>
  account.call(modifyInstancePlacement, { InstanceId, ...input })
const failure = (InstanceId: string, input: Partial<ModifyInstancePlacementRequest>) =>
  account.failure(modifyInstancePlacement, { InstanceId, ...input })
const placementOf = async (id: string) =>
  (await account.call(describeInstances, { InstanceIds: [id] })).Reservations?.[0]?.Instances?.[0]?.Placement
const start = (id: string) => account.call(startInstances, { InstanceIds: [id] })

describe('modifyInstancePlacement', () => {
  it('puts a stopped instance into a group, from one to another, and out of it', async () => {
    const id = await stopped()
    expect(await modify(id, { GroupName: 'spread' })).toEqual({ Return: true })
    expect(await placementOf(id)).toMatchObject({ GroupName: 'spread' })
    await modify(id, { GroupName: 'partition', PartitionNumber: 2 })
    expect(await placementOf(id)).toMatchObject({ GroupName: 'partition', PartitionNumber: 2 })
    await start(id)
    expect(await placementOf(id)).toMatchObject({ GroupName: 'partition', PartitionNumber: 2 })
    await account.setState(id, 'stopped')
    await modify(id, { GroupName: '' })
    expect(await placementOf(id)).toEqual({ AvailabilityZone: 'us-east-1a', AvailabilityZoneId: 'use1-az1', GroupName: '', Tenancy: 'default' })
  })

  it('counts at the next start', async () => {
    const id = await stopped()
    await account.launch({ InstanceType: 'm5.large', Placement: { ...inZoneA, GroupName: 'spread' } })
    await modify(id, { GroupName: 'spread' })
    expect(await account.failure(startInstances, { InstanceIds: [id] })).toMatch(/^InsufficientInstanceCapacity: .*Placement Group 'spread'/)
    await addHost(account, 'a2', 'a')
    await start(id)
    expect(new Set((await account.rows()).map((each) => each.host_id)).size).toBe(2)
  })

  it('changes the tenancy, and with affinity the dedicated host', async () => {
    const id = await stopped()
    await modify(id, { Tenancy: 'dedicated' })
    expect(await placementOf(id)).toMatchObject({ Tenancy: 'dedicated' })
    await dedicatedHost('h-0123456789abcdef0')
    await modify(id, { Tenancy: 'host', HostId: 'h-0123456789abcdef0', Affinity: 'host' })
    expect(await placementOf(id)).toMatchObject({ Tenancy: 'host', HostId: 'h-0123456789abcdef0', Affinity: 'host' })
    await modify(id, { Affinity: 'default' })
    expect((await placementOf(id))?.HostId).toBe(undefined)
    await modify(id, { Tenancy: 'default' })
    expect(await placementOf(id)).not.toHaveProperty('Affinity')
  })

  it('wants a stopped instance, and changes nothing where it refuses', async () => {
    const [running] = await account.launch({ InstanceType: 'm5.large' })
    const runningId = running?.InstanceId ?? ''
    for (const input of [{ GroupName: 'spread' }, { GroupName: '' }, { Tenancy: 'dedicated' }, { PartitionNumber: 1 }] as const) {
      expect(await failure(runningId, input)).toBe(`IncorrectInstanceState: The instance '${runningId}' is not in the 'stopped' state.`)
    }
    const id = await stopped({ Placement: { ...inZoneA, GroupName: 'partition', PartitionNumber: 2 } })
    const before = await placementOf(id)
    const refusals: [Partial<ModifyInstancePlacementRequest>, RegExp][] = [
      [{}, /^MissingParameter/],
      [{ GroupName: 'nothing' }, /^InvalidPlacementGroup.Unknown/],
      [{ GroupId: 'pg-00000000' }, /^InvalidPlacementGroup.Unknown/],
      [{ PartitionNumber: 3 }, /^InvalidParameterValue/],
      [{ GroupName: 'spread', PartitionNumber: 1 }, /^InvalidParameterCombination/],
      [{ GroupName: 'spread', Tenancy: 'dedicated' }, /^InvalidParameterCombination/],
      [{ Tenancy: 'host' }, /^InvalidParameterCombination.*tenancy of 'host' into a placement group/],
      [{ Affinity: 'host' }, /^InvalidParameterCombination.*affinity/],
      [{ GroupName: '', HostId: 'h-1' }, /^InvalidParameterCombination.*hostId/],
      [{ GroupName: '', Tenancy: 'host', HostId: 'h-00000000000000000' }, /^InvalidHostID.NotFound/],
      [{ Tenancy: 'mine' as 'host' }, /^InvalidParameterValue.*tenancy/],
      [{ HostResourceGroupArn: 'arn' }, /^UnsupportedOperation/],
    ]
    for (const [input, error] of refusals) expect(await failure(id, input)).toMatch(error)
    expect(await placementOf(id)).toEqual(before)
  })

  it('does not change a T3 instance from or to dedicated hosts', async () => {
    await dedicatedHost(H1, 'a', { instanceFamily: 't3' })
    const id = await stopped({ InstanceType: 't3.micro', Placement: { ...inZoneA, Tenancy: 'host' } })
    for (const Tenancy of ['default', 'dedicated'] as const) expect(await failure(id, { Tenancy })).toMatch(/^InvalidRequest: .*from 'host'/)
    const other = await stopped({ InstanceType: 't3.micro' })
    expect(await failure(other, { Tenancy: 'host' })).toMatch(/^InvalidRequest: .*to 'host'/)
    expect(await modify(other, { Tenancy: 'dedicated' })).toEqual({ Return: true })
  })

  it('leaves an instance dedicated where its VPC is', async () => {
    const { Vpc } = await account.call(createVpc, { CidrBlock: '10.1.0.0/16', InstanceTenancy: 'dedicated' })
    const { Subnet } = await account.call(createSubnet, { VpcId: Vpc?.VpcId, CidrBlock: '10.1.0.0/24', ...inZoneA })
    const id = await stopped({ SubnetId: Subnet?.SubnetId, Placement: {} })
    expect(await failure(id, { Tenancy: 'default' })).toBe(
      `InvalidTenancy: The tenancy of an instance in '${Vpc?.VpcId}' cannot be 'default': that of the VPC is 'dedicated'.`)
    expect(await placementOf(id)).toMatchObject({ Tenancy: 'dedicated' })
  })

  it('wants a dedicated host that is in the zone of the instance and for its type', async () => {
    const id = await stopped()
    await dedicatedHost(H1, 'b')
    await dedicatedHost(H2, 'a', { instanceType: 'm5.xlarge' })
    expect(await failure(id, { Tenancy: 'host', HostId: H1 })).toMatch(/^InvalidParameterValue: .*us-east-1b/)
    expect(await failure(id, { Tenancy: 'host', HostId: H2 })).toBe(
      `InvalidHostConfiguration: Dedicated host '${H2}' does not support the instance type 'm5.large'.`)
  })

  it('has the next start go to the host that was named or fail, and those after it back there where they can', async () => {
    for (const host of [H1, H2]) await dedicatedHost(host)
    const onHost = (HostId: string) => account.launch({ InstanceType: 'm5.large', Placement: { ...inZoneA, Tenancy: 'host', HostId } })
    const [first] = await onHost(H1)
    await onHost(H1)
    const id = await stopped()
    await modify(id, { Tenancy: 'host', HostId: H1 })
    expect(await account.failure(startInstances, { InstanceIds: [id] })).toMatch(`InsufficientCapacityOnHost: Dedicated host ${H1}`)
    await account.setState(first?.InstanceId, 'terminated')
    await start(id)
    expect(await placementOf(id)).toMatchObject({ HostId: H1 })
    await account.setState(id, 'stopped')
    await onHost(H1)
    await start(id)
    expect(await placementOf(id)).toMatchObject({ HostId: H2 })
    await account.setState(id, 'stopped')
    await start(id)
    expect(await placementOf(id)).toMatchObject({ HostId: H2 })
  })

  it('changes what was on a dedicated host that has been released since', async () => {
    for (const host of [H1, H2]) await dedicatedHost(host)
    const id = await stopped({ Placement: { ...inZoneA, Tenancy: 'host', HostId: H1, Affinity: 'host' } })
    await account.query((db) => db.updateTable('dedicated_hosts').set({ state: 'released' }).where('dedicated_host_id', '=', H1).execute())
    expect(await failure(id, { HostId: H1 })).toMatch(/^InvalidHostID.NotFound/)
    expect(await account.failure(startInstances, { InstanceIds: [id] })).toMatch(/^InsufficientCapacityOnHost/)
    await modify(id, { Affinity: 'default' })
    await start(id)
    expect(await placementOf(id)).toMatchObject({ HostId: H2, Affinity: 'default' })
  })

  it('finds the partition of an instance again when it is started on another host', async () => {
    await addHost(account, 'a2', 'a')
    const id = await stopped({ Placement: { ...inZoneA, GroupName: 'partition' } })
    expect(await placementOf(id)).toMatchObject({ PartitionNumber: 1 })
    // While it is stopped its host may go to the other partition.
    await account.launch({ InstanceType: 'm5.large', Placement: { ...inZoneA, GroupName: 'partition', PartitionNumber: 2 } })
    await start(id)
    const rows = await account.rows()
    expect(new Map(rows.map((each) => [each.partition_number, each.host_id])).size).toBe(2)
    expect(new Set(rows.map((each) => each.host_id)).size).toBe(2)
  })
})

/** A dedicated host of the account, as AllocateHosts writes it. */
function dedicatedHost(id: string, letter = 'a', doc: Partial<DedicatedHostDoc> = {}) {
  return account.query(async (db) => {
    const host = await db.selectFrom('hosts').selectAll().where('zone', '=', REGION + letter).executeTakeFirstOrThrow()
    await db.insertInto('dedicated_hosts').values({
      dedicated_host_id: id, account_id: account.accountId, host_id: host.host_id, zone: REGION + letter, state: 'available', vcpus: 4,
      memory_mib: 16_384, vcpus_used: 0, memory_mib_used: 0, created_ms: NOW_MS, released_ms: null,
      doc: JSON.stringify({ instanceType: null, instanceFamily: 'm5', autoPlacement: 'on', clientToken: null, firstId: id, ...doc }),
    }).execute()
  })
}
