import { formatIpv4, parseCidr } from '../core/cidr.ts'
import type { VpcSpec } from '../network/driver.ts'
import { ICMP, isIn, TCP, UDP, type Packet } from './reach-world.ts'

const METADATA = '169.254.169.254'
const RESOLVER = '169.254.169.253'
const TIME = '169.254.169.123'

/** What a VPC itself has at an address: its name, and which packets it takes. */
export interface Service {
  name: 'router' | 'resolver' | 'metadata service' | 'time service'
  takes(packet: Packet): boolean
  /** Whether it answers at all: the resolver may be turned off. */
  isOn: boolean
}

const takesPort = (packet: Packet, port: number, ...protocols: number[]) =>
  protocols.includes(packet.protocol) && packet.destinationPort === port
const isEcho = (packet: Packet) => packet.protocol === ICMP && packet.icmp?.type === 8
const isDhcp = (packet: Packet) => takesPort(packet, 67, UDP)

/**
 * What the VPC itself answers at an address; undefined where it is somebody else's. Neither security
 * groups nor network ACLs judge it.
 * https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html#nacl-basics
 */
export function serviceAt(vpc: VpcSpec, address: string): Service | undefined {
  if (address === METADATA) return { name: 'metadata service', isOn: true, takes: (packet) => takesPort(packet, 80, TCP) }
  if (address === TIME) return { name: 'time service', isOn: true, takes: (packet) => takesPort(packet, 123, UDP) }
  if (address === RESOLVER || address === addressIn(vpc.cidrs[0], 2)) {
    return { name: 'resolver', isOn: vpc.hasDns, takes: (packet) => takesPort(packet, 53, UDP, TCP) || isEcho(packet) }
  }
  if (vpc.subnets.some((subnet) => address === addressIn(subnet.cidr, 1))) {
    return { name: 'router', isOn: true, takes: (packet) => isEcho(packet) || isDhcp(packet) }
  }
  return undefined
}

/** Whether an address never leaves the link that it is on. */
export function isLinkLocal(address: string): boolean {
  return isIn(address, '169.254.0.0/16')
}

function addressIn(block: string | undefined, offset: number): string | undefined {
  const cidr = parseCidr(block ?? '')
  return cidr && formatIpv4(cidr.base + offset)
}
