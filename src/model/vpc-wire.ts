import type { Tag, Vpc, VpcState } from '@aws-sdk/client-ec2'
import type { VpcTable } from '../store/schema.ts'

/** What of a VPC SQL never looks into. */
export interface VpcDoc {
  /** 'default' when it has none. */
  dhcpOptionsId: string
  /** Both true unless said otherwise in the default VPC; of others, hostnames are false. */
  enableDnsSupport?: boolean
  enableDnsHostnames?: boolean
}

/** The doc of a VPC row. */
export function vpcDoc(row: Pick<VpcTable, 'doc'>): VpcDoc {
  return JSON.parse(row.doc) as VpcDoc
}

/**
 * Id of the association of a VPC with its primary block. There is exactly one, for as long as the
 * VPC lives, so its id is the VPC's own in another form and kept nowhere.
 */
export function primaryCidrAssociationId(vpcId: string): string {
  return `vpc-cidr-assoc-${vpcId.slice('vpc-'.length)}`
}

/** A VPC as DescribeVpcs shows it. */
export function vpcToWire(row: VpcTable, tags: Tag[]): Vpc {
  return {
    VpcId: row.vpc_id,
    OwnerId: row.account_id,
    State: row.state as VpcState,
    CidrBlock: row.cidr,
    CidrBlockAssociationSet: [
      {
        AssociationId: primaryCidrAssociationId(row.vpc_id),
        CidrBlock: row.cidr,
        CidrBlockState: { State: 'associated' },
      },
    ],
    DhcpOptionsId: vpcDoc(row).dhcpOptionsId,
    InstanceTenancy: 'default',
    IsDefault: row.is_default === 1,
    BlockPublicAccessStates: { InternetGatewayBlockMode: 'off' },
    Tags: tags,
  }
}
