import { createHash } from 'node:crypto'
import { formatCidr, formatIpv4, overlaps, parseCidr, type Cidr } from '../../core/cidr.ts'
import type { NatGatewaySpec, PeeringSpec, PortSpec, RouteSpec, VpcSpec } from '../driver.ts'
import { LINK_LOCAL_RESOLVER, type Names } from './names.ts'

/** A VPC without what changes one by one, with the numbers that the kernel knows its parts by. */
export interface Frame extends Omit<VpcSpec, 'ports' | 'groups' | 'subnets'> {
  names: Names
  /** By subnet id. */
  subnets: Map<string, FrameSubnet>
  /** The kernel's numbers of routing tables, by route table id. */
  tables: Map<string, number>
  /** Where names are asked for; none where enableDnsSupport is off. */
  resolvers: string[]
}

export interface FrameSubnet {
  subnetId: string
  cidr: string
  /** The subnet's router: its base + 1. */
  gateway: string
  /** Packets from the subnet carry this; it chooses the routing table and the network ACL. */
  mark: number
  routeTableId: string
  networkAclId: string
}

/** Above the tables that the kernel keeps for itself (253–255). */
const LEAST_NUMBER = 0x1000
const NUMBERS = 0x7fff_0000

export function frameOf(spec: VpcSpec, names: Names): Frame {
  const { vpcId, slot, cidrs, subnets, networkAcls, foreignGroups, hasInternetGateway, natGateways, peerings, hasDns } = spec
  const marks = numbersOf(subnets.map((subnet) => subnet.subnetId))
  return {
    vpcId, slot, cidrs, networkAcls, foreignGroups, hasInternetGateway, natGateways, peerings, hasDns, names,
    subnets: new Map(subnets.map((subnet) => [subnet.subnetId, {
      ...subnet, gateway: gatewayOf(subnet.cidr), mark: marks.get(subnet.subnetId) ?? 0,
    }])),
    routeTables: spec.routeTables.map(({ routeTableId, routes }) => ({ routeTableId, routes: firstOfEach(routes) })),
    tables: numbersOf(spec.routeTables.map((table) => table.routeTableId)),
    resolvers: spec.hasDns ? resolversOf(spec) : [],
  }
}

/** Prefix lists may name a block that a route of its own has, or another list: the first one holds. */
function firstOfEach(routes: readonly RouteSpec[]): RouteSpec[] {
  const first = new Map<string, RouteSpec>()
  for (const route of routes) {
    const block = parseCidr(route.destination)
    if (block && !first.has(formatCidr(block))) first.set(formatCidr(block), { ...route, destination: formatCidr(block) })
  }
  return [...first.values()]
}

/**
 * A number for each id that it keeps whatever else comes and goes, so that a changed VPC never takes
 * one subnet's packets for another's.
 */
function numbersOf(ids: readonly string[]): Map<string, number> {
  const numbers = new Map<string, number>()
  const taken = new Set<number>()
  for (const id of ids.toSorted()) {
    let number = LEAST_NUMBER + (createHash('sha256').update(id).digest().readUInt32BE(0) % NUMBERS)
    while (taken.has(number)) number++
    taken.add(number)
    numbers.set(id, number)
  }
  return numbers
}

export function subnetOf(frame: Frame, { subnetId }: { subnetId: string }): FrameSubnet {
  const subnet = frame.subnets.get(subnetId)
  if (subnet === undefined) throw new Error(`bad network spec: no subnet ${subnetId} in ${frame.vpcId}`)
  return subnet
}

/** The address `offset` above a block's base, as text. */
function addressIn(cidr: string, offset: number): string {
  const block = parseCidr(cidr)
  if (block === undefined) throw new Error(`not a CIDR: ${cidr}`)
  return formatIpv4(block.base + offset)
}

/** A subnet's router: its base + 1. */
export function gatewayOf(subnetCidr: string): string {
  return addressIn(subnetCidr, 1)
}

/** Where a VPC's DNS answers: the primary block's base + 2, and the link-local address. */
export function resolversOf(spec: Pick<VpcSpec, 'cidrs'>): string[] {
  return [...spec.cidrs.slice(0, 1).map((cidr) => addressIn(cidr, 2)), LINK_LOCAL_RESOLVER]
}

export interface Address {
  privateIp: string
  publicIp: string | null
}

/** All addresses of a port, the primary one first. */
export function addressesOf(port: PortSpec): Address[] {
  return [{ privateIp: port.privateIp, publicIp: port.publicIp }, ...port.secondary]
}

/** The public addresses of a port or NAT gateway that can be reached: none without an internet gateway. */
export function publishedOf(frame: Frame, owner: PortSpec | NatGatewaySpec): string[] {
  if (!frame.hasInternetGateway) return []
  const all = 'secondary' in owner ? addressesOf(owner) : [owner]
  return all.flatMap((each) => each.publicIp ?? [])
}

/** The other end of a peering, as seen from this VPC. */
export function otherEnd(peering: PeeringSpec): 'requester' | 'accepter' {
  return peering.side === 'requester' ? 'accepter' : 'requester'
}

/** The same blocks without those that others cover: nft refuses overlaps within one list. */
export function withoutOverlaps(cidrs: readonly string[]): string[] {
  const blocks = cidrs.flatMap((text) => parseCidr(text) ?? []).toSorted((a, b) => a.prefix - b.prefix)
  const kept: Cidr[] = []
  for (const block of blocks) {
    if (!kept.some((each) => overlaps(each, block))) kept.push(block)
  }
  return kept.map(formatCidr).toSorted()
}
