import { contains, parseCidr, parseIpv4 } from '../core/cidr.ts'
import type { NatGatewaySpec, PortSpec, VpcSpec } from '../network/driver.ts'

/** Every VPC that packets may pass, as their specs have them. */
export interface World {
  vpcs: readonly VpcSpec[]
  /** Block that public addresses come from; what of it nobody has leads nowhere. Null where unknown. */
  publicPool: string | null
}

/** One packet, as it is at some place of its way: translation changes its addresses. */
export interface Packet {
  /** Number of the IP protocol. */
  protocol: number
  source: string
  destination: string
  /** Of TCP and UDP, else null. */
  sourcePort: number | null
  destinationPort: number | null
  /** Of ICMP, else null. */
  icmp: { type: number; code: number } | null
}

export const ICMP = 1
export const TCP = 6
export const UDP = 17
const ECHO_REQUEST = 8
const ECHO_REPLY = 0

/** Who has an address: the port of an instance, or a NAT gateway. */
export type Holder = PortHolder | NatHolder

export interface PortHolder {
  kind: 'port'
  vpc: VpcSpec
  port: PortSpec
  subnetId: string
  privateIp: string
  publicIp: string | null
}

export interface NatHolder {
  kind: 'nat-gateway'
  vpc: VpcSpec
  nat: NatGatewaySpec
  subnetId: string
  privateIp: string
  publicIp: string | null
}

/** The answer to a packet, as whoever got it sends it. */
export function replyTo(packet: Packet): Packet {
  const isEcho = packet.icmp?.type === ECHO_REQUEST
  return {
    protocol: packet.protocol, source: packet.destination, destination: packet.source,
    sourcePort: packet.destinationPort, destinationPort: packet.sourcePort,
    icmp: isEcho ? { type: ECHO_REPLY, code: 0 } : packet.icmp,
  }
}

/** Whether an address lies in a block; false for what is no IPv4 block. */
export function isIn(address: string, block: string): boolean {
  const cidr = parseCidr(block)
  const value = parseIpv4(address)
  return cidr !== undefined && value !== undefined && contains(cidr, value)
}

/** Whether an address is one of the VPC's own. */
export function isInVpc(vpc: VpcSpec, address: string): boolean {
  return vpc.cidrs.some((cidr) => isIn(address, cidr))
}

/** The private addresses of a port, the primary one first, each with the public one that it may have. */
export function addressesOf(port: PortSpec): { privateIp: string; publicIp: string | null }[] {
  return [{ privateIp: port.privateIp, publicIp: port.publicIp }, ...port.secondary]
}

/** Everything that has an address in a VPC, once for each address. */
function holdersIn(vpc: VpcSpec): Holder[] {
  return [
    ...vpc.ports.flatMap((port) => addressesOf(port).map(
      (each): Holder => ({ kind: 'port', vpc, port, subnetId: port.subnetId, ...each }))),
    ...vpc.natGateways.map((nat): Holder => ({
      kind: 'nat-gateway', vpc, nat, subnetId: nat.subnetId, privateIp: nat.privateIp, publicIp: nat.publicIp,
    })),
  ]
}

/** Who has a private address in a VPC. */
export function holderOf(vpc: VpcSpec, privateIp: string): Holder | undefined {
  return holdersIn(vpc).find((each) => each.privateIp === privateIp)
}

/** Who has a public address, in any VPC. */
export function publicHolderOf(world: World, publicIp: string): Holder | undefined {
  return world.vpcs.flatMap(holdersIn).find((each) => each.publicIp === publicIp)
}

/** The port of an interface, with its VPC. */
export function portOf(world: World, interfaceId: string): PortHolder | undefined {
  for (const vpc of world.vpcs) {
    const port = vpc.ports.find((each) => each.interfaceId === interfaceId)
    if (port) {
      return { kind: 'port', vpc, port, subnetId: port.subnetId, privateIp: port.privateIp, publicIp: port.publicIp }
    }
  }
  return undefined
}
