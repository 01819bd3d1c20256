import type { SecurityGroupRuleRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { authorizeSecurityGroupIngress } from './authorize-security-group-rules.ts'
import { describeSecurityGroupRules } from './describe-security-group-rules.ts'
import {
  modifySecurityGroupRules, updateSecurityGroupRuleDescriptionsEgress, updateSecurityGroupRuleDescriptionsIngress,
} from './modify-security-group-rules.ts'
import { createSecurityGroup } from './security-groups.ts'
import { createTags } from './tags.ts'

const ssh = { IpProtocol: 'tcp', FromPort: 22, ToPort: 22 }

let account: MemoryAccount
let web: string
/** Two ingress rules, for 10.0.0.0/8 and 10.0.0.0/9, and the egress rule that a group starts with. */
let first: string
let second: string
let out: string
beforeEach(async () => {
  account = await openMemoryAccount()
  web = (await account.call(createSecurityGroup, { GroupName: 'web', Description: 'x' })).GroupId ?? ''
  const IpRanges = [{ CidrIp: '10.0.0.0/8', Description: 'one' }, { CidrIp: '10.0.0.0/9', Description: 'two' }]
  const made = await account.call(authorizeSecurityGroupIngress, { GroupId: web, IpPermissions: [{ ...ssh, IpRanges }] })
  ;[first = '', second = ''] = (made.SecurityGroupRules ?? []).map((rule) => rule.SecurityGroupRuleId ?? '')
  out = (await allRules()).find((rule) => rule.IsEgress)?.SecurityGroupRuleId ?? ''
})
afterEach(() => account.store.close())

const allRules = async () => (await account.call(describeSecurityGroupRules,
  { Filters: [{ Name: 'group-id', Values: [web] }] })).SecurityGroupRules ?? []
const rule = async (id: string) =>
  (await account.call(describeSecurityGroupRules, { SecurityGroupRuleIds: [id] })).SecurityGroupRules?.[0]
const change = (...updates: [string, SecurityGroupRuleRequest | undefined][]) => ({
  GroupId: web,
  SecurityGroupRules: updates.map(([SecurityGroupRuleId, SecurityGroupRule]) =>
    ({ SecurityGroupRuleId, SecurityGroupRule })),
})

describe('modifySecurityGroupRules', () => {
  it('puts other rules under the same ids; tags stay, a description that is left out goes', async () => {
    await account.call(createTags, { Resources: [first], Tags: [{ Key: 'a', Value: 'b' }] })
    expect(await account.call(modifySecurityGroupRules, change(
      [first, { IpProtocol: 'udp', FromPort: 53, ToPort: 53, ReferencedGroupId: web }],
      [out, { IpProtocol: '-1', CidrIpv6: '::/0', Description: 'IPv6' }],
    ))).toEqual({ Return: true })
    expect(await rule(first)).toMatchObject({
      IsEgress: false, IpProtocol: 'udp', FromPort: 53, ReferencedGroupInfo: { GroupId: web }, Description: undefined,
      CidrIpv4: undefined, Tags: [{ Key: 'a', Value: 'b' }],
    })
    expect(await rule(out)).toMatchObject({ IsEgress: true, CidrIpv6: '::/0', CidrIpv4: undefined, Description: 'IPv6' })
    expect(await rule(second)).toMatchObject({ CidrIpv4: '10.0.0.0/9', Description: 'two' })
  })

  it('lets two rules change places', async () => {
    await account.call(modifySecurityGroupRules, change(
      [first, { ...ssh, CidrIpv4: '10.0.0.0/9' }], [second, { ...ssh, CidrIpv4: '10.0.0.0/8' }]))
    expect([(await rule(first))?.CidrIpv4, (await rule(second))?.CidrIpv4]).toEqual(['10.0.0.0/9', '10.0.0.0/8'])
  })

  const good: SecurityGroupRuleRequest = { ...ssh, CidrIpv4: '172.16.0.0/12' }
  it.each<[string, () => Parameters<typeof modifySecurityGroupRules>[1], string]>([
    ['a rule that the group has', () => change([first, good], [second, good]), 'InvalidPermission.Duplicate'],
    ['a rule that another has', () => change([first, { ...ssh, CidrIpv4: '10.0.0.0/9' }]),
      'the specified rule "peer: 10.0.0.0/9, TCP, from port: 22, to port: 22, ALLOW" already exists'],
    ['a rule twice', () => change([first, good], [first, good]), 'must not appear multiple times'],
    ['an unknown rule', () => change([first, good], ['sgr-00000000000000000', good]),
      'InvalidSecurityGroupRuleId.NotFound'],
    ['no rule', () => change([first, undefined]), 'must contain the parameter SecurityGroupRule'],
    ['no update', () => change(), 'must contain the parameter SecurityGroupRule'],
    ['no group', () => ({ ...change([first, good]), GroupId: '' }), 'must contain the parameter GroupId'],
    ['no peer', () => change([first, good], [second, ssh]), 'MissingParameter: Every permission needs a source'],
    ['two peers', () => change([first, good], [second, { ...good, CidrIpv6: '::/0' }]), 'InvalidParameterCombination'],
    ['a prefix list that is not there', () => change([first, { ...ssh, PrefixListId: 'pl-00000000000000000' }]),
      'InvalidPrefixListID.NotFound'],
    ['a bad port', () => change([first, good], [second, { ...good, ToPort: 70000 }]), 'InvalidPermission.Malformed'],
  ])('refuses %s, and nothing of the call is done', async (_what, input, expected) => {
    const before = await allRules()
    expect(await account.failure(modifySecurityGroupRules, input())).toContain(expected)
    expect(await allRules()).toEqual(before)
  })
})

describe('updateSecurityGroupRuleDescriptions', () => {
  it('changes and removes descriptions, by properties and by ids', async () => {
    const IpRanges = [{ CidrIp: '10.0.0.0/8', Description: 'office' }, { CidrIp: '10.0.0.0/9' }]
    const IpPermissions = [{ ...ssh, IpRanges }]
    expect(await account.call(updateSecurityGroupRuleDescriptionsIngress, { GroupName: 'web', IpPermissions }))
      .toEqual({ Return: true })
    expect([(await rule(first))?.Description, (await rule(second))?.Description]).toEqual(['office', undefined])
    const SecurityGroupRuleDescriptions =
      [{ SecurityGroupRuleId: first }, { SecurityGroupRuleId: second, Description: 'b' }]
    await account.call(updateSecurityGroupRuleDescriptionsIngress, { GroupId: web, SecurityGroupRuleDescriptions })
    expect([(await rule(first))?.Description, (await rule(second))?.Description]).toEqual([undefined, 'b'])
    await account.call(updateSecurityGroupRuleDescriptionsEgress, {
      GroupId: web, IpPermissions: [{ IpProtocol: '-1', IpRanges: [{ CidrIp: '0.0.0.0/0', Description: 'all' }] }],
    })
    expect((await rule(out))?.Description).toBe('all')
  })

  it('refuses rules that are not there, of the other direction, or named in two ways, and does nothing', async () => {
    const byRange = (...cidrs: string[]) => ({
      GroupId: web, IpPermissions: [{ ...ssh, IpRanges: cidrs.map((CidrIp) => ({ CidrIp, Description: 'new' })) }],
    })
    const byId = (...ids: string[]) => ({
      GroupId: web,
      SecurityGroupRuleDescriptions: ids.map((id) => ({ SecurityGroupRuleId: id, Description: 'new' })),
    })
    const before = await allRules()
    const failure = (input: object) => account.failure(updateSecurityGroupRuleDescriptionsIngress, input)
    expect(await failure(byRange('10.0.0.0/8', '10.0.0.0/7')))
      .toBe('InvalidPermission.NotFound: The specified rule does not exist in this security group.')
    expect(await failure(byId(first, out))).toMatch(/^InvalidSecurityGroupRuleId.NotFound/)
    expect(await failure({ ...byId(first), ...byRange('10.0.0.0/8') })).toMatch(/^InvalidParameterCombination/)
    expect(await failure({ GroupId: web })).toContain('The request must contain the parameter ipPermissions')
    const quoted = { GroupId: web, SecurityGroupRuleDescriptions: [{ SecurityGroupRuleId: first, Description: '"x"' }] }
    expect(await failure(quoted)).toMatch(/^InvalidParameterValue: Invalid rule description/)
    expect(await allRules()).toEqual(before)
  })
})
