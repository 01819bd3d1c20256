import { mutation, query, type Operation } from '../ec2/operation.ts'
import { lockRule, unlockRule } from './lock-rule.ts'
import { listTagsForResource, tagResource, untagResource } from './rule-tags.ts'
import { createRule, deleteRule, getRule, listRules, updateRule } from './rules.ts'

/** The operations of Recycle Bin, by the name that calls use. */
export const operations: Record<string, Operation> = {
  CreateRule: mutation(createRule),
  DeleteRule: mutation(deleteRule),
  GetRule: query(getRule),
  ListRules: query(listRules),
  ListTagsForResource: query(listTagsForResource),
  LockRule: mutation(lockRule),
  TagResource: mutation(tagResource),
  UnlockRule: mutation(unlockRule),
  UntagResource: mutation(untagResource),
  UpdateRule: mutation(updateRule),
}
