import type {
  CreateSecurityGroupRequest, CreateSecurityGroupResult, DescribeSecurityGroupsRequest, DescribeSecurityGroupsResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { insertGroup, insertRule } from '../model/security-group.ts'
import {
  blocksOf, peerGroupOf, securityGroupArn, securityGroupToWire, wireProtocol, type ForeignPeers,
} from '../model/security-group-wire.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { SecurityGroupRuleTable, SecurityGroupTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, filterText, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { invalidValue, missingParameter } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { requireDefaultVpc } from './security-group-lookup.ts'
import { loadForeignPeers } from './security-group-peers.ts'
import { insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'
import { requireVpc } from './vpc-lookup.ts'

/** Longest name and description; both are of the same characters. */
const MAX_LENGTH = 255
/** Groups that an account may have: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html */
const MAX_GROUPS = 2500

const ALLOWED_CHARACTERS = /^[a-zA-Z0-9. _\-:/()#,@[\]+=&;{}!$*]*$/

/** CreateSecurityGroup: a group that lets everything out and nothing in. */
export async function createSecurityGroup(
  context: Context,
  input: CreateSecurityGroupRequest,
): Promise<CreateSecurityGroupResult> {
  const { db, account, random, region, nowMs } = context
  const name = checkGroupName(input.GroupName)
  const description = checkDescription(input.Description)
  const tags = parseTagSpecifications(input.TagSpecifications, ['security-group']).get('security-group') ?? []
  const vpcId = input.VpcId ? (await requireVpc(context, input.VpcId)).vpc_id : await requireDefaultVpc(context)
  const existing = await db
    .selectFrom('security_groups').select('group_id')
    .where('vpc_id', '=', vpcId).where('name_key', '=', name.toLowerCase())
    .executeTakeFirst()
  if (existing) {
    throw new ApiError('InvalidGroup.Duplicate', `The security group '${name}' already exists for VPC '${vpcId}'`)
  }
  await checkGroupCount(context)
  const groupId = newId(random, 'sg')
  await insertGroup(db, { groupId, accountId: account, vpcId, name, description, createdMs: nowMs })
  await insertRule(db, random, { accountId: account, groupId, isEgress: true, protocol: '-1', cidr: '0.0.0.0/0' })
  await insertTags(db, account, 'security-group', groupId, tags)
  return {
    GroupId: groupId,
    SecurityGroupArn: securityGroupArn({ account_id: account, group_id: groupId }, region),
    Tags: tags.length === 0 ? undefined : toWireTags(tags),
  }
}

async function checkGroupCount({ db, account }: Context): Promise<void> {
  const { count } = await db
    .selectFrom('security_groups').select((eb) => eb.fn.countAll<number>().as('count'))
    .where('account_id', '=', account)
    .executeTakeFirstOrThrow()
  if (count < MAX_GROUPS) return
  throw new ApiError(
    'SecurityGroupLimitExceeded',
    'The maximum number of security groups for this account has been reached.',
  )
}

function checkGroupName(name: string | undefined): string {
  if (!name) throw missingParameter('GroupName')
  if (name.length > MAX_LENGTH || !ALLOWED_CHARACTERS.test(name)) {
    throw new ApiError(
      'InvalidParameterValue',
      'Invalid security group name. Valid names are strings less than 256 characters from the following set:  ' +
        'a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*',
    )
  }
  if (/^sg-/i.test(name)) throw invalidValue('GroupName', name, 'Group names may not be in the format sg-*.')
  if (name.toLowerCase() === 'default') {
    throw new ApiError('InvalidParameterValue', `Cannot use reserved security group name: ${name}`)
  }
  if (name.trim() !== name) throw invalidValue('GroupName', name, 'It must not begin or end with a space.')
  return name
}

function checkDescription(description: string | undefined): string {
  if (!description) throw missingParameter('GroupDescription')
  if (description.length > MAX_LENGTH || !ALLOWED_CHARACTERS.test(description)) {
    throw new ApiError(
      'InvalidParameterValue',
      'Invalid security group description. Valid descriptions are strings less than 256 characters from the ' +
        'following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*',
    )
  }
  return description
}

/** A group with its rules, and the names of the groups that they refer to. */
interface GroupItem {
  row: SecurityGroupTable
  rules: SecurityGroupRuleTable[]
  nameOf: (groupId: string | null) => string | undefined
  foreign: ForeignPeers
}

/** Filters on the rules of one direction: each matches when any rule has the value. */
function ruleFilters(prefix: string, isEgress: number): FilterFields<GroupItem> {
  type Read = (rule: SecurityGroupRuleTable, item: GroupItem) => string | null | undefined
  const any = (read: Read) => (item: GroupItem) =>
    item.rules.filter((rule) => rule.is_egress === isEgress).map((rule) => read(rule, item) ?? undefined)
  return {
    [`${prefix}.cidr`]: any((rule) => blocksOf(rule).ipv4),
    [`${prefix}.ipv6-cidr`]: any((rule) => blocksOf(rule).ipv6),
    [`${prefix}.from-port`]: any((rule) => filterText(rule.from_port)),
    [`${prefix}.to-port`]: any((rule) => filterText(rule.to_port)),
    [`${prefix}.protocol`]: any((rule) => wireProtocol(rule.protocol)),
    [`${prefix}.group-id`]: any((rule) => peerGroupOf(rule)),
    [`${prefix}.group-name`]: any((rule, item) => item.nameOf(rule.peer_group_id)),
    [`${prefix}.user-id`]: any((rule, item) =>
      (peerGroupOf(rule) === null ? undefined : item.foreign.get(rule.rule_id)?.accountId ?? rule.account_id)),
    [`${prefix}.prefix-list-id`]: any((rule) => rule.prefix_list_id),
  }
}

const FILTERS: FilterFields<GroupItem> = {
  description: ({ row }) => row.description,
  'group-id': ({ row }) => row.group_id,
  'group-name': ({ row }) => row.name,
  'owner-id': ({ row }) => row.account_id,
  'vpc-id': ({ row }) => row.vpc_id,
  ...ruleFilters('ip-permission', 0),
  ...ruleFilters('egress.ip-permission', 1),
}

/** DescribeSecurityGroups: those named by id or (in the default VPC) by name, or all, oldest first. */
export async function describeSecurityGroups(
  context: Context,
  input: DescribeSecurityGroupsRequest,
): Promise<DescribeSecurityGroupsResult> {
  const { db, region } = context
  const rows = await chosenGroups(context, input)
  const groupIds = rows.map((row) => row.group_id)
  const rules = groupBy(
    await inBatches(groupIds, (batch) =>
      db.selectFrom('security_group_rules').selectAll().where('group_id', 'in', batch).execute()),
    (rule) => rule.group_id,
  )
  const names = await peerNames(context, [...rules.values()].flat())
  const foreign = await loadForeignPeers(db, [...rules.values()].flat())
  const tags = await tagsOf(db, groupIds)
  const nameOf = (groupId: string | null) => (groupId === null ? undefined : names.get(groupId))
  const items = rows.map((row): GroupItem => ({ row, rules: rules.get(row.group_id) ?? [], nameOf, foreign }))
  const matches = compileFilters(input.Filters, FILTERS, ({ row }) => tags.get(row.group_id) ?? [])
  const { page, nextToken } = paginate(items.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 1000,
    keyOf: ({ row }) => timeKey(row.created_ms, row.group_id),
    operation: 'DescribeSecurityGroups',
  })
  return {
    SecurityGroups: page.map(({ row, rules }) =>
      securityGroupToWire(row, rules, toWireTags(tags.get(row.group_id)), region, foreign)),
    NextToken: nextToken,
  }
}

async function chosenGroups(context: Context, input: DescribeSecurityGroupsRequest): Promise<SecurityGroupTable[]> {
  const { db, account } = context
  const ids = input.GroupIds ?? []
  const names = [...new Set(input.GroupNames ?? [])]
  checkIds(RESOURCE_KINDS.securityGroup, ids)
  const query = db.selectFrom('security_groups').selectAll().where('account_id', '=', account)
  if (ids.length === 0 && names.length === 0) {
    const groupIds = exactValues(input.Filters, 'group-id')
    const vpcIds = exactValues(input.Filters, 'vpc-id')
    if (groupIds) return inBatches(groupIds, (batch) => query.where('group_id', 'in', batch).execute())
    if (vpcIds) return inBatches(vpcIds, (batch) => query.where('vpc_id', 'in', batch).execute())
    return query.execute()
  }
  const byId = await inBatches(ids, (batch) => query.where('group_id', 'in', batch).execute())
  requireAll(RESOURCE_KINDS.securityGroup, ids, new Set(byId.map((row) => row.group_id)))
  if (names.length === 0) return byId
  const vpcId = await requireDefaultVpc(context)
  const byName = await inBatches(names, (batch) =>
    query.where('vpc_id', '=', vpcId).where('name', 'in', batch).execute())
  const missing = names.find((name) => !byName.some((row) => row.name === name))
  if (missing !== undefined) {
    throw new ApiError(
      'InvalidGroup.NotFound',
      `The security group '${missing}' does not exist in default VPC '${vpcId}'`,
    )
  }
  return [...new Map([...byId, ...byName].map((row) => [row.group_id, row])).values()]
}

/** Names of the groups that the rules refer to, by id. */
async function peerNames({ db }: Context, rules: readonly SecurityGroupRuleTable[]): Promise<Map<string, string>> {
  const peerIds = rules.flatMap((rule) => (rule.peer_group_id === null ? [] : [rule.peer_group_id]))
  const rows = await inBatches(peerIds, (batch) =>
    db.selectFrom('security_groups').select(['group_id', 'name']).where('group_id', 'in', batch).execute())
  return new Map(rows.map((row) => [row.group_id, row.name]))
}
