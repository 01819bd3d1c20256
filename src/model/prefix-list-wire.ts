import type { ManagedPrefixList, PrefixListState, Tag } from '@aws-sdk/client-ec2'
import type { PrefixListTable } from '../store/schema.ts'
import { ec2Arn } from './arn.ts'

/** A customer-managed prefix list, as DescribeManagedPrefixLists shows it. */
export function prefixListToWire(row: PrefixListTable, tags: Tag[], region: string): ManagedPrefixList {
  return {
    PrefixListId: row.prefix_list_id,
    PrefixListArn: ec2Arn(region, row.account_id, 'prefix-list', row.prefix_list_id),
    PrefixListName: row.name,
    AddressFamily: row.address_family,
    MaxEntries: row.max_entries,
    Version: row.version,
    State: row.state as PrefixListState,
    StateMessage: row.state_message ?? undefined,
    OwnerId: row.account_id,
    Tags: tags,
  }
}
