import type { DescribeInstancesRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import {
  defaultNetwork, insertImage, insertInstance, insertInterface, insertVolume, NOW_MS, openTestStore, OTHER_ACCOUNT,
  REGION, type TestStore, type PlacedInstance,
} from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { describeInstances, loadInstances } from './describe-instances.ts'
import { insertTags } from './tags.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const list = (context: Context, input: DescribeInstancesRequest = {}) => describeInstances(context, input)
const idsOf = async (context: Context, input: DescribeInstancesRequest = {}) =>
  (await list(context, input)).Reservations?.flatMap((each) => each.Instances ?? []).map((each) => each.InstanceId)
const now = new Date(NOW_MS)
const nowText = now.toISOString()

/** An instance with everything that an instance here can have. */
async function fullInstance(context: Context, change: Partial<Omit<PlacedInstance, 'doc'>> = {}) {
  const image = await insertImage(context)
  const instance = await insertInstance(
    context,
    { image_id: image.image_id, key_name: 'kk', client_token: 'token-1', ...change },
    { stateTransitionReason: 'User initiated', stateReason: { code: 'Server.X', message: 'Server.X: why' } },
  )
  const port = await insertInterface(
    context, instance, { private_ip: '172.31.0.10', public_ip: '198.18.0.7', mac: '0a:00:00:00:00:01' },
    { description: 'Primary', attachmentId: 'eni-attach-0123456789abcdef0' },
  )
  const volume = await insertVolume(context, instance)
  const { groupId } = await defaultNetwork(context)
  return { image, instance, port, volume, groupId }
}

describe('describeInstances', () => {
  it('shows an instance as EC2 does', async () => {
    await test.run(async (context) => {
      const { image, instance, port, volume, groupId } = await fullInstance(context)
      await insertTags(context.db, context.account, 'instance', instance.instance_id, [{ key: 'Name', value: 'web' }])
      const dns = { private: 'ip-172-31-0-10.ec2.internal', public: 'ec2-198-18-0-7.compute-1.amazonaws.com' }
      const association = { IpOwnerId: 'amazon', PublicDnsName: dns.public, PublicIp: '198.18.0.7' }
      const groups = [{ GroupId: groupId, GroupName: 'default' }]
      expect((await list(context)).Reservations).toEqual([{
        ReservationId: instance.reservation_id, OwnerId: DEFAULT_ACCOUNT, Groups: [],
        Instances: [{
          AmiLaunchIndex: 0, Architecture: 'x86_64', BootMode: 'legacy-bios', ClientToken: 'token-1',
          BlockDeviceMappings: [{
            DeviceName: '/dev/vda',
            Ebs: {
              AttachTime: now, DeleteOnTermination: true, Operator: { Managed: false }, Status: 'attached',
              VolumeId: volume.volume_id,
            },
          }],
          CapacityReservationSpecification: { CapacityReservationPreference: 'open' },
          CpuOptions: { CoreCount: 1, ThreadsPerCore: 2 },
          CurrentInstanceBootMode: 'legacy-bios', EbsOptimized: false, EnaSupport: true,
          EnclaveOptions: { Enabled: false }, HibernationOptions: { Configured: false }, Hypervisor: 'xen',
          ImageId: image.image_id, InstanceId: instance.instance_id, InstanceType: 't3.micro', KeyName: 'kk',
          LaunchTime: now, MaintenanceOptions: { AutoRecovery: 'default', RebootMigration: 'default' },
          MetadataOptions: {
            State: 'applied', HttpTokens: 'optional', HttpPutResponseHopLimit: 1, HttpEndpoint: 'enabled',
            HttpProtocolIpv6: 'disabled', InstanceMetadataTags: 'disabled',
          },
          Monitoring: { State: 'disabled' },
          NetworkInterfaces: [{
            Association: association,
            Attachment: {
              AttachTime: now, AttachmentId: 'eni-attach-0123456789abcdef0', DeleteOnTermination: true, DeviceIndex: 0,
              NetworkCardIndex: 0, Status: 'attached',
            },
            Description: 'Primary', Groups: groups, InterfaceType: 'interface', Ipv6Addresses: [],
            MacAddress: '0a:00:00:00:00:01', NetworkInterfaceId: port.interface_id, Operator: { Managed: false },
            OwnerId: DEFAULT_ACCOUNT, PrivateDnsName: dns.private, PrivateIpAddress: '172.31.0.10',
            PrivateIpAddresses: [{
              Association: association, Primary: true, PrivateDnsName: dns.private, PrivateIpAddress: '172.31.0.10',
            }],
            SourceDestCheck: true, Status: 'in-use', SubnetId: instance.subnet_id, VpcId: instance.vpc_id,
          }],
          NetworkPerformanceOptions: { BandwidthWeighting: 'default' }, Operator: { Managed: false },
          Placement: {
            AvailabilityZone: 'us-east-1a', AvailabilityZoneId: 'use1-az1', GroupName: '', Tenancy: 'default',
          },
          PlatformDetails: 'Linux/UNIX', PrivateDnsName: dns.private,
          PrivateDnsNameOptions: {
            HostnameType: 'ip-name', EnableResourceNameDnsARecord: false, EnableResourceNameDnsAAAARecord: false,
          },
          PrivateIpAddress: '172.31.0.10', ProductCodes: [], PublicDnsName: dns.public, PublicIpAddress: '198.18.0.7',
          RootDeviceName: '/dev/vda', RootDeviceType: 'ebs', SecurityGroups: groups, SourceDestCheck: true,
          State: { Code: 16, Name: 'running' }, StateReason: { Code: 'Server.X', Message: 'Server.X: why' },
          StateTransitionReason: 'User initiated', SubnetId: instance.subnet_id, Tags: [{ Key: 'Name', Value: 'web' }],
          UsageOperation: 'RunInstances', UsageOperationUpdateTime: now, VirtualizationType: 'hvm',
          VpcId: instance.vpc_id,
        }],
      }])
    })
  })

  it('forgets where a terminated instance was', async () => {
    await test.run(async (context) => {
      const { instance } = await fullInstance(context, { state: 'terminated' })
      const [shown] = await loadInstances(context.db, REGION, [instance])
      expect(shown).toMatchObject({
        State: { Code: 48, Name: 'terminated' }, NetworkInterfaces: [], BlockDeviceMappings: [], SecurityGroups: [],
        PrivateDnsName: '', PublicDnsName: '',
      })
      for (const key of ['PrivateIpAddress', 'PublicIpAddress', 'SubnetId', 'VpcId'] as const) {
        expect(shown?.[key]).toBeUndefined()
      }
      expect(await idsOf(context, { Filters: [{ Name: 'vpc-id', Values: [instance.vpc_id] }] })).toEqual([])
      expect(await idsOf(context)).toEqual([instance.instance_id])
    })
  })

  it('shows a pending instance attaching, and a stopped one without a public address', async () => {
    await test.run(async (context) => {
      const pending = await insertInstance(context, { state: 'pending' })
      await insertInterface(context, pending, { status: 'pending' })
      const stopped = await insertInstance(context, { state: 'stopped' })
      await insertInterface(context, stopped)
      const [first, second] = await loadInstances(context.db, REGION, [pending, stopped])
      expect(first).toMatchObject({
        MetadataOptions: { State: 'pending' },
        NetworkInterfaces: [{ Status: 'in-use', Attachment: { Status: 'attaching' } }],
      })
      expect(second?.PublicDnsName).toBe('')
      expect(second?.PublicIpAddress).toBeUndefined()
      expect(second?.NetworkInterfaces?.[0]?.Association).toBeUndefined()
    })
  })

  it('puts the instances of one launch together, in the order of their launches', async () => {
    await test.run(async (context) => {
      const late = await insertInstance(context, { reservation_id: 'r-1', created_ms: NOW_MS + 1 })
      const second = await insertInstance(context, { reservation_id: 'r-2', launch_index: 1 })
      const first = await insertInstance(context, { reservation_id: 'r-2', launch_index: 0 })
      const { Reservations } = await list(context)
      expect(Reservations?.map((each) => [each.ReservationId, each.Instances?.map((one) => one.InstanceId)])).toEqual([
        ['r-2', [first.instance_id, second.instance_id]],
        ['r-1', [late.instance_id]],
      ])
    })
  })

  it('shows nothing of another account', async () => {
    const { instance_id: id } = await test.run((context) => insertInstance(context))
    await test.run(async (context) => {
      expect(await idsOf(context)).toEqual([])
      await expect(list(context, { InstanceIds: [id] })).rejects.toMatchObject({ code: 'InvalidInstanceID.NotFound' })
    }, OTHER_ACCOUNT)
  })
})

describe('instance ids', () => {
  it.each([
    [['i-0123456789abcdef0'], 'InvalidInstanceID.NotFound', "The instance ID 'i-0123456789abcdef0' does not exist"],
    [
      ['i-0123456789abcdef0', 'i-0123456789abcdef1'], 'InvalidInstanceID.NotFound',
      "The instance IDs 'i-0123456789abcdef0, i-0123456789abcdef1' do not exist",
    ],
    [['i-xyz'], 'InvalidInstanceID.Malformed', 'Invalid id: "i-xyz"'],
    [['xyz'], 'InvalidInstanceID.Malformed', 'Invalid id: "xyz" (expecting "i-...")'],
  ])('refuses %j', async (InstanceIds, code, message) => {
    await test.run((context) => expect(list(context, { InstanceIds })).rejects.toMatchObject({ code, message }))
  })

  it('answers those asked for, once, narrowed by filters', async () => {
    await test.run(async (context) => {
      const running = await insertInstance(context)
      const stopped = await insertInstance(context, { state: 'stopped' })
      await insertInstance(context)
      const InstanceIds = [stopped.instance_id, running.instance_id, running.instance_id]
      expect((await idsOf(context, { InstanceIds }))?.toSorted()).toEqual(
        [running.instance_id, stopped.instance_id].toSorted())
      const Filters = [{ Name: 'instance-state-name', Values: ['stopped'] }]
      expect(await idsOf(context, { InstanceIds, Filters })).toEqual([stopped.instance_id])
    })
  })

  it('do not go with MaxResults', async () => {
    await test.run((context) =>
      expect(list(context, { InstanceIds: ['i-0123456789abcdef0'], MaxResults: 5 })).rejects.toMatchObject({
        code: 'InvalidParameterCombination',
        message: 'The parameter instancesSet cannot be used with the parameter maxResults',
      }))
  })
})

describe('pages', () => {
  it.each([
    ['without filters', undefined],
    ['with filters', [{ Name: 'instance-type', Values: ['t3.*'] }]],
  ])('show each instance once, %s', async (_name, Filters) => {
    await test.run(async (context) => {
      const rows = []
      for (let index = 0; index < 12; index++) {
        rows.push(await insertInstance(context, { created_ms: NOW_MS + (index % 4), instance_type: 't3.micro' }))
      }
      await insertInstance(context, { instance_type: 't3.nano', created_ms: NOW_MS + 9 })
      const seen = []
      let NextToken: string | undefined
      do {
        const result = await list(context, { MaxResults: 5, NextToken, Filters })
        const page = result.Reservations?.flatMap((each) => each.Instances ?? []) ?? []
        expect(page.length).toBeLessThanOrEqual(5)
        seen.push(...page.map((each) => each.InstanceId))
        NextToken = result.NextToken
      } while (NextToken)
      expect(seen).toHaveLength(13)
      expect(new Set(seen).size).toBe(13)
    })
  })
})

describe('filters', () => {
  it.each(DOCUMENTED_FILTERS.DescribeInstances)('%s is known', async (Name) => {
    await test.run(async (context) => {
      await fullInstance(context)
      expect(await idsOf(context, { Filters: [{ Name, Values: ['no such value'] }] })).toEqual([])
    })
  })

  it('find an instance by every value that it shows, and by no other', async () => {
    await test.run(async (context) => {
      const { image, instance, port, volume, groupId } = await fullInstance(context)
      const tags = [{ key: 'nk', value: 'nv' }]
      await insertTags(context.db, context.account, 'network-interface', port.interface_id, tags)
      const expected: Record<string, string> = {
        architecture: 'x86_64', 'availability-zone': 'us-east-1a', 'availability-zone-id': 'use1-az1',
        'block-device-mapping.attach-time': nowText, 'block-device-mapping.delete-on-termination': 'true',
        'block-device-mapping.device-name': '/dev/vda', 'block-device-mapping.status': 'attached',
        'block-device-mapping.volume-id': volume.volume_id, 'boot-mode': 'legacy-bios',
        'capacity-reservation-specification.capacity-reservation-preference': 'open', 'client-token': 'token-1',
        'current-instance-boot-mode': 'legacy-bios', 'dns-name': 'ec2-198-18-0-7.compute-1.amazonaws.com',
        'ebs-optimized': 'false', 'ena-support': 'true', 'enclave-options.enabled': 'false',
        'hibernation-options.configured': 'false', hypervisor: 'xen', 'image-id': image.image_id,
        'instance-id': instance.instance_id, 'instance-state-code': '16', 'instance-state-name': 'running',
        'instance-type': 't3.micro', 'instance.group-id': groupId, 'instance.group-name': 'default',
        'ip-address': '198.18.0.7', 'key-name': 'kk', 'launch-index': '0', 'launch-time': nowText,
        'maintenance-options.auto-recovery': 'default', 'metadata-options.http-endpoint': 'enabled',
        'metadata-options.http-protocol-ipv4': 'enabled', 'metadata-options.http-protocol-ipv6': 'disabled',
        'metadata-options.http-put-response-hop-limit': '1', 'metadata-options.http-tokens': 'optional',
        'metadata-options.instance-metadata-tags': 'disabled', 'metadata-options.state': 'applied',
        'monitoring-state': 'disabled', 'network-interface.addresses.association.ip-owner-id': 'amazon',
        'network-interface.addresses.association.public-dns-name': 'ec2-198-18-0-7.compute-1.amazonaws.com',
        'network-interface.addresses.association.public-ip': '198.18.0.7',
        'network-interface.addresses.primary': 'true',
        'network-interface.addresses.private-dns-name': 'ip-172-31-0-10.ec2.internal',
        'network-interface.addresses.private-ip-address': '172.31.0.10',
        'network-interface.association.ip-owner-id': 'amazon',
        'network-interface.association.public-dns-name': 'ec2-198-18-0-7.compute-1.amazonaws.com',
        'network-interface.association.public-ip': '198.18.0.7', 'network-interface.attachment.attach-time': nowText,
        'network-interface.attachment.attachment-id': 'eni-attach-0123456789abcdef0',
        'network-interface.attachment.delete-on-termination': 'true', 'network-interface.attachment.device-index': '0',
        'network-interface.attachment.instance-id': instance.instance_id,
        'network-interface.attachment.instance-owner-id': DEFAULT_ACCOUNT,
        'network-interface.attachment.network-card-index': '0', 'network-interface.attachment.status': 'attached',
        'network-interface.availability-zone': 'us-east-1a', 'network-interface.description': 'Primary',
        'network-interface.group-id': groupId, 'network-interface.group-name': 'default',
        'network-interface.mac-address': '0a:00:00:00:00:01',
        'network-interface.network-interface-id': port.interface_id,
        'network-interface.operator.managed': 'false', 'network-interface.owner-id': DEFAULT_ACCOUNT,
        'network-interface.private-dns-name': 'ip-172-31-0-10.ec2.internal',
        'network-interface.private-ip-address': '172.31.0.10',
        'network-interface.public-dns-name': 'ec2-198-18-0-7.compute-1.amazonaws.com',
        'network-interface.requester-managed': 'false', 'network-interface.source-dest-check': 'true',
        'network-interface.status': 'in-use', 'network-interface.subnet-id': instance.subnet_id,
        'network-interface.tag-key': 'nk', 'network-interface.tag-value': 'nv',
        'network-interface.vpc-id': instance.vpc_id,
        'network-performance-options.bandwidth-weighting': 'default', 'operator.managed': 'false',
        'owner-id': DEFAULT_ACCOUNT, 'platform-details': 'Linux/UNIX',
        'private-dns-name': 'ip-172-31-0-10.ec2.internal',
        'private-dns-name-options.enable-resource-name-dns-a-record': 'false',
        'private-dns-name-options.enable-resource-name-dns-aaaa-record': 'false',
        'private-dns-name-options.hostname-type': 'ip-name', 'private-ip-address': '172.31.0.10',
        reason: 'User initiated', 'reservation-id': instance.reservation_id, 'root-device-name': '/dev/vda',
        'root-device-type': 'ebs', 'source-dest-check': 'true', 'state-reason-code': 'Server.X',
        'state-reason-message': 'Server.X: why', 'subnet-id': instance.subnet_id, tenancy: 'default',
        'usage-operation': 'RunInstances', 'usage-operation-update-time': nowText, 'virtualization-type': 'hvm',
        'vpc-id': instance.vpc_id,
      }
      const found = await Promise.all(DOCUMENTED_FILTERS.DescribeInstances.map(async (Name) => {
        const value = expected[Name]
        const ids = await idsOf(context, { Filters: [{ Name, Values: [value ?? '*'] }] })
        return [Name, ids?.length === 1]
      }))
      expect(Object.fromEntries(found)).toEqual(
        Object.fromEntries(DOCUMENTED_FILTERS.DescribeInstances.map((name) => [name, name in expected])))
    })
  })

  it('combine tags, wildcards and columns', async () => {
    await test.run(async (context) => {
      const web = await insertInstance(context)
      const db = await insertInstance(context)
      await insertTags(context.db, context.account, 'instance', web.instance_id, [{ key: 'Role', value: 'web' }])
      await insertTags(context.db, context.account, 'instance', db.instance_id, [{ key: 'Role', value: 'db' }])
      const by = (...pairs: [string, ...string[]][]) =>
        idsOf(context, { Filters: pairs.map(([Name, ...Values]) => ({ Name, Values })) })
      expect(await by(['tag:Role', 'web'])).toEqual([web.instance_id])
      expect(await by(['tag:Role', 'w*'])).toEqual([web.instance_id])
      expect((await by(['tag:Role', 'web', 'db']))?.length).toBe(2)
      expect((await by(['tag-key', 'Role'], ['instance-state-name', 'running', 'pending']))?.length).toBe(2)
      expect(await by(['tag:Role', 'web'], ['instance-state-name', 'stopped'])).toEqual([])
      expect(await by(['tag:Role', 'web'], ['tag:Role', 'db'])).toEqual([])
      expect(await by(['tag:Role'])).toEqual([])
      expect(await by(['launch-time', '2026-01-01T*'], ['instance-id', db.instance_id])).toEqual([db.instance_id])
    })
  })

  it('refuse an unknown name', async () => {
    await test.run((context) =>
      expect(list(context, { Filters: [{ Name: 'nonsense', Values: ['x'] }] })).rejects.toMatchObject({
        code: 'InvalidParameterValue', message: "The filter 'nonsense' is invalid",
      }))
  })
})

describe('loadInstances', () => {
  it('asks the same number of questions for one instance as for many', async () => {
    await test.run(async (context) => {
      const rows = []
      for (let index = 0; index < 30; index++) {
        const row = await insertInstance(context)
        await insertInterface(context, row)
        await insertVolume(context, row)
        rows.push(row)
      }
      const count = async (some: InstanceTable[]) => {
        let queries = 0
        const db = context.db.withPlugin({
          transformQuery: ({ node }) => node,
          transformResult: async ({ result }) => {
            queries++
            return result
          },
        })
        expect(await loadInstances(db, REGION, some)).toHaveLength(some.length)
        return queries
      }
      expect(await count(rows)).toBe(await count(rows.slice(0, 1)))
    })
  })
})
