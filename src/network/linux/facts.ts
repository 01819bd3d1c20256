import { UID_BASE } from '../../core/machine-uid.ts'
import type { NatGatewaySpec, PortSpec, RouteTarget } from '../driver.ts'
import type { Item } from './bag.ts'
import { addressesOf, type Frame, otherEnd, publishedOf, subnetOf } from './frame.ts'
import { LINK, METADATA_ADDRESS, PEERING_ENDS, TIME_ADDRESS, UPLINK } from './names.ts'

/**
 * One route, neighbour or rule as it should be: `place` says which, `value` how it should look. One
 * that looks otherwise is replaced by `set`, one that should not be is taken away by `unset`; both are
 * words for `ip -batch`. It goes by itself with its device.
 */
export interface Fact extends Item {
  place: string
  value: string
  set: string
  unset: string
  dev?: string
}

/** A tap that should be there. */
export interface Device extends Item {
  name: string
  interfaceId: string
  uid: number
}

/** Where the kernel looks first: what is in the VPC comes before every route table. */
const MAIN = 'main'
const LOCAL_PREFERENCE = 100
const SUBNET_PREFERENCE = 1000
/** The kernel's own rules, which no VPC needs changed. */
const KERNEL_PREFERENCES = new Set([0, 32766, 32767])

const fact = (place: string, value: string, set: string, unset: string, dev?: string): Fact =>
  ({ key: place, text: value, place, value, set, unset, ...(dev !== undefined && { dev }) })

/** A route; `way` as iproute2 takes it, `value` as it is recognised. */
function route(table: string, destination: string, way: { type?: string; words?: string; dev?: string; value: string }): Fact {
  const to = [way.type, destination].filter(Boolean).join(' ')
  const where = table === MAIN ? '' : ` table ${table}`
  return fact(`route ${table} ${destination}`, way.value, `route replace ${[to, way.words].filter(Boolean).join(' ')}${where}`,
    `route del ${to}${way.dev === undefined ? '' : ` dev ${way.dev}`}${where}`, way.dev)
}

const through = (address: string, dev: string) =>
  ({ words: `via ${address} dev ${dev} onlink`, dev, value: `${dev} via ${address}` })

function neighbour(address: string, mac: string, dev: string): Fact {
  return fact(`neigh ${dev} ${address}`, mac, `neigh replace ${address} lladdr ${mac} dev ${dev} nud permanent`,
    `neigh del ${address} dev ${dev}`, dev)
}

function rule(preference: number, mark: number | undefined, table: string): Fact {
  const words = `pref ${preference}${mark === undefined ? '' : ` fwmark ${mark}`} lookup ${table}`
  return fact(`rule ${preference} ${mark ?? 'all'} ${table}`, '', `rule add ${words}`, `rule del ${words}`)
}

export function isKernelRule(preference: number): boolean {
  return KERNEL_PREFERENCES.has(preference)
}

/** How an observed rule is placed. */
export function rulePlace(preference: number, fwmark: string | undefined, table: string): string {
  return `rule ${preference} ${fwmark === undefined ? 'all' : Number(fwmark)} ${table}`
}

/** Addresses of the namespace itself: routers, resolvers, time, the metadata service. */
export function localAddresses(frame: Frame): string[] {
  const routers = [...frame.subnets.values()].map((subnet) => subnet.gateway)
  return [...new Set([...routers, ...frame.resolvers, TIME_ADDRESS, METADATA_ADDRESS])]
}

/** What every VPC has, whatever ports there are. `present` are the links to peers that exist. */
export function frameFacts(frame: Frame, present: ReadonlySet<string>): Fact[] {
  const { cidrs, subnets, peerings, natGateways, names } = frame
  return [
    rule(LOCAL_PREFERENCE, undefined, MAIN),
    ...[...subnets.values()].map((subnet) =>
      rule(SUBNET_PREFERENCE, subnet.mark, String(frame.tables.get(subnet.routeTableId) ?? MAIN))),
    // What is in the VPC and nobody's is nowhere: it must not leave through another route.
    ...cidrs.map((cidr) => route(MAIN, cidr, { type: 'unreachable', value: 'unreachable' })),
    neighbour(LINK.hostAddress, LINK.hostMac, UPLINK),
    ...peerings.filter((each) => present.has(names.peering(each.slot))).map((each) => {
      const { address, mac } = PEERING_ENDS[otherEnd(each)]
      return neighbour(address, mac, names.peering(each.slot))
    }),
    ...natGateways.flatMap((nat) => ownerFacts(frame, nat, names.nat(nat.slot), [nat.privateIp])),
    ...tableFacts(frame, present, undefined),
  ]
}

export function portFacts(frame: Frame, port: PortSpec): Fact[] {
  return ownerFacts(frame, port, frame.names.tap(port.slot), addressesOf(port).map((each) => each.privateIp))
}

/** Neighbours are permanent, so that no guest's ARP can claim another's address. */
function ownerFacts(frame: Frame, owner: PortSpec | NatGatewaySpec, dev: string, addresses: readonly string[]): Fact[] {
  const { gateway } = subnetOf(frame, owner)
  return addresses.flatMap((ip) => [
    route(MAIN, ip, { words: `dev ${dev} src ${gateway}`, dev, value: `${dev} src ${gateway}` }),
    neighbour(ip, owner.mac, dev),
  ])
}

/**
 * Routes of the route tables. Those to interfaces depend on the interface's port, so they are asked for
 * one interface at a time.
 *
 * @param port undefined for all routes but those to interfaces.
 */
export function tableFacts(frame: Frame, present: ReadonlySet<string>, of: { interfaceId: string; port?: PortSpec } | undefined): Fact[] {
  return frame.routeTables.flatMap(({ routeTableId, routes }) => routes
    .filter(({ target }) => (target.kind === 'interface' ? target.interfaceId === of?.interfaceId : of === undefined))
    .map(({ destination, target }) =>
      route(String(frame.tables.get(routeTableId)), canonical(destination), wayTo(frame, present, target, of?.port))))
}

/** As the kernel prints it. */
function canonical(destination: string): string {
  return destination === '0.0.0.0/0' ? 'default' : destination.replace(/\/32$/, '')
}

/** Interfaces that routes lead to. */
export function routedInterfaces(frame: Frame): string[] {
  return [...new Set(frame.routeTables.flatMap(({ routes }) =>
    routes.flatMap(({ target }) => (target.kind === 'interface' ? target.interfaceId : []))))]
}

const BLACKHOLE = { type: 'blackhole', value: 'blackhole' }

function wayTo(frame: Frame, present: ReadonlySet<string>, target: RouteTarget, port: PortSpec | undefined) {
  const { names } = frame
  switch (target.kind) {
    case 'internet-gateway':
      return frame.hasInternetGateway ? through(LINK.hostAddress, UPLINK) : BLACKHOLE
    case 'nat-gateway': {
      const nat = frame.natGateways.find((each) => each.natGatewayId === target.natGatewayId)
      return nat ? through(nat.privateIp, names.nat(nat.slot)) : BLACKHOLE
    }
    case 'interface':
      // An interface that checks destinations would drop what is not for itself.
      return port && !port.sourceDestCheck ? through(port.privateIp, names.tap(port.slot)) : BLACKHOLE
    case 'peering': {
      const peering = frame.peerings.find((each) => each.peeringId === target.peeringId)
      const dev = peering && names.peering(peering.slot)
      return peering && dev !== undefined && present.has(dev)
        ? through(PEERING_ENDS[otherEnd(peering)].address, dev) : BLACKHOLE
    }
    case 'blackhole':
      return BLACKHOLE
  }
}

export function portDevice(frame: Frame, port: PortSpec): Device {
  const name = frame.names.tap(port.slot)
  return {
    key: name, text: `${port.interfaceId} ${port.machineSlot}`, name, interfaceId: port.interfaceId,
    uid: UID_BASE + port.machineSlot,
  }
}

/** What the host needs to reach a port's or NAT gateway's public addresses. */
export function hostFacts(frame: Frame, owner: PortSpec | NatGatewaySpec, publicInterface: string | null): Fact[] {
  const dev = frame.names.hostLink(frame.slot)
  return publishedOf(frame, owner).flatMap((address) => [
    route(MAIN, address, through(LINK.vpcAddress, dev)),
    ...(publicInterface === null ? [] : [proxied(address, publicInterface)]),
  ])
}

/** The host answers ARP for the address on an interface of its own. */
function proxied(address: string, dev: string): Fact {
  return fact(`proxy ${address}`, dev, `neigh replace proxy ${address} dev ${dev}`, `neigh del proxy ${address} dev ${dev}`)
}

export function hostLinkFacts(frame: Pick<Frame, 'names' | 'slot'>): Fact[] {
  return [neighbour(LINK.vpcAddress, LINK.vpcMac, frame.names.hostLink(frame.slot))]
}

