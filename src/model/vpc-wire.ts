import type { Tag, Vpc, VpcCidrBlockAssociation, VpcCidrBlockStateCode, VpcState } from '@aws-sdk/client-ec2'
import type { VpcCidrTable, VpcTable } from '../store/schema.ts'

/** What of a VPC SQL never looks into. */
export interface VpcDoc {
  /** 'default' when it has none. */
  dhcpOptionsId: string
  /** Both true unless said otherwise in the default VPC; of others, hostnames are false. */
  enableDnsSupport?: boolean
  enableDnsHostnames?: boolean
  /** `dedicated`: so is every instance that is launched into it, unless it is on a dedicated host; absent for `default`. */
  instanceTenancy?: 'dedicated'
}

/** The doc of a VPC row. */
export function vpcDoc(row: Pick<VpcTable, 'doc'>): VpcDoc {
  return JSON.parse(row.doc) as VpcDoc
}

/** Whether the resolver works in the VPC, and whether its instances have public names. */
export function dnsAttributes(
  row: Pick<VpcTable, 'doc' | 'is_default'>,
): Required<Pick<VpcDoc, 'enableDnsSupport' | 'enableDnsHostnames'>> {
  const { enableDnsSupport = true, enableDnsHostnames = row.is_default === 1 } = vpcDoc(row)
  return { enableDnsSupport, enableDnsHostnames }
}

/**
 * Id of the association of a VPC with its primary block. There is exactly one, for as long as the
 * VPC lives, so its id is the VPC's own in another form and kept nowhere.
 */
export function primaryCidrAssociationId(vpcId: string): string {
  return `vpc-cidr-assoc-${vpcId.slice('vpc-'.length)}`
}

/** A VPC as DescribeVpcs shows it, with its blocks beside the primary one. */
export function vpcToWire(row: VpcTable, more: readonly VpcCidrTable[], tags: Tag[]): Vpc {
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
      ...more.map((each) => vpcCidrToWire(each)),
    ],
    DhcpOptionsId: vpcDoc(row).dhcpOptionsId,
    InstanceTenancy: vpcDoc(row).instanceTenancy ?? 'default',
    IsDefault: row.is_default === 1,
    BlockPublicAccessStates: { InternetGatewayBlockMode: 'off' },
    Tags: tags,
  }
}

/** A further block of a VPC; calls that change it show the state that it is on the way to. */
export function vpcCidrToWire(row: VpcCidrTable, state = row.state): VpcCidrBlockAssociation {
  return {
    AssociationId: row.association_id,
    CidrBlock: row.cidr,
    CidrBlockState: { State: state as VpcCidrBlockStateCode },
  }
}
