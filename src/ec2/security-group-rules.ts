import { ApiError } from '../core/errors.ts'
import { ICMPV6, isIpv6Block, peerGroupOf, wireProtocol, type RulePermission } from '../model/security-group-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { PrefixListTable, SecurityGroupRuleTable, SecurityGroupTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import type { RequestedRule } from './ip-permissions.ts'
import { unsupportedParameter } from './parameters.ts'
import { findPrefixList } from './prefix-list-lookup.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'
import { findPeerGroup } from './security-group-peers.ts'

/**
 * Rules that a group may have in one direction, for IPv4 and for IPv6 apart; a rule that names a group
 * counts for both, one that names a prefix list as many times as that may have entries: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
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
 * Looks up the groups that the rules name, in the VPC of `group` or in one that it has a peering with,
 * and their prefix lists. Of rules that are `present` the group may be out of reach by now: their
 * peering has ended.
 *
 * @throws ApiError InvalidGroup.NotFound, InvalidPrefixListID.NotFound; InvalidParameterValue when two of the rules are the same.
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
  if ('prefixListId' in peer) {
    const { prefix_list_id: id } = await findPrefixList(context, peer.prefixListId)
    return { ...common, cidr: null, peer_group_id: null, prefix_list_id: id, peer_key: id }
  }
  const known = present.find((rule) => rule.peer_key === peer.group.GroupId)
  if (known) return { ...common, cidr: null, peer_group_id: known.peer_group_id, prefix_list_id: null, peer_key: known.peer_key }
  const groupId = await findPeerGroup(context, group, peer.group)
  return { ...common, cidr: null, peer_group_id: groupId, prefix_list_id: null, peer_key: groupId }
}

/** What of prefix lists decides how rules that name them count. */
export type CountedList = Pick<PrefixListTable, 'address_family' | 'max_entries'>

/** The prefix lists that the rules name, by id. */
export async function loadLists(db: Db, rules: readonly RulePermission[]): Promise<Map<string, CountedList>> {
  const rows = await inBatches(rules.flatMap((rule) => rule.prefix_list_id ?? []), (batch) => db
    .selectFrom('prefix_lists').select(['prefix_list_id', 'address_family', 'max_entries'])
    .where('prefix_list_id', 'in', batch).execute())
  return new Map(rows.map((row) => [row.prefix_list_id, row]))
}

/** Whether the rules of one direction are more than a group may have. */
export function exceedsRules(rules: readonly RulePermission[], lists: ReadonlyMap<string, CountedList>): boolean {
  let ipv4 = 0
  let ipv6 = 0
  for (const rule of rules) {
    const list = lists.get(rule.prefix_list_id ?? '')
    const isIpv6 = list ? list.address_family === 'IPv6' : isIpv6Block(rule.cidr)
    const count = list?.max_entries ?? 1
    if (!isIpv6) ipv4 += count
    if (isIpv6 || peerGroupOf(rule) !== null) ipv6 += count
  }
  return Math.max(ipv4, ipv6) > MAX_RULES
}

/**
 * Checks that `rules` can join `present`, the other rules of their direction.
 *
 * @throws ApiError InvalidPermission.Duplicate, RulesPerSecurityGroupLimitExceeded, and
 *   UnsupportedOperation for what the network does not filter by.
 */
export async function checkNewRules(
  db: Db,
  rules: readonly RulePermission[],
  present: readonly RulePermission[],
): Promise<void> {
  const lists = await loadLists(db, [...present, ...rules])
  const known = new Set(present.map(ruleKey))
  for (const rule of rules) {
    refuseUnfilterable(rule, lists)
    if (known.has(ruleKey(rule))) {
      throw new ApiError('InvalidPermission.Duplicate', `the specified rule "${describeRule(rule)}" already exists`)
    }
    known.add(ruleKey(rule))
  }
  if (exceedsRules([...present, ...rules], lists)) throw tooManyRules()
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
function refuseUnfilterable(rule: RulePermission, lists: ReadonlyMap<string, CountedList>): void {
  const isIpv6 = isIpv6Block(rule.cidr) || lists.get(rule.prefix_list_id ?? '')?.address_family === 'IPv6'
  if (rule.protocol === ICMPV6 && !isIpv6) throw unsupportedParameter('IpProtocol=icmpv6 without Ipv6Ranges')
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
