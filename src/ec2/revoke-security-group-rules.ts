import type {
  RevokeSecurityGroupEgressRequest, RevokeSecurityGroupEgressResult, RevokeSecurityGroupIngressRequest,
  RevokeSecurityGroupIngressResult,
} from '@aws-sdk/client-ec2'
import { permissionsToWire, revokedRuleToWire, type RulePermission } from '../model/security-group-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { SecurityGroupRuleTable, SecurityGroupTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { combination, namesProperties, requestedEgressRules, requestedRules } from './ip-permissions.ts'
import { findGroup, isDefaultVpc } from './security-group-lookup.ts'
import { wakeRules } from './security-group-peers.ts'
import {
  resolveRules, ruleKey, ruleNotFound, rulesByIds, rulesInDirection, type Direction,
} from './security-group-rules.ts'
import { deleteTagsOf } from './tags.ts'

/**
 * RevokeSecurityGroupIngress: removes rules by their ids or by their properties. Of properties that
 * no rule has, a group in the default VPC says so in its answer; in another VPC nothing of the call
 * is done (documented at the operation).
 */
export async function revokeSecurityGroupIngress(
  context: Context,
  input: RevokeSecurityGroupIngressRequest,
): Promise<RevokeSecurityGroupIngressResult> {
  return revoke(context, input, 'ingress')
}

/** RevokeSecurityGroupEgress: as RevokeSecurityGroupIngress, for egress rules. */
export async function revokeSecurityGroupEgress(
  context: Context,
  input: RevokeSecurityGroupEgressRequest,
): Promise<RevokeSecurityGroupEgressResult> {
  return revoke(context, input, 'egress')
}

async function revoke(
  context: Context,
  input: RevokeSecurityGroupIngressRequest,
  direction: Direction,
): Promise<RevokeSecurityGroupIngressResult> {
  const { db } = context
  const group = await findGroup(context, input)
  const { rows, unknown } = await chosenRules(context, group, input, direction)
  const ids = rows.map((row) => row.rule_id)
  await deleteTagsOf(db, ids)
  await inBatches(ids, (batch) => db.deleteFrom('security_group_rules').where('rule_id', 'in', batch).execute())
  if (rows.length > 0) await wakeRules(context, group)
  return {
    Return: true,
    UnknownIpPermissions: unknown.length === 0 ? undefined : permissionsToWire(unknown),
    RevokedSecurityGroupRules: rows.map(revokedRuleToWire),
  }
}

/** The rules that the call means, and what it asks for that the group has not. */
async function chosenRules(
  context: Context,
  group: SecurityGroupTable,
  input: RevokeSecurityGroupIngressRequest,
  direction: Direction,
): Promise<{ rows: SecurityGroupRuleTable[]; unknown: RulePermission[] }> {
  const ids = input.SecurityGroupRuleIds ?? []
  if (ids.length > 0) {
    if (namesProperties(input)) throw combination('securityGroupRuleIds', 'ipPermissions')
    return { rows: await rulesByIds(context, group, ids, direction), unknown: [] }
  }
  const requested = direction === 'egress' ? requestedEgressRules(input) : requestedRules(input)
  const present = await rulesInDirection(context.db, group.group_id, direction)
  const rules = await resolveRules(context, group, requested, present)
  const byKey = new Map(present.map((row) => [ruleKey(row), row]))
  const unknown = rules.filter((rule) => !byKey.has(ruleKey(rule)))
  if (unknown.length > 0 && !(await isDefaultVpc(context, group.vpc_id))) throw ruleNotFound()
  return { rows: rules.flatMap((rule) => byKey.get(ruleKey(rule)) ?? []), unknown }
}
