import type { CreateManagedPrefixListRequest, IpPermission } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { loadGroups } from '../vpc/load-spec.ts'
import { authorizeSecurityGroupEgress, authorizeSecurityGroupIngress } from './authorize-security-group-rules.ts'
import { describeSecurityGroupRules } from './describe-security-group-rules.ts'
import { createManagedPrefixList } from './managed-prefix-lists.ts'
import { modifyManagedPrefixList } from './modify-managed-prefix-list.ts'
import { modifySecurityGroupRules } from './modify-security-group-rules.ts'
import { revokeSecurityGroupIngress } from './revoke-security-group-rules.ts'
import { createSecurityGroup, describeSecurityGroups } from './security-groups.ts'

let account: MemoryAccount
let GroupId: string
let listId: string
beforeEach(async () => {
  account = await openMemoryAccount()
  GroupId = (await account.call(createSecurityGroup, { GroupName: 'web', Description: 'x' })).GroupId ?? ''
  listId = await createList({ MaxEntries: 20, Entries: [{ Cidr: '10.1.0.0/16' }, { Cidr: '10.2.0.0/16' }] })
})
afterEach(() => account.store.close())

const createList = async (change: Partial<CreateManagedPrefixListRequest>) => {
  const { PrefixList } = await account.call(createManagedPrefixList, {
    PrefixListName: 'office', AddressFamily: 'IPv4', MaxEntries: 1, ...change,
  })
  return PrefixList?.PrefixListId ?? ''
}
const ssh = { IpProtocol: 'tcp', FromPort: 22, ToPort: 22 }
const fromList = (...ids: string[]): IpPermission => ({ ...ssh, PrefixListIds: ids.map((PrefixListId) => ({ PrefixListId })) })
const fromBlocks = (count: number): IpPermission =>
  ({ ...ssh, IpRanges: Array.from({ length: count }, (_, index) => ({ CidrIp: `192.168.${index}.0/24` })) })
const allow = (...IpPermissions: IpPermission[]) => account.call(authorizeSecurityGroupIngress, { GroupId, IpPermissions })
const refusal = (...IpPermissions: IpPermission[]) => account.failure(authorizeSecurityGroupIngress, { GroupId, IpPermissions })
const tooMany = 'RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group has been reached.'

describe('a rule that names a prefix list', () => {
  it('is shown with the list, in the group and by itself', async () => {
    const PrefixListIds = [{ PrefixListId: listId, Description: 'office' }]
    const made = await allow({ ...ssh, PrefixListIds })
    const [rule] = made.SecurityGroupRules ?? []
    expect(rule).toMatchObject({ PrefixListId: listId, Description: 'office', CidrIpv4: undefined, ReferencedGroupInfo: undefined })
    expect((await account.call(describeSecurityGroups, { GroupIds: [GroupId] })).SecurityGroups?.[0]?.IpPermissions)
      .toEqual([{ ...ssh, IpRanges: [], Ipv6Ranges: [], UserIdGroupPairs: [], PrefixListIds }])
    const { SecurityGroupRules } = await account.call(describeSecurityGroupRules, { SecurityGroupRuleIds: [rule?.SecurityGroupRuleId ?? ''] })
    expect(SecurityGroupRules).toMatchObject([{ PrefixListId: listId }])
  })

  it('is found by filters of its direction', async () => {
    await allow(fromList(listId))
    const found = async (Name: string) =>
      (await account.call(describeSecurityGroups, { Filters: [{ Name, Values: [listId] }] })).SecurityGroups?.map((group) => group.GroupId)
    expect(await found('ip-permission.prefix-list-id')).toEqual([GroupId])
    expect(await found('egress.ip-permission.prefix-list-id')).toEqual([])
    await account.call(authorizeSecurityGroupEgress, { GroupId, IpPermissions: [fromList(listId)] })
    expect(await found('egress.ip-permission.prefix-list-id')).toEqual([GroupId])
  })

  it('is there once, and revoked by its properties', async () => {
    await allow(fromList(listId))
    expect(await refusal(fromList(listId)))
      .toBe(`InvalidPermission.Duplicate: the specified rule "peer: ${listId}, TCP, from port: 22, to port: 22, ALLOW" already exists`)
    const { RevokedSecurityGroupRules } = await account.call(revokeSecurityGroupIngress, { GroupId, IpPermissions: [fromList(listId)] })
    expect(RevokedSecurityGroupRules).toMatchObject([{ PrefixListId: listId }])
  })

  it('can take the place of another rule', async () => {
    const { SecurityGroupRules: [rule] = [] } = await allow(fromBlocks(1))
    await account.call(modifySecurityGroupRules, {
      GroupId, SecurityGroupRules: [{ SecurityGroupRuleId: rule?.SecurityGroupRuleId, SecurityGroupRule: { ...ssh, PrefixListId: listId } }],
    })
    const { SecurityGroupRules } = await account.call(describeSecurityGroupRules, { SecurityGroupRuleIds: [rule?.SecurityGroupRuleId ?? ''] })
    expect(SecurityGroupRules).toMatchObject([{ PrefixListId: listId, CidrIpv4: undefined }])
  })

  it('counts as many times as the list may have entries, for its family', async () => {
    await allow(fromList(listId), fromBlocks(40))
    expect(await refusal({ ...ssh, IpRanges: [{ CidrIp: '172.16.0.0/12' }] })).toBe(tooMany)
    const ipv6 = await createList({ AddressFamily: 'IPv6', MaxEntries: 60 })
    await allow(fromList(ipv6))
    expect(await refusal({ ...ssh, Ipv6Ranges: [{ CidrIpv6: '::/0' }] })).toBe(tooMany)
    expect(await refusal({ ...ssh, FromPort: 21, PrefixListIds: [{ PrefixListId: await createList({ MaxEntries: 61 }) }] })).toBe(tooMany)
  })

  it('lets ICMPv6 in from a list of IPv6 only', async () => {
    const icmpv6 = (PrefixListId: string): IpPermission => ({ IpProtocol: 'icmpv6', PrefixListIds: [{ PrefixListId }] })
    expect(await refusal(icmpv6(listId))).toMatch(/^UnsupportedOperation/)
    await allow(icmpv6(await createList({ AddressFamily: 'IPv6' })))
  })

  it('is as many rules to the network as the newest version of the list has entries', async () => {
    await allow(fromList(listId))
    const ingress = async () =>
      (await account.query((db) => loadGroups(db, account.defaultVpcId, [GroupId]))).flatMap((group) => group.ingress.map((rule) => rule.peer))
    expect(await ingress()).toEqual([{ cidr: '10.1.0.0/16' }, { cidr: '10.2.0.0/16' }])
    await account.call(modifyManagedPrefixList, {
      PrefixListId: listId, AddEntries: [{ Cidr: '10.3.0.0/16' }], RemoveEntries: [{ Cidr: '10.1.0.0/16' }],
    })
    expect(await ingress()).toEqual([{ cidr: '10.2.0.0/16' }, { cidr: '10.3.0.0/16' }])
  })
})
