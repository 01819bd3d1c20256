import { RECYCLED_TYPES, type RecycledType, type RecycleRuleDoc, type RuleTag } from '../model/recycle-rules.ts'
import { Constraints } from '../protocol/constraints.ts'
import { INVALID_VALUE, invalidParameter } from './errors.ts'
import type { LockConfiguration, ResourceTag, RetentionPeriod, Tag } from './types.ts'

// Checks of the values in requests, in the words of AWS's model and the limits of its service:
// https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-create-rule.html

/** Longest retention of each type, days. */
const MAX_RETENTION_DAYS: Record<RecycledType, number> = { EBS_VOLUME: 7, EBS_SNAPSHOT: 365, EC2_IMAGE: 365 }
const MAX_RESOURCE_TAGS = 50
const MAX_EXCLUDE_TAGS = 5
const TAG_TEXT = '[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*'

/** One of an enumeration of AWS's model. */
export function checkEnum<T extends string>(name: string, value: string | undefined, allowed: readonly T[]): T {
  const constraints = new Constraints().text(name, value ?? '', { oneOf: allowed })
  constraints.done('ValidationException', INVALID_VALUE)
  return value as T
}

export function checkResourceType(type: string | undefined): RecycledType {
  return checkEnum('resourceType', type, RECYCLED_TYPES)
}

/** How long a rule keeps what is of that type. */
export function checkRetention(type: RecycledType, period: RetentionPeriod | undefined): RecycleRuleDoc['retention'] {
  const { RetentionPeriodValue: value = 0, RetentionPeriodUnit } = period ?? {}
  const unit = checkEnum('retentionPeriod.retentionPeriodUnit', RetentionPeriodUnit, ['DAYS'] as const)
  new Constraints()
    .range('retentionPeriod.retentionPeriodValue', value, 1, MAX_RETENTION_DAYS[type])
    .done('ValidationException', INVALID_VALUE)
  return { value, unit }
}

export function checkDescription(description: string | undefined): void {
  new Constraints().text('description', description, { pattern: '[\\S ]{0,255}' }).done('ValidationException', INVALID_VALUE)
}

/** The tags that a rule goes by: at most fifty, and five that exclude. */
export function checkRuleTags(given: {
  resourceTags: readonly ResourceTag[]
  excludeResourceTags: readonly ResourceTag[]
}): Pick<RecycleRuleDoc, 'resourceTags' | 'excludeResourceTags'> {
  const resourceTags = checkTagList('resourceTags', given.resourceTags, MAX_RESOURCE_TAGS)
  const excludeResourceTags = checkTagList('excludeResourceTags', given.excludeResourceTags, MAX_EXCLUDE_TAGS)
  if (resourceTags.length > 0 && excludeResourceTags.length > 0) {
    throw invalidParameter('Exclusion tags cannot be specified for tag-level retention rules.')
  }
  return { resourceTags, excludeResourceTags }
}

/** Tags in a request, a missing value as the empty one. */
export function checkTagList(name: string, tags: readonly ResourceTag[], max: number): RuleTag[] {
  const constraints = new Constraints().count(name, tags, 0, max)
  const checked = tags.map(({ ResourceTagKey: key = '', ResourceTagValue: value = '' }, index) => {
    constraints.text(`${name}.${index + 1}.member.resourceTagKey`, key, { pattern: '[\\S\\s]{1,128}' })
    constraints.text(`${name}.${index + 1}.member.resourceTagValue`, value, { pattern: '[\\S\\s]{0,256}' })
    return { key, value }
  })
  constraints.done('ValidationException', INVALID_VALUE)
  const seen = new Set<string>()
  for (const tag of checked) {
    const text = JSON.stringify(tag)
    if (seen.has(text)) throw invalidParameter(`The tag ${tag.key}=${tag.value} is specified more than once in ${name}.`)
    seen.add(text)
  }
  return checked
}

/** The tags of a rule itself. */
export function checkOwnTags(tags: readonly Tag[]): RuleTag[] {
  const constraints = new Constraints().count('tags', tags, 0, 200)
  const checked = tags.map(({ Key: key = '', Value: value = '' }, index) => {
    constraints.text(`tags.${index + 1}.member.key`, key, { min: 1, max: 128, pattern: TAG_TEXT })
    constraints.text(`tags.${index + 1}.member.value`, value, { max: 256, pattern: TAG_TEXT })
    return { key, value }
  })
  constraints.done('ValidationException', INVALID_VALUE)
  const reserved = checked.find(({ key }) => key.toLowerCase().startsWith('aws:'))
  if (reserved) throw invalidParameter(`Tag keys that begin with aws: are reserved; ${reserved.key} cannot be used.`)
  const keys = new Set(checked.map(({ key }) => key))
  if (keys.size < checked.length) throw invalidParameter('A tag key is specified more than once.')
  return checked
}

/** How long a rule stays locked after it was unlocked. */
export function checkUnlockDelay(configuration: LockConfiguration | undefined): { value: number; unit: 'DAYS' } {
  const { UnlockDelayValue: value = 0, UnlockDelayUnit } = configuration?.UnlockDelay ?? {}
  const unit = checkEnum('lockConfiguration.unlockDelay.unlockDelayUnit', UnlockDelayUnit, ['DAYS'] as const)
  new Constraints()
    .range('lockConfiguration.unlockDelay.unlockDelayValue', value, 7, 30)
    .done('ValidationException', INVALID_VALUE)
  return { value, unit }
}
