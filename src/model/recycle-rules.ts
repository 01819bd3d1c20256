import { prepared } from '../store/prepared.ts'
import type { RecycleRuleTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'

/** What EC2's recycle bin can keep. */
export const RECYCLED_TYPES = ['EBS_VOLUME', 'EBS_SNAPSHOT', 'EC2_IMAGE'] as const
export type RecycledType = (typeof RECYCLED_TYPES)[number]

/** What there may be rules for; those for instances are Hearth's own, see model/retention.ts. */
export type RetainedType = RecycleRuleTable['resource_type']

/** A tag that a rule goes by; without a value, the tag with the empty one. */
export interface RuleTag {
  key: string
  value: string
}

/** What of a retention rule SQL never looks into. */
export interface RecycleRuleDoc {
  description: string
  retention: { value: number; unit: 'DAYS' }
  /** Of a tag-level rule: it keeps what has any of them. Empty for a rule of the whole region. */
  resourceTags: RuleTag[]
  /** Of a rule of the whole region: it does not keep what has any of them. */
  excludeResourceTags: RuleTag[]
  /** Only an available rule keeps anything. */
  status: 'pending' | 'available'
  /** How long a locked rule stays as it is after it was unlocked; null for one that never was locked. */
  lock: { unlockDelay: { value: number; unit: 'DAYS' }; isLocked: boolean; unlockedMs: number | null } | null
  /** The tags of the rule itself. */
  tags: RuleTag[]
}

export const DAY_MS = 24 * 60 * 60 * 1000

/** The doc of a rule's row. */
export function recycleRuleDoc(row: Pick<RecycleRuleTable, 'doc'>): RecycleRuleDoc {
  return JSON.parse(row.doc) as RecycleRuleDoc
}

const rulesOf = prepared((db, account: string, resourceType: string) =>
  db.selectFrom('recycle_rules').select('doc').where('account_id', '=', account)
    .where('resource_type', '=', resourceType as RetainedType))

const tagsOf = prepared((db, account: string, resourceId: string) =>
  db.selectFrom('tags').select(['key', 'value']).where('account_id', '=', account).where('resource_id', '=', resourceId))

/**
 * For whoever is about to delete a resource, and before its tags go: how long the recycle bin is to keep
 * it, by the longest of the rules that match it; undefined when none does. What is kept gets `binned`
 * columns and keeps its tags, permissions and data.
 */
export async function recycleRuleFor(
  db: Db,
  resource: { account: string; resourceType: RetainedType; resourceId: string },
): Promise<number | undefined> {
  const rules = (await rulesOf(db, resource.account, resource.resourceType)).map(recycleRuleDoc)
  if (rules.length === 0) return undefined
  return longestRetentionMs(rules, await tagsOf(db, resource.account, resource.resourceId))
}

/** The longest retention of the rules that match what has these tags. */
export function longestRetentionMs(rules: readonly RecycleRuleDoc[], tags: readonly RuleTag[]): number | undefined {
  const matching = rules.filter((rule) => matches(rule, tags)).map((rule) => rule.retention.value * DAY_MS)
  return matching.length === 0 ? undefined : Math.max(...matching)
}

function matches(rule: RecycleRuleDoc, tags: readonly RuleTag[]): boolean {
  if (rule.status !== 'available') return false
  const hasAny = (wanted: readonly RuleTag[]) =>
    wanted.some(({ key, value }) => tags.some((tag) => tag.key === key && tag.value === value))
  return rule.resourceTags.length > 0 ? hasAny(rule.resourceTags) : !hasAny(rule.excludeResourceTags)
}

/**
 * The columns of what goes into the bin now. A volume is detached then, and stays in the state `available`.
 * Nothing is to be marked due: the bin is looked at every minute.
 */
export function binned(nowMs: number, retentionMs: number): { binned_ms: number; bin_exit_ms: number } {
  return { binned_ms: nowMs, bin_exit_ms: nowMs + retentionMs }
}
