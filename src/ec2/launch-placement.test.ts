import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addHost, openHostsAccount, type HostsAccount } from '../../test/support/hosts-account.ts'
import { hostOf, NOW_MS, OTHER_ACCOUNT, REGION } from '../../test/support/rows.ts'
import { createSubnet } from './create-subnet.ts'
import { createVpc } from './create-vpc.ts'
import { startInstances } from './instance-lifecycle.ts'
import { runInstances } from './run-instances.ts'
import { modifyVpcTenancy } from './vpc-attributes.ts'

let account: HostsAccount
beforeEach(async () => {
  account = await openHostsAccount()
})
afterEach(() => account.store.close())

const zonesOf = async () => (await account.rows()).map((each) => each.zone)
const used = async () => Object.fromEntries((await account.query((db) =>
  db.selectFrom('hosts').select(['host_id', 'vcpus_used']).where('zone', 'is not', null).orderBy('host_id').execute())).map((each) => [each.host_id, each.vcpus_used]))
const large = { InstanceType: 'm5.large' } as const
const inZone = (letter: string) => ({ ...large, Placement: { AvailabilityZone: REGION + letter } })

describe('a launch that names no zone', () => {
  it('goes to the zone with the most free memory, its instances to one zone', async () => {
    await account.launch({ ...large, MinCount: 2, MaxCount: 2 })
    expect(await zonesOf()).toEqual(['us-east-1a', 'us-east-1a'])
    await account.launch(large)
    account.pass(1)
    await account.launch(large)
    account.pass(1)
    await account.launch(large)
    expect((await zonesOf()).toSorted()).toEqual(['us-east-1a', 'us-east-1a', 'us-east-1b', 'us-east-1b', 'us-east-1c'])
  })

  it('gets subnet, address and interface of the zone that it comes to', async () => {
    await account.launch(inZone('a'))
    const [instance] = await account.launch(large)
    const subnet = await account.query((db) =>
      db.selectFrom('subnets').selectAll().where('subnet_id', '=', instance?.SubnetId ?? '').executeTakeFirstOrThrow())
    expect([subnet.zone, instance?.Placement?.AvailabilityZone, instance?.NetworkInterfaces?.[0]?.SubnetId])
      .toEqual(['us-east-1b', 'us-east-1b', subnet.subnet_id])
    expect(instance?.PrivateIpAddress).toMatch(/^172\.31\.(1[6-9]|2\d|3[01])\./)
  })

  it('goes where its address is', async () => {
    await account.launch(inZone('c'))
    const [instance] = await account.launch({ ...large, PrivateIpAddress: '172.31.32.7' })
    expect([instance?.Placement?.AvailabilityZone, instance?.PrivateIpAddress]).toEqual(['us-east-1c', '172.31.32.7'])
  })

  it('passes over zones without room, and is refused when none has any', async () => {
    // 16 vCPUs have room for one of eight and more.
    const huge = { InstanceType: 'm5.2xlarge' } as const
    for (let n = 0; n < 6; n++) await account.launch(huge)
    expect(Object.values(await used())).toEqual([16, 16, 16])
    expect(await account.launchFailure(huge)).toBe(
      'InsufficientInstanceCapacity: We currently do not have sufficient m5.2xlarge capacity in the Availability Zones us-east-1a, us-east-1b, ' +
        'us-east-1c. Our system will be working on provisioning additional capacity. [Hearth: "hearth status" shows what is free. Terminate or ' +
        'stop instances, choose a smaller type, or promise more of the computer with "hearth up --overcommit-vcpus" and "--overcommit-memory".]')
    expect(await account.rows()).toHaveLength(6)
  })
})

describe('a launch into a zone that is full', () => {
  it('is told, in the words of EC2, which zones would do', async () => {
    await account.launch({ InstanceType: 'm5.4xlarge', Placement: { AvailabilityZone: `${REGION}a` } })
    await account.launch({ InstanceType: 'm5.4xlarge', Placement: { AvailabilityZone: `${REGION}c` } })
    expect(await account.launchFailure(inZone('a'))).toMatch(
      /^InsufficientInstanceCapacity: We currently do not have sufficient m5\.large capacity in the Availability Zone you requested \(us-east-1a\)\. Our system will be working on provisioning additional capacity\. You can currently get m5\.large capacity by not specifying an Availability Zone in your request or choosing us-east-1b\. \[Hearth: /)
  })

  it('is told of no zone where none would do', async () => {
    expect(await account.launchFailure({ InstanceType: 'm5.24xlarge', Placement: { AvailabilityZone: `${REGION}a` } }))
      .toMatch(/provisioning additional capacity\. \[Hearth/)
  })
})

describe('dedicated instances', () => {
  const other = (input: Partial<RunInstancesRequest>) => account.query((db) => db.selectFrom('images').select('image_id').executeTakeFirstOrThrow())
    .then(({ image_id: ImageId }) => account.callAs(OTHER_ACCOUNT, runInstances, { ImageId, MinCount: 1, MaxCount: 1, ...large, ...input }))
  const otherFailure = (input: Partial<RunInstancesRequest>) => other(input).then(() => 'no failure', (error: Error) => error.message)

  it('are on hosts without instances of other accounts, which then have none of these', async () => {
    await other(inZone('a'))
    const dedicated = { ...large, Placement: { Tenancy: 'dedicated' } } as const
    const [instance] = await account.launch(dedicated)
    expect(instance?.Placement).toMatchObject({ AvailabilityZone: 'us-east-1b', Tenancy: 'dedicated' })
    expect(await otherFailure(inZone('b'))).toMatch(/^We currently do not have sufficient m5\.large capacity .* or choosing us-east-1a, us-east-1c\./)
    expect(await account.launchFailure({ ...large, Placement: { Tenancy: 'dedicated', AvailabilityZone: `${REGION}a` } }))
      .toMatch(/^InsufficientInstanceCapacity/)
    // Instances of the same account may be there, dedicated or not.
    await account.launch(inZone('b'))
    await account.setState(instance?.InstanceId, 'stopped')
    await other(inZone('b'))
    expect(await account.failure(startInstances, { InstanceIds: [instance?.InstanceId ?? ''] })).toMatch(/^InsufficientInstanceCapacity/)
  })

  it('are all those of a VPC of dedicated tenancy', async () => {
    const VpcId = (await account.call(createVpc, { CidrBlock: '10.0.0.0/16', InstanceTenancy: 'dedicated' })).Vpc?.VpcId
    const subnet = (await account.call(createSubnet, { VpcId, CidrBlock: '10.0.0.0/24', AvailabilityZone: `${REGION}b` })).Subnet
    const launched = async () => (await account.launch({ ...large, SubnetId: subnet?.SubnetId }))[0]?.Placement?.Tenancy
    expect(await launched()).toBe('dedicated')
    expect(await otherFailure(inZone('b'))).toMatch(/sufficient m5.large capacity/)
    await account.call(modifyVpcTenancy, { VpcId, InstanceTenancy: 'default' })
    expect(await launched()).toBe('default')
  })

  it('are not where another account has reserved room', async () => {
    await account.query(async (db) => {
      await db.insertInto('capacity_reservations').values({
        capacity_reservation_id: 'cr-1', account_id: OTHER_ACCOUNT, zone: `${REGION}a`, instance_type: 'm5.large', state: 'active', total: 1,
        match_criteria: 'open', end_ms: null, created_ms: NOW_MS, doc: '{}',
      }).execute()
      await db.insertInto('capacity_reservation_hosts')
        .values({ capacity_reservation_id: 'cr-1', host_id: hostOf(`${REGION}a`), reserved: 1, used: 0 }).execute()
    })
    const [instance] = await account.launch({ ...large, Placement: { Tenancy: 'dedicated' } })
    expect(instance?.Placement?.AvailabilityZone).toBe('us-east-1b')
  })
})

describe('an instance that is started again', () => {
  it('stays on its host where that has room, and else goes to another one of its zone', async () => {
    await addHost(account, 'a2', 'a')
    const [instance] = await account.launch(inZone('a'))
    const id = instance?.InstanceId ?? ''
    const placeOf = async () => (await account.rows()).find((each) => each.instance_id === id)?.host_id
    const host = await placeOf()
    await account.setState(id, 'stopped')
    // The other one has more room by now.
    await account.call(startInstances, { InstanceIds: [id] })
    expect(await placeOf()).toBe(host)
    await account.setState(id, 'stopped')
    await account.query((db) => db.updateTable('hosts').set({ vcpus_used: 16 }).where('host_id', '=', host ?? '').execute())
    await account.call(startInstances, { InstanceIds: [id] })
    expect(await placeOf()).not.toBe(host)
    expect((await zonesOf())).toEqual(['us-east-1a'])
  })
})
