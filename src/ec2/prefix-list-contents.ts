import type {
  DescribePrefixListsRequest, DescribePrefixListsResult, GetManagedPrefixListAssociationsRequest,
  GetManagedPrefixListAssociationsResult, GetManagedPrefixListEntriesRequest, GetManagedPrefixListEntriesResult, PrefixList,
} from '@aws-sdk/client-ec2'
import type { Context } from './context.ts'
import { compileFilters, type FilterFields } from './filters.ts'
import { paginate } from './pagination.ts'
import { checkVersion, loadEntries } from './prefix-list-entries.ts'
import { findPrefixList } from './prefix-list-lookup.ts'
import { prefixListUsers } from './prefix-list-users.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'

/** GetManagedPrefixListEntries: of the newest version, or of the one that is asked for, by block. */
export async function getManagedPrefixListEntries(
  context: Context,
  input: GetManagedPrefixListEntriesRequest,
): Promise<GetManagedPrefixListEntriesResult> {
  const row = await findPrefixList(context, input.PrefixListId)
  const version = input.TargetVersion ?? row.version
  checkVersion(row, version)
  const entries = await loadEntries(context.db, row.prefix_list_id, version)
  const { page, nextToken } = paginate([...entries], {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, max: 100,
    keyOf: ([cidr]) => cidr, operation: 'GetManagedPrefixListEntries',
  })
  return {
    Entries: page.map(([cidr, description]) => ({ Cidr: cidr, Description: description ?? undefined })), NextToken: nextToken,
  }
}

/** GetManagedPrefixListAssociations: the security groups and route tables that name the list. */
export async function getManagedPrefixListAssociations(
  context: Context,
  input: GetManagedPrefixListAssociationsRequest,
): Promise<GetManagedPrefixListAssociationsResult> {
  const row = await findPrefixList(context, input.PrefixListId)
  const { page, nextToken } = paginate(await prefixListUsers(context.db, row.prefix_list_id), {
    maxResults: input.MaxResults, nextToken: input.NextToken, max: 255,
    keyOf: (user) => user.id, operation: 'GetManagedPrefixListAssociations',
  })
  return {
    PrefixListAssociations: page.map((user) => ({ ResourceId: user.id, ResourceOwner: user.accountId })), NextToken: nextToken,
  }
}

const FILTERS: FilterFields<PrefixList> = {
  'prefix-list-id': (list) => list.PrefixListId,
  'prefix-list-name': (list) => list.PrefixListName,
}

/** DescribePrefixLists: those of the services that gateway endpoints reach. There are none here, and so no lists. */
export async function describePrefixLists(
  _context: Context,
  input: DescribePrefixListsRequest,
): Promise<DescribePrefixListsResult> {
  const ids = input.PrefixListIds ?? []
  checkIds(RESOURCE_KINDS.prefixList, ids)
  requireAll(RESOURCE_KINDS.prefixList, ids, new Set())
  const none: PrefixList[] = []
  const { page } = paginate(none.filter(compileFilters(input.Filters, FILTERS)), {
    maxResults: input.MaxResults, nextToken: input.NextToken,
    keyOf: (list) => list.PrefixListId ?? '', operation: 'DescribePrefixLists',
  })
  return { PrefixLists: page }
}
