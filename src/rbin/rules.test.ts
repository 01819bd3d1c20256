import { beforeEach, describe, expect, test } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { NOW_MS } from '../../test/support/rows.ts'
import { DAY_MS } from '../model/recycle-rules.ts'
import { lockRule, unlockRule } from './lock-rule.ts'
import { listTagsForResource, tagResource, untagResource } from './rule-tags.ts'
import { createRule, deleteRule, getRule, listRules, updateRule } from './rules.ts'
import type { CreateRuleRequest } from './types.ts'

const days = (value: number) => ({ RetentionPeriodValue: value, RetentionPeriodUnit: 'DAYS' })
const delay = (value: number) => ({ UnlockDelay: { UnlockDelayValue: value, UnlockDelayUnit: 'DAYS' } })
const tag = (key: string, value?: string) => ({ ResourceTagKey: key, ...(value === undefined ? {} : { ResourceTagValue: value }) })

let account: MemoryAccount
beforeEach(async () => {
  account = await openMemoryAccount()
})
const create = (change: Partial<CreateRuleRequest> = {}) =>
  account.call(createRule, { ResourceType: 'EBS_SNAPSHOT', RetentionPeriod: days(7), ...change })
const refused = (change: Partial<CreateRuleRequest>) =>
  account.failure(createRule, { ResourceType: 'EBS_SNAPSHOT', RetentionPeriod: days(7), ...change })

describe('CreateRule', () => {
  test('makes a rule that is in force at once', async () => {
    const rule = await create({ Description: 'Keep it', ResourceTags: [tag('keep', 'yes'), tag('x')], Tags: [{ Key: 'a', Value: 'b' }] })
    expect(rule).toEqual({
      Identifier: expect.stringMatching(/^[0-9a-zA-Z]{11}$/), Description: 'Keep it', ResourceType: 'EBS_SNAPSHOT',
      RetentionPeriod: days(7), ResourceTags: [tag('keep', 'yes'), tag('x', '')], ExcludeResourceTags: [], Status: 'available',
      RuleArn: `arn:aws:rbin:us-east-1:123456789012:rule/${rule.Identifier}`, Tags: [{ Key: 'a', Value: 'b' }],
    })
    expect(await account.call(getRule, rule)).toEqual({ ...rule, Tags: undefined })
  })

  test.each([
    ['EBS_SNAPSHOT', 365, 366], ['EC2_IMAGE', 365, 366], ['EBS_VOLUME', 7, 8],
  ])('keeps an %s for %i days at most', async (ResourceType, most, tooMany) => {
    expect((await create({ ResourceType, RetentionPeriod: days(most) })).RetentionPeriod).toEqual(days(most))
    expect(await refused({ ResourceType, RetentionPeriod: days(tooMany) })).toBe(
      `ValidationException: 1 validation error detected: Value '${tooMany}' at 'retentionPeriod.retentionPeriodValue' failed to satisfy `
      + `constraint: Member must have value less than or equal to ${most}`)
    expect(await refused({ ResourceType, RetentionPeriod: days(0) })).toMatch(/greater than or equal to 1$/)
  })

  test.each<[Partial<CreateRuleRequest>, RegExp]>([
    [{ ResourceType: 'EBS_DISK' }, /at 'resourceType' .*enum value set: \[EBS_VOLUME, EBS_SNAPSHOT, EC2_IMAGE\]$/],
    [{ RetentionPeriod: { RetentionPeriodValue: 1, RetentionPeriodUnit: 'YEARS' } }, /enum value set: \[DAYS\]$/],
    [{ Description: 'a\nb' }, /'description'.*pattern/],
    [{ Description: 'a'.repeat(256) }, /'description'.*pattern/],
    [{ ResourceTags: [tag('')] }, /resourceTags.1.member.resourceTagKey/],
    [{ ResourceTags: [tag('a', 'b'), tag('a', 'b')] }, /more than once/],
    [{ ResourceTags: [tag('a')], ExcludeResourceTags: [tag('b')] }, /Exclusion tags cannot be specified/],
    [{ ExcludeResourceTags: Array.from({ length: 6 }, (_, index) => tag(`k${index}`)) }, /'excludeResourceTags'.*equal to 5$/],
    [{ Tags: [{ Key: 'aws:x', Value: '' }] }, /reserved/],
    [{ Tags: [{ Key: 'a', Value: '' }, { Key: 'a', Value: '1' }] }, /more than once/],
    [{ LockConfiguration: delay(6) }, /unlockDelayValue.*greater than or equal to 7$/],
    [{ LockConfiguration: delay(31) }, /less than or equal to 30$/],
    [{ LockConfiguration: delay(7), ResourceTags: [tag('a')] }, /Tag-level retention rules cannot be locked/],
    [{ LockConfiguration: delay(7), ExcludeResourceTags: [tag('a')] }, /exclusion tags cannot be locked/],
  ])('refuses %j', async (change, message) => {
    expect(await refused(change)).toMatch(/^ValidationException: /)
    expect(await refused(change)).toMatch(message)
    expect((await account.call(listRules, { ResourceType: 'EBS_SNAPSHOT' })).Rules).toEqual([])
  })

  test('lets five rules have the same tag, and no sixth', async () => {
    for (let count = 0; count < 5; count += 1) await create({ ResourceTags: [tag('keep', 'yes')] })
    expect(await refused({ ResourceTags: [tag('keep', 'yes')] })).toMatch(/^ServiceQuotaExceededException: /)
    await create({ ResourceTags: [tag('keep', 'no')] })
  })
})

describe('ListRules', () => {
  test('has the rules of a type, page by page, oldest first', async () => {
    const made: string[] = []
    for (let count = 0; count < 5; count += 1) {
      made.push((await create()).Identifier)
      account.pass(1)
    }
    await create({ ResourceType: 'EC2_IMAGE' })
    const found: string[] = []
    let NextToken: string | undefined
    do {
      const page = await account.call(listRules, { ResourceType: 'EBS_SNAPSHOT', MaxResults: 2, ...(NextToken ? { NextToken } : {}) })
      found.push(...page.Rules.map((rule) => rule.Identifier))
      NextToken = page.NextToken
      expect(NextToken ?? '').toMatch(/^[A-Za-z0-9+/=]*$/)
    } while (NextToken)
    expect(found).toEqual(made)
    expect(await account.failure(listRules, { ResourceType: 'EBS_SNAPSHOT', NextToken: 'abcd' })).toMatch(/^ValidationException: The specified page token/)
  })

  test('has those with the tags and the lock state that are asked for', async () => {
    const kept = await create({ ResourceTags: [tag('keep', 'yes'), tag('x')] })
    const others = await create({ ExcludeResourceTags: [tag('scratch')] })
    const locked = await create({ LockConfiguration: delay(7) })
    const list = async (input: object) =>
      (await account.call(listRules, { ResourceType: 'EBS_SNAPSHOT', ...input })).Rules.map((rule) => rule.Identifier)
    expect(await list({ ResourceTags: [tag('keep', 'yes')] })).toEqual([kept.Identifier])
    expect(await list({ ExcludeResourceTags: [tag('scratch')] })).toEqual([others.Identifier])
    expect(await list({ LockState: 'locked' })).toEqual([locked.Identifier])
    expect(await list({ LockState: 'unlocked' })).toEqual([])
    expect(await account.failure(listRules, { ResourceType: 'EBS_SNAPSHOT', LockState: 'open' })).toMatch(/^ValidationException: /)
  })
})

describe('UpdateRule', () => {
  test('changes what is given, and nothing else', async () => {
    const { Identifier } = await create({ Description: 'old', ResourceTags: [tag('keep', 'yes')] })
    expect(await account.call(updateRule, { Identifier, RetentionPeriod: days(30) }))
      .toMatchObject({ RetentionPeriod: days(30), Description: 'old', ResourceTags: [tag('keep', 'yes')] })
    expect(await account.call(updateRule, { Identifier, Description: 'new', ResourceTags: [] }))
      .toMatchObject({ RetentionPeriod: days(30), Description: 'new', ResourceTags: [] })
    expect(await account.failure(updateRule, { Identifier, ResourceType: 'EC2_IMAGE' })).toMatch(/^ValidationException: .*cannot be updated/)
    expect(await account.failure(updateRule, { Identifier, RetentionPeriod: days(366) })).toMatch(/^ValidationException: /)
  })

  test.each([updateRule, getRule, deleteRule, unlockRule])('is told when there is no such rule, as %o', async (handler) => {
    expect(await account.failure(handler, { Identifier: 'aaaaaaaaaaa' })).toBe('ResourceNotFoundException: Rule aaaaaaaaaaa was not found.')
    expect(await account.failure(handler, { Identifier: 'short' })).toMatch(/^ValidationException: /)
  })
})

describe('a locked rule', () => {
  test('is not changed or deleted until its unlock delay is over', async () => {
    const { Identifier } = await create()
    expect(await account.call(lockRule, { Identifier, LockConfiguration: delay(7) }))
      .toMatchObject({ LockState: 'locked', LockConfiguration: delay(7) })
    expect(await account.failure(updateRule, { Identifier, Description: 'x' })).toMatch(/^ConflictException: .*is locked/)
    expect(await account.failure(deleteRule, { Identifier })).toMatch(/^ConflictException: /)
    expect(await account.failure(lockRule, { Identifier, LockConfiguration: delay(7) })).toMatch(/^ConflictException: /)
    expect(await account.call(unlockRule, { Identifier }))
      .toMatchObject({ LockState: 'pending_unlock', LockEndTime: new Date(NOW_MS + 7 * DAY_MS) })
    expect(await account.failure(deleteRule, { Identifier })).toMatch(/^ConflictException: .*2026-01-08T00:00:00.000Z/)
    account.pass(7 * DAY_MS)
    expect(await account.call(getRule, { Identifier })).toMatchObject({ LockState: 'unlocked' })
    expect(await account.call(deleteRule, { Identifier })).toEqual({})
  })

  test('may be locked again during its delay, which begins anew and becomes no shorter', async () => {
    const { Identifier } = await create({ LockConfiguration: delay(9) })
    await account.call(unlockRule, { Identifier })
    expect(await account.failure(lockRule, { Identifier, LockConfiguration: delay(7) })).toMatch(/^ValidationException: /)
    expect(await account.call(lockRule, { Identifier, LockConfiguration: delay(9) })).toMatchObject({ LockState: 'locked' })
    expect(await account.failure(unlockRule, { Identifier: (await create()).Identifier })).toMatch(/^ConflictException: .*is not locked/)
  })

  test('is one that has no tags', async () => {
    const { Identifier } = await create({ ExcludeResourceTags: [tag('a')] })
    expect(await account.failure(lockRule, { Identifier, LockConfiguration: delay(7) })).toMatch(/^ValidationException: /)
  })
})

test('a rule has tags of its own', async () => {
  const { RuleArn: ResourceArn } = await create({ Tags: [{ Key: 'a', Value: '1' }] })
  const tags = async () => (await account.call(listTagsForResource, { ResourceArn })).Tags
  await account.call(tagResource, { ResourceArn, Tags: [{ Key: 'a', Value: '2' }, { Key: 'b', Value: '' }] })
  expect(await tags()).toEqual([{ Key: 'a', Value: '2' }, { Key: 'b', Value: '' }])
  await account.call(untagResource, { ResourceArn, TagKeys: ['a', 'none'] })
  expect(await tags()).toEqual([{ Key: 'b', Value: '' }])
  const many = Array.from({ length: 50 }, (_, index) => ({ Key: `k${index}`, Value: '' }))
  expect(await account.failure(tagResource, { ResourceArn, Tags: many })).toMatch(/^ServiceQuotaExceededException: /)
  const elsewhere = ResourceArn.replace('us-east-1', 'eu-west-1')
  expect(await account.failure(listTagsForResource, { ResourceArn: elsewhere })).toMatch(/^ResourceNotFoundException: /)
  expect(await account.failure(listTagsForResource, { ResourceArn: 'arn:aws:ec2:us-east-1::x' })).toMatch(/^ValidationException: /)
})
