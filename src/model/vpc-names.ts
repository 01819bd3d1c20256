import type { VpcPeeringTable, VpcTable } from '../store/schema.ts'
import { dnsAttributes } from './vpc-wire.ts'

/**
 * Whether addresses in the VPC have the names that EC2 gives them, which takes both of its attributes
 * (the default VPC has both from the start, others have no host names). Without, there is no public
 * name to show, and the resolver knows neither public nor private ones.
 * https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html
 */
export function namesAddresses(row: Pick<VpcTable, 'doc' | 'is_default'>): boolean {
  const { enableDnsSupport, enableDnsHostnames } = dnsAttributes(row)
  return enableDnsSupport && enableDnsHostnames
}

/** What each side of a peering allows the other; false unless said otherwise. */
export interface PeeringOptionsDoc {
  requesterOptions?: { allowDnsResolutionFromRemoteVpc: boolean }
  accepterOptions?: { allowDnsResolutionFromRemoteVpc: boolean }
}

/** Whether that side of the peering lets the other VPC resolve its public names to private addresses. */
export function allowsRemoteDns(row: Pick<VpcPeeringTable, 'requester_vpc_id' | 'doc'>, vpcId: string): boolean {
  const { requesterOptions, accepterOptions } = JSON.parse(row.doc) as PeeringOptionsDoc
  const options = row.requester_vpc_id === vpcId ? requesterOptions : accepterOptions
  return options?.allowDnsResolutionFromRemoteVpc === true
}
