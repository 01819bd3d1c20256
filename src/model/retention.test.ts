import { beforeEach, expect, test } from 'vitest'
import { insertInstance, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore } from '../../test/support/rows.ts'
import { createRule, deleteRule, getRule, listRules } from '../rbin/rules.ts'
import { DEFAULT_ACCOUNT } from './account.ts'
import type { InstanceDoc } from './instance.ts'
import { DAY_MS } from './recycle-rules.ts'
import { deleteRetention, instanceRetentionMs, retentionRules, setRetention } from './retention.ts'

let world: TestStore
beforeEach(async () => {
  world = await openTestStore()
})

const KEEP = { key: 'keep', value: 'yes' }
const set = (days: number, tag: typeof KEEP | null = KEEP, account = DEFAULT_ACCOUNT) =>
  world.run((context) => setRetention(context, account, { tag, days }))
const list = (account = DEFAULT_ACCOUNT) => world.store.read((db) => retentionRules(db, account))
/** For how many days an instance with these tags would be kept. */
const daysOf = (tags: (typeof KEEP)[], doc: Partial<InstanceDoc> = {}) => world.run(async (context) => {
  const row = await insertInstance(context, {}, doc)
  for (const tag of tags) {
    await context.db.insertInto('tags')
      .values({ account_id: row.account_id, resource_type: 'instance', resource_id: row.instance_id, ...tag }).execute()
  }
  const retentionMs = await instanceRetentionMs(context.db, row)
  return retentionMs === undefined ? undefined : retentionMs / DAY_MS
})

test('a rule keeps what has its tag, one without a tag every instance of its account', async () => {
  await set(3)
  expect([await daysOf([KEEP]), await daysOf([]), await daysOf([{ key: 'keep', value: 'no' }])]).toEqual([3, undefined, undefined])
  await set(1, null)
  expect([await daysOf([KEEP]), await daysOf([])]).toEqual([3, 1])
  await set(9, null, OTHER_ACCOUNT)
  expect(await daysOf([])).toBe(1)
})

test('what was ever protected is kept for a week, unless a rule says how long', async () => {
  expect([await daysOf([], { wasProtected: true }), await daysOf([])]).toEqual([7, undefined])
  await set(2, null)
  expect(await daysOf([], { wasProtected: true })).toBe(2)
})

test('a rule that is set again has the new time, and can be deleted', async () => {
  const rule = await set(3)
  expect(rule).toEqual({ ruleId: expect.stringMatching(/^retention-[0-9a-f]{17}$/) as string, tag: KEEP, days: 3, createdMs: NOW_MS })
  expect(await set(5)).toEqual({ ...rule, days: 5 })
  expect(await list()).toEqual([{ ...rule, days: 5 }])
  const remove = (account: string) => world.run(({ db }) => deleteRetention(db, account, rule.ruleId))
  await expect(remove(OTHER_ACCOUNT)).rejects.toThrow(/^there is no retention rule/)
  await remove(DEFAULT_ACCOUNT)
  expect(await list()).toEqual([])
})

test.each([0, 366, 1.5, Number.NaN])('%s days are no retention', async (days) => {
  await expect(set(days)).rejects.toThrow(/^a retention is a whole number of days from 1 to 365$/)
})

test('Recycle Bin knows nothing of these rules', async () => {
  const { ruleId } = await set(3)
  await world.run(({ db }) => db.updateTable('recycle_rules').set({ rule_id: 'abcdefghijk' }).where('rule_id', '=', ruleId).execute())
  for (const call of [getRule, deleteRule]) {
    await expect(world.run<unknown>((context) => call(context, { Identifier: 'abcdefghijk' }))).rejects.toThrow(/was not found/)
  }
  await expect(world.run((context) => listRules(context, { ResourceType: 'INSTANCE' }))).rejects.toThrow(/resourceType/)
  const RetentionPeriod = { RetentionPeriodValue: 1, RetentionPeriodUnit: 'DAYS' }
  await expect(world.run((context) => createRule(context, { ResourceType: 'INSTANCE', RetentionPeriod }))).rejects.toThrow(/resourceType/)
  expect((await world.run((context) => listRules(context, { ResourceType: 'EBS_VOLUME' }))).Rules).toEqual([])
})
