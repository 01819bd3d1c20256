import type { PrefixListTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'

/** @throws ApiError InvalidPrefixListId.Malformed, InvalidPrefixListID.NotFound. */
export async function findPrefixList({ db, account }: Context, id: string | undefined): Promise<PrefixListTable> {
  if (!id) throw missingParameter('prefixListId')
  checkIds(RESOURCE_KINDS.prefixList, [id])
  const row = await db
    .selectFrom('prefix_lists').selectAll().where('account_id', '=', account).where('prefix_list_id', '=', id).executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.prefixList, [id])
  return row
}
