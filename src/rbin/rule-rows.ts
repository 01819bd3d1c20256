import type { Random } from '../core/random.ts'
import type { Context } from '../ec2/context.ts'
import {
  DAY_MS, RECYCLED_TYPES, recycleRuleDoc, type RecycledType, type RecycleRuleDoc, type RuleTag,
} from '../model/recycle-rules.ts'
import { Constraints } from '../protocol/constraints.ts'
import type { RecycleRuleTable } from '../store/schema.ts'
import { INVALID_VALUE, ruleNotFound, wrongRuleState } from './errors.ts'
import type { LockState, ResourceTag, Rule } from './types.ts'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const ID = '[0-9a-zA-Z]{11}'

export function newRuleId(random: Random): string {
  return Array.from({ length: 11 }, () => ALPHABET[random.int(ALPHABET.length)]).join('')
}

/** A rule that Recycle Bin knows. */
export type BinRule = RecycleRuleTable & { resource_type: RecycledType }

/** All rules of the account that Recycle Bin knows. */
export async function rulesOfBin({ db, account }: Pick<Context, 'db' | 'account'>): Promise<BinRule[]> {
  const rows = await db.selectFrom('recycle_rules').selectAll().where('account_id', '=', account).execute()
  return rows.filter(isOfBin)
}

function isOfBin(row: RecycleRuleTable): row is BinRule {
  return RECYCLED_TYPES.some((type) => type === row.resource_type)
}

/** The account's rule of that id. @throws ApiError ValidationException, ResourceNotFoundException. */
export async function findRule({ db, account }: Context, id = ''): Promise<BinRule> {
  new Constraints().text('identifier', id, { pattern: ID }).done('ValidationException', INVALID_VALUE)
  const row = await db
    .selectFrom('recycle_rules').selectAll().where('account_id', '=', account).where('rule_id', '=', id).executeTakeFirst()
  if (!row || !isOfBin(row)) throw ruleNotFound(id)
  return row
}

/** The account's rule of that ARN. */
export async function findRuleByArn(context: Context, arn = ''): Promise<BinRule> {
  const { account, region } = context
  const pattern = `arn:\\S+:rbin:[a-z\\-0-9]{0,63}:[0-9]{12}:rule/${ID}`
  new Constraints().text('resourceArn', arn, { max: 1011, pattern }).done('ValidationException', INVALID_VALUE)
  const id = arn.slice(arn.lastIndexOf('/') + 1)
  if (arn !== ruleArn(region, account, id)) throw ruleNotFound(id)
  return findRule(context, id)
}

export async function saveRule({ db }: Context, row: BinRule, doc: RecycleRuleDoc): Promise<BinRule> {
  const changed = { ...row, doc: JSON.stringify(doc) }
  await db.updateTable('recycle_rules').set({ doc: changed.doc }).where('rule_id', '=', row.rule_id).execute()
  return changed
}

/** Until when a rule that was unlocked stays as it is. */
function lockEndMs({ lock }: RecycleRuleDoc): number | undefined {
  return lock === null || lock.unlockedMs === null ? undefined : lock.unlockedMs + lock.unlockDelay.value * DAY_MS
}

/** Undefined for a rule that never was locked. */
export function lockStateOf(doc: RecycleRuleDoc, nowMs: number): LockState | undefined {
  if (doc.lock === null) return undefined
  if (doc.lock.isLocked) return 'locked'
  return nowMs < (lockEndMs(doc) ?? 0) ? 'pending_unlock' : 'unlocked'
}

/** Refuses to change or delete a rule that is locked, or was until lately. */
export function refuseLocked(ruleId: string, doc: RecycleRuleDoc, nowMs: number): void {
  const state = lockStateOf(doc, nowMs)
  if (state === 'locked') throw wrongRuleState(`Rule ${ruleId} is locked; unlock it first.`)
  if (state === 'pending_unlock') {
    const end = new Date(lockEndMs(doc) ?? 0).toISOString()
    throw wrongRuleState(`Rule ${ruleId} is within its unlock delay, which ends at ${end}.`)
  }
}

function ruleArn(region: string, account: string, ruleId: string): string {
  return `arn:aws:rbin:${region}:${account}:rule/${ruleId}`
}

/** A rule as operations answer it. Its lock configuration is told while it is locked or being unlocked. */
export function ruleToWire({ region, account, nowMs }: Context, row: BinRule): Rule {
  const doc = recycleRuleDoc(row)
  const { value, unit } = doc.retention
  const lockState = lockStateOf(doc, nowMs)
  const endMs = lockState === 'pending_unlock' ? lockEndMs(doc) : undefined
  const delay = lockState === 'unlocked' ? undefined : doc.lock?.unlockDelay
  return {
    Identifier: row.rule_id, ResourceType: row.resource_type, RuleArn: ruleArn(region, account, row.rule_id),
    RetentionPeriod: { RetentionPeriodValue: value, RetentionPeriodUnit: unit }, Status: doc.status,
    ResourceTags: doc.resourceTags.map(toWire), ExcludeResourceTags: doc.excludeResourceTags.map(toWire),
    ...(doc.description === '' ? {} : { Description: doc.description }),
    ...(lockState === undefined ? {} : { LockState: lockState }),
    ...(delay === undefined ? {} : {
      LockConfiguration: { UnlockDelay: { UnlockDelayValue: delay.value, UnlockDelayUnit: delay.unit } },
    }),
    ...(endMs === undefined ? {} : { LockEndTime: new Date(endMs) }),
  }
}

function toWire({ key, value }: RuleTag): ResourceTag {
  return { ResourceTagKey: key, ResourceTagValue: value }
}
