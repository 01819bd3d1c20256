import type { DhcpOptions, Tag } from '@aws-sdk/client-ec2'
import type { Database } from '../store/schema.ts'
import { dhcpOptionsOf } from './dhcp-options.ts'

/** A set of DHCP options as DescribeDhcpOptions shows it. */
export function dhcpOptionsToWire(row: Database['dhcp_options'], region: string, tags: Tag[]): DhcpOptions {
  return {
    DhcpOptionsId: row.dhcp_options_id,
    OwnerId: row.account_id,
    DhcpConfigurations: dhcpOptionsOf(row, region).map(({ key, values }) => ({
      Key: key, Values: values.map((Value) => ({ Value })),
    })),
    Tags: tags,
  }
}
