import type { AclEntrySpec, NatGatewaySpec, RouteSpec, SubnetSpec, VpcSpec } from '../network/driver.ts'
import { entryFor, routeFor, ruleFor, type Direction, type MatchingRule } from './reach-filters.ts'
import { isLinkLocal, serviceAt, type Service } from './reach-services.ts'
import {
  addressesOf, holderOf, ICMP, isIn, isInVpc, publicHolderOf, TCP, UDP, type Holder, type NatHolder, type Packet, type PortHolder,
  type World,
} from './reach-world.ts'

/** What a packet passes, in order; the packet is as it leaves there. */
export type Hop = { vpc: VpcSpec; packet: Packet } & (
  | { kind: 'interface'; holder: PortHolder }
  | { kind: 'security-group'; holder: PortHolder; direction: Direction; match: MatchingRule }
  | { kind: 'network-acl'; networkAclId: string; subnetId: string; direction: Direction; entry: AclEntrySpec }
  | { kind: 'route-table'; routeTableId: string; subnetId: string; route: RouteSpec | 'local' }
  | { kind: 'internet-gateway' }
  | { kind: 'nat-gateway'; nat: NatGatewaySpec }
  | { kind: 'peering'; peeringId: string; peerVpcId: string }
  | { kind: 'service'; name: Service['name'] }
)

/** AWS's names: https://docs.aws.amazon.com/vpc/latest/reachability/explanation-codes.html */
export type ExplanationCode =
  | 'BAD_STATE' | 'BAD_STATE_ROUTE' | 'ENI_SG_RULES_MISMATCH' | 'ENI_SOURCE_DEST_CHECK_RESTRICTION'
  | 'GATEWAY_REJECTS_SPOOFED_TRAFFIC' | 'IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS'
  | 'IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS' | 'IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS'
  | 'NGW_DEST_ADDRESS_PRESERVATION' | 'NGW_REQUIRES_SOURCE_IN_VPC' | 'NGW_SOURCE_ADDRESS_REASSIGN'
  | 'NO_POSSIBLE_DESTINATION' | 'NO_ROUTE_TO_DESTINATION' | 'PCX_REQUIRES_ADDRESS_IN_VPC_CIDR' | 'PROTOCOL_RESTRICTION'
  | 'SUBNET_ACL_RESTRICTION'

/** What stops a packet. Which members are there follows from the code. */
export interface Obstacle {
  code: ExplanationCode
  packet: Packet
  /** Whether it stops the answer, and not the packet itself. */
  isReply: boolean
  /** How many hops it comes after. */
  at: number
  vpc?: VpcSpec
  direction?: Direction
  /** The interface that it is about; `interfaceId` is one that is attached to nothing, or that sends on what it may not. */
  holder?: PortHolder
  interfaceId?: string
  subnetId?: string
  networkAclId?: string
  /** The entry that denies; without one nothing allows. */
  entry?: AclEntrySpec
  routeTableId?: string
  route?: RouteSpec
  nat?: NatGatewaySpec
  peeringId?: string
  service?: Service['name']
}

/** Where a packet ends. */
export type Arrival = { packet: Packet } & ({ at: 'port'; holder: PortHolder } | { at: 'outside' } | { at: 'service' })

/** What of a flow is remembered for its answers. */
export interface Flow {
  /** Interfaces whose security groups have let it through: they let its answers through too. */
  judged: Set<string>
  /** NAT gateways that hide its source, and the packet as it came to them. */
  translated: Map<string, Packet>
}

/** One packet on its way. */
export interface Walk {
  world: World
  flow: Flow
  isReply: boolean
  hops: Hop[]
  obstacles: Obstacle[]
  /** Interfaces and NAT gateways that have sent it on: a second time would be for ever. */
  forwarders: Set<string>
  /** The interface that it has left last. */
  sender: string | null
}

type End = Arrival | undefined

function pass(walk: Walk, hop: Hop): void {
  walk.hops.push(hop)
}

/** Notes an obstacle; after a filter the walk goes on, so that everything that must change is named. */
export function stop(walk: Walk, obstacle: Omit<Obstacle, 'isReply' | 'at'>): undefined {
  walk.obstacles.push({ ...obstacle, isReply: walk.isReply, at: walk.hops.length })
}

/** The packet leaves a port. */
export function fromPort(walk: Walk, holder: PortHolder, packet: Packet): End {
  const { vpc, port, subnetId } = holder
  const own = addressesOf(port).map((each) => each.privateIp)
  walk.sender = port.interfaceId
  pass(walk, { kind: 'interface', vpc, holder, packet })
  // Nothing that an instance says to itself comes to the network.
  if (own.includes(packet.destination)) return { at: 'port', holder, packet }
  if (port.sourceDestCheck && !own.includes(packet.source)) {
    return stop(walk, { code: 'ENI_SOURCE_DEST_CHECK_RESTRICTION', vpc, packet, holder, direction: 'egress' })
  }
  const service = serviceAt(vpc, packet.destination)
  if (service) return toService(walk, vpc, service, packet)
  judgeGroups(walk, holder, 'egress', packet)
  return fromSubnet(walk, vpc, subnetId, packet)
}

function toService(walk: Walk, vpc: VpcSpec, service: Service, packet: Packet): End {
  const { name } = service
  if (!service.isOn) return stop(walk, { code: 'BAD_STATE', vpc, packet, service: name })
  if (!service.takes(packet)) return stop(walk, { code: 'PROTOCOL_RESTRICTION', vpc, packet, service: name })
  pass(walk, { kind: 'service', vpc, name, packet })
  return { at: 'service', packet }
}

/** The packet looks for its way by the subnet's route table; the VPC's own blocks come first. */
function fromSubnet(walk: Walk, vpc: VpcSpec, subnetId: string, packet: Packet): End {
  const { routeTableId } = subnetOf(vpc, subnetId)
  const at = { vpc, packet, subnetId, routeTableId }
  if (isInVpc(vpc, packet.destination)) {
    const holder = holderOf(vpc, packet.destination)
    if (!holder) return stop(walk, { code: 'NO_POSSIBLE_DESTINATION', ...at })
    cross(walk, vpc, subnetId, holder.subnetId, packet, 'local')
    return into(walk, holder, packet)
  }
  const table = vpc.routeTables.find((each) => each.routeTableId === routeTableId)
  const route = isLinkLocal(packet.destination) ? undefined : routeFor(table, packet.destination)
  if (!route) return stop(walk, { code: 'NO_ROUTE_TO_DESTINATION', ...at })
  const { target } = route
  const blackhole = () => stop(walk, { code: 'BAD_STATE_ROUTE', ...at, route })
  switch (target.kind) {
    case 'blackhole': return blackhole()
    case 'internet-gateway':
      if (!vpc.hasInternetGateway) return blackhole()
      cross(walk, vpc, subnetId, null, packet, route)
      return outThroughGateway(walk, vpc, packet)
    case 'nat-gateway': {
      const nat = vpc.natGateways.find((each) => each.natGatewayId === target.natGatewayId)
      if (!nat) return blackhole()
      cross(walk, vpc, subnetId, nat.subnetId, packet, route)
      return throughNat(walk, vpc, nat, packet)
    }
    case 'interface': {
      const port = vpc.ports.find((each) => each.interfaceId === target.interfaceId)
      if (!port) return blackhole()
      const holder: PortHolder = { kind: 'port', vpc, port, subnetId: port.subnetId, privateIp: port.privateIp, publicIp: port.publicIp }
      cross(walk, vpc, subnetId, port.subnetId, packet, route)
      return throughInterface(walk, holder, packet)
    }
    case 'peering': {
      if (!vpc.peerings.some((each) => each.peeringId === target.peeringId)) return blackhole()
      cross(walk, vpc, subnetId, null, packet, route)
      return throughPeering(walk, vpc, target.peeringId, packet)
    }
  }
}

/** From a subnet by a route to another one, or out of the VPC (null). Within a subnet no network ACL judges. */
function cross(walk: Walk, vpc: VpcSpec, from: string, to: string | null, packet: Packet, route: RouteSpec | 'local'): void {
  if (from !== to) judgeAcl(walk, vpc, from, 'egress', packet)
  if (from !== to || route !== 'local') {
    pass(walk, { kind: 'route-table', vpc, packet, subnetId: from, routeTableId: subnetOf(vpc, from).routeTableId, route })
  }
  if (to !== null && from !== to) judgeAcl(walk, vpc, to, 'ingress', packet)
}

/** The packet comes to who has its destination address. */
function into(walk: Walk, holder: Holder, packet: Packet): End {
  if (holder.kind === 'nat-gateway') return backThroughNat(walk, holder, packet)
  judgeGroups(walk, holder, 'ingress', packet)
  pass(walk, { kind: 'interface', vpc: holder.vpc, holder, packet })
  return { at: 'port', holder, packet }
}

/** Out to the world, which has the public addresses of all VPCs in it. */
function outThroughGateway(walk: Walk, vpc: VpcSpec, packet: Packet): End {
  const owner = holderOf(vpc, packet.source)
  const publicIp = owner?.publicIp
  if (!publicIp) return stop(walk, { code: 'IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS', vpc, packet })
  // EC2 would translate what another instance sends on. Here it has passed the VPC's translation once by then.
  const { interfaceId } = owner.kind === 'port' ? owner.port : owner.nat
  if (walk.sender !== null && walk.sender !== interfaceId) {
    return stop(walk, { code: 'IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS', vpc, packet, interfaceId: walk.sender })
  }
  // AWS refuses every private destination; here some are hosts of the network that the host is in.
  if (walk.world.vpcs.some((other) => isInVpc(other, packet.destination))) {
    return stop(walk, { code: 'IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS', vpc, packet })
  }
  const out = { ...packet, source: publicIp }
  pass(walk, { kind: 'internet-gateway', vpc, packet: out })
  const { publicPool } = walk.world
  const isOurs = publicHolderOf(walk.world, out.destination) !== undefined
  if (isOurs || (publicPool !== null && isIn(out.destination, publicPool))) return fromOutside(walk, out)
  return { at: 'outside', packet: out }
}

/** In from the world. */
export function fromOutside(walk: Walk, packet: Packet): End {
  const holder = publicHolderOf(walk.world, packet.destination)
  if (!holder?.vpc.hasInternetGateway) return stop(walk, { code: 'IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS', packet })
  const { vpc, subnetId, privateIp } = holder
  if (isInVpc(vpc, packet.source)) return stop(walk, { code: 'GATEWAY_REJECTS_SPOOFED_TRAFFIC', vpc, packet })
  const inside = { ...packet, destination: privateIp }
  pass(walk, { kind: 'internet-gateway', vpc, packet: inside })
  judgeAcl(walk, vpc, subnetId, 'ingress', inside)
  return into(walk, holder, inside)
}

/** Hidden behind the NAT gateway's own address, and on by the routes of its own subnet. */
function throughNat(walk: Walk, vpc: VpcSpec, nat: NatGatewaySpec, packet: Packet): End {
  const refuse = (code: ExplanationCode) => stop(walk, { code, vpc, packet, nat })
  if (![TCP, UDP, ICMP].includes(packet.protocol)) return refuse('PROTOCOL_RESTRICTION')
  if (!isInVpc(vpc, packet.source)) return refuse('NGW_REQUIRES_SOURCE_IN_VPC')
  // Answers go back the way that their flow came: under another address nobody knows them.
  if (walk.isReply) return refuse('NGW_SOURCE_ADDRESS_REASSIGN')
  if (walk.forwarders.has(nat.natGatewayId)) return refuse('NO_POSSIBLE_DESTINATION')
  walk.forwarders.add(nat.natGatewayId)
  walk.flow.translated.set(nat.natGatewayId, packet)
  const hidden = { ...packet, source: nat.privateIp }
  walk.sender = nat.interfaceId
  pass(walk, { kind: 'nat-gateway', vpc, nat, packet: hidden })
  return fromSubnet(walk, vpc, nat.subnetId, hidden)
}

/** A NAT gateway takes answers only. */
function backThroughNat(walk: Walk, { vpc, nat }: NatHolder, packet: Packet): End {
  const asked = walk.flow.translated.get(nat.natGatewayId)
  if (!walk.isReply || !asked) return stop(walk, { code: 'NGW_DEST_ADDRESS_PRESERVATION', vpc, packet, nat })
  const shown = { ...packet, destination: asked.source, destinationPort: asked.sourcePort }
  pass(walk, { kind: 'nat-gateway', vpc, nat, packet: shown })
  return fromSubnet(walk, vpc, nat.subnetId, shown)
}

/** An instance that routes: the packet goes in at its interface, and out of the same one. */
function throughInterface(walk: Walk, holder: PortHolder, packet: Packet): End {
  const { vpc, port } = holder
  const at = { vpc, packet, holder, direction: 'ingress' as const }
  if (port.sourceDestCheck) return stop(walk, { code: 'ENI_SOURCE_DEST_CHECK_RESTRICTION', ...at })
  if (walk.forwarders.has(port.interfaceId)) return stop(walk, { code: 'NO_POSSIBLE_DESTINATION', ...at })
  walk.forwarders.add(port.interfaceId)
  judgeGroups(walk, holder, 'ingress', packet)
  return fromPort(walk, holder, packet)
}

/** A peering joins two VPCs and nothing beyond them. */
function throughPeering(walk: Walk, vpc: VpcSpec, peeringId: string, packet: Packet): End {
  const peering = vpc.peerings.find((each) => each.peeringId === peeringId)
  const at = { vpc, packet, peeringId }
  const reaches = peering?.peerCidrs.some((cidr) => isIn(packet.destination, cidr))
  if (!peering || !reaches || !isInVpc(vpc, packet.source)) return stop(walk, { code: 'PCX_REQUIRES_ADDRESS_IN_VPC_CIDR', ...at })
  pass(walk, { kind: 'peering', vpc, packet, peeringId, peerVpcId: peering.peerVpcId })
  const peer = walk.world.vpcs.find((each) =>
    each.vpcId === peering.peerVpcId && each.peerings.some((back) => back.peeringId === peeringId))
  const holder = peer && holderOf(peer, packet.destination)
  if (!holder) return stop(walk, { code: 'NO_POSSIBLE_DESTINATION', ...at })
  judgeAcl(walk, holder.vpc, holder.subnetId, 'ingress', packet)
  return into(walk, holder, packet)
}

/** Security groups are stateful: who has let a flow through lets its answers through. */
function judgeGroups(walk: Walk, holder: PortHolder, direction: Direction, packet: Packet): void {
  const { vpc, port } = holder
  if (walk.isReply && walk.flow.judged.has(port.interfaceId)) return
  if (!walk.isReply) walk.flow.judged.add(port.interfaceId)
  const match = ruleFor(vpc, port, direction, packet)
  if (match) return pass(walk, { kind: 'security-group', vpc, packet, holder, direction, match })
  stop(walk, { code: 'ENI_SG_RULES_MISMATCH', vpc, packet, holder, direction })
}

/** Network ACLs are stateless: they judge every packet. */
function judgeAcl(walk: Walk, vpc: VpcSpec, subnetId: string, direction: Direction, packet: Packet): void {
  const { networkAclId } = subnetOf(vpc, subnetId)
  const acl = vpc.networkAcls.find((each) => each.networkAclId === networkAclId)
  const entry = acl && entryFor(acl, direction, packet)
  if (entry?.action === 'allow') return pass(walk, { kind: 'network-acl', vpc, packet, networkAclId, subnetId, direction, entry })
  stop(walk, { code: 'SUBNET_ACL_RESTRICTION', vpc, packet, networkAclId, subnetId, direction, ...(entry ? { entry } : {}) })
}

function subnetOf(vpc: VpcSpec, subnetId: string): SubnetSpec {
  const subnet = vpc.subnets.find((each) => each.subnetId === subnetId)
  if (!subnet) throw new Error(`no subnet ${subnetId} in ${vpc.vpcId}`)
  return subnet
}
