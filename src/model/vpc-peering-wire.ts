import type {
  Tag, VpcPeeringConnection, VpcPeeringConnectionOptionsDescription, VpcPeeringConnectionStateReason, VpcPeeringConnectionVpcInfo,
} from '@aws-sdk/client-ec2'
import type { VpcPeeringTable } from '../store/schema.ts'
import { allowsRemoteDns } from './vpc-names.ts'
import { peeringStatus } from './vpc-peering.ts'

/** What the wire shows of a peering beside its own row. */
export interface PeeringRelated {
  region: string
  nowMs: number
  /** Blocks of both VPCs, the primary ones first; empty for one that is gone. */
  requesterCidrs: readonly string[]
  accepterCidrs: readonly string[]
  tags: Tag[]
  /** What a call that changes the peering shows instead: the state that it is on the way to. */
  status?: VpcPeeringConnectionStateReason
}

/** A peering as DescribeVpcPeeringConnections shows it. The accepter's blocks are the requester's to know once it is active. */
export function vpcPeeringToWire(row: VpcPeeringTable, related: PeeringRelated): VpcPeeringConnection {
  const { code, message } = peeringStatus(row, related.nowMs)
  const isOpen = code === 'active' || code === 'pending-acceptance'
  const region = related.region
  return {
    VpcPeeringConnectionId: row.peering_id,
    Status: related.status ?? { Code: code, Message: message },
    ExpirationTime: code === 'pending-acceptance' ? new Date(row.expires_ms) : undefined,
    RequesterVpcInfo: {
      OwnerId: row.account_id, VpcId: row.requester_vpc_id, Region: region,
      ...blocksToWire(isOpen ? related.requesterCidrs : [], peeringOptions(row, row.requester_vpc_id)),
    },
    AccepterVpcInfo: {
      OwnerId: row.accepter_account_id, VpcId: row.accepter_vpc_id, Region: region,
      ...blocksToWire(code === 'active' ? related.accepterCidrs : [], peeringOptions(row, row.accepter_vpc_id)),
    },
    Tags: related.tags,
  }
}

/** What the side of that VPC allows the other. */
export function peeringOptions(row: VpcPeeringTable, vpcId: string): Required<VpcPeeringConnectionOptionsDescription> {
  return {
    AllowDnsResolutionFromRemoteVpc: allowsRemoteDns(row, vpcId), AllowEgressFromLocalClassicLinkToRemoteVpc: false,
    AllowEgressFromLocalVpcToRemoteClassicLink: false,
  }
}

function blocksToWire(
  cidrs: readonly string[],
  options: VpcPeeringConnectionOptionsDescription,
): Partial<VpcPeeringConnectionVpcInfo> {
  const [primary] = cidrs
  if (primary === undefined) return {}
  return { CidrBlock: primary, CidrBlockSet: cidrs.map((cidr) => ({ CidrBlock: cidr })), PeeringOptions: options }
}
