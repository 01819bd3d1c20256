import type {
  CreateManagedPrefixListRequest, CreateManagedPrefixListResult, DeleteManagedPrefixListRequest,
  DeleteManagedPrefixListResult, DescribeManagedPrefixListsRequest, DescribeManagedPrefixListsResult, ManagedPrefixList,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { prefixListToWire } from '../model/prefix-list-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { PrefixListTable } from '../store/schema.ts'
import { claimToken, forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { compileFilters, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkEnum, missingParameter } from './parameters.ts'
import { changedEntries, checkEntryCount, insertVersion, MAX_LIST_ENTRIES } from './prefix-list-entries.ts'
import { findPrefixList } from './prefix-list-lookup.ts'
import { prefixListUsers } from './prefix-list-users.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { deleteTagsOf, insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'
import { checkQuota } from './vpc-lookup.ts'

/** Of an account: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html */
const MAX_LISTS = 100
const MAX_NAME_LENGTH = 255

/** Names of EC2's own lists begin like this. */
const RESERVED_NAMES = ['com.amazonaws.', 'com.amazon.', 'com.aws.']

/** How many users of a list a state message names. */
const NAMED_USERS = 10

/** CreateManagedPrefixList: a list of blocks of one family, at version 1. */
export async function createManagedPrefixList(
  context: Context,
  input: CreateManagedPrefixListRequest,
): Promise<CreateManagedPrefixListResult> {
  const { db, account, random, nowMs } = context
  const name = checkListName(input.PrefixListName)
  const family = checkEnum('AddressFamily', input.AddressFamily, ['IPv4', 'IPv6'])
  if (family === undefined) throw missingParameter('AddressFamily')
  const maxEntries = checkMaxEntries(input.MaxEntries)
  const tags = parseTagSpecifications(input.TagSpecifications, ['prefix-list']).get('prefix-list') ?? []
  const entries = changedEntries(family, new Map(), input.Entries ?? [], [])
  checkEntryCount(entries, maxEntries)
  const prefixListId = newId(random, 'pl')
  const earlier = await claimToken(context, 'CreateManagedPrefixList', input, prefixListId)
  if (!earlier) {
    await checkListCount(context)
    await db.insertInto('prefix_lists').values({
      prefix_list_id: prefixListId, account_id: account, name, address_family: family, max_entries: maxEntries, version: 1,
      state: 'create-complete', state_message: null, created_ms: nowMs,
    }).execute()
    await insertVersion(db, prefixListId, 1, entries)
    await insertTags(db, account, 'prefix-list', prefixListId, tags)
  }
  return { PrefixList: await loadList(context, await findPrefixList(context, earlier ?? prefixListId)) }
}

/** @throws ApiError InvalidParameterValue for a name that is too long or begins like those of EC2's own lists. */
export function checkListName(name: string | undefined): string {
  if (!name) throw missingParameter('PrefixListName')
  if (name.length > MAX_NAME_LENGTH) {
    throw new ApiError('InvalidParameterValue', `The prefix list name may have at most ${MAX_NAME_LENGTH} characters.`)
  }
  if (!RESERVED_NAMES.some((reserved) => name.startsWith(reserved))) return name
  throw new ApiError('InvalidParameterValue', `The prefix list name cannot begin with (${RESERVED_NAMES.join(', ')}).`)
}

/** @throws ApiError InvalidParameterValue for a size that no list can have. */
export function checkMaxEntries(maxEntries: number | undefined): number {
  if (maxEntries === undefined) throw missingParameter('MaxEntries')
  if (Number.isInteger(maxEntries) && maxEntries >= 1 && maxEntries <= MAX_LIST_ENTRIES) return maxEntries
  throw new ApiError('InvalidParameterValue', `Must specify a max size between 1 and ${MAX_LIST_ENTRIES}`)
}

async function checkListCount({ db, account }: Context): Promise<void> {
  const { count } = await db
    .selectFrom('prefix_lists').select((eb) => eb.fn.countAll<number>().as('count'))
    .where('account_id', '=', account).executeTakeFirstOrThrow()
  checkQuota(Number(count), MAX_LISTS, 'PrefixListLimitExceeded', 'The maximum number of prefix lists has been reached.')
}

/** The wire form of a list. */
export async function loadList({ db, region }: Context, row: PrefixListTable): Promise<ManagedPrefixList> {
  const tags = await tagsOf(db, [row.prefix_list_id])
  return prefixListToWire(row, toWireTags(tags.get(row.prefix_list_id)), region)
}

/**
 * DeleteManagedPrefixList: with all its versions. One that is named by a security group or a route
 * table stays, and says so in its state, as EC2's does: delete-failed.
 */
export async function deleteManagedPrefixList(
  context: Context,
  input: DeleteManagedPrefixListRequest,
): Promise<DeleteManagedPrefixListResult> {
  const { db } = context
  const row = await findPrefixList(context, input.PrefixListId)
  const id = row.prefix_list_id
  const users = await prefixListUsers(db, id)
  if (users.length > 0) {
    const message = `The prefix list is in use by: ${nameSome(users.map((user) => user.id))}`
    const failed = await updateList(context, row, { state: 'delete-failed', state_message: message })
    return { PrefixList: await loadList(context, failed) }
  }
  const list = await loadList(context, { ...row, state: 'delete-complete', state_message: null })
  await deleteTagsOf(db, [id])
  await forgetTokensOf(context, id)
  await db.deleteFrom('prefix_list_entries').where('prefix_list_id', '=', id).execute()
  await db.deleteFrom('prefix_lists').where('prefix_list_id', '=', id).execute()
  return { PrefixList: list }
}

/** Writes what has changed of a list, and answers the row as it is now. */
export async function updateList(
  { db }: Context,
  row: PrefixListTable,
  change: Partial<Pick<PrefixListTable, 'name' | 'max_entries' | 'version' | 'state' | 'state_message'>>,
): Promise<PrefixListTable> {
  await db.updateTable('prefix_lists').set(change).where('prefix_list_id', '=', row.prefix_list_id).execute()
  return { ...row, ...change }
}

/** The first ids of those that stand in the way of a change, as state messages name them. */
export function nameSome(ids: readonly string[]): string {
  return ids.slice(0, NAMED_USERS).join(', ')
}

const FILTERS: FilterFields<PrefixListTable> = {
  'owner-id': (row) => row.account_id,
  'prefix-list-id': (row) => row.prefix_list_id,
  'prefix-list-name': (row) => row.name,
}

/** DescribeManagedPrefixLists: those named, or all of the account, oldest first. EC2's own lists are not there. */
export async function describeManagedPrefixLists(
  { db, account, region }: Context,
  input: DescribeManagedPrefixListsRequest,
): Promise<DescribeManagedPrefixListsResult> {
  const ids = input.PrefixListIds ?? []
  checkIds(RESOURCE_KINDS.prefixList, ids)
  const query = db.selectFrom('prefix_lists').selectAll().where('account_id', '=', account)
  const rows = ids.length === 0
    ? await query.execute()
    : await inBatches(ids, (batch) => query.where('prefix_list_id', 'in', batch).execute())
  if (ids.length > 0) requireAll(RESOURCE_KINDS.prefixList, ids, new Set(rows.map((row) => row.prefix_list_id)))
  const tags = await tagsOf(db, rows.map((row) => row.prefix_list_id))
  const matches = compileFilters(input.Filters, FILTERS, (row) => tags.get(row.prefix_list_id) ?? [])
  const { page, nextToken } = paginate(rows.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    min: 1,
    max: 100,
    keyOf: (row) => timeKey(row.created_ms, row.prefix_list_id),
    operation: 'DescribeManagedPrefixLists',
  })
  return {
    PrefixLists: page.map((row) => prefixListToWire(row, toWireTags(tags.get(row.prefix_list_id)), region)),
    NextToken: nextToken,
  }
}
