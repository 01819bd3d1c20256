import type { DescribeNetworkInterfacesRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import {
  defaultNetwork, insertInstance, insertInterface, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore,
} from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { insertGroup } from '../model/security-group.ts'
import type { Context } from './context.ts'
import { describeInstances } from './describe-instances.ts'
import { describeNetworkInterfaces, loadGroups } from './network-interfaces.ts'
import { insertTags } from './tags.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const ids = async (context: Context, input: DescribeNetworkInterfacesRequest = {}) =>
  (await describeNetworkInterfaces(context, input)).NetworkInterfaces?.map((each) => each.NetworkInterfaceId)

async function onePort(context: Context) {
  const instance = await insertInstance(context)
  const port = await insertInterface(
    context, instance, { private_ip: '172.31.0.10', public_ip: '198.18.0.7', mac: '0a:00:00:00:00:01' },
    { description: 'Primary', attachmentId: 'eni-attach-0123456789abcdef0' },
  )
  await insertTags(context.db, context.account, 'network-interface', port.interface_id, [{ key: 'a', value: 'b' }])
  return { instance, port }
}

describe('describeNetworkInterfaces', () => {
  it('shows an interface as EC2 does', async () => {
    await test.run(async (context) => {
      const { instance, port } = await onePort(context)
      const { groupId } = await defaultNetwork(context)
      const dns = { private: 'ip-172-31-0-10.ec2.internal', public: 'ec2-198-18-0-7.compute-1.amazonaws.com' }
      const association = { IpOwnerId: 'amazon', PublicDnsName: dns.public, PublicIp: '198.18.0.7' }
      expect((await describeNetworkInterfaces(context, {})).NetworkInterfaces).toEqual([{
        Association: association,
        Attachment: {
          AttachTime: new Date(NOW_MS), AttachmentId: 'eni-attach-0123456789abcdef0', DeleteOnTermination: true,
          DeviceIndex: 0, InstanceId: instance.instance_id, InstanceOwnerId: DEFAULT_ACCOUNT, NetworkCardIndex: 0,
          Status: 'attached',
        },
        AvailabilityZone: 'us-east-1a', AvailabilityZoneId: 'use1-az1', Description: 'Primary',
        Groups: [{ GroupId: groupId, GroupName: 'default' }], InterfaceType: 'interface', Ipv6Addresses: [],
        MacAddress: '0a:00:00:00:00:01', NetworkInterfaceId: port.interface_id, Operator: { Managed: false },
        OwnerId: DEFAULT_ACCOUNT, PrivateDnsName: dns.private, PrivateIpAddress: '172.31.0.10',
        PrivateIpAddresses: [{
          Association: association, Primary: true, PrivateDnsName: dns.private, PrivateIpAddress: '172.31.0.10',
        }],
        PublicDnsName: dns.public, RequesterManaged: false, SourceDestCheck: true, Status: 'in-use',
        SubnetId: instance.subnet_id, TagSet: [{ Key: 'a', Value: 'b' }], VpcId: instance.vpc_id,
      }])
    })
  })

  it.each([
    ['addresses.private-ip-address', '172.31.0.*'], ['addresses.association.public-ip', '198.18.0.7'],
    ['addresses.primary', 'true'], ['association.public-ip', '198.18.0.7'], ['association.ip-owner-id', 'amazon'],
    ['association.public-dns-name', 'ec2-198-18-0-7.compute-1.amazonaws.com'], ['attachment.status', 'attached'],
    ['attachment.device-index', '0'], ['attachment.delete-on-termination', 'true'],
    ['attachment.instance-owner-id', DEFAULT_ACCOUNT], ['availability-zone', 'us-east-1a'],
    ['availability-zone-id', 'use1-az1'], ['description', 'Primary'], ['group-id', 'sg-*'], ['group-name', 'default'],
    ['interface-type', 'interface'], ['mac-address', '0a:00:00:00:00:01'], ['owner-id', DEFAULT_ACCOUNT],
    ['private-dns-name', 'ip-172-31-0-10.ec2.internal'], ['private-ip-address', '172.31.0.10'],
    ['requester-managed', 'false'], ['source-dest-check', 'true'], ['status', 'in-use'], ['tag:a', 'b'],
  ])('filters by %s = %s', async (Name, value) => {
    await test.run(async (context) => {
      const { port } = await onePort(context)
      expect(await ids(context, { Filters: [{ Name, Values: [value] }] })).toEqual([port.interface_id])
    })
  })

  it.each(DOCUMENTED_FILTERS.DescribeNetworkInterfaces)('knows the filter %s', async (Name) => {
    await test.run(async (context) => {
      await onePort(context)
      expect(await ids(context, { Filters: [{ Name, Values: ['no such value'] }] })).toEqual([])
    })
  })

  it('shows an interface that is going away as detaching', async () => {
    await test.run(async (context) => {
      await insertInterface(context, await insertInstance(context), { status: 'removing' })
      expect((await describeNetworkInterfaces(context, {})).NetworkInterfaces).toMatchObject([
        { Status: 'detaching', Attachment: { Status: 'detaching' } },
      ])
    })
  })

  it('hides what is deleted while its port goes', async () => {
    await test.run(async (context) => {
      const row = await insertInterface(context, await insertInstance(context), { status: 'removing', instance_id: null })
      expect(await ids(context)).toEqual([])
      await expect(ids(context, { NetworkInterfaceIds: [row.interface_id] })).rejects.toMatchObject({ code: 'InvalidNetworkInterfaceID.NotFound' })
    })
  })

  it('has no public name where the VPC gives none', async () => {
    await test.run(async (context) => {
      await onePort(context)
      await context.db.updateTable('vpcs').set({ doc: JSON.stringify({ enableDnsHostnames: false }) }).execute()
      expect((await describeNetworkInterfaces(context, {})).NetworkInterfaces).toMatchObject([
        { PublicDnsName: '', Association: { PublicDnsName: '', PublicIp: '198.18.0.7' }, PrivateDnsName: 'ip-172-31-0-10.ec2.internal' },
      ])
      const { Reservations: [reservation] = [] } = await describeInstances(context, {})
      expect(reservation?.Instances?.[0]).toMatchObject({ PublicDnsName: '', PublicIpAddress: '198.18.0.7' })
    })
  })

  it('finds Elastic IPs and secondary addresses', async () => {
    await test.run(async (context) => {
      const { port } = await onePort(context)
      const { db, account } = context
      await db.insertInto('interface_addresses').values({
        interface_id: port.interface_id, vpc_id: port.vpc_id, private_ip: '172.31.0.11', public_ip: '198.18.0.8', created_ms: NOW_MS,
      }).execute()
      await db.insertInto('addresses').values({
        allocation_id: 'eipalloc-00000000000000001', account_id: account, public_ip: '198.18.0.8', private_ip: '172.31.0.11',
        association_id: 'eipassoc-00000000000000001', interface_id: port.interface_id, created_ms: NOW_MS, doc: '{}',
      }).execute()
      for (const [Name, value] of [
        ['association.allocation-id', 'eipalloc-00000000000000001'], ['association.association-id', 'eipassoc-*'],
        ['addresses.association.owner-id', DEFAULT_ACCOUNT], ['association.public-ip', '198.18.0.8'],
        ['addresses.private-ip-address', '172.31.0.11'], ['private-ip-address', '172.31.0.11'], ['addresses.primary', 'false'],
      ] as const) {
        expect([Name, await ids(context, { Filters: [{ Name, Values: [value] }] })]).toEqual([Name, [port.interface_id]])
      }
      const { Reservations: found } = await describeInstances(context, {
        Filters: [{ Name: 'network-interface.addresses.association.allocation-id', Values: ['eipalloc-00000000000000001'] }],
      })
      expect(found).toHaveLength(1)
    })
  })

  it('refuses ids that do not exist here, and pages out of range', async () => {
    const { port } = await test.run(onePort)
    await test.run(async (context) => {
      await expect(ids(context, { NetworkInterfaceIds: [port.interface_id] })).rejects.toMatchObject({
        code: 'InvalidNetworkInterfaceID.NotFound',
        message: `The networkInterface ID '${port.interface_id}' does not exist`,
      })
      await expect(ids(context, { MaxResults: 1001 })).rejects.toMatchObject({ code: 'InvalidParameterValue' })
    }, OTHER_ACCOUNT)
  })
})

describe('loadGroups', () => {
  it('keeps the order in which the groups were given', async () => {
    await test.run(async (context) => {
      const { db, account } = context
      const { port, instance } = await onePort(context)
      const common = { accountId: account, vpcId: instance.vpc_id, description: '', createdMs: NOW_MS }
      await insertGroup(db, { ...common, groupId: 'sg-00000000000000000', name: 'zz' })
      await insertGroup(db, { ...common, groupId: 'sg-fffffffffffffffff', name: 'aa' })
      await db.insertInto('interface_groups').values([
        { interface_id: port.interface_id, group_id: 'sg-00000000000000000', position: 2 },
        { interface_id: port.interface_id, group_id: 'sg-fffffffffffffffff', position: 1 },
      ]).execute()
      const groups = await loadGroups(db, [port.interface_id])
      expect(groups.get(port.interface_id)?.map((group) => group.GroupName)).toEqual(['default', 'aa', 'zz'])
    })
  })
})
