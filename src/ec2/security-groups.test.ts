import type { DescribeSecurityGroupsRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { authorizeSecurityGroupIngress } from './authorize-security-group-rules.ts'
import { deleteSecurityGroup } from './delete-security-group.ts'
import { createSecurityGroup, describeSecurityGroups } from './security-groups.ts'
import { describeSubnets } from './subnets.ts'
import { createTags, describeTags } from './tags.ts'

let account: MemoryAccount
beforeEach(async () => {
  account = await openMemoryAccount()
})
afterEach(() => account.store.close())

const create = async (name: string, description = 'for tests') => {
  account.pass(1)
  return (await account.call(createSecurityGroup, { GroupName: name, Description: description })).GroupId ?? ''
}
const list = async (input: DescribeSecurityGroupsRequest = {}) =>
  (await account.call(describeSecurityGroups, input)).SecurityGroups ?? []
const namesOf = async (input: DescribeSecurityGroupsRequest) => (await list(input)).map((group) => group.GroupName)
const filter = (Name: string, value: string) => namesOf({ Filters: [{ Name, Values: [value] }] })
const OTHER_VPC = 'vpc-0123456789abcdef0'

describe('createSecurityGroup', () => {
  it('makes a group in the default VPC that lets all out and nothing in', async () => {
    const tags = [{ Key: 'Env', Value: 'test' }]
    const made = await account.call(createSecurityGroup, {
      GroupName: 'web', Description: 'web servers',
      TagSpecifications: [{ ResourceType: 'security-group', Tags: tags }],
    })
    const arn = `arn:aws:ec2:us-east-1:${DEFAULT_ACCOUNT}:security-group/${made.GroupId}`
    expect(made).toEqual({ GroupId: expect.stringMatching(/^sg-[0-9a-f]{17}$/), SecurityGroupArn: arn, Tags: tags })
    expect(await list({ GroupIds: [made.GroupId ?? ''] })).toEqual([{
      GroupId: made.GroupId, GroupName: 'web', Description: 'web servers', OwnerId: DEFAULT_ACCOUNT,
      VpcId: account.defaultVpcId, SecurityGroupArn: arn, Tags: tags, IpPermissions: [],
      IpPermissionsEgress: [{
        IpProtocol: '-1', IpRanges: [{ CidrIp: '0.0.0.0/0' }], Ipv6Ranges: [], PrefixListIds: [], UserIdGroupPairs: [],
      }],
    }])
  })

  it('refuses a name that the VPC has in any case, and takes it in another VPC', async () => {
    await create('Web')
    await account.addVpc(OTHER_VPC)
    expect(await account.failure(createSecurityGroup, { GroupName: 'wEB', Description: 'x' }))
      .toBe(`InvalidGroup.Duplicate: The security group 'wEB' already exists for VPC '${account.defaultVpcId}'`)
    const other = await account.call(createSecurityGroup, {
      GroupName: 'web', Description: 'x', VpcId: OTHER_VPC,
    })
    expect((await list({ GroupIds: [other.GroupId ?? ''] }))[0]?.VpcId).toBe(OTHER_VPC)
  })

  it.each([
    ['no name', { GroupName: '', Description: 'x' },
      'MissingParameter: The request must contain the parameter GroupName'],
    ['no description', { GroupName: 'a', Description: '' },
      'MissingParameter: The request must contain the parameter GroupDescription'],
    ['an id for a name', { GroupName: 'sg-1', Description: 'x' },
      'Value (sg-1) for parameter GroupName is invalid. Group names may not be in the format sg-*.'],
    ['the reserved name', { GroupName: 'Default', Description: 'x' },
      'InvalidParameterValue: Cannot use reserved security group name: Default'],
    ['a long name', { GroupName: 'a'.repeat(256), Description: 'x' },
      'InvalidParameterValue: Invalid security group name.'],
    ['strange letters', { GroupName: 'a', Description: 'naïve' },
      'InvalidParameterValue: Invalid security group description.'],
    ['a malformed VPC', { GroupName: 'a', Description: 'x', VpcId: 'x' }, 'InvalidVpcID.Malformed'],
    ['a VPC that does not exist', { GroupName: 'a', Description: 'x', VpcId: 'vpc-00000000000000000' },
      "InvalidVpcID.NotFound: The vpc ID 'vpc-00000000000000000' does not exist"],
  ])('refuses %s', async (_what, input, expected) => {
    expect(await account.failure(createSecurityGroup, input)).toContain(expected)
    expect(await namesOf({})).toEqual(['default'])
  })

  it('makes as many groups as an account may have, and not one more', async () => {
    await account.query(async (db) => {
      const { vpc_id, account_id } = await db
        .selectFrom('vpcs').selectAll().where('vpc_id', '=', account.defaultVpcId).executeTakeFirstOrThrow()
      const group = (index: number) => ({
        group_id: `sg-${index}`, account_id, vpc_id, name: `g${index}`, name_key: `g${index}`, description: 'x',
        created_ms: 0, revision: 1, synced_revision: 1,
      })
      for (let index = 2; index < 2500; index++) await db.insertInto('security_groups').values(group(index)).execute()
    })
    await create('the last')
    expect(await account.failure(createSecurityGroup, { GroupName: 'another', Description: 'x' }))
      .toMatch(/^SecurityGroupLimitExceeded: /)
  })

  it('wants a VpcId where the account has no default VPC', async () => {
    await account.query((db) => db.updateTable('vpcs').set({ is_default: 0 }).execute())
    expect(await account.failure(createSecurityGroup, { GroupName: 'a', Description: 'x' }))
      .toMatch(/^VPCIdNotSpecified: No default VPC for this user/)
  })
})

describe('deleteSecurityGroup', () => {
  const dependent = (groupId: string) => `DependencyViolation: resource ${groupId} has a dependent object`
  const referTo = (GroupId: string, peer: string) => account.call(authorizeSecurityGroupIngress, {
    GroupId, IpPermissions: [{ IpProtocol: '-1', UserIdGroupPairs: [{ GroupId: peer }] }],
  })

  it('deletes by id, or by name in the default VPC, with the rules and the tags of both', async () => {
    const web = await create('web')
    const { SecurityGroupRules: [rule] = [] } = await referTo(web, web)
    const Resources = [web, rule?.SecurityGroupRuleId ?? '']
    await account.call(createTags, { Resources, Tags: [{ Key: 'a', Value: 'b' }] })
    expect(await account.call(deleteSecurityGroup, { GroupId: web })).toEqual({ Return: true, GroupId: web })
    expect(await account.failure(deleteSecurityGroup, { GroupId: web }))
      .toBe(`InvalidGroup.NotFound: The security group '${web}' does not exist`)
    const rules = await account.query((db) =>
      db.selectFrom('security_group_rules').selectAll().where('group_id', '=', web).execute())
    expect(rules).toEqual([])
    expect((await account.call(describeTags, {})).Tags).toEqual([])
    const db = await create('db')
    expect(await account.call(deleteSecurityGroup, { GroupName: 'db' })).toEqual({ Return: true, GroupId: db })
    expect(await namesOf({})).toEqual(['default'])
  })

  it('keeps the default group', async () => {
    const [group] = await list()
    const expected = `CannotDelete: the specified group: "${group?.GroupId}" name: "default" cannot be deleted by a user`
    expect(await account.failure(deleteSecurityGroup, { GroupId: group?.GroupId })).toBe(expected)
    expect(await account.failure(deleteSecurityGroup, { GroupName: 'default' })).toBe(expected)
  })

  it("keeps a group that another group's rule names, until the rule is gone", async () => {
    const web = await create('web')
    const db = await create('db')
    await referTo(db, web)
    expect(await account.failure(deleteSecurityGroup, { GroupId: web })).toBe(dependent(web))
    await account.call(deleteSecurityGroup, { GroupId: db })
    await account.call(deleteSecurityGroup, { GroupId: web })
    expect(await namesOf({})).toEqual(['default'])
  })

  it('keeps a group that an interface is in, and wakes the hosts of its VPC when it goes', async () => {
    const web = await create('web')
    const { Subnets: [subnet] = [] } = await account.call(describeSubnets, {})
    await account.addInterface(subnet?.SubnetId ?? '', '172.31.0.10', 'host-1')
    await account.query(async (db) => {
      const { interface_id: id } = await db.selectFrom('interfaces').select('interface_id').executeTakeFirstOrThrow()
      await db.insertInto('interface_groups').values({ interface_id: id, group_id: web, position: 0 }).execute()
    })
    const work = () => account.query((db) => db.selectFrom('work').select(['kind', 'id']).execute())
    expect(await account.failure(deleteSecurityGroup, { GroupId: web })).toBe(dependent(web))
    expect(await work()).toEqual([])
    await account.query((db) => db.deleteFrom('interface_groups').execute())
    await account.call(deleteSecurityGroup, { GroupId: web })
    expect(await work()).toEqual([{ kind: 'vpc', id: account.defaultVpcId }])
  })

  it('says what is missing or does not exist', async () => {
    expect(await account.failure(deleteSecurityGroup, {}))
      .toBe('MissingParameter: The request must contain the parameter groupName or groupId')
    expect(await account.failure(deleteSecurityGroup, { GroupName: 'web' })).toBe(
      `InvalidGroup.NotFound: The security group 'web' does not exist in default VPC '${account.defaultVpcId}'`)
    expect(await account.failure(deleteSecurityGroup, { GroupId: 'web' })).toMatch(/^InvalidGroupId.Malformed/)
  })
})

describe('describeSecurityGroups', () => {
  it('puts rules of the same protocol and ports into one permission', async () => {
    const peer = await create('peer')
    const web = await create('web')
    await account.call(authorizeSecurityGroupIngress, {
      GroupId: web,
      IpPermissions: [
        {
          IpProtocol: 'tcp', FromPort: 22, ToPort: 22,
          IpRanges: [{ CidrIp: '10.0.0.0/8', Description: 'office' }, { CidrIp: '192.168.0.0/16' }],
          UserIdGroupPairs: [{ GroupId: peer }],
        },
        { IpProtocol: '-1', UserIdGroupPairs: [{ GroupId: web, Description: 'itself' }] },
        { IpProtocol: 'icmp', FromPort: -1, ToPort: -1, IpRanges: [{ CidrIp: '0.0.0.0/0' }] },
      ],
    })
    const none = { Ipv6Ranges: [], PrefixListIds: [] }
    const [group] = await list({ GroupIds: [web] })
    expect(group?.IpPermissions).toEqual([
      { IpProtocol: '-1', ...none, IpRanges: [],
        UserIdGroupPairs: [{ GroupId: web, UserId: DEFAULT_ACCOUNT, Description: 'itself' }] },
      { IpProtocol: 'icmp', FromPort: -1, ToPort: -1, ...none, IpRanges: [{ CidrIp: '0.0.0.0/0' }],
        UserIdGroupPairs: [] },
      { IpProtocol: 'tcp', FromPort: 22, ToPort: 22, ...none,
        IpRanges: [{ CidrIp: '10.0.0.0/8', Description: 'office' }, { CidrIp: '192.168.0.0/16' }],
        UserIdGroupPairs: [{ GroupId: peer, UserId: DEFAULT_ACCOUNT }] },
    ])
  })

  it('chooses by ids and, in the default VPC, by names', async () => {
    const a = await create('a')
    await create('b')
    await account.addVpc(OTHER_VPC)
    await account.call(createSecurityGroup, { GroupName: 'b', Description: 'x', VpcId: OTHER_VPC })
    expect(await namesOf({ GroupIds: [a] })).toEqual(['a'])
    expect(await namesOf({ GroupNames: ['b', 'default'] })).toEqual(['default', 'b'])
    expect(await namesOf({ GroupIds: [a], GroupNames: ['a', 'b'] })).toEqual(['a', 'b'])
    expect(await account.failure(describeSecurityGroups, { GroupNames: ['a', 'x'] })).toBe(
      `InvalidGroup.NotFound: The security group 'x' does not exist in default VPC '${account.defaultVpcId}'`)
    expect(await account.failure(describeSecurityGroups, { GroupIds: ['sg-00000000000000000'] }))
      .toBe("InvalidGroup.NotFound: The security group 'sg-00000000000000000' does not exist")
    expect(await account.failure(describeSecurityGroups, { GroupIds: ['web'] })).toMatch(/^InvalidGroupId.Malformed/)
  })

  it("never shows another account's groups", async () => {
    const { group_id: foreign } = await account.query((db) =>
      db.selectFrom('security_groups').select('group_id').where('account_id', '=', OTHER_ACCOUNT)
        .executeTakeFirstOrThrow())
    expect(await list()).toHaveLength(1)
    expect(await account.failure(describeSecurityGroups, { GroupIds: [foreign] })).toMatch(/^InvalidGroup.NotFound/)
    expect(await filter('group-id', foreign)).toEqual([])
  })

  const filterCases: [string, string][] = [
    ['description', 'front*'],
    ['group-name', 'web'],
    ['ip-permission.cidr', '10.0.0.0/8'],
    ['ip-permission.from-port', '80'],
    ['ip-permission.to-port', '81'],
    ['ip-permission.protocol', 'tcp'],
    ['ip-permission.group-name', 'peer'],
    ['tag:Env', 'prod'],
    ['tag-key', 'Env'],
  ]
  it.each(filterCases)('filters by %s', async (Name, value) => {
    await create('peer')
    account.pass(1)
    const { GroupId: web } = await account.call(createSecurityGroup, {
      GroupName: 'web', Description: 'front end',
      TagSpecifications: [{ ResourceType: 'security-group', Tags: [{ Key: 'Env', Value: 'prod' }] }],
    })
    await account.call(authorizeSecurityGroupIngress, {
      GroupId: web,
      IpPermissions: [{
        IpProtocol: 'tcp', FromPort: 80, ToPort: 81, IpRanges: [{ CidrIp: '10.0.0.0/8' }],
        UserIdGroupPairs: [{ GroupName: 'peer' }],
      }],
    })
    expect(await filter(Name, value)).toEqual(['web'])
  })

  it.each(DOCUMENTED_FILTERS.DescribeSecurityGroups)('knows %s', async (Name) => {
    expect(await filter(Name, 'nothing')).toEqual([])
  })

  it('filters by IPv6 blocks and by ICMPv6', async () => {
    const web = await create('web')
    const IpPermissions = [{ IpProtocol: 'icmpv6', Ipv6Ranges: [{ CidrIpv6: '2001:db8::/32' }] }]
    await account.call(authorizeSecurityGroupIngress, { GroupId: web, IpPermissions })
    expect(await filter('ip-permission.ipv6-cidr', '2001:db8::/32')).toEqual(['web'])
    expect(await filter('ip-permission.cidr', '2001:db8::/32')).toEqual([])
    expect(await filter('ip-permission.protocol', 'icmpv6')).toEqual(['web'])
    expect(await filter('egress.ip-permission.ipv6-cidr', '*')).toEqual([])
  })

  it('filters by egress, by ids, and by what nothing has', async () => {
    const web = await create('web')
    expect(await filter('egress.ip-permission.cidr', '0.0.0.0/0')).toEqual(['default', 'web'])
    expect(await filter('egress.ip-permission.protocol', '-1')).toEqual(['default', 'web'])
    expect(await filter('ip-permission.group-name', 'default')).toEqual(['default'])
    expect(await filter('ip-permission.user-id', DEFAULT_ACCOUNT)).toEqual(['default'])
    expect(await filter('group-id', web)).toEqual(['web'])
    expect(await filter('group-id', `${web.slice(0, -1)}?`)).toEqual(['web'])
    expect(await filter('vpc-id', account.defaultVpcId)).toEqual(['default', 'web'])
    expect(await filter('owner-id', OTHER_ACCOUNT)).toEqual([])
    expect(await filter('ip-permission.ipv6-cidr', '*')).toEqual([])
    expect(await account.failure(describeSecurityGroups, { Filters: [{ Name: 'x', Values: ['y'] }] }))
      .toBe("InvalidParameterValue: The filter 'x' is invalid")
  })

  it('pages', async () => {
    for (let index = 0; index < 7; index++) await create(`group-${index}`)
    const first = await account.call(describeSecurityGroups, { MaxResults: 5 })
    const second = await account.call(describeSecurityGroups, { MaxResults: 5, NextToken: first.NextToken })
    expect([...(first.SecurityGroups ?? []), ...(second.SecurityGroups ?? [])].map((group) => group.GroupName))
      .toEqual(['default', ...Array.from({ length: 7 }, (_, index) => `group-${index}`)])
    expect(second.NextToken).toBeUndefined()
  })
})
