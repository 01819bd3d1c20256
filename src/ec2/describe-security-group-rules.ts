import type { DescribeSecurityGroupRulesRequest, DescribeSecurityGroupRulesResult } from '@aws-sdk/client-ec2'
import { securityGroupRuleToWire } from '../model/security-group-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { SecurityGroupRuleTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues } from './filters.ts'
import { paginate } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { loadForeignPeers } from './security-group-peers.ts'
import { tagsOf, toWireTags } from './tags.ts'

/** DescribeSecurityGroupRules: those of the ids, or all of the account, by id. */
export async function describeSecurityGroupRules(
  context: Context,
  input: DescribeSecurityGroupRulesRequest,
): Promise<DescribeSecurityGroupRulesResult> {
  const rows = await chosenRules(context, input)
  const tags = await tagsOf(context.db, rows.map((row) => row.rule_id))
  const matches = compileFilters<SecurityGroupRuleTable>(
    input.Filters,
    { 'group-id': (row) => row.group_id, 'security-group-rule-id': (row) => row.rule_id },
    (row) => tags.get(row.rule_id) ?? [],
  )
  const { page, nextToken } = paginate(rows.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 1000,
    keyOf: (row) => row.rule_id,
    operation: 'DescribeSecurityGroupRules',
  })
  const foreign = await loadForeignPeers(context.db, page)
  return {
    SecurityGroupRules: page.map((row) =>
      securityGroupRuleToWire(row, toWireTags(tags.get(row.rule_id)), context.region, foreign)),
    NextToken: nextToken,
  }
}

async function chosenRules(
  { db, account }: Context,
  input: DescribeSecurityGroupRulesRequest,
): Promise<SecurityGroupRuleTable[]> {
  const ids = input.SecurityGroupRuleIds ?? []
  const query = db.selectFrom('security_group_rules').selectAll().where('account_id', '=', account)
  if (ids.length > 0) {
    checkIds(RESOURCE_KINDS.securityGroupRule, ids)
    const rows = await inBatches(ids, (batch) => query.where('rule_id', 'in', batch).execute())
    requireAll(RESOURCE_KINDS.securityGroupRule, ids, new Set(rows.map((row) => row.rule_id)))
    return rows
  }
  const groupIds = exactValues(input.Filters, 'group-id')
  return groupIds
    ? inBatches(groupIds, (batch) => query.where('group_id', 'in', batch).execute())
    : query.execute()
}
