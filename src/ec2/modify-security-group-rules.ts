import type {
  IpPermission, ModifySecurityGroupRulesRequest, ModifySecurityGroupRulesResult, SecurityGroupRuleRequest,
  UpdateSecurityGroupRuleDescriptionsEgressRequest, UpdateSecurityGroupRuleDescriptionsEgressResult,
  UpdateSecurityGroupRuleDescriptionsIngressRequest, UpdateSecurityGroupRuleDescriptionsIngressResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { RulePermission } from '../model/security-group-wire.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { SecurityGroupRuleTable, SecurityGroupTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { combination, descriptionOf, requestedRules } from './ip-permissions.ts'
import { missingParameter } from './parameters.ts'
import { findGroup } from './security-group-lookup.ts'
import { wakeRules } from './security-group-peers.ts'
import {
  checkNewRules, resolveRules, ruleKey, ruleNotFound, rulesByIds, rulesInDirection, type Direction,
} from './security-group-rules.ts'

/**
 * ModifySecurityGroupRules: puts another rule under each of the ids, or none when one of them cannot
 * be. Ids, directions and tags stay; a description that is left out goes.
 */
export async function modifySecurityGroupRules(
  context: Context,
  input: ModifySecurityGroupRulesRequest,
): Promise<ModifySecurityGroupRulesResult> {
  const { db } = context
  if (!input.GroupId) throw missingParameter('GroupId')
  const group = await findGroup(context, input)
  const updates = input.SecurityGroupRules ?? []
  if (updates.length === 0) throw missingParameter('SecurityGroupRule')
  const ids = updates.map((update) => update.SecurityGroupRuleId ?? '')
  if (new Set(ids).size < ids.length) {
    throw new ApiError('InvalidParameterValue', 'The same security group rule must not appear multiple times')
  }
  const rows = await rulesByIds(context, group, ids)
  const changed: SecurityGroupRuleTable[] = []
  for (const [index, row] of rows.entries()) {
    changed.push({ ...row, ...(await requestedChange(context, group, row, updates[index]?.SecurityGroupRule)) })
  }
  for (const [isEgress, rules] of groupBy(changed, (row) => row.is_egress)) {
    const present = await rulesInDirection(db, group.group_id, isEgress === 1 ? 'egress' : 'ingress')
    await checkNewRules(db, rules, present.filter((row) => !ids.includes(row.rule_id)))
  }
  // First all out, then all in: two rules may change places.
  await inBatches(ids, (batch) => db.deleteFrom('security_group_rules').where('rule_id', 'in', batch).execute())
  for (const row of changed) await db.insertInto('security_group_rules').values(row).execute()
  await wakeRules(context, group)
  return { Return: true }
}

/** A change may name the group of the rule as it is, though another account's cannot be named by its id alone. */
async function requestedChange(
  context: Context,
  group: SecurityGroupTable,
  row: SecurityGroupRuleTable,
  request: SecurityGroupRuleRequest | undefined,
): Promise<RulePermission> {
  if (!request) throw missingParameter('SecurityGroupRule')
  const { CidrIpv4, CidrIpv6, PrefixListId, ReferencedGroupId, Description } = request
  const permission: IpPermission = {
    IpProtocol: request.IpProtocol, FromPort: request.FromPort, ToPort: request.ToPort,
    IpRanges: CidrIpv4 ? [{ CidrIp: CidrIpv4, Description }] : [],
    Ipv6Ranges: CidrIpv6 ? [{ CidrIpv6, Description }] : [],
    PrefixListIds: PrefixListId ? [{ PrefixListId, Description }] : [],
    UserIdGroupPairs: ReferencedGroupId ? [{ GroupId: ReferencedGroupId, Description }] : [],
  }
  const [rule, ...others] = await resolveRules(context, group, requestedRules({ IpPermissions: [permission] }), [row])
  if (!rule || others.length > 0) {
    throw new ApiError(
      'InvalidParameterCombination',
      'A security group rule has exactly one of CidrIpv4, CidrIpv6, PrefixListId and ReferencedGroupId',
    )
  }
  return rule
}

/**
 * UpdateSecurityGroupRuleDescriptionsIngress: changes descriptions of rules that are named by their
 * properties or by their ids; one that is left out goes.
 */
export async function updateSecurityGroupRuleDescriptionsIngress(
  context: Context,
  input: UpdateSecurityGroupRuleDescriptionsIngressRequest,
): Promise<UpdateSecurityGroupRuleDescriptionsIngressResult> {
  return updateDescriptions(context, input, 'ingress')
}

/** UpdateSecurityGroupRuleDescriptionsEgress: as for ingress. */
export async function updateSecurityGroupRuleDescriptionsEgress(
  context: Context,
  input: UpdateSecurityGroupRuleDescriptionsEgressRequest,
): Promise<UpdateSecurityGroupRuleDescriptionsEgressResult> {
  return updateDescriptions(context, input, 'egress')
}

async function updateDescriptions(
  context: Context,
  input: UpdateSecurityGroupRuleDescriptionsIngressRequest,
  direction: Direction,
): Promise<{ Return: boolean }> {
  const group = await findGroup(context, input)
  for (const [ruleId, description] of await requestedDescriptions(context, group, input, direction)) {
    await context.db
      .updateTable('security_group_rules').set({ description }).where('rule_id', '=', ruleId).execute()
  }
  return { Return: true }
}

/** The new descriptions, by rule id. */
async function requestedDescriptions(
  context: Context,
  group: SecurityGroupTable,
  input: UpdateSecurityGroupRuleDescriptionsIngressRequest,
  direction: Direction,
): Promise<Map<string, string | null>> {
  const byId = input.SecurityGroupRuleDescriptions ?? []
  const permissions = input.IpPermissions ?? []
  if (byId.length > 0 && permissions.length > 0) throw combination('ipPermissions', 'securityGroupRuleDescriptions')
  if (byId.length > 0) {
    await rulesByIds(context, group, byId.map((each) => each.SecurityGroupRuleId ?? ''), direction)
    return new Map(byId.map((each) => [each.SecurityGroupRuleId ?? '', descriptionOf(each.Description)]))
  }
  const present = await rulesInDirection(context.db, group.group_id, direction)
  const rules = await resolveRules(context, group, requestedRules({ IpPermissions: permissions }), present)
  const ids = new Map(present.map((row) => [ruleKey(row), row.rule_id]))
  return new Map(rules.map((rule) => {
    const id = ids.get(ruleKey(rule))
    if (id === undefined) throw ruleNotFound()
    return [id, rule.description]
  }))
}
