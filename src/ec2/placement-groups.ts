import type {
  CreatePlacementGroupRequest, CreatePlacementGroupResult, DeletePlacementGroupRequest, DescribePlacementGroupsRequest,
  DescribePlacementGroupsResult, PlacementGroup,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { placementGroupToWire } from '../model/placement-group-wire.ts'
import type { PlacementGroupTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters } from './filters.ts'
import { checkEnum, invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { findPlacementGroup, unknownGroup } from './placement-group-rows.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { deleteTagsOf, fromWireTags, insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'
import { checkQuota } from './vpc-lookup.ts'

/** Of an account in a region: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/limitations-placement-groups.html */
const MAX_GROUPS = 500
const MAX_NAME_LENGTH = 255
/** In a zone, says the same page; DEFAULT is what the console and EC2's clients take. */
const MAX_PARTITIONS = 7
const DEFAULT_PARTITIONS = 2

/** CreatePlacementGroup: available at once, empty. Partitions get hosts as instances are launched into them. */
export async function createPlacementGroup(
  context: Context,
  input: CreatePlacementGroupRequest,
): Promise<CreatePlacementGroupResult> {
  refuseParameters(input, ['LinkedGroupId', 'ParentGroupId', 'Operator'])
  const { db, account, random, nowMs } = context
  const name = checkName(input.GroupName)
  const strategy = checkStrategy(input.Strategy)
  checkSpreadLevel(input.SpreadLevel, strategy)
  const tags = parseTagSpecifications(input.TagSpecifications, ['placement-group']).get('placement-group') ?? []
  const existing = await db.selectFrom('placement_groups').select('name').where('account_id', '=', account).execute()
  if (existing.some((each) => each.name === name)) {
    throw new ApiError('InvalidPlacementGroup.Duplicate', `The placement group '${name}' already exists.`)
  }
  checkQuota(existing.length, MAX_GROUPS, 'PlacementGroupLimitExceeded', `You may have at most ${MAX_GROUPS} placement groups.`)
  const row: PlacementGroupTable = {
    group_id: newId(random, 'pg'), account_id: account, name, strategy, partition_count: partitionCount(input.PartitionCount, strategy),
    created_ms: nowMs, doc: '{}',
  }
  await db.insertInto('placement_groups').values(row).execute()
  await insertTags(db, account, 'placement-group', row.group_id, tags)
  return { PlacementGroup: placementGroupToWire(row, context.region, toWireTags(tags)) }
}

function checkName(name: string | undefined): string {
  if (!name) throw missingParameter('groupName')
  if (name.length <= MAX_NAME_LENGTH && /^[\x20-\x7e]+$/.test(name) && name.trim() === name) return name
  throw invalidValue('groupName', name, `It may have up to ${MAX_NAME_LENGTH} ASCII characters, and no spaces at its ends.`)
}

function checkStrategy(asked: string | undefined): PlacementGroupTable['strategy'] {
  const strategy = checkEnum('strategy', asked, ['cluster', 'spread', 'partition', 'precision-time'])
  if (strategy === undefined) throw missingParameter('strategy')
  if (strategy === 'precision-time') throw unsupportedParameter('Strategy=precision-time')
  return strategy
}

/** On hosts rather than racks EC2 spreads on Outposts only, which there are none of. */
function checkSpreadLevel(asked: string | undefined, strategy: PlacementGroupTable['strategy']): void {
  const level = checkEnum('spreadLevel', asked, ['host', 'rack'])
  if (level === undefined) return
  if (strategy !== 'spread') throw onlyWith('spreadLevel', 'spread')
  if (level === 'host') throw unsupportedParameter('SpreadLevel=host')
}

function partitionCount(asked: number | undefined, strategy: PlacementGroupTable['strategy']): number {
  if (strategy !== 'partition') {
    if (asked !== undefined) throw onlyWith('partitionCount', 'partition')
    return 0
  }
  const count = asked ?? DEFAULT_PARTITIONS
  if (count >= 1 && count <= MAX_PARTITIONS) return count
  throw invalidValue('partitionCount', count, `It must be between 1 and ${MAX_PARTITIONS}.`)
}

function onlyWith(parameter: string, strategy: string): ApiError {
  return new ApiError('InvalidParameterCombination', `The parameter ${parameter} can only be used with the strategy '${strategy}'.`)
}

/** DeletePlacementGroup: by its name, once all of its instances are terminated or elsewhere. */
export async function deletePlacementGroup(context: Context, input: DeletePlacementGroupRequest): Promise<Record<string, never>> {
  const { db } = context
  const group = await findPlacementGroup(context, { GroupName: input.GroupName })
  if (!group) throw missingParameter('groupName')
  const member = await db
    .selectFrom('instances').select('instance_id').where('placement_group_id', '=', group.group_id).where('state', '<>', 'terminated')
    .executeTakeFirst()
  if (member) {
    throw new ApiError('InvalidPlacementGroup.InUse', `The placement group '${group.name}' is in use and may not be deleted.`)
  }
  await deleteTagsOf(db, [group.group_id])
  await db.deleteFrom('placement_groups').where('group_id', '=', group.group_id).execute()
  return {}
}

/** DescribePlacementGroups: those named, or all of the account, by name. EC2 has no pages of them. */
export async function describePlacementGroups(
  { db, account, region }: Context,
  input: DescribePlacementGroupsRequest,
): Promise<DescribePlacementGroupsResult> {
  const ids = input.GroupIds ?? []
  const names = input.GroupNames ?? []
  checkIds(RESOURCE_KINDS.placementGroup, ids)
  const all = await db.selectFrom('placement_groups').selectAll().where('account_id', '=', account).orderBy('name').execute()
  const missing = names.find((name) => !all.some((row) => row.name === name))
  if (missing !== undefined) throw unknownGroup(missing)
  requireAll(RESOURCE_KINDS.placementGroup, ids, new Set(all.map((row) => row.group_id)))
  const wanted = all.filter((row) => ids.length + names.length === 0 || ids.includes(row.group_id) || names.includes(row.name))
  const tags = await tagsOf(db, wanted.map((row) => row.group_id))
  const matches = compileFilters<PlacementGroup>(input.Filters, {
    'group-arn': (group) => group.GroupArn,
    'group-name': (group) => group.GroupName,
    'spread-level': (group) => group.SpreadLevel,
    state: (group) => group.State,
    strategy: (group) => group.Strategy,
  }, (group) => fromWireTags(group.Tags))
  return {
    PlacementGroups: wanted.map((row) => placementGroupToWire(row, region, toWireTags(tags.get(row.group_id)))).filter(matches),
  }
}
