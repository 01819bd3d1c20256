import { ApiError } from '../core/errors.ts'
import { ICMPV6, isIpv6Block, wireProtocol, type RulePermission } from '../model/security-group-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { SecurityGroupRuleTable, SecurityGroupTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import type { RequestedRule } from './ip-permissions.ts'
import { unsupportedParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'
import { findPeerGroup } from './security-group-peers.ts'

/**
 * Rules that a group may have in one direction, for IPv4 and for IPv6 apart; a rule that names a group
 * counts for both: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
 */
export const MAX_RULES = 60

export type Direction = 'ingress' | 'egress'

/** The group's rules of one direction. */
export function rulesInDirection(db: Db, groupId: string, direction: Direction): Promise<SecurityGroupRuleTable[]> {
  return db
    .selectFrom('security_group_rules').selectAll()
    .where('group_id', '=', groupId).where('is_egress', '=', direction === 'egress' ? 1 : 0)
    .execute()
}

/**
 * The group's rules of these ids, each once, in their order.
 *
 * @throws ApiError InvalidSecurityGroupRuleId.Malformed; InvalidSecurityGroupRuleId.NotFound for one
 *   that is not there, of another group or of the other direction.
 */
export async function rulesByIds(
  { db }: Context,
  group: SecurityGroupTable,
  ids: readonly string[],
  direction?: Direction,
): Promise<SecurityGroupRuleTable[]> {
  checkIds(RESOURCE_KINDS.securityGroupRule, ids)
  const rows = await inBatches(ids, (batch) =>
    db.selectFrom('security_group_rules').selectAll()
      .where('group_id', '=', group.group_id).where('rule_id', 'in', batch).execute())
  const isWanted = (row: SecurityGroupRuleTable) =>
    direction === undefined || (row.is_egress === 1) === (direction === 'egress')
  const byId = new Map(rows.filter(isWanted).map((row) => [row.rule_id, row]))
  return [...new Set(ids)].map((id) => {
    const row = byId.get(id)
    if (!row) throw notFoundError(RESOURCE_KINDS.securityGroupRule, [id])
    return row
  })
}

/** Two rules of a direction are the same when they differ in nothing but description and tags. */
export function ruleKey(rule: RulePermission): string {
  return [rule.protocol, rule.from_port, rule.to_port, rule.peer_key].join()
}

/**
 * Looks up the groups that the rules name, in the VPC of `group` or in one that it has a peering with.
 * Of rules that are `present` the group may be out of reach by now: their peering has ended.
 *
 * @throws ApiError InvalidGroup.NotFound; InvalidParameterValue when two of the rules are the same.
 */
export async function resolveRules(
  context: Context,
  group: SecurityGroupTable,
  requested: readonly RequestedRule[],
  present: readonly RulePermission[] = [],
): Promise<RulePermission[]> {
  const rules = new Map<string, RulePermission>()
  for (const request of requested) {
    const rule = await resolveRule(context, group, request, present)
    const key = ruleKey(rule)
    if (rules.has(key)) {
      throw new ApiError('InvalidParameterValue', 'The same permission must not appear multiple times')
    }
    rules.set(key, rule)
  }
  return [...rules.values()]
}

async function resolveRule(
  context: Context,
  group: SecurityGroupTable,
  { protocol, fromPort, toPort, peer, description }: RequestedRule,
  present: readonly RulePermission[],
): Promise<RulePermission> {
  const common = { account_id: context.account, protocol, from_port: fromPort, to_port: toPort, description }
  if ('cidr' in peer) return { ...common, cidr: peer.cidr, peer_group_id: null, prefix_list_id: null, peer_key: peer.cidr }
  if ('prefixListId' in peer) return { ...common, cidr: null, peer_group_id: null, prefix_list_id: peer.prefixListId, peer_key: peer.prefixListId }
  const known = present.find((rule) => rule.peer_key === peer.group.GroupId)
  if (known) return { ...common, cidr: null, peer_group_id: known.peer_group_id, prefix_list_id: null, peer_key: known.peer_key }
  const groupId = await findPeerGroup(context, group, peer.group)
  return { ...common, cidr: null, peer_group_id: groupId, prefix_list_id: null, peer_key: groupId }
}

/**
 * Checks that `rules` can join `present`, the other rules of their direction.
 *
 * @throws ApiError InvalidPermission.Duplicate, RulesPerSecurityGroupLimitExceeded, and
 *   UnsupportedOperation for what the network does not filter by.
 */
export function checkNewRules(rules: readonly RulePermission[], present: readonly RulePermission[]): void {
  const known = new Set(present.map(ruleKey))
  for (const rule of rules) {
    refuseUnfilterable(rule)
    if (known.has(ruleKey(rule))) {
      throw new ApiError('InvalidPermission.Duplicate', `the specified rule "${describeRule(rule)}" already exists`)
    }
    known.add(ruleKey(rule))
  }
  const all = [...present, ...rules]
  const ipv6 = all.filter((rule) => isIpv6Block(rule.cidr)).length
  const groups = all.filter((rule) => rule.cidr === null).length
  if (Math.max(all.length - ipv6, ipv6 + groups) > MAX_RULES) throw tooManyRules()
}

/** Refuses a call with more rules than any group could have, before anything is looked up for them. */
export function checkRuleCount(requested: readonly RequestedRule[]): void {
  if (requested.length > 2 * MAX_RULES) throw tooManyRules()
}

function tooManyRules(): ApiError {
  return new ApiError(
    'RulesPerSecurityGroupLimitExceeded',
    'The maximum number of rules per security group has been reached.',
  )
}

/** Blocks of IPv6 are fine: no VPC here has IPv6, so there is no packet that they would let pass. */
function refuseUnfilterable(rule: RulePermission): void {
  if (rule.cidr === null && rule.peer_group_id === null) throw unsupportedParameter('PrefixListIds')
  if (rule.protocol === ICMPV6 && !isIpv6Block(rule.cidr)) {
    throw unsupportedParameter('IpProtocol=icmpv6 without Ipv6Ranges')
  }
}

/** A rule as EC2's messages put it: peer: 0.0.0.0/0, TCP, from port: 22, to port: 22, ALLOW. */
function describeRule(rule: RulePermission): string {
  return `peer: ${rule.peer_key}, ${describeTraffic(rule)}, ALLOW`
}

function describeTraffic({ protocol, from_port: from, to_port: to }: RulePermission): string {
  if (protocol === '-1') return 'ALL'
  const name = wireProtocol(protocol).toUpperCase()
  if (protocol === 'icmp' || protocol === ICMPV6) return `${name}, type: ${allOr(from)}, code: ${allOr(to)}`
  if (protocol !== 'tcp' && protocol !== 'udp') return `protocol: ${protocol}`
  return `${name}, from port: ${from}, to port: ${to}`
}

function allOr(value: number): string {
  return value === -1 ? 'ALL' : String(value)
}

/** EC2's error for a rule, named by its properties, that the group has not. */
export function ruleNotFound(): ApiError {
  return new ApiError('InvalidPermission.NotFound', 'The specified rule does not exist in this security group.')
}
