import type {
  AnalysisAclRule, AnalysisComponent, AnalysisPacketHeader, AnalysisRouteTableRoute, AnalysisSecurityGroupRule, Explanation,
  PathComponent, PortRange,
} from '@aws-sdk/client-ec2'
import { arnOfId } from '../model/network-insights-wire.ts'
import type { AclEntrySpec, RouteSpec, RuleSpec } from '../network/driver.ts'
import type { Direction } from '../vpc/reach-filters.ts'
import type { Hop, Obstacle } from '../vpc/reach-walk.ts'
import { isIn, type Packet } from '../vpc/reach-world.ts'

/** What the specs of VPCs do not tell of their components. */
export interface InsightsNames {
  region: string
  account: string
  internetGatewayOf(vpcId: string): string | undefined
  instanceOf(interfaceId: string): string | undefined
}

/** The components of a way: an instance stands before its first interface, and after its last. */
export function hopsToWire(hops: readonly Hop[], names: InsightsNames): PathComponent[] {
  const last = hops.length - 1
  const components = hops.flatMap((hop, at): PathComponent[] => {
    const component = hopToWire(hop, names, { isFirst: at === 0, isLast: at === last })
    if (hop.kind !== 'interface' || (at !== 0 && at !== last)) return [component]
    const instanceId = names.instanceOf(hop.holder.port.interfaceId)
    const instance = instanceId === undefined ? [] : [{ Component: componentOf(names, instanceId) }]
    return at === 0 ? [...instance, component] : [component, ...instance]
  })
  return components.map((component, at) => ({ SequenceNumber: at + 1, ...component }))
}

function hopToWire(hop: Hop, names: InsightsNames, { isFirst, isLast }: { isFirst: boolean; isLast: boolean }): PathComponent {
  const component = (id: string | undefined) => (id === undefined ? undefined : componentOf(names, id))
  const Vpc = component(hop.vpc.vpcId)
  const header = headerToWire(hop.packet)
  switch (hop.kind) {
    case 'interface': return {
      Component: component(hop.holder.port.interfaceId), AttachedTo: component(names.instanceOf(hop.holder.port.interfaceId)), Vpc,
      Subnet: component(hop.holder.subnetId), ...(isLast && !isFirst ? { InboundHeader: header } : { OutboundHeader: header }),
    }
    case 'security-group': return {
      Component: component(hop.match.groupId), SecurityGroupRule: groupRuleToWire(hop.match.groupId, hop.match.rule, hop.direction), Vpc,
    }
    case 'network-acl': return {
      Component: component(hop.networkAclId), AclRule: aclRuleToWire(hop.entry, hop.direction), Subnet: component(hop.subnetId), Vpc,
    }
    case 'route-table': return {
      Component: component(hop.routeTableId), Subnet: component(hop.subnetId), Vpc,
      RouteTableRoute: routeToWire(
        hop.route, hop.vpc.cidrs.find((cidr) => isIn(hop.packet.destination, cidr)), names.internetGatewayOf(hop.vpc.vpcId)),
    }
    case 'internet-gateway': return { Component: component(names.internetGatewayOf(hop.vpc.vpcId)), Vpc, OutboundHeader: header }
    case 'nat-gateway': return { Component: component(hop.nat.natGatewayId), Vpc, Subnet: component(hop.nat.subnetId), OutboundHeader: header }
    case 'peering': return {
      Component: component(hop.peeringId), SourceVpc: Vpc, DestinationVpc: component(hop.peerVpcId), OutboundHeader: header,
    }
    case 'service': return { ServiceName: hop.name, Vpc, InboundHeader: header }
  }
}

/** Why there is no way, in AWS's form. */
export function obstacleToWire(obstacle: Obstacle, names: InsightsNames): Explanation {
  const component = (id: string | undefined) => (id === undefined ? undefined : componentOf(names, id))
  const { code, vpc, direction, holder, subnetId, networkAclId, entry, routeTableId, route, nat, peeringId, packet, interfaceId } = obstacle
  const isGateway = code.startsWith('IGW_') || code === 'GATEWAY_REJECTS_SPOOFED_TRAFFIC'
  return {
    ExplanationCode: code,
    Direction: direction,
    Vpc: component(vpc?.vpcId),
    Subnet: component(subnetId ?? holder?.subnetId),
    NetworkInterface: component(holder?.port.interfaceId ?? interfaceId),
    SecurityGroups: code === 'ENI_SG_RULES_MISMATCH' ? holder?.port.groupIds.map((id) => componentOf(names, id)) : undefined,
    Acl: component(networkAclId),
    AclRule: entry && direction && aclRuleToWire(entry, direction),
    RouteTable: component(routeTableId),
    RouteTableRoute: route && routeToWire(route, undefined, vpc && names.internetGatewayOf(vpc.vpcId)),
    NatGateway: component(nat?.natGatewayId),
    VpcPeeringConnection: component(peeringId),
    InternetGateway: isGateway && vpc ? component(names.internetGatewayOf(vpc.vpcId)) : undefined,
    Addresses: [packet.destination],
  }
}

function componentOf(names: InsightsNames, id: string): AnalysisComponent {
  return { Id: id, Arn: arnOfId(names, id) }
}

function headerToWire(packet: Packet): AnalysisPacketHeader {
  const ports = (port: number | null): PortRange[] | undefined => (port === null ? undefined : [{ From: port, To: port }])
  return {
    Protocol: String(packet.protocol), SourceAddresses: [`${packet.source}/32`], DestinationAddresses: [`${packet.destination}/32`],
    SourcePortRanges: ports(packet.sourcePort), DestinationPortRanges: ports(packet.destinationPort),
  }
}

/** Null and -1 mean all ports, for which there is no range. */
function rangeToWire({ fromPort, toPort }: { fromPort: number | null; toPort: number | null }): PortRange | undefined {
  return fromPort === null || fromPort === -1 ? undefined : { From: fromPort, To: toPort ?? fromPort }
}

const protocolToWire = (protocol: string) => (protocol === '-1' ? 'all' : protocol)

function groupRuleToWire(groupId: string, rule: RuleSpec, direction: Direction): AnalysisSecurityGroupRule {
  return {
    SecurityGroupId: 'groupId' in rule.peer ? rule.peer.groupId : groupId, Cidr: 'cidr' in rule.peer ? rule.peer.cidr : undefined,
    Direction: direction, Protocol: protocolToWire(rule.protocol), PortRange: rangeToWire(rule),
  }
}

function aclRuleToWire(entry: AclEntrySpec, direction: Direction): AnalysisAclRule {
  return {
    Cidr: entry.cidr, Egress: direction === 'egress', Protocol: protocolToWire(entry.protocol), PortRange: rangeToWire(entry),
    RuleAction: entry.action, RuleNumber: entry.ruleNumber,
  }
}

function routeToWire(route: RouteSpec | 'local', cidr: string | undefined, gatewayId: string | undefined): AnalysisRouteTableRoute {
  if (route === 'local') return { DestinationCidr: cidr, GatewayId: 'local', Origin: 'CreateRouteTable', State: 'active' }
  const { destination, target } = route
  return {
    DestinationCidr: destination, Origin: 'CreateRoute', State: target.kind === 'blackhole' ? 'blackhole' : 'active',
    GatewayId: target.kind === 'internet-gateway' ? gatewayId : undefined,
    NatGatewayId: target.kind === 'nat-gateway' ? target.natGatewayId : undefined,
    NetworkInterfaceId: target.kind === 'interface' ? target.interfaceId : undefined,
    VpcPeeringConnectionId: target.kind === 'peering' ? target.peeringId : undefined,
  }
}
