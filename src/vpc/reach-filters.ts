import { parseCidr } from '../core/cidr.ts'
import type { AclEntrySpec, NetworkAclSpec, PortSpec, RouteSpec, RouteTableSpec, RuleSpec, VpcSpec } from '../network/driver.ts'
import { addressesOf, ICMP, isIn, TCP, UDP, type Packet } from './reach-world.ts'

export type Direction = 'ingress' | 'egress'

/** A rule of a security group that lets a packet through. */
export interface MatchingRule {
  groupId: string
  rule: RuleSpec
}

const PROTOCOL_NUMBERS: Record<string, number> = { icmp: ICMP, tcp: TCP, udp: UDP }

/** Name of a protocol's number where rules have one: "tcp", "47". */
export function protocolName(protocol: number): string {
  return Object.entries(PROTOCOL_NUMBERS).find(([, number]) => number === protocol)?.[0] ?? String(protocol)
}

/** The first rule of the port's groups that allows a new flow; undefined when none does. */
export function ruleFor(vpc: VpcSpec, port: PortSpec, direction: Direction, packet: Packet): MatchingRule | undefined {
  const peer = direction === 'ingress' ? packet.source : packet.destination
  for (const groupId of port.groupIds) {
    const group = vpc.groups.find((each) => each.groupId === groupId)
    const rule = group?.[direction].find((each) => matchesFlow(each, packet) && isPeer(vpc, each.peer, peer))
    if (rule) return { groupId, rule }
  }
  return undefined
}

/** A group stands for the private addresses of its members, of this VPC or of a peered one. */
function isPeer(vpc: VpcSpec, peer: RuleSpec['peer'], address: string): boolean {
  if ('cidr' in peer) return isIn(address, peer.cidr)
  const isMember = (port: PortSpec) =>
    port.groupIds.includes(peer.groupId) && addressesOf(port).some((each) => each.privateIp === address)
  return vpc.ports.some(isMember)
    || vpc.foreignGroups.some((group) => group.groupId === peer.groupId && group.addresses.includes(address))
}

/** The first entry of a network ACL that matches decides; undefined where none does, which denies. */
export function entryFor(acl: NetworkAclSpec, direction: Direction, packet: Packet): AclEntrySpec | undefined {
  const peer = direction === 'ingress' ? packet.source : packet.destination
  return acl[direction].find((each) => matchesFlow(each, packet) && isIn(peer, each.cidr))
}

/** Protocol and ports, or ICMP type and code, which rules keep where others keep ports. */
function matchesFlow(
  { protocol, fromPort, toPort }: Pick<RuleSpec, 'protocol' | 'fromPort' | 'toPort'>,
  packet: Packet,
): boolean {
  if (protocol === '-1') return true
  if ((PROTOCOL_NUMBERS[protocol] ?? Number(protocol)) !== packet.protocol) return false
  const from = fromPort ?? -1
  const to = toPort ?? -1
  if (from === -1) return true
  if (packet.icmp) return packet.icmp.type === from && (to === -1 || packet.icmp.code === to)
  return packet.destinationPort === null || (packet.destinationPort >= from && packet.destinationPort <= to)
}

/** The route with the longest prefix for an address; undefined when the table has none. */
export function routeFor(table: RouteTableSpec | undefined, address: string): RouteSpec | undefined {
  const prefix = (route: RouteSpec) => parseCidr(route.destination)?.prefix ?? -1
  return table?.routes.filter((route) => isIn(address, route.destination))
    .reduce<RouteSpec | undefined>((best, route) => (best && prefix(best) >= prefix(route) ? best : route), undefined)
}
