import type { AuthorizeSecurityGroupIngressRequest, IpPermission } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { authorizeSecurityGroupEgress, authorizeSecurityGroupIngress } from './authorize-security-group-rules.ts'
import { MAX_RULES } from './security-group-rules.ts'
import { createSecurityGroup, describeSecurityGroups } from './security-groups.ts'
import { describeSubnets } from './subnets.ts'

let account: MemoryAccount
let web: string
beforeEach(async () => {
  account = await openMemoryAccount()
  web = await create('web')
})
afterEach(() => account.store.close())

const create = async (name: string, vpcId?: string) =>
  (await account.call(createSecurityGroup, { GroupName: name, Description: 'x', VpcId: vpcId })).GroupId ?? ''
const allow = (...permissions: IpPermission[]) =>
  account.call(authorizeSecurityGroupIngress, { GroupId: web, IpPermissions: permissions })
const failure = (input: AuthorizeSecurityGroupIngressRequest) => account.failure(authorizeSecurityGroupIngress, input)
const refusal = (...permissions: IpPermission[]) => failure({ GroupId: web, IpPermissions: permissions })
const from = (...cidrs: string[]) => ({ IpRanges: cidrs.map((CidrIp) => ({ CidrIp })) })
const duplicate = (rule: string) => `InvalidPermission.Duplicate: the specified rule "${rule}" already exists`
const ssh = { IpProtocol: 'tcp', FromPort: 22, ToPort: 22 }
/** The ingress rules of a group as "protocol from-to peer", sorted. */
const rulesOf = (groupId: string) => account.query(async (db) => {
  const rows = await db.selectFrom('security_group_rules').selectAll()
    .where('group_id', '=', groupId).where('is_egress', '=', 0).execute()
  return rows.map((row) => `${row.protocol} ${row.from_port}..${row.to_port} ${row.peer_key}`).toSorted()
})

describe('authorizeSecurityGroupIngress', () => {
  it('answers the rules that it made, tagged', async () => {
    const tags = [{ Key: 'Env', Value: 'test' }]
    const result = await account.call(authorizeSecurityGroupIngress, {
      GroupId: web,
      IpPermissions: [{ ...ssh, IpRanges: [{ CidrIp: '10.0.0.7/8', Description: 'office' }] },
        { IpProtocol: '-1', UserIdGroupPairs: [{ GroupId: web }] }],
      TagSpecifications: [{ ResourceType: 'security-group-rule', Tags: tags }],
    })
    const [first, second] = result.SecurityGroupRules ?? []
    const common = { GroupId: web, GroupOwnerId: DEFAULT_ACCOUNT, IsEgress: false, Tags: tags }
    expect(result.Return).toBe(true)
    const arn = `arn:aws:ec2:us-east-1:${DEFAULT_ACCOUNT}:security-group-rule/${first?.SecurityGroupRuleId}`
    expect(first).toEqual({
      ...common, IpProtocol: 'tcp', FromPort: 22, ToPort: 22, CidrIpv4: '10.0.0.0/8', Description: 'office',
      SecurityGroupRuleId: expect.stringMatching(/^sgr-[0-9a-f]{17}$/),
      SecurityGroupRuleArn: arn,
    })
    expect(second).toMatchObject({
      ...common, IpProtocol: '-1', FromPort: -1, ToPort: -1,
      ReferencedGroupInfo: { GroupId: web, UserId: DEFAULT_ACCOUNT },
    })
    const stored = await account.query((db) =>
      db.selectFrom('tags').select('resource_id').where('resource_type', '=', 'security-group-rule').execute())
    expect(stored.map((row) => row.resource_id).toSorted())
      .toEqual([first?.SecurityGroupRuleId, second?.SecurityGroupRuleId].toSorted())
  })

  it('knows protocols by name, in any case, and by number', async () => {
    await allow(
      { ...ssh, IpProtocol: 'TCP', ...from('10.0.0.0/8') }, { ...ssh, IpProtocol: '17', ...from('10.0.0.0/8') },
      { IpProtocol: '1', FromPort: 8, ToPort: -1, ...from('10.0.0.0/8') }, { IpProtocol: '050', ...from('10.0.0.0/8') },
      // Ports of a protocol that has none are let pass unread.
      { IpProtocol: '-1', FromPort: 0, ToPort: 0, ...from('10.0.0.0/8') },
    )
    expect(await rulesOf(web)).toEqual([
      '-1 -1..-1 10.0.0.0/8', '50 -1..-1 10.0.0.0/8', 'icmp 8..-1 10.0.0.0/8', 'tcp 22..22 10.0.0.0/8',
      'udp 22..22 10.0.0.0/8',
    ])
  })

  it('takes the flat form, and the group by its name in the default VPC', async () => {
    await account.call(authorizeSecurityGroupIngress, { GroupName: 'WEB', ...ssh, CidrIp: '192.168.1.77/24' })
    expect(await rulesOf(web)).toEqual(['tcp 22..22 192.168.1.0/24'])
  })

  it('opens TCP, UDP and ICMP to a source group that is named', async () => {
    const db = await create('db')
    await account.call(authorizeSecurityGroupIngress, { GroupId: db, SourceSecurityGroupName: 'web' })
    expect(await rulesOf(db)).toEqual([`icmp -1..-1 ${web}`, `tcp 0..65535 ${web}`, `udp 0..65535 ${web}`])
  })

  it('finds source groups by id or name, with the owner said or not', async () => {
    const db = await create('db')
    await allow({ ...ssh, UserIdGroupPairs: [{ GroupName: 'db' }] })
    expect(await refusal({ ...ssh, UserIdGroupPairs: [{ GroupId: db, UserId: DEFAULT_ACCOUNT }] }))
      .toBe(duplicate(`peer: ${db}, TCP, from port: 22, to port: 22, ALLOW`))
  })

  it.each<[string, IpPermission, string]>([
    ['tcp', { ...ssh, ...from('0.0.0.0/0') }, 'peer: 0.0.0.0/0, TCP, from port: 22, to port: 22, ALLOW'],
    ['a block in another form', { ...ssh, ...from('10.1.2.3/8') },
      'peer: 10.0.0.0/8, TCP, from port: 22, to port: 22, ALLOW'],
    ['all', { IpProtocol: '-1', ...from('0.0.0.0/0') }, 'peer: 0.0.0.0/0, ALL, ALLOW'],
    ['icmp', { IpProtocol: 'icmp', FromPort: 8, ToPort: -1, ...from('0.0.0.0/0') },
      'peer: 0.0.0.0/0, ICMP, type: 8, code: ALL, ALLOW'],
    ['a numbered protocol', { IpProtocol: '50', ...from('0.0.0.0/0') }, 'peer: 0.0.0.0/0, protocol: 50, ALLOW'],
  ])('refuses a duplicate, and nothing of the call is done: %s', async (_what, permission, rule) => {
    await allow({ ...ssh, ...from('0.0.0.0/0', '10.0.0.0/8') }, { IpProtocol: '-1', ...from('0.0.0.0/0') },
      { IpProtocol: 'icmp', FromPort: 8, ToPort: -1, ...from('0.0.0.0/0') }, { IpProtocol: '50', ...from('0.0.0.0/0') })
    const before = await rulesOf(web)
    expect(await refusal({ ...ssh, ...from('172.16.0.0/12') }, permission))
      .toBe(duplicate(rule))
    expect(await rulesOf(web)).toEqual(before)
  })

  it('refuses the same permission twice in a call, whatever the descriptions', async () => {
    const ranges = [{ CidrIp: '10.0.0.0/8', Description: 'a' }, { CidrIp: '10.0.0.1/8', Description: 'b' }]
    expect(await refusal({ ...ssh, IpRanges: ranges }))
      .toBe('InvalidParameterValue: The same permission must not appear multiple times')
  })

  const any = from('0.0.0.0/0')
  it.each<[string, IpPermission, string]>([
    ['no protocol', { ...any }, "InvalidParameterValue: Invalid value 'null' for protocol."],
    ['an unknown protocol', { IpProtocol: 'tpc', ...any },
      "InvalidParameterValue: Invalid value 'tpc' for IP protocol. Unknown protocol."],
    ['a protocol from Object', { IpProtocol: 'constructor', ...any }, "Invalid value 'constructor' for IP protocol."],
    ['a protocol that is too large', { IpProtocol: '256', ...any }, "Invalid value '256' for IP protocol."],
    ['icmpv6 over IPv4', { IpProtocol: '58', ...any }, 'UnsupportedOperation: The parameter IpProtocol=icmpv6'],
    ['icmpv6 without a code', { IpProtocol: 'icmpv6', FromPort: 1, Ipv6Ranges: [{ CidrIpv6: '::/0' }] },
      'Must specify both type (FromPort) and code (ToPort)'],
    ['tcp without ports', { IpProtocol: 'tcp', ...any },
      'InvalidParameterValue: Invalid value for portRange. Must specify both from and to ports with TCP/UDP.'],
    ['tcp with one port', { IpProtocol: 'tcp', FromPort: 1, ...any }, 'Must specify both from and to ports'],
    ['port -1', { IpProtocol: 'tcp', FromPort: -1, ToPort: -1, ...any },
      'InvalidPermission.Malformed: TCP/UDP port (-1) out of range'],
    ['port 65536', { IpProtocol: 'udp', FromPort: 1, ToPort: 65536, ...any }, 'TCP/UDP port (65536) out of range'],
    ['ports the wrong way round', { IpProtocol: 'tcp', FromPort: 81, ToPort: 80, ...any },
      'InvalidParameterValue: Invalid TCP/UDP port range (81:80)'],
    ['icmp without a type', { IpProtocol: 'icmp', ...any }, 'Must specify both type (FromPort) and code (ToPort)'],
    ['icmp type 256', { IpProtocol: 'icmp', FromPort: 256, ToPort: 0, ...any }, 'ICMP type (256) out of range'],
    ['a code of all types', { IpProtocol: 'icmp', FromPort: -1, ToPort: 0, ...any }, 'ICMP code (0) must be -1'],
    ['an address without a prefix', { ...ssh, ...from('10.0.0.1') },
      'InvalidParameterValue: CIDR block 10.0.0.1 is malformed'],
    ['a prefix of 33', { ...ssh, ...from('10.0.0.0/33') }, 'CIDR block 10.0.0.0/33 is malformed'],
    ['an empty range', { ...ssh, IpRanges: [{}] }, 'CIDR block  is malformed'],
    ['no source', { ...ssh }, 'MissingParameter: Every permission needs a source'],
    ['a pair without a group', { ...ssh, UserIdGroupPairs: [{}] }, 'MissingParameter: Source group ID missing.'],
    ['a group that does not exist', { ...ssh, UserIdGroupPairs: [{ GroupId: 'sg-00000000000000000' }] },
      "InvalidGroup.NotFound: The security group 'sg-00000000000000000' does not exist"],
    ['a malformed group', { ...ssh, UserIdGroupPairs: [{ GroupId: 'db' }] }, 'InvalidGroupId.Malformed'],
    ['a name that does not exist', { ...ssh, UserIdGroupPairs: [{ GroupName: 'db' }] },
      "InvalidGroup.NotFound: The security group 'db' does not exist in VPC"],
    ['a group of another account', { ...ssh, UserIdGroupPairs: [{ GroupName: 'default', UserId: OTHER_ACCOUNT }] },
      "InvalidGroup.NotFound: The security group 'default' does not exist"],
    ['an IPv6 block without a prefix', { ...ssh, Ipv6Ranges: [{ CidrIpv6: '::' }] }, 'CIDR block :: is malformed'],
    ['IPv4 as IPv6', { ...ssh, Ipv6Ranges: [{ CidrIpv6: '10.0.0.0/8' }] }, 'CIDR block 10.0.0.0/8 is malformed'],
    ['an empty IPv6 range', { ...ssh, Ipv6Ranges: [{}] }, 'CIDR block  is malformed'],
    ['a malformed prefix list', { ...ssh, PrefixListIds: [{ PrefixListId: 'pl-1' }] }, 'InvalidPrefixListId.Malformed'],
    ['a prefix list that does not exist', { ...ssh, PrefixListIds: [{ PrefixListId: 'pl-00000000000000000' }] },
      "InvalidPrefixListID.NotFound: The prefix list ID 'pl-00000000000000000' does not exist"],
    ['an empty prefix list', { ...ssh, PrefixListIds: [{}] },
      'MissingParameter: The request must contain the parameter prefixListId'],
    ['a peering for a group of the same VPC', { ...ssh, UserIdGroupPairs: [{ GroupName: 'web', VpcPeeringConnectionId: 'pcx-1' }] },
      'belong to different networks'],
    ['a strange description', { ...ssh, IpRanges: [{ CidrIp: '10.0.0.0/8', Description: '"quoted"' }] },
      'InvalidParameterValue: Invalid rule description.'],
  ])('refuses %s, and nothing of the call is done', async (_what, permission, expected) => {
    expect(await refusal({ ...ssh, ...from('10.0.0.0/8') }, permission)).toContain(expected)
    expect(await rulesOf(web)).toEqual([])
  })

  it.each<[string, AuthorizeSecurityGroupIngressRequest, string]>([
    ['no group', { ...ssh, CidrIp: '10.0.0.0/8' },
      'MissingParameter: The request must contain the parameter groupName or groupId'],
    ['a group that does not exist', { GroupId: 'sg-00000000000000000', ...ssh, CidrIp: '10.0.0.0/8' },
      "InvalidGroup.NotFound: The security group 'sg-00000000000000000' does not exist"],
    ['a name that does not exist', { GroupName: 'x', ...ssh, CidrIp: '10.0.0.0/8' },
      "InvalidGroup.NotFound: The security group 'x' does not exist in default VPC"],
    ['no permission', { GroupName: 'web' }, 'MissingParameter: The request must contain the parameter ipPermissions'],
    ['a flat form without a block', { GroupName: 'web', ...ssh },
      'MissingParameter: The request must contain the parameter cidrIp'],
    ['both forms', { GroupName: 'web', ...ssh, CidrIp: '10.0.0.0/8', IpPermissions: [{ ...ssh, ...any }] },
      'InvalidParameterCombination: The parameter ipPermissions cannot be used with the parameter cidrIp'],
    ['a source group with ports', { GroupName: 'web', ...ssh, SourceSecurityGroupName: 'web' },
      'InvalidParameterCombination: The parameter sourceSecurityGroupName cannot be used with the parameter cidrIp'],
    ['an owner of no group', { GroupName: 'web', SourceSecurityGroupOwnerId: DEFAULT_ACCOUNT },
      'MissingParameter: The request must contain the parameter sourceSecurityGroupName'],
  ])('refuses %s', async (_what, input, expected) => {
    expect(await failure(input)).toContain(expected)
    expect(await rulesOf(web)).toEqual([])
  })

  it('refuses an id and a name that mean two groups', async () => {
    expect(await failure({ GroupId: web, GroupName: 'default', ...ssh, CidrIp: '10.0.0.0/8' }))
      .toBe(`InvalidParameterValue: The security group '${web}' is not called 'default'; leave GroupName out.`)
  })

  it('refuses groups of another network', async () => {
    await account.addVpc('vpc-0123456789abcdef0')
    const far = await create('far', 'vpc-0123456789abcdef0')
    expect(await refusal({ ...ssh, UserIdGroupPairs: [{ GroupId: far }] }))
      .toBe('InvalidGroup.NotFound: You have specified two resources that belong to different networks.')
    expect(await refusal({ ...ssh, UserIdGroupPairs: [{ GroupId: web, VpcId: 'vpc-0123456789abcdef0' }] }))
      .toBe('InvalidGroup.NotFound: You have specified two resources that belong to different networks.')
  })

  const cidrs = Array.from({ length: MAX_RULES }, (_, index) => `10.0.${index}.0/24`)
  const tooMany = 'RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group has been reached.'

  it('takes as many rules as a group may have in a direction, and not one more', async () => {
    expect(await refusal({ ...ssh, ...from(...cidrs, '192.168.0.0/24') })).toBe(tooMany)
    await allow({ ...ssh, ...from(...cidrs) })
    expect(await rulesOf(web)).toHaveLength(MAX_RULES)
    expect(await refusal({ ...ssh, ...from('192.168.0.0/24') })).toBe(tooMany)
    await account.call(authorizeSecurityGroupEgress, { GroupId: web, IpPermissions: [{ ...ssh, ...from('10.0.0.0/8') }] })
    const endless = Array.from({ length: 2 * MAX_RULES + 1 }, () => ({ GroupName: 'web' }))
    expect(await refusal({ ...ssh, UserIdGroupPairs: endless })).toBe(tooMany)
  })

  it('counts IPv6 apart, and rules that name a group on both sides', async () => {
    await allow({ ...ssh, ...from(...cidrs.slice(1)) }, { ...ssh, UserIdGroupPairs: [{ GroupId: web }] })
    const blocks = cidrs.map((_, index) => ({ CidrIpv6: `2001:db8:${index}::/48` }))
    await allow({ ...ssh, Ipv6Ranges: blocks.slice(1) })
    expect(await refusal({ ...ssh, Ipv6Ranges: blocks.slice(0, 1) })).toBe(tooMany)
    expect(await refusal({ ...ssh, ...from(...cidrs.slice(0, 1)) })).toBe(tooMany)
  })

  it('keeps IPv6 blocks in canonical form, and ICMPv6 by name', async () => {
    const made = await allow(
      { ...ssh, Ipv6Ranges: [{ CidrIpv6: '2001:DB8:0::1/32', Description: 'lab' }] },
      { IpProtocol: 'icmpv6', Ipv6Ranges: [{ CidrIpv6: '::/0' }] },
    )
    expect(made.SecurityGroupRules).toMatchObject([
      { IpProtocol: 'tcp', CidrIpv6: '2001:db8::/32', Description: 'lab' },
      { IpProtocol: 'icmpv6', FromPort: -1, ToPort: -1, CidrIpv6: '::/0' },
    ])
    expect(made.SecurityGroupRules?.[0]?.CidrIpv4).toBeUndefined()
    const none = { IpRanges: [], PrefixListIds: [], UserIdGroupPairs: [] }
    expect((await account.call(describeSecurityGroups, { GroupIds: [web] })).SecurityGroups?.[0]?.IpPermissions).toEqual([
      { IpProtocol: 'icmpv6', FromPort: -1, ToPort: -1, ...none, Ipv6Ranges: [{ CidrIpv6: '::/0' }] },
      { ...ssh, ...none, Ipv6Ranges: [{ CidrIpv6: '2001:db8::/32', Description: 'lab' }] },
    ])
    expect(await refusal({ ...ssh, Ipv6Ranges: [{ CidrIpv6: '2001:db8::2/32' }] }))
      .toBe(duplicate('peer: 2001:db8::/32, TCP, from port: 22, to port: 22, ALLOW'))
    expect(await refusal({ IpProtocol: '58', Ipv6Ranges: [{ CidrIpv6: '::/0' }] }))
      .toBe(duplicate('peer: ::/0, ICMPV6, type: ALL, code: ALL, ALLOW'))
  })

  it('wakes every host on which the VPC has ports that are up', async () => {
    const { Subnets: [subnet] = [] } = await account.call(describeSubnets, {})
    await account.addInterface(subnet?.SubnetId ?? '', '172.31.0.10', null)
    await allow({ ...ssh, ...from('10.0.0.0/8') })
    const work = () => account.query((db) =>
      db.selectFrom('work').select(['kind', 'id', 'host_id', 'generation']).execute())
    expect(await work()).toEqual([])
    await account.addInterface(subnet?.SubnetId ?? '', '172.31.0.11', 'host-1')
    await account.addInterface(subnet?.SubnetId ?? '', '172.31.0.12', 'host-1')
    await allow({ ...ssh, ...from('172.16.0.0/12') })
    expect(await work()).toEqual([{ kind: 'ports', id: account.defaultVpcId, host_id: 'host-1', generation: 1 }])
    await refusal({ ...ssh, ...from('172.16.0.0/12') })
    expect((await work())[0]?.generation).toBe(1)
  })
})

describe('authorizeSecurityGroupEgress', () => {
  const letOut = (...permissions: IpPermission[]) =>
    account.call(authorizeSecurityGroupEgress, { GroupId: web, IpPermissions: permissions })

  it('adds egress rules, of which ingress knows nothing', async () => {
    const { SecurityGroupRules: [rule] = [] } = await letOut({ ...ssh, ...from('10.0.0.0/8') })
    expect(rule).toMatchObject({ GroupId: web, IsEgress: true, IpProtocol: 'tcp', CidrIpv4: '10.0.0.0/8' })
    expect(await rulesOf(web)).toEqual([])
    await allow({ ...ssh, ...from('10.0.0.0/8') })
    await expect(letOut({ ...ssh, ...from('10.0.0.0/8') })).rejects.toThrow('already exists')
  })

  it('refuses the rule that every new group has', async () => {
    await expect(letOut({ IpProtocol: '-1', FromPort: 0, ToPort: 0, ...from('0.0.0.0/0') }))
      .rejects.toThrow('the specified rule "peer: 0.0.0.0/0, ALL, ALLOW" already exists')
  })

  it('takes IpPermissions only', async () => {
    expect(await account.failure(authorizeSecurityGroupEgress, { GroupId: web, CidrIp: '10.0.0.0/8', ...ssh }))
      .toBe('InvalidParameterValue: The parameter IpProtocol is not supported for egress rules; use IpPermissions.')
    expect(await account.failure(authorizeSecurityGroupEgress, { GroupId: web }))
      .toBe('MissingParameter: The request must contain the parameter ipPermissions')
  })
})
