import type { AddPrefixListEntry, RemovePrefixListEntry } from '@aws-sdk/client-ec2'
import { formatCidr, parseCidr } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import { canonicalIpv6Cidr } from '../core/ipv6-cidr.ts'
import type { PrefixListTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { missingParameter } from './parameters.ts'

/** https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html */
export const MAX_LIST_ENTRIES = 1000
const MAX_VERSIONS = 1000
/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateManagedPrefixList.html */
const MAX_CHANGES = 100
const MAX_DESCRIPTION_LENGTH = 255

/** Rows of one insert; each binds four variables. */
const INSERT_ROWS = 100

type Family = PrefixListTable['address_family']

/** Blocks of a version of a list, in canonical form, with their descriptions. */
export type Entries = ReadonlyMap<string, string | null>

/** What a version has. */
export async function loadEntries(db: Db, prefixListId: string, version: number): Promise<Entries> {
  const rows = await db
    .selectFrom('prefix_list_entries').select(['cidr', 'description'])
    .where('prefix_list_id', '=', prefixListId).where('version', '=', version).orderBy('cidr').execute()
  return new Map(rows.map((row) => [row.cidr, row.description]))
}

/** Writes what a new version has. The oldest version goes when there are more than EC2 keeps. */
export async function insertVersion(db: Db, prefixListId: string, version: number, entries: Entries): Promise<void> {
  const rows = [...entries].map(([cidr, description]) => ({ prefix_list_id: prefixListId, version, cidr, description }))
  for (let start = 0; start < rows.length; start += INSERT_ROWS) {
    await db.insertInto('prefix_list_entries').values(rows.slice(start, start + INSERT_ROWS)).execute()
  }
  await db
    .deleteFrom('prefix_list_entries')
    .where('prefix_list_id', '=', prefixListId).where('version', '<', oldestVersion(version)).execute()
}

function oldestVersion(newest: number): number {
  return Math.max(1, newest - MAX_VERSIONS + 1)
}

/** @throws ApiError InvalidParameterValue for a version that the list never had, or has no more. */
export function checkVersion(list: PrefixListTable, version: number): void {
  if (Number.isInteger(version) && version >= oldestVersion(list.version) && version <= list.version) return
  throw new ApiError(
    'InvalidParameterValue', `The version ${version} of the prefix list ${list.prefix_list_id} does not exist.`)
}

/**
 * What a version has after a change.
 *
 * @throws ApiError InvalidPrefixListModification for what is not there or there already, and
 *   InvalidParameterValue for blocks that are wrong, named twice, or too many for one call.
 */
export function changedEntries(
  family: Family,
  present: Entries,
  add: readonly AddPrefixListEntry[],
  remove: readonly RemovePrefixListEntry[],
): Entries {
  if (Math.max(add.length, remove.length) > MAX_CHANGES) {
    throw new ApiError('InvalidParameterValue', `The number of entries per request cannot exceeds limit (${MAX_CHANGES}).`)
  }
  const added = unique(add.map((entry) => blockOf(family, entry.Cidr)))
  const removed = unique(remove.map((entry) => blockOf(family, entry.Cidr)))
  const both = added.find((cidr) => removed.includes(cidr))
  if (both !== undefined) {
    throw new ApiError(
      'InvalidParameterValue', `Request cannot contain Cidr ${both} in both AddPrefixListEntries and RemovePrefixListEntries`)
  }
  const entries = new Map(present)
  for (const cidr of removed) {
    if (!entries.delete(cidr)) throw refusedChange(`An entry with the CIDR (${cidr}) does not exist.`)
  }
  for (const [index, cidr] of added.entries()) {
    const description = descriptionOf(add[index]?.Description)
    if (entries.has(cidr) && entries.get(cidr) === description) {
      throw refusedChange(`An entry with the CIDR (${cidr}) and description (${description ?? ''}) already exists.`)
    }
    entries.set(cidr, description)
  }
  return entries
}

/** @throws ApiError PrefixListMaxEntriesExceeded. */
export function checkEntryCount(entries: Entries, maxEntries: number): void {
  if (entries.size <= maxEntries) return
  throw new ApiError(
    'PrefixListMaxEntriesExceeded', `You've reached the maximum number of entries for the prefix list (${maxEntries}).`)
}

function refusedChange(message: string): ApiError {
  return new ApiError('InvalidPrefixListModification', message)
}

function unique(cidrs: readonly string[]): readonly string[] {
  const twice = cidrs.find((cidr, index) => cidrs.indexOf(cidr) !== index)
  if (twice === undefined) return cidrs
  throw new ApiError('InvalidParameterValue', `The request contains the CIDR ${twice} more than once.`)
}

/** The block in canonical form: 10.0.0.7/24 is 10.0.0.0/24. */
function blockOf(family: Family, given: string | undefined): string {
  if (!given) throw missingParameter('Cidr')
  const ipv4 = parseCidr(given)
  const canonical = family === 'IPv6' ? canonicalIpv6Cidr(given) : ipv4 && formatCidr(ipv4)
  if (canonical) return canonical
  throw new ApiError('InvalidParameterValue', `The CIDR ${given} is not a valid ${family} CIDR block.`)
}

function descriptionOf(given: string | undefined): string | null {
  if (!given) return null
  if (given.length <= MAX_DESCRIPTION_LENGTH) return given
  throw new ApiError(
    'InvalidParameterValue', `The description of an entry may have at most ${MAX_DESCRIPTION_LENGTH} characters.`)
}
