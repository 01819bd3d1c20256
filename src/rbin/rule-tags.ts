import type { Context } from '../ec2/context.ts'
import { recycleRuleDoc } from '../model/recycle-rules.ts'
import { quotaExceeded } from './errors.ts'
import { findRuleByArn, saveRule } from './rule-rows.ts'
import { checkOwnTags } from './rule-values.ts'
import type { ResourceRequest, Tag, TagResourceRequest, UntagResourceRequest } from './types.ts'

/** Most tags of a rule. */
export const MAX_OWN_TAGS = 50

/**
 * TagResource: tags of a rule itself, which say nothing of what it keeps. A key that it has gets the new value.
 * https://docs.aws.amazon.com/recyclebin/latest/APIReference/API_TagResource.html
 */
export async function tagResource(context: Context, input: TagResourceRequest): Promise<Record<string, never>> {
  const row = await findRuleByArn(context, input.ResourceArn)
  const doc = recycleRuleDoc(row)
  const added = checkOwnTags(input.Tags ?? [])
  const kept = doc.tags.filter(({ key }) => !added.some((tag) => tag.key === key))
  const tags = [...kept, ...added]
  if (tags.length > MAX_OWN_TAGS) throw quotaExceeded(`A rule may have at most ${MAX_OWN_TAGS} tags.`)
  await saveRule(context, row, { ...doc, tags })
  return {}
}

/** UntagResource: a key that it does not have is none to remove. */
export async function untagResource(context: Context, input: UntagResourceRequest): Promise<Record<string, never>> {
  const row = await findRuleByArn(context, input.ResourceArn)
  const doc = recycleRuleDoc(row)
  const removed = new Set(input.TagKeys)
  await saveRule(context, row, { ...doc, tags: doc.tags.filter(({ key }) => !removed.has(key)) })
  return {}
}

/** ListTagsForResource. */
export async function listTagsForResource(context: Context, input: ResourceRequest): Promise<{ Tags: Tag[] }> {
  const { tags } = recycleRuleDoc(await findRuleByArn(context, input.ResourceArn))
  return { Tags: tags.map(({ key, value }) => ({ Key: key, Value: value })) }
}
