import type { NetworkAclSpec, PortSpec, SubnetSpec, VpcSpec } from '../../src/network/driver.ts'

/** Lets everything through, as a default network ACL does. */
export const OPEN_ACL: NetworkAclSpec = {
  networkAclId: 'acl-01',
  ingress: [{ ruleNumber: 100, action: 'allow', protocol: '-1', fromPort: null, toPort: null, cidr: '0.0.0.0/0' }],
  egress: [{ ruleNumber: 100, action: 'allow', protocol: '-1', fromPort: null, toPort: null, cidr: '0.0.0.0/0' }],
}

/** A subnet that uses the main route table and the open network ACL. */
export function subnetSpec(subnetId: string, cidr: string, change: Partial<SubnetSpec> = {}): SubnetSpec {
  return { subnetId, cidr, routeTableId: 'rtb-01', networkAclId: OPEN_ACL.networkAclId, ...change }
}

/** A VPC as the default one is, but for what `change` says: public, with an open network ACL. */
export function vpcSpec(change: Pick<VpcSpec, 'vpcId' | 'slot'> & Partial<VpcSpec>): VpcSpec {
  return {
    cidrs: ['10.0.0.0/16'], subnets: [],
    routeTables: [{ routeTableId: 'rtb-01', routes: [{ destination: '0.0.0.0/0', target: { kind: 'internet-gateway' } }] }],
    networkAcls: [OPEN_ACL], groups: [], foreignGroups: [], ports: [], hasInternetGateway: true, natGateways: [],
    peerings: [], hasDns: true, ...change,
  }
}

/** The primary port of an instance, but for what `change` says. */
export function portSpec(
  change: Pick<PortSpec, 'interfaceId' | 'subnetId' | 'slot' | 'mac' | 'privateIp'> & Partial<PortSpec>,
): PortSpec {
  return {
    machineSlot: change.slot, publicIp: null, secondary: [], groupIds: [], metadataHopLimit: 1, sourceDestCheck: true, ...change,
  }
}
