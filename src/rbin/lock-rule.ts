import type { Context } from '../ec2/context.ts'
import { recycleRuleDoc } from '../model/recycle-rules.ts'
import { invalidParameter, wrongRuleState } from './errors.ts'
import { findRule, lockStateOf, ruleToWire, saveRule } from './rule-rows.ts'
import { checkUnlockDelay } from './rule-values.ts'
import { refuseUnlockable } from './rules.ts'
import type { IdentifiedRequest, LockRuleRequest, Rule } from './types.ts'

/**
 * LockRule: nobody changes or deletes the rule until its unlock delay after UnlockRule is over. During
 * that delay it may be locked again, with the same delay: nothing shortens it.
 * https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-lock.html
 *
 * @throws ApiError ConflictException for one that is locked, ValidationException for one with tags.
 */
export async function lockRule(context: Context, input: LockRuleRequest): Promise<Rule> {
  const row = await findRule(context, input.Identifier)
  const doc = recycleRuleDoc(row)
  const unlockDelay = checkUnlockDelay(input.LockConfiguration)
  refuseUnlockable(doc)
  const state = lockStateOf(doc, context.nowMs)
  if (state === 'locked') throw wrongRuleState(`Rule ${row.rule_id} is locked already.`)
  if (state === 'pending_unlock' && doc.lock?.unlockDelay.value !== unlockDelay.value) {
    throw invalidParameter('The unlock delay cannot be changed before it has expired.')
  }
  return ruleToWire(context, await saveRule(context, row, { ...doc, lock: { unlockDelay, isLocked: true, unlockedMs: null } }))
}

/**
 * UnlockRule: the unlock delay begins.
 * https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-unlock.html
 *
 * @throws ApiError ConflictException for one that is not locked.
 */
export async function unlockRule(context: Context, input: IdentifiedRequest): Promise<Rule> {
  const row = await findRule(context, input.Identifier)
  const doc = recycleRuleDoc(row)
  if (!doc.lock?.isLocked) throw wrongRuleState(`Rule ${row.rule_id} is not locked.`)
  const lock = { ...doc.lock, isLocked: false, unlockedMs: context.nowMs }
  return ruleToWire(context, await saveRule(context, row, { ...doc, lock }))
}
