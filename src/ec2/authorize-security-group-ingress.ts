import type {
  AuthorizeSecurityGroupIngressRequest, AuthorizeSecurityGroupIngressResult, UserIdGroupPair,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { insertRule } from '../model/account.ts'
import { securityGroupRuleToWire } from '../model/security-group-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { SecurityGroupTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { requestedRules, type RequestedRule } from './ip-permissions.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'
import { requireDefaultVpc } from './security-groups.ts'
import { insertTags, parseTagSpecifications, toWireTags } from './tags.ts'

/**
 * Rules that a group may have in one direction. EC2 starts at 60 and raises it on request to at
 * most 1000; as nobody can be asked here, everyone has the 1000.
 */
export const MAX_RULES = 1000

/** A rule whose peer is a block or a group that exists. */
interface ResolvedRule extends Omit<RequestedRule, 'peer'> {
  /** The block, or the group's id. */
  peerKey: string
  cidr: string | undefined
  peerGroupId: string | undefined
}

/** AuthorizeSecurityGroupIngress: adds all the rules, or none when one of them cannot be. */
export async function authorizeSecurityGroupIngress(
  context: Context,
  input: AuthorizeSecurityGroupIngressRequest,
): Promise<AuthorizeSecurityGroupIngressResult> {
  const { db, account, random, region, nowMs } = context
  const tags = parseTagSpecifications(input.TagSpecifications, ['security-group-rule']).get('security-group-rule') ?? []
  const group = await findGroup(context, input)
  const requested = requestedRules(input)
  if (requested.length > MAX_RULES) throw tooManyRules()
  const rules: ResolvedRule[] = []
  for (const rule of requested) rules.push(await resolvePeer(context, group, rule))
  await refuseDuplicates(db, group.group_id, rules)

  const ruleIds: string[] = []
  for (const { protocol, fromPort, toPort, cidr, peerGroupId, description } of rules) {
    const ruleId = await insertRule(db, random, {
      accountId: account, groupId: group.group_id, isEgress: false, protocol, fromPort, toPort, description,
      ...(cidr === undefined ? {} : { cidr }),
      ...(peerGroupId === undefined ? {} : { peerGroupId }),
    })
    await insertTags(db, account, 'security-group-rule', ruleId, tags)
    ruleIds.push(ruleId)
  }
  await wakeVpc(db, group.vpc_id, nowMs)

  const rows = await inBatches(ruleIds, (batch) =>
    db.selectFrom('security_group_rules').selectAll().where('rule_id', 'in', batch).execute())
  const byId = new Map(rows.map((row) => [row.rule_id, row]))
  return {
    Return: true,
    SecurityGroupRules: ruleIds.flatMap((id) => {
      const row = byId.get(id)
      return row ? [securityGroupRuleToWire(row, toWireTags(tags), region)] : []
    }),
  }
}

/** The group that the call names: by id, or by name in the default VPC; both must mean the same. */
async function findGroup(
  context: Context,
  input: { GroupId?: string | undefined; GroupName?: string | undefined },
): Promise<SecurityGroupTable> {
  const { GroupId: id, GroupName: name } = input
  if (!id && !name) throw missingParameter('groupName or groupId')
  if (id) {
    const group = await groupById(context, id)
    if (name && group.name !== name) {
      throw new ApiError(
        'InvalidParameterValue',
        `The security group '${id}' is not called '${name}'; leave GroupName out.`,
      )
    }
    return group
  }
  const vpcId = await requireDefaultVpc(context)
  const group = await groupByName(context, vpcId, name ?? '')
  if (group) return group
  throw new ApiError('InvalidGroup.NotFound', `The security group '${name}' does not exist in default VPC '${vpcId}'`)
}

async function groupById({ db, account }: Context, id: string): Promise<SecurityGroupTable> {
  checkIds(RESOURCE_KINDS.securityGroup, [id])
  const group = await db
    .selectFrom('security_groups').selectAll()
    .where('account_id', '=', account).where('group_id', '=', id)
    .executeTakeFirst()
  if (!group) throw notFoundError(RESOURCE_KINDS.securityGroup, [id])
  return group
}

function groupByName({ db, account }: Context, vpcId: string, name: string): Promise<SecurityGroupTable | undefined> {
  return db
    .selectFrom('security_groups').selectAll()
    .where('account_id', '=', account).where('vpc_id', '=', vpcId).where('name_key', '=', name.toLowerCase())
    .executeTakeFirst()
}

async function resolvePeer(context: Context, group: SecurityGroupTable, rule: RequestedRule): Promise<ResolvedRule> {
  if ('cidr' in rule.peer) return { ...rule, cidr: rule.peer.cidr, peerGroupId: undefined, peerKey: rule.peer.cidr }
  const peer = await findPeer(context, group, rule.peer.group)
  return { ...rule, cidr: undefined, peerGroupId: peer.group_id, peerKey: peer.group_id }
}

async function findPeer(
  context: Context,
  group: SecurityGroupTable,
  pair: UserIdGroupPair,
): Promise<SecurityGroupTable> {
  const { GroupId: id, GroupName: name, UserId: owner } = pair
  // Groups of another account could be named over a peering connection only.
  if (owner && owner !== context.account) throw notFoundError(RESOURCE_KINDS.securityGroup, [id ?? name ?? ''])
  const peer = id ? await groupById(context, id) : await groupByName(context, group.vpc_id, name ?? '')
  if (!peer) {
    throw new ApiError('InvalidGroup.NotFound', `The security group '${name}' does not exist in VPC '${group.vpc_id}'`)
  }
  if (peer.vpc_id !== group.vpc_id || (pair.VpcId && pair.VpcId !== peer.vpc_id)) {
    throw new ApiError('InvalidGroup.NotFound', 'You have specified two resources that belong to different networks.')
  }
  return peer
}

/** Refuses rules that the call has twice or the group has already, whatever their descriptions. */
async function refuseDuplicates(db: Db, groupId: string, rules: readonly ResolvedRule[]): Promise<void> {
  const present = await db
    .selectFrom('security_group_rules').select(['protocol', 'from_port', 'to_port', 'peer_key'])
    .where('group_id', '=', groupId).where('is_egress', '=', 0)
    .execute()
  const known = new Set(present.map((row) => [row.protocol, row.from_port, row.to_port, row.peer_key].join()))
  const asked = new Set<string>()
  for (const rule of rules) {
    const key = [rule.protocol, rule.fromPort, rule.toPort, rule.peerKey].join()
    if (asked.has(key)) {
      throw new ApiError('InvalidParameterValue', 'The same permission must not appear multiple times')
    }
    if (known.has(key)) {
      throw new ApiError('InvalidPermission.Duplicate', `the specified rule "${describeRule(rule)}" already exists`)
    }
    asked.add(key)
  }
  if (known.size + asked.size > MAX_RULES) throw tooManyRules()
}

/** A rule as EC2's messages put it: peer: 0.0.0.0/0, TCP, from port: 22, to port: 22, ALLOW. */
function describeRule(rule: ResolvedRule): string {
  return `peer: ${rule.peerKey}, ${describeTraffic(rule)}, ALLOW`
}

function describeTraffic({ protocol, fromPort, toPort }: ResolvedRule): string {
  if (protocol === '-1') return 'ALL'
  if (protocol === 'icmp') return `ICMP, type: ${allOr(fromPort)}, code: ${allOr(toPort)}`
  if (protocol !== 'tcp' && protocol !== 'udp') return `protocol: ${protocol}`
  return `${protocol.toUpperCase()}, from port: ${fromPort}, to port: ${toPort}`
}

function allOr(value: number): string {
  return value === -1 ? 'ALL' : String(value)
}

function tooManyRules(): ApiError {
  return new ApiError(
    'RulesPerSecurityGroupLimitExceeded',
    `The maximum number of rules per security group has been reached: ${MAX_RULES}.`,
  )
}

/** Has every host on which the VPC has ports put its rules in force. */
async function wakeVpc(db: Db, vpcId: string, nowMs: number): Promise<void> {
  const hosts = await db
    .selectFrom('interfaces').select('host_id').distinct()
    .where('vpc_id', '=', vpcId).where('wanted', '=', 1)
    .execute()
  for (const { host_id: hostId } of hosts) {
    if (hostId !== null) await enqueue(db, { kind: 'vpc', id: vpcId, hostId }, nowMs)
  }
}
