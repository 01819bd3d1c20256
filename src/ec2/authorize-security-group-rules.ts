import type {
  AuthorizeSecurityGroupEgressRequest, AuthorizeSecurityGroupEgressResult, AuthorizeSecurityGroupIngressRequest,
  AuthorizeSecurityGroupIngressResult, TagSpecification,
} from '@aws-sdk/client-ec2'
import { newId } from '../core/ids.ts'
import { securityGroupRuleToWire } from '../model/security-group-wire.ts'
import type { SecurityGroupRuleTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { requestedEgressRules, requestedRules, type RequestedRule } from './ip-permissions.ts'
import { findGroup } from './security-group-lookup.ts'
import { loadForeignPeers, wakeRules } from './security-group-peers.ts'
import {
  checkNewRules, checkRuleCount, resolveRules, rulesInDirection, type Direction,
} from './security-group-rules.ts'
import { insertTags, parseTagSpecifications, toWireTags } from './tags.ts'

/** AuthorizeSecurityGroupIngress: adds all the rules, or none when one of them cannot be. */
export async function authorizeSecurityGroupIngress(
  context: Context,
  input: AuthorizeSecurityGroupIngressRequest,
): Promise<AuthorizeSecurityGroupIngressResult> {
  return authorize(context, input, 'ingress', requestedRules(input))
}

/** AuthorizeSecurityGroupEgress: adds all the rules, or none when one of them cannot be. */
export async function authorizeSecurityGroupEgress(
  context: Context,
  input: AuthorizeSecurityGroupEgressRequest,
): Promise<AuthorizeSecurityGroupEgressResult> {
  return authorize(context, input, 'egress', requestedEgressRules(input))
}

async function authorize(
  context: Context,
  input: { GroupId?: string | undefined; GroupName?: string; TagSpecifications?: TagSpecification[] },
  direction: Direction,
  requested: readonly RequestedRule[],
): Promise<AuthorizeSecurityGroupIngressResult> {
  const { db, account, random, region } = context
  const tags = parseTagSpecifications(input.TagSpecifications, ['security-group-rule']).get('security-group-rule') ?? []
  const group = await findGroup(context, input)
  checkRuleCount(requested)
  const rules = await resolveRules(context, group, requested)
  await checkNewRules(db, rules, await rulesInDirection(db, group.group_id, direction))
  const rows = rules.map((rule): SecurityGroupRuleTable => ({
    ...rule, rule_id: newId(random, 'sgr'), group_id: group.group_id, is_egress: direction === 'egress' ? 1 : 0,
  }))
  for (const row of rows) {
    await db.insertInto('security_group_rules').values(row).execute()
    await insertTags(db, account, 'security-group-rule', row.rule_id, tags)
  }
  await wakeRules(context, group)
  const foreign = await loadForeignPeers(db, rows)
  return {
    Return: true,
    SecurityGroupRules: rows.map((row) => securityGroupRuleToWire(row, toWireTags(tags), region, foreign)),
  }
}
