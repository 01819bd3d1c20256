import type { Context } from '../ec2/context.ts'
import { decodeToken, encodeToken } from '../ec2/pagination.ts'
import { recycleRuleDoc, type RecycleRuleDoc, type RuleTag } from '../model/recycle-rules.ts'
import { Constraints } from '../protocol/constraints.ts'
import { insertRow } from '../store/prepared.ts'
import { INVALID_VALUE, invalidPageToken, invalidParameter, quotaExceeded } from './errors.ts'
import { findRule, lockStateOf, newRuleId, refuseLocked, rulesOfBin, ruleToWire, saveRule } from './rule-rows.ts'
import { MAX_OWN_TAGS } from './rule-tags.ts'
import {
  checkDescription, checkEnum, checkOwnTags, checkResourceType, checkRetention, checkRuleTags, checkTagList, checkUnlockDelay,
} from './rule-values.ts'
import type {
  CreateRuleRequest, IdentifiedRequest, ListRulesRequest, Rule, RuleSummary, Tag, UpdateRuleRequest,
} from './types.ts'

// https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-quotas.html
const MAX_RULES = 250
/** Most rules that may name the same tag. */
const MAX_RULES_OF_TAG = 5
const MAX_PAGE = 1000

/**
 * CreateRule: a rule that keeps what has any of its tags, or, without tags, whatever of that type is
 * deleted and has none of its exclusion tags. It is in force at once; AWS takes its time over the first.
 * https://docs.aws.amazon.com/recyclebin/latest/APIReference/API_CreateRule.html
 *
 * @throws ApiError ValidationException, ServiceQuotaExceededException.
 */
export async function createRule(context: Context, input: CreateRuleRequest): Promise<Rule & { Tags: Tag[] }> {
  const { db, account, nowMs, random } = context
  const resourceType = checkResourceType(input.ResourceType)
  checkDescription(input.Description)
  const ruleTags = checkRuleTags({ resourceTags: input.ResourceTags ?? [], excludeResourceTags: input.ExcludeResourceTags ?? [] })
  const doc: RecycleRuleDoc = {
    description: input.Description ?? '', retention: checkRetention(resourceType, input.RetentionPeriod), ...ruleTags,
    status: 'available', lock: null, tags: checkOwnTags(input.Tags ?? []),
  }
  if (input.LockConfiguration) {
    refuseUnlockable(doc)
    doc.lock = { unlockDelay: checkUnlockDelay(input.LockConfiguration), isLocked: true, unlockedMs: null }
  }
  if (doc.tags.length > MAX_OWN_TAGS) throw quotaExceeded(`A rule may have at most ${MAX_OWN_TAGS} tags.`)
  const others = await rulesOfBin(context)
  if (others.length >= MAX_RULES) throw quotaExceeded(`There may be at most ${MAX_RULES} retention rules.`)
  refuseCrowdedTags(others.map(recycleRuleDoc), doc.resourceTags)
  const row = {
    rule_id: newRuleId(random), account_id: account, resource_type: resourceType, created_ms: nowMs, doc: JSON.stringify(doc),
  }
  await insertRow(db, 'recycle_rules', row)
  return { ...ruleToWire(context, row), Tags: doc.tags.map(({ key, value }) => ({ Key: key, Value: value })) }
}

/** What has tags of any kind cannot be locked. */
export function refuseUnlockable({ resourceTags, excludeResourceTags }: RecycleRuleDoc): void {
  if (resourceTags.length > 0) throw invalidParameter('Tag-level retention rules cannot be locked.')
  if (excludeResourceTags.length > 0) throw invalidParameter('Retention rules that have exclusion tags cannot be locked.')
}

/** The same tag in more rules than may have it. */
function refuseCrowdedTags(others: readonly RecycleRuleDoc[], tags: readonly RuleTag[]): void {
  for (const tag of tags) {
    if (others.filter((other) => hasAll(other.resourceTags, [tag])).length < MAX_RULES_OF_TAG) continue
    throw quotaExceeded(`The tag ${tag.key}=${tag.value} is in ${MAX_RULES_OF_TAG} retention rules already.`)
  }
}

/** GetRule. https://docs.aws.amazon.com/recyclebin/latest/APIReference/API_GetRule.html */
export async function getRule(context: Context, input: IdentifiedRequest): Promise<Rule> {
  return ruleToWire(context, await findRule(context, input.Identifier))
}

/**
 * ListRules: those of a type, with all the tags that are given, and in that lock state; oldest first.
 * https://docs.aws.amazon.com/recyclebin/latest/APIReference/API_ListRules.html
 */
export async function listRules(
  context: Context,
  input: ListRulesRequest,
): Promise<{ Rules: RuleSummary[]; NextToken?: string }> {
  const { MaxResults: size = MAX_PAGE, NextToken: token } = input
  const resourceType = checkResourceType(input.ResourceType)
  new Constraints().range('maxResults', size, 1, MAX_PAGE).done('ValidationException', INVALID_VALUE)
  const matches = ruleFilter(input, context.nowMs)
  const after = token === undefined ? '' : keyOf(token)
  const keyed = (await rulesOfBin(context))
    .filter((row) => row.resource_type === resourceType && matches(recycleRuleDoc(row)))
    .map((row) => ({ row, key: `${String(row.created_ms).padStart(15, '0')}/${row.rule_id}` }))
    .filter(({ key }) => key > after)
    .toSorted((a, b) => (a.key < b.key ? -1 : 1))
  const page = keyed.slice(0, size)
  const last = page.at(-1)
  const rules = page.map(({ row }) => {
    const { Identifier, Description, RetentionPeriod, LockState, RuleArn } = ruleToWire(context, row)
    return { Identifier, RetentionPeriod, RuleArn, ...(Description ? { Description } : {}), ...(LockState ? { LockState } : {}) }
  })
  return { Rules: rules, ...(last && keyed.length > size ? { NextToken: tokenOf(last.key) } : {}) }
}

function ruleFilter(input: ListRulesRequest, nowMs: number): (doc: RecycleRuleDoc) => boolean {
  const resourceTags = checkTagList('resourceTags', input.ResourceTags ?? [], 50)
  const excludeResourceTags = checkTagList('excludeResourceTags', input.ExcludeResourceTags ?? [], 5)
  const lockState = input.LockState === undefined
    ? undefined : checkEnum('lockState', input.LockState, ['locked', 'pending_unlock', 'unlocked'] as const)
  return (doc) => hasAll(doc.resourceTags, resourceTags) && hasAll(doc.excludeResourceTags, excludeResourceTags)
    && (lockState === undefined || lockStateOf(doc, nowMs) === lockState)
}

function hasAll(tags: readonly RuleTag[], wanted: readonly RuleTag[]): boolean {
  return wanted.every(({ key, value }) => tags.some((tag) => tag.key === key && tag.value === value))
}

/** This service's tokens have no characters but base64's. */
function tokenOf(key: string): string {
  return Buffer.from(encodeToken('ListRules', key), 'base64url').toString('base64')
}

function keyOf(token: string): string {
  try {
    return decodeToken('ListRules', Buffer.from(token, 'base64').toString('base64url'))
  } catch {
    throw invalidPageToken()
  }
}

/**
 * UpdateRule: what is given takes the place of what was; a rule keeps its type. What is in the bin
 * already stays as long as it was told to.
 * https://docs.aws.amazon.com/recyclebin/latest/APIReference/API_UpdateRule.html
 *
 * @throws ApiError ConflictException for a locked rule.
 */
export async function updateRule(context: Context, input: UpdateRuleRequest): Promise<Rule> {
  const row = await findRule(context, input.Identifier)
  const doc = recycleRuleDoc(row)
  if (input.ResourceType !== undefined) {
    checkResourceType(input.ResourceType)
    throw invalidParameter('The resource type of a retention rule cannot be updated.')
  }
  checkDescription(input.Description)
  const ruleTags = checkRuleTags({
    resourceTags: input.ResourceTags ?? wireTags(doc.resourceTags),
    excludeResourceTags: input.ExcludeResourceTags ?? wireTags(doc.excludeResourceTags),
  })
  const retention = input.RetentionPeriod ? checkRetention(row.resource_type, input.RetentionPeriod) : doc.retention
  refuseLocked(row.rule_id, doc, context.nowMs)
  refuseCrowdedTags(await otherRules(context, row.rule_id), ruleTags.resourceTags)
  const changed = { ...doc, ...ruleTags, retention, description: input.Description ?? doc.description }
  return ruleToWire(context, await saveRule(context, row, changed))
}

function wireTags(tags: readonly RuleTag[]): { ResourceTagKey: string; ResourceTagValue: string }[] {
  return tags.map(({ key, value }) => ({ ResourceTagKey: key, ResourceTagValue: value }))
}

async function otherRules(context: Context, ruleId: string): Promise<RecycleRuleDoc[]> {
  return (await rulesOfBin(context)).filter((row) => row.rule_id !== ruleId).map(recycleRuleDoc)
}

/**
 * DeleteRule: what it put into the bin stays there as long as it was told to.
 * https://docs.aws.amazon.com/recyclebin/latest/APIReference/API_DeleteRule.html
 *
 * @throws ApiError ConflictException for a locked rule.
 */
export async function deleteRule(context: Context, input: IdentifiedRequest): Promise<Record<string, never>> {
  const row = await findRule(context, input.Identifier)
  refuseLocked(row.rule_id, recycleRuleDoc(row), context.nowMs)
  await context.db.deleteFrom('recycle_rules').where('rule_id', '=', row.rule_id).execute()
  return {}
}
