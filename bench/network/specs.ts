import { formatIpv4 } from '../../src/core/cidr.ts'
import type { GroupSpec, PortSpec, RuleSpec, VpcSpec } from '../../src/network/driver.ts'

const BASE = 10 * 2 ** 24
const FIRST_HOST = 16
const PUBLIC_BASE = (198 * 256 + 18) * 65_536

const anywhere: RuleSpec = { protocol: '-1', fromPort: null, toPort: null, peer: { cidr: '0.0.0.0/0' } }

/** A port with a public address, numbered from 1. */
export function portOf(number: number): PortSpec {
  const hex = number.toString(16).padStart(4, '0')
  return {
    interfaceId: `eni-${hex}`, subnetId: 'subnet-1', slot: number, machineSlot: number,
    mac: `02:00:00:00:${hex.slice(0, 2)}:${hex.slice(2)}`, privateIp: formatIpv4(BASE + FIRST_HOST + number),
    publicIp: formatIpv4(PUBLIC_BASE + number), secondary: [], groupIds: ['sg-1'], metadataHopLimit: 1, sourceDestCheck: true,
  }
}

/** A group of as many rules, of which `seed` alters one. */
export function groupOf(rules: number, seed = 0): GroupSpec {
  const ingress = Array.from({ length: rules }, (_, index): RuleSpec => ({
    protocol: 'tcp', fromPort: 1 + index + (index === 0 ? seed : 0), toPort: 2000 + index,
    peer: { cidr: `${formatIpv4(BASE + index * 256)}/24` },
  }))
  return { groupId: 'sg-1', ingress: [...ingress, anywhere], egress: [anywhere] }
}

export function vpcOf(slot: number, ports: PortSpec[], groups: GroupSpec[]): VpcSpec {
  const all = { ruleNumber: 100, action: 'allow' as const, protocol: '-1', fromPort: null, toPort: null, cidr: '0.0.0.0/0' }
  return {
    vpcId: `vpc-${slot}`, slot, cidrs: ['10.0.0.0/16'],
    subnets: [{ subnetId: 'subnet-1', cidr: '10.0.0.0/20', routeTableId: 'rtb-1', networkAclId: 'acl-1' }],
    routeTables: [{ routeTableId: 'rtb-1', routes: [{ destination: '0.0.0.0/0', target: { kind: 'internet-gateway' } }] }],
    networkAcls: [{ networkAclId: 'acl-1', ingress: [all], egress: [all] }],
    groups, foreignGroups: [], ports, hasInternetGateway: true, natGateways: [], peerings: [], hasDns: true,
  }
}
