import type { Address, Tag } from '@aws-sdk/client-ec2'
import type { AddressTable, InterfaceTable } from '../store/schema.ts'

/** The pool that EC2 names for addresses that are its own, and not brought along. */
export const AMAZON_POOL = 'amazon'

/** An Elastic IP as DescribeAddresses shows it; `holder` is the interface that it is associated with. */
export function addressToWire(
  row: AddressTable,
  related: { region: string; holder: Pick<InterfaceTable, 'instance_id' | 'account_id'> | undefined; tags: Tag[] },
): Address {
  return {
    AllocationId: row.allocation_id,
    AssociationId: row.association_id ?? undefined,
    Domain: 'vpc',
    InstanceId: related.holder?.instance_id ?? undefined,
    NetworkBorderGroup: related.region,
    NetworkInterfaceId: row.interface_id ?? undefined,
    NetworkInterfaceOwnerId: related.holder?.account_id,
    PrivateIpAddress: row.private_ip ?? undefined,
    PublicIp: row.public_ip,
    PublicIpv4Pool: AMAZON_POOL,
    Tags: related.tags.length > 0 ? related.tags : undefined,
  }
}
