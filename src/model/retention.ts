import { newId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import { insertRow } from '../store/prepared.ts'
import type { InstanceTable, RecycleRuleTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { instanceDoc } from './instance.ts'
import { DAY_MS, recycleRuleDoc, recycleRuleFor, type RecycleRuleDoc, type RuleTag } from './recycle-rules.ts'

/** How long what was protected from termination is kept where no rule says otherwise. */
export const DEFAULT_RETENTION_DAYS = 7

/** As long as Recycle Bin keeps snapshots at most. */
const MAX_RETENTION_DAYS = 365

const RESOURCE_TYPE = 'INSTANCE'

/** A rule that keeps terminated instances: those with the tag, or all of the account where there is none. */
export interface RetentionRule {
  ruleId: string
  tag: RuleTag | null
  days: number
  createdMs: number
}

/**
 * How long what the instance has is to be kept when it is terminated: the longest of the rules that match it; without one
 * the default, if somebody had protected it. Undefined for not at all.
 *
 * Whoever launches instances that are meant to come and go (Auto Scaling, spot) marks none as protected, so that only a
 * rule keeps those.
 */
export async function instanceRetentionMs(db: Db, row: InstanceTable): Promise<number | undefined> {
  const resource = { account: row.account_id, resourceType: RESOURCE_TYPE, resourceId: row.instance_id } as const
  const ruledMs = await recycleRuleFor(db, resource)
  return ruledMs ?? (instanceDoc(row).wasProtected ? DEFAULT_RETENTION_DAYS * DAY_MS : undefined)
}

/**
 * Makes a rule, or gives the one for the same tag another time. What is kept already stays as long as it was told to.
 *
 * @throws Error for a time that is none, or a tag that nothing can have.
 */
export async function setRetention(
  { db, random, nowMs }: { db: Db; random: Random; nowMs: number },
  account: string,
  { tag, days }: Pick<RetentionRule, 'tag' | 'days'>,
): Promise<RetentionRule> {
  if (!Number.isInteger(days) || days < 1 || days > MAX_RETENTION_DAYS) {
    throw new Error(`a retention is a whole number of days from 1 to ${MAX_RETENTION_DAYS}`)
  }
  if (tag && (tag.key.length === 0 || tag.key.length > 128 || tag.value.length > 256)) {
    throw new Error('the key of a tag has 1 to 128 characters, its value 256 at most')
  }
  const doc: RecycleRuleDoc = {
    description: '', retention: { value: days, unit: 'DAYS' }, resourceTags: tag ? [tag] : [], excludeResourceTags: [],
    status: 'available', lock: null, tags: [],
  }
  const earlier = (await retentionRules(db, account))
    .find((rule) => rule.tag?.key === tag?.key && rule.tag?.value === tag?.value)
  if (earlier) {
    await db.updateTable('recycle_rules').set({ doc: JSON.stringify(doc) }).where('rule_id', '=', earlier.ruleId).execute()
    return { ...earlier, days }
  }
  const row: RecycleRuleTable = {
    rule_id: newId(random, 'retention'), account_id: account, resource_type: RESOURCE_TYPE, created_ms: nowMs,
    doc: JSON.stringify(doc),
  }
  await insertRow(db, 'recycle_rules', { ...row })
  return ruleOf(row)
}

/** The account's rules that keep instances, oldest first. */
export async function retentionRules(db: Db, account: string): Promise<RetentionRule[]> {
  const rows = await db
    .selectFrom('recycle_rules').selectAll().where('account_id', '=', account).where('resource_type', '=', RESOURCE_TYPE)
    .orderBy('created_ms').orderBy('rule_id').execute()
  return rows.map(ruleOf)
}

/** Deletes a rule; what it keeps stays as long as it was told to. @throws Error when the account has no such rule. */
export async function deleteRetention(db: Db, account: string, ruleId: string): Promise<void> {
  const { numDeletedRows } = await db
    .deleteFrom('recycle_rules')
    .where('rule_id', '=', ruleId).where('account_id', '=', account).where('resource_type', '=', RESOURCE_TYPE).executeTakeFirst()
  if (numDeletedRows === 0n) throw new Error(`there is no retention rule ${ruleId}; hearth retention list has those there are`)
}

function ruleOf(row: RecycleRuleTable): RetentionRule {
  const { resourceTags: [tag = null], retention } = recycleRuleDoc(row)
  return { ruleId: row.rule_id, tag, days: retention.value, createdMs: row.created_ms }
}
