import type { IpPermission, RevokeSecurityGroupIngressRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { authorizeSecurityGroupIngress } from './authorize-security-group-rules.ts'
import { createManagedPrefixList } from './managed-prefix-lists.ts'
import { revokeSecurityGroupEgress, revokeSecurityGroupIngress } from './revoke-security-group-rules.ts'
import { createSecurityGroup } from './security-groups.ts'
import { describeSubnets } from './subnets.ts'

const OTHER_VPC = 'vpc-0123456789abcdef0'

let account: MemoryAccount
let web: string
let far: string
beforeEach(async () => {
  account = await openMemoryAccount()
  await account.addVpc(OTHER_VPC)
  web = await create('web')
  far = await create('far', OTHER_VPC)
})
afterEach(() => account.store.close())

const create = async (name: string, vpcId?: string) =>
  (await account.call(createSecurityGroup, { GroupName: name, Description: 'x', VpcId: vpcId })).GroupId ?? ''
const allow = async (groupId: string, ...permissions: IpPermission[]) =>
  (await account.call(authorizeSecurityGroupIngress, { GroupId: groupId, IpPermissions: permissions }))
    .SecurityGroupRules ?? []
const from = (...cidrs: string[]) => ({ IpRanges: cidrs.map((CidrIp) => ({ CidrIp })) })
const ssh = { IpProtocol: 'tcp', FromPort: 22, ToPort: 22 }
const none = { IpRanges: [], Ipv6Ranges: [], PrefixListIds: [], UserIdGroupPairs: [] }
const notFound = 'InvalidPermission.NotFound: The specified rule does not exist in this security group.'
/** The rules of a group as "ingress protocol from-to peer", sorted. */
const rulesOf = (groupId: string) => account.query(async (db) => {
  const rows = await db.selectFrom('security_group_rules').selectAll().where('group_id', '=', groupId).execute()
  return rows
    .map((row) => [row.is_egress ? 'egress' : 'ingress', row.protocol, `${row.from_port}..${row.to_port}`, row.peer_key])
    .map((parts) => parts.join(' '))
    .toSorted()
})
const ALL_OUT = 'egress -1 -1..-1 0.0.0.0/0'

describe('revokeSecurityGroupIngress', () => {
  it('removes rules by their properties, whatever their form and description, with their tags', async () => {
    const { SecurityGroupRules: [rule] = [] } = await account.call(authorizeSecurityGroupIngress, {
      GroupId: web, IpPermissions: [{ ...ssh, IpRanges: [{ CidrIp: '10.0.0.0/8', Description: 'office' }] }],
      TagSpecifications: [{ ResourceType: 'security-group-rule', Tags: [{ Key: 'a', Value: 'b' }] }],
    })
    await allow(web, { ...ssh, ...from('172.16.0.0/12') }, { ...ssh, UserIdGroupPairs: [{ GroupId: web }] })
    const revoked = await account.call(revokeSecurityGroupIngress, {
      GroupId: web,
      IpPermissions: [
        { ...ssh, IpProtocol: '6', ...from('10.9.8.7/8') }, { ...ssh, UserIdGroupPairs: [{ GroupName: 'web' }] },
      ],
    })
    const common = { GroupId: web, IsEgress: false, ...ssh }
    expect(revoked).toEqual({
      Return: true,
      UnknownIpPermissions: undefined,
      RevokedSecurityGroupRules: [
        { SecurityGroupRuleId: rule?.SecurityGroupRuleId, ...common, CidrIpv4: '10.0.0.0/8', Description: 'office' },
        { SecurityGroupRuleId: expect.stringMatching(/^sgr-/), ...common, ReferencedGroupId: web },
      ],
    })
    expect(await rulesOf(web)).toEqual([ALL_OUT, 'ingress tcp 22..22 172.16.0.0/12'])
    expect(await account.query((db) => db.selectFrom('tags').selectAll().execute())).toEqual([])
  })

  it('takes the flat forms, and the group by its name in the default VPC', async () => {
    const db = await create('db')
    await allow(db, { ...ssh, ...from('10.0.0.0/8') })
    await account.call(authorizeSecurityGroupIngress, { GroupId: db, SourceSecurityGroupName: 'web' })
    await account.call(revokeSecurityGroupIngress, { GroupName: 'db', ...ssh, CidrIp: '10.0.0.0/8' })
    expect(await rulesOf(db)).toHaveLength(4)
    await account.call(revokeSecurityGroupIngress, { GroupName: 'db', SourceSecurityGroupName: 'web' })
    expect(await rulesOf(db)).toEqual([ALL_OUT])
  })

  it('says in the default VPC which rules are not there, and removes the others', async () => {
    await allow(web, { ...ssh, ...from('10.0.0.0/8') })
    const { PrefixList } = await account.call(createManagedPrefixList, { PrefixListName: 'a', AddressFamily: 'IPv4', MaxEntries: 1 })
    const PrefixListIds = [{ PrefixListId: PrefixList?.PrefixListId }]
    const revoked = await account.call(revokeSecurityGroupIngress, {
      GroupId: web,
      IpPermissions: [
        { ...ssh, ...from('10.0.0.0/8', '10.0.0.0/9'), UserIdGroupPairs: [{ GroupId: web }], PrefixListIds },
        { ...ssh, ToPort: 23, ...from('10.0.0.0/8') }, { IpProtocol: '-1', Ipv6Ranges: [{ CidrIpv6: '::/0' }] },
      ],
    })
    expect(revoked.RevokedSecurityGroupRules).toHaveLength(1)
    expect(revoked.UnknownIpPermissions).toEqual([
      { IpProtocol: '-1', ...none, Ipv6Ranges: [{ CidrIpv6: '::/0' }] },
      { ...ssh, ...from('10.0.0.0/9'), Ipv6Ranges: [], PrefixListIds,
        UserIdGroupPairs: [{ GroupId: web, UserId: DEFAULT_ACCOUNT }] },
      { ...ssh, ...none, ToPort: 23, ...from('10.0.0.0/8') },
    ])
    expect(await rulesOf(web)).toEqual([ALL_OUT])
  })

  it('refuses in another VPC what is not there, and nothing of the call is done', async () => {
    await allow(far, { ...ssh, ...from('10.0.0.0/8') })
    const input = { GroupId: far, IpPermissions: [{ ...ssh, ...from('10.0.0.0/8', '10.0.0.0/9') }] }
    expect(await account.failure(revokeSecurityGroupIngress, input)).toBe(notFound)
    expect(await rulesOf(far)).toEqual([ALL_OUT, 'ingress tcp 22..22 10.0.0.0/8'])
  })

  it('removes rules by their ids, all or none', async () => {
    const idsOf = async (groupId: string, ...cidrs: string[]) =>
      (await allow(groupId, { ...ssh, ...from(...cidrs) })).map((rule) => rule.SecurityGroupRuleId ?? '')
    const [first, second, third] = await idsOf(web, '10.0.0.0/8', '10.0.0.0/9', '10.0.0.0/10')
    const [foreign] = await idsOf(far, '10.0.0.0/8')
    const missing = (id = '') =>
      `InvalidSecurityGroupRuleId.NotFound: The security group rule ID '${id}' does not exist`
    const revoke = (...ids: (string | undefined)[]) =>
      ({ GroupId: web, SecurityGroupRuleIds: ids.map((id) => id ?? '') })
    const nowhere = 'sgr-00000000000000000'
    expect(await account.failure(revokeSecurityGroupIngress, revoke(first, nowhere))).toBe(missing(nowhere))
    expect(await account.failure(revokeSecurityGroupIngress, revoke(first, foreign))).toBe(missing(foreign))
    expect(await account.failure(revokeSecurityGroupEgress, revoke(first))).toBe(missing(first))
    expect(await account.failure(revokeSecurityGroupIngress, revoke('x')))
      .toMatch(/^InvalidSecurityGroupRuleId.Malformed/)
    const revoked = await account.call(revokeSecurityGroupIngress, revoke(third, first, first))
    expect(revoked.RevokedSecurityGroupRules?.map((rule) => rule.SecurityGroupRuleId)).toEqual([third, first])
    expect(await account.failure(revokeSecurityGroupIngress, revoke(first, second))).toBe(missing(first))
    expect(await rulesOf(web)).toEqual([ALL_OUT, 'ingress tcp 22..22 10.0.0.0/9'])
  })

  it.each<[string, Omit<RevokeSecurityGroupIngressRequest, 'GroupId'>, string]>([
    ['no rule', {}, 'MissingParameter: The request must contain the parameter ipPermissions'],
    ['ids and properties', { SecurityGroupRuleIds: ['sgr-00000000000000000'], CidrIp: '10.0.0.0/8' },
      'InvalidParameterCombination: The parameter securityGroupRuleIds cannot be used with the parameter ipPermissions'],
    ['ids and an owner', { SecurityGroupRuleIds: ['sgr-00000000000000000'], SourceSecurityGroupOwnerId: DEFAULT_ACCOUNT },
      'InvalidParameterCombination: The parameter securityGroupRuleIds cannot be used with the parameter ipPermissions'],
    ['a rule twice', { IpPermissions: [{ ...ssh, ...from('10.0.0.0/8', '10.0.0.1/8') }] },
      'InvalidParameterValue: The same permission must not appear multiple times'],
    ['a bad block', { IpPermissions: [{ ...ssh, ...from('10.0.0.0/8', 'x') }] }, 'CIDR block x is malformed'],
    ['a group that does not exist',
      { IpPermissions: [{ ...ssh, UserIdGroupPairs: [{ GroupId: 'sg-00000000000000000' }] }] },
      "InvalidGroup.NotFound: The security group 'sg-00000000000000000' does not exist"],
  ])('refuses %s, and nothing of the call is done', async (_what, input, expected) => {
    await allow(web, { ...ssh, ...from('10.0.0.0/8') })
    expect(await account.failure(revokeSecurityGroupIngress, { GroupId: web, ...input })).toContain(expected)
    expect(await rulesOf(web)).toHaveLength(2)
  })

  it('wants a group', async () => {
    expect(await account.failure(revokeSecurityGroupIngress, { SecurityGroupRuleIds: ['sgr-00000000000000000'] }))
      .toBe('MissingParameter: The request must contain the parameter groupName or groupId')
  })

  it('wakes the hosts of the VPC when a rule went, and not otherwise', async () => {
    const { Subnets: [subnet] = [] } = await account.call(describeSubnets, {})
    await allow(web, { ...ssh, ...from('10.0.0.0/8') })
    await account.addInterface(subnet?.SubnetId ?? '', '172.31.0.10', 'host-1')
    const work = () => account.query((db) => db.selectFrom('work').select(['kind', 'id', 'host_id']).execute())
    await account.call(revokeSecurityGroupIngress, { GroupId: web, ...ssh, CidrIp: '10.0.0.0/9' })
    expect(await work()).toEqual([])
    await account.call(revokeSecurityGroupIngress, { GroupId: web, ...ssh, CidrIp: '10.0.0.0/8' })
    expect(await work()).toEqual([{ kind: 'ports', id: account.defaultVpcId, host_id: 'host-1' }])
  })
})

describe('revokeSecurityGroupEgress', () => {
  const everything = { IpProtocol: '-1', FromPort: 0, ToPort: 0 }

  it('removes the rule that lets everything out, as Terraform does', async () => {
    const revoked = await account.call(revokeSecurityGroupEgress,
      { GroupId: far, IpPermissions: [{ ...everything, ...from('0.0.0.0/0') }] })
    expect(revoked.RevokedSecurityGroupRules)
      .toMatchObject([{ IsEgress: true, IpProtocol: '-1', CidrIpv4: '0.0.0.0/0' }])
    expect(await rulesOf(far)).toEqual([])
    expect(await account.failure(revokeSecurityGroupEgress,
      { GroupId: far, IpPermissions: [{ ...everything, Ipv6Ranges: [{ CidrIpv6: '::/0' }] }] })).toBe(notFound)
  })

  it('leaves ingress alone, and takes IpPermissions or ids only', async () => {
    await allow(far, { IpProtocol: '-1', ...from('0.0.0.0/0') })
    await account.call(revokeSecurityGroupEgress,
      { GroupId: far, IpPermissions: [{ ...everything, ...from('0.0.0.0/0') }] })
    expect(await rulesOf(far)).toEqual(['ingress -1 -1..-1 0.0.0.0/0'])
    expect(await account.failure(revokeSecurityGroupEgress, { GroupId: far, CidrIp: '0.0.0.0/0' }))
      .toBe('InvalidParameterValue: The parameter CidrIp is not supported for egress rules; use IpPermissions.')
  })
})
