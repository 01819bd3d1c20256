import type { RecycledType } from '../model/recycle-rules.ts'

// Inputs and outputs as AWS's model of Recycle Bin has them; see scripts/generate-models.mjs for why no
// package has these types.

export interface ResourceTag {
  ResourceTagKey?: string
  ResourceTagValue?: string
}

export interface Tag {
  Key?: string
  Value?: string
}

export interface RetentionPeriod {
  RetentionPeriodValue?: number
  RetentionPeriodUnit?: string
}

export interface LockConfiguration {
  UnlockDelay?: { UnlockDelayValue?: number; UnlockDelayUnit?: string }
}

export type LockState = 'locked' | 'pending_unlock' | 'unlocked'

export interface CreateRuleRequest {
  RetentionPeriod?: RetentionPeriod
  ResourceType?: string
  Description?: string
  Tags?: Tag[]
  ResourceTags?: ResourceTag[]
  LockConfiguration?: LockConfiguration
  ExcludeResourceTags?: ResourceTag[]
}

export interface UpdateRuleRequest {
  Identifier?: string
  RetentionPeriod?: RetentionPeriod
  Description?: string
  ResourceType?: string
  ResourceTags?: ResourceTag[]
  ExcludeResourceTags?: ResourceTag[]
}

export interface IdentifiedRequest {
  Identifier?: string
}

export interface LockRuleRequest extends IdentifiedRequest {
  LockConfiguration?: LockConfiguration
}

export interface ListRulesRequest {
  ResourceType?: string
  MaxResults?: number
  NextToken?: string
  ResourceTags?: ResourceTag[]
  LockState?: string
  ExcludeResourceTags?: ResourceTag[]
}

export interface ResourceRequest {
  ResourceArn?: string
}

export interface TagResourceRequest extends ResourceRequest {
  Tags?: Tag[]
}

export interface UntagResourceRequest extends ResourceRequest {
  TagKeys?: string[]
}

/** What operations answer of a rule; each leaves some of it out. */
export interface Rule {
  Identifier: string
  Description?: string
  ResourceType: RecycledType
  RetentionPeriod: RetentionPeriod
  ResourceTags: ResourceTag[]
  ExcludeResourceTags: ResourceTag[]
  Status: string
  LockConfiguration?: LockConfiguration
  LockState?: LockState
  LockEndTime?: Date
  RuleArn: string
}

/** A rule in a list. */
export type RuleSummary = Pick<Rule, 'Identifier' | 'Description' | 'RetentionPeriod' | 'LockState' | 'RuleArn'>
