import type {
  ModifyManagedPrefixListRequest, ModifyManagedPrefixListResult, RestoreManagedPrefixListVersionRequest,
  RestoreManagedPrefixListVersionResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { PrefixListTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { checkListName, checkMaxEntries, loadList, nameSome, updateList } from './managed-prefix-lists.ts'
import { missingParameter, refuseParameters } from './parameters.ts'
import { changedEntries, checkEntryCount, checkVersion, insertVersion, loadEntries, type Entries } from './prefix-list-entries.ts'
import { findPrefixList } from './prefix-list-lookup.ts'
import { usersThatCannotBear, wakeUsers } from './prefix-list-users.ts'

/**
 * ModifyManagedPrefixList: changes the entries, which makes a new version, or the size, and the name.
 * A size that a group or a route table could not bear changes nothing but the list's state, as in EC2: modify-failed.
 */
export async function modifyManagedPrefixList(
  context: Context,
  input: ModifyManagedPrefixListRequest,
): Promise<ModifyManagedPrefixListResult> {
  const { db } = context
  refuseParameters(input, ['IpamPrefixListResolverSyncEnabled'])
  const row = await findPrefixList(context, input.PrefixListId)
  const { AddEntries: add = [], RemoveEntries: remove = [] } = input
  const changesEntries = add.length + remove.length > 0
  if (input.CurrentVersion !== undefined) checkCurrentVersion(row, input.CurrentVersion)
  if (changesEntries && input.MaxEntries !== undefined) {
    throw new ApiError(
      'InvalidParameterCombination',
      'You cannot modify the entries and the maximum entries for the prefix list in the same request.',
    )
  }
  const name = input.PrefixListName ? checkListName(input.PrefixListName) : row.name
  const maxEntries = input.MaxEntries === undefined ? row.max_entries : checkMaxEntries(input.MaxEntries)
  const present = await loadEntries(db, row.prefix_list_id, row.version)
  const entries = changedEntries(row.address_family, present, add, remove)
  checkEntryCount(entries, maxEntries)
  const tooSmall = maxEntries > row.max_entries ? await usersThatCannotBear(db, row.prefix_list_id, maxEntries) : []
  if (tooSmall.length > 0) {
    const message = `The following resources do not support the new maximum size: ${nameSome(tooSmall)}`
    const failed = await updateList(context, row, { state: 'modify-failed', state_message: message })
    return { PrefixList: await loadList(context, failed) }
  }
  const change = { name, max_entries: maxEntries, state: 'modify-complete', state_message: null }
  const changed = changesEntries
    ? await addVersion(context, row, entries, change)
    : await updateList(context, row, change)
  return { PrefixList: await loadList(context, changed) }
}

/** RestoreManagedPrefixListVersion: a new version that has what an earlier one had. */
export async function restoreManagedPrefixListVersion(
  context: Context,
  input: RestoreManagedPrefixListVersionRequest,
): Promise<RestoreManagedPrefixListVersionResult> {
  const { db } = context
  if (input.PreviousVersion === undefined) throw missingParameter('PreviousVersion')
  if (input.CurrentVersion === undefined) throw missingParameter('CurrentVersion')
  const row = await findPrefixList(context, input.PrefixListId)
  checkCurrentVersion(row, input.CurrentVersion)
  checkVersion(row, input.PreviousVersion)
  const entries = await loadEntries(db, row.prefix_list_id, input.PreviousVersion)
  checkEntryCount(entries, row.max_entries)
  const restored = await addVersion(context, row, entries, { state: 'restore-complete', state_message: null })
  return { PrefixList: await loadList(context, restored) }
}

function checkCurrentVersion(row: PrefixListTable, version: number): void {
  if (version === row.version) return
  throw new ApiError('PrefixListVersionMismatch', 'The prefix list has the incorrect version number.')
}

async function addVersion(
  context: Context,
  row: PrefixListTable,
  entries: Entries,
  change: Parameters<typeof updateList>[2],
): Promise<PrefixListTable> {
  const version = row.version + 1
  await insertVersion(context.db, row.prefix_list_id, version, entries)
  const changed = await updateList(context, row, { ...change, version })
  await wakeUsers(context, row.prefix_list_id)
  return changed
}
