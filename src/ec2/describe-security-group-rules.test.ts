import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { authorizeSecurityGroupIngress } from './authorize-security-group-rules.ts'
import { describeSecurityGroupRules } from './describe-security-group-rules.ts'
import { createSecurityGroup } from './security-groups.ts'

let account: MemoryAccount
let web: string
beforeEach(async () => {
  account = await openMemoryAccount()
  web = (await account.call(createSecurityGroup, { GroupName: 'web', Description: 'x' })).GroupId ?? ''
})
afterEach(() => account.store.close())

const list = async (input: Parameters<typeof describeSecurityGroupRules>[1] = {}) =>
  (await account.call(describeSecurityGroupRules, input)).SecurityGroupRules ?? []
const filter = (Name: string, ...Values: string[]) => list({ Filters: [{ Name, Values }] })
const allow = (...cidrs: string[]) => account.call(authorizeSecurityGroupIngress, {
  GroupId: web,
  IpPermissions: [{ IpProtocol: 'tcp', FromPort: 22, ToPort: 22, IpRanges: cidrs.map((CidrIp) => ({ CidrIp })) }],
  TagSpecifications: [{ ResourceType: 'security-group-rule', Tags: [{ Key: 'Env', Value: 'prod' }] }],
})

describe('describeSecurityGroupRules', () => {
  it('shows the rule that lets everything out of a new group, under an id of its own', async () => {
    const [rule, ...others] = await filter('group-id', web)
    expect(others).toEqual([])
    expect(rule).toEqual({
      SecurityGroupRuleId: expect.stringMatching(/^sgr-[0-9a-f]{17}$/),
      SecurityGroupRuleArn: `arn:aws:ec2:us-east-1:${DEFAULT_ACCOUNT}:security-group-rule/${rule?.SecurityGroupRuleId}`,
      GroupId: web, GroupOwnerId: DEFAULT_ACCOUNT, IsEgress: true, IpProtocol: '-1', FromPort: -1, ToPort: -1,
      CidrIpv4: '0.0.0.0/0', Tags: [],
    })
  })

  it('chooses by ids and filters', async () => {
    const { SecurityGroupRules: [made] = [] } = await allow('10.0.0.0/8')
    const id = made?.SecurityGroupRuleId ?? ''
    expect(await list()).toHaveLength(4)
    expect(await list({ SecurityGroupRuleIds: [id] })).toEqual([made])
    expect(await filter('security-group-rule-id', id)).toEqual([made])
    expect(await filter('security-group-rule-id', `${id.slice(0, -1)}?`)).toEqual([made])
    expect(await filter('tag:Env', 'prod')).toEqual([made])
    expect(await filter('tag-key', 'Env')).toEqual([made])
    expect(await filter('group-id', web)).toHaveLength(2)
    expect(await filter('group-id', `${web.slice(0, -1)}*`)).toHaveLength(2)
    expect(await filter('group-id', 'sg-00000000000000000')).toEqual([])
    expect(await account.failure(describeSecurityGroupRules, { Filters: [{ Name: 'vpc-id', Values: ['x'] }] }))
      .toBe("InvalidParameterValue: The filter 'vpc-id' is invalid")
    expect(await account.failure(describeSecurityGroupRules, { SecurityGroupRuleIds: [id, 'sgr-00000000000000000'] }))
      .toBe("InvalidSecurityGroupRuleId.NotFound: The security group rule ID 'sgr-00000000000000000' does not exist")
    expect(await account.failure(describeSecurityGroupRules, { SecurityGroupRuleIds: ['x'] }))
      .toMatch(/^InvalidSecurityGroupRuleId.Malformed/)
  })

  it("never shows another account's rules", async () => {
    const foreign = await account.query((db) =>
      db.selectFrom('security_group_rules').select('rule_id').where('account_id', '=', OTHER_ACCOUNT)
        .executeTakeFirstOrThrow())
    expect((await list()).map((rule) => rule.GroupOwnerId)).toEqual([DEFAULT_ACCOUNT, DEFAULT_ACCOUNT, DEFAULT_ACCOUNT])
    expect(await account.failure(describeSecurityGroupRules, { SecurityGroupRuleIds: [foreign.rule_id] }))
      .toMatch(/^InvalidSecurityGroupRuleId.NotFound/)
  })

  it('pages', async () => {
    await allow(...Array.from({ length: 6 }, (_, index) => `10.${index}.0.0/16`))
    const Filters = [{ Name: 'group-id', Values: [web] }]
    const first = await account.call(describeSecurityGroupRules, { Filters, MaxResults: 5 })
    const second = await account.call(describeSecurityGroupRules, { Filters, MaxResults: 5, NextToken: first.NextToken })
    const ids = [first, second].flatMap((page) => page.SecurityGroupRules ?? []).map((rule) => rule.SecurityGroupRuleId)
    expect([first.SecurityGroupRules?.length, new Set(ids).size, second.NextToken]).toEqual([5, 7, undefined])
    expect(await account.failure(describeSecurityGroupRules, { MaxResults: 4 })).toMatch(/^InvalidParameterValue/)
    expect(await account.failure(describeSecurityGroupRules, { MaxResults: 1001 })).toMatch(/^InvalidParameterValue/)
  })
})
