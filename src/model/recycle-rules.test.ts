import { describe, expect, test } from 'vitest'
import { NOW_MS, openTestStore, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { insertRow } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'
import { DEFAULT_ACCOUNT } from './account.ts'
import { binned, DAY_MS, longestRetentionMs, recycleRuleFor, type RecycleRuleDoc, type RuleTag } from './recycle-rules.ts'

const rule = (days: number, change: Partial<RecycleRuleDoc> = {}): RecycleRuleDoc => ({
  description: '', retention: { value: days, unit: 'DAYS' }, resourceTags: [], excludeResourceTags: [], status: 'available',
  lock: null, tags: [], ...change,
})
const keep: RuleTag = { key: 'keep', value: 'yes' }

describe('longestRetentionMs', () => {
  test('nothing is kept without a rule', () => {
    expect(longestRetentionMs([], [keep])).toBeUndefined()
  })

  test('a rule of the region keeps what has tags and what has none', () => {
    expect(longestRetentionMs([rule(3)], [])).toBe(3 * DAY_MS)
    expect(longestRetentionMs([rule(3)], [keep])).toBe(3 * DAY_MS)
  })

  test('a rule of the region leaves out what has any of its exclusion tags', () => {
    const rules = [rule(3, { excludeResourceTags: [keep, { key: 'scratch', value: '' }] })]
    expect(longestRetentionMs(rules, [{ key: 'scratch', value: '' }])).toBeUndefined()
    expect(longestRetentionMs(rules, [{ key: 'scratch', value: 'no' }])).toBe(3 * DAY_MS)
  })

  test('a rule by tags keeps what has any of them, key and value', () => {
    const rules = [rule(3, { resourceTags: [keep, { key: 'tier', value: 'gold' }] })]
    expect(longestRetentionMs(rules, [{ key: 'tier', value: 'gold' }, { key: 'x', value: 'y' }])).toBe(3 * DAY_MS)
    expect(longestRetentionMs(rules, [{ key: 'tier', value: 'Gold' }, { key: 'Keep', value: 'yes' }])).toBeUndefined()
    expect(longestRetentionMs(rules, [])).toBeUndefined()
  })

  test('of several rules the longest counts, whatever its kind', () => {
    expect(longestRetentionMs([rule(3), rule(9, { resourceTags: [keep] })], [keep])).toBe(9 * DAY_MS)
    expect(longestRetentionMs([rule(30), rule(9, { resourceTags: [keep] })], [keep])).toBe(30 * DAY_MS)
  })

  test('a rule that is not available keeps nothing', () => {
    expect(longestRetentionMs([rule(3, { status: 'pending' })], [])).toBeUndefined()
  })
})

describe('recycleRuleFor', () => {
  const insertRule = (db: Db, account: string, resourceType: 'EBS_SNAPSHOT' | 'EBS_VOLUME', doc: RecycleRuleDoc) =>
    insertRow(db, 'recycle_rules', {
      rule_id: `${account}${resourceType}`.slice(-11), account_id: account, resource_type: resourceType, created_ms: NOW_MS,
      doc: JSON.stringify(doc),
    })

  test('asks the rules of that account and type, and the tags of that resource', async () => {
    const { run } = await openTestStore()
    const found = await run(async ({ db }) => {
      const ask = (account: string, resourceType: 'EBS_SNAPSHOT' | 'EBS_VOLUME', resourceId: string) =>
        recycleRuleFor(db, { account, resourceType, resourceId })
      await insertRule(db, DEFAULT_ACCOUNT, 'EBS_SNAPSHOT', rule(5, { resourceTags: [keep] }))
      await insertRow(db, 'tags', { account_id: DEFAULT_ACCOUNT, resource_type: 'snapshot', resource_id: 'snap-1', ...keep })
      return [
        await ask(DEFAULT_ACCOUNT, 'EBS_SNAPSHOT', 'snap-1'), await ask(DEFAULT_ACCOUNT, 'EBS_SNAPSHOT', 'snap-2'),
        await ask(DEFAULT_ACCOUNT, 'EBS_VOLUME', 'snap-1'), await ask(OTHER_ACCOUNT, 'EBS_SNAPSHOT', 'snap-1'),
      ]
    })
    expect(found).toEqual([5 * DAY_MS, undefined, undefined, undefined])
  })
})

test('what goes into the bin leaves it after its retention', () => {
  expect(binned(NOW_MS, 2 * DAY_MS)).toEqual({ binned_ms: NOW_MS, bin_exit_ms: NOW_MS + 2 * DAY_MS })
})
