import type { AclEntrySpec, RouteSpec, RuleSpec, VpcSpec } from '../network/driver.ts'
import { protocolName } from './reach-filters.ts'
import type { ExplanationCode, Hop, Obstacle } from './reach-walk.ts'
import type { Packet } from './reach-world.ts'

/** A packet as a person reads it: "tcp 10.0.0.4 → 10.0.1.5:22". */
export function describePacket({ protocol, source, destination, destinationPort, icmp }: Packet): string {
  const type = icmp ? ` type ${icmp.type}` : ''
  return `${protocolName(protocol)}${type} ${source} → ${destination}${destinationPort === null ? '' : `:${destinationPort}`}`
}

/** One step of a packet's way. */
export function describeHop(hop: Hop): string {
  switch (hop.kind) {
    case 'interface': return `${hop.holder.port.interfaceId} (${hop.holder.privateIp}) in ${hop.holder.subnetId}`
    case 'security-group': return `${hop.match.groupId} lets it ${way(hop.direction)}: ${describeRule(hop.match.rule, hop.direction)}`
    case 'network-acl':
      return `${hop.networkAclId} of ${hop.subnetId} lets it ${way(hop.direction)}: ${describeEntry(hop.entry, hop.direction)}`
    case 'route-table': return `${hop.routeTableId}: ${hop.route === 'local' ? 'local' : describeRoute(hop.route)}`
    case 'internet-gateway': return `the internet gateway of ${hop.vpc.vpcId}: ${describePacket(hop.packet)}`
    case 'nat-gateway': return `${hop.nat.natGatewayId}: ${describePacket(hop.packet)}`
    case 'peering': return `${hop.peeringId} to ${hop.peerVpcId}`
    case 'service': return `the ${hop.name} of ${hop.vpc.vpcId}`
  }
}

const way = (direction: 'ingress' | 'egress') => (direction === 'ingress' ? 'in' : 'out')
const bound = (direction: 'ingress' | 'egress' | undefined) => (direction === 'ingress' ? 'inbound' : 'outbound')

function describePorts({ protocol, fromPort, toPort }: Pick<RuleSpec, 'protocol' | 'fromPort' | 'toPort'>): string {
  if (protocol === '-1') return 'all traffic'
  if (fromPort === null || fromPort === -1) return `all of ${protocol}`
  if (protocol === 'icmp' || protocol === '1') return `icmp type ${fromPort}${toPort === -1 || toPort === null ? '' : ` code ${toPort}`}`
  return `${protocol} ${fromPort === toPort ? fromPort : `${fromPort}-${toPort}`}`
}

function describeRule(rule: RuleSpec, direction: 'ingress' | 'egress'): string {
  const peer = 'cidr' in rule.peer ? rule.peer.cidr : rule.peer.groupId
  return `${describePorts(rule)} ${direction === 'ingress' ? 'from' : 'to'} ${peer}`
}

function describeEntry(entry: AclEntrySpec, direction: 'ingress' | 'egress' | undefined): string {
  return `rule ${entry.ruleNumber} (${entry.action} ${describePorts(entry)} ${direction === 'ingress' ? 'from' : 'to'} ${entry.cidr})`
}

function describeRoute({ destination, target }: RouteSpec): string {
  const to = {
    blackhole: () => 'a target that is gone', 'internet-gateway': () => 'the internet gateway',
    'nat-gateway': () => ('natGatewayId' in target ? target.natGatewayId : ''),
    interface: () => ('interfaceId' in target ? target.interfaceId : ''), peering: () => ('peeringId' in target ? target.peeringId : ''),
  }[target.kind]()
  return `${destination} to ${to}`
}

/** A sentence for people: what stops the packet, and what would let it through. */
export function explain(obstacle: Obstacle): string {
  const what = SENTENCES[obstacle.code](obstacle)
  return obstacle.isReply ? `the answer does not come back: ${what}` : what
}

const vpcOf = (vpc: VpcSpec | undefined) => vpc?.vpcId ?? 'the VPC'

/** The ports or type that a rule must name, as a rule has them. */
function needed({ protocol, destinationPort, icmp }: Packet): string {
  const detail = icmp ? ` type ${icmp.type}` : destinationPort === null ? '' : ` ${destinationPort}`
  return `${protocolName(protocol)}${detail}`
}

function neededOf({ packet, direction }: Obstacle): string {
  return `${needed(packet)} ${direction === 'ingress' ? `from ${packet.source}` : `to ${packet.destination}`}`
}

function mismatch(obstacle: Obstacle): string {
  const { holder, direction } = obstacle
  const groups = holder?.port.groupIds ?? []
  if (groups.length === 0) return `${holder?.port.interfaceId} is in no security group, which lets nothing through; put it into one`
  const named = groups.length === 1 ? groups[0] : `any of ${groups.join(', ')}`
  return `no ${bound(direction)} rule of ${named} matches ${neededOf(obstacle)}; add one that allows it`
}

const SENTENCES: Record<ExplanationCode, (obstacle: Obstacle) => string> = {
  BAD_STATE: ({ service, vpc, interfaceId }) => (service
    ? `the ${service} of ${vpcOf(vpc)} is turned off; set its attribute enableDnsSupport`
    : `${interfaceId} is attached to no instance; attach it to one`),
  BAD_STATE_ROUTE: ({ route, routeTableId }) =>
    `the route ${route ? describeRoute(route) : ''} of ${routeTableId} is a blackhole; replace it or make its target anew`,
  ENI_SG_RULES_MISMATCH: mismatch,
  SUBNET_ACL_RESTRICTION: (obstacle) => {
    const { networkAclId, subnetId, entry, direction } = obstacle
    const why = entry
      ? `${describeEntry(entry, direction)} of ${networkAclId} at ${subnetId} denies it; `
        + `allow it in an ${bound(direction)} rule with a lower number`
      : `no ${bound(direction)} rule of ${networkAclId} at ${subnetId} matches it, which denies it; allow it in one`
    const stateless = obstacle.isReply ? ' (network ACLs do not remember what they let through)' : ''
    return `${why}: ${neededOf(obstacle)}${stateless}`
  },
  ENI_SOURCE_DEST_CHECK_RESTRICTION: ({ holder, direction, packet }) => (direction === 'ingress'
    ? `${holder?.port.interfaceId} takes no packets for ${packet.destination}; turn its source/destination check off`
    : `${holder?.port.interfaceId} may not send as ${packet.source}; turn its source/destination check off, or give it that address`),
  GATEWAY_REJECTS_SPOOFED_TRAFFIC: ({ packet, vpc }) =>
    `${packet.source} is an address inside ${vpcOf(vpc)}, and nothing from outside may have it`,
  IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS: ({ packet }) =>
    `${packet.destination} is a private address of another VPC, to which no internet gateway leads; `
    + 'use its public address, or a peering and routes to it',
  IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS: ({ packet }) =>
    `${packet.destination} is the public address of no interface in a VPC with an internet gateway; `
    + 'give the instance an Elastic IP, and its VPC an internet gateway',
  IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS: ({ packet, interfaceId }) => (interfaceId
    ? `${interfaceId} sends on what is from ${packet.source}, and the internet gateway passes only what has its sender's own address; `
      + 'let the instance translate it (NAT)'
    : `${packet.source} has no public address, without which the internet gateway passes nothing; `
      + 'give it an Elastic IP, or route by a NAT gateway'),
  NGW_DEST_ADDRESS_PRESERVATION: ({ nat, packet }) =>
    `${nat?.natGatewayId} has ${packet.destination} and takes nothing but answers; use the address of an instance`,
  NGW_REQUIRES_SOURCE_IN_VPC: ({ nat, packet, vpc }) =>
    `${nat?.natGatewayId} serves only sources in ${vpcOf(vpc)}, and ${packet.source} is none`,
  NGW_SOURCE_ADDRESS_REASSIGN: ({ nat }) =>
    `its route leads through ${nat?.natGatewayId}, where it gets another address than was asked; route it back the way that the question came`,
  NO_POSSIBLE_DESTINATION: ({ packet, peeringId, holder, nat }) => {
    if (holder || nat) return `the routes lead it round in a circle at ${holder?.port.interfaceId ?? nat?.natGatewayId}; change them`
    return `nobody has the address ${packet.destination}${peeringId ? ` beyond ${peeringId}` : ''}`
  },
  NO_ROUTE_TO_DESTINATION: ({ routeTableId, subnetId, packet }) =>
    `${routeTableId}, which ${subnetId} uses, has no route to ${packet.destination}; add one`,
  PCX_REQUIRES_ADDRESS_IN_VPC_CIDR: ({ peeringId, packet }) =>
    `${peeringId} joins the blocks of its two VPCs only, and ${packet.source} → ${packet.destination} is not between them`,
  PROTOCOL_RESTRICTION: ({ service, nat, packet }) =>
    `the ${service ?? `NAT gateway ${nat?.natGatewayId}`} does not take ${needed(packet)}`,
}
