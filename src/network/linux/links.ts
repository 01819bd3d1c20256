import { UID_BASE } from '../../core/machine-uid.ts'
import type { PortSpec, VpcSpec } from '../driver.ts'
import { LINK, METADATA_ADDRESS, MTU, type Names, UPLINK } from './names.ts'
import { gatewayOf, resolversOf } from './vpc-rules.ts'

/** What is seen of one side of a VPC: links with their addresses, routes, permanent neighbours. */
export interface Observed {
  links: ObservedLink[]
  routes: ObservedRoute[]
  neighbours: ObservedNeighbour[]
}

export interface ObservedLink {
  ifname: string
  flags: string[]
  mtu: number
  ifalias?: string
  addr_info?: { family: string; local: string; prefixlen: number }[]
}

export interface ObservedRoute {
  type?: string
  dst: string
  gateway?: string
  dev?: string
  prefsrc?: string
  flags?: string[]
}

export interface ObservedNeighbour {
  dst: string
  dev: string
  lladdr?: string
  state: string[]
}

/** Commands for `ip -batch`, and the taps whose settings under /proc are not yet made. */
export interface LinkPlan {
  /** Makes and removes devices. */
  devices: string[]
  taps: string[]
  /** Addresses, routes, neighbours; and, last, the mark on each tap that all of it is done. */
  details: string[]
}

/**
 * One thing as it should be: `place` says what it is, `value` how it should look. A thing that
 * looks otherwise is replaced.
 */
interface Fact {
  place: string
  value: string
  set: string
}

/** What is missing or wrong inside a VPC's namespace. An empty plan means that all is as it should be. */
export function planVpcLinks(spec: VpcSpec, names: Names, observed: Observed): LinkPlan {
  const taps = new Map(spec.ports.map((port) => [names.tap(port.slot), port]))
  const links = new Map(observed.links.map((link) => [link.ifname, link]))
  const gone = new Set([...links.keys()].filter((name) => name.startsWith(names.tapPrefix) && !taps.has(name)))
  // The alias is set last, so a tap that carries its interface's id is a finished one.
  const unfinished = [...taps].filter(([name, port]) => links.get(name)?.ifalias !== port.interfaceId)
  const addresses = localAddresses(spec)
  return {
    devices: [
      ...[...gone].map((name) => `link del dev ${name}`),
      ...unfinished.filter(([name]) => !links.has(name)).map(([name, port]) =>
        `tuntap add dev ${name} mode tap user ${UID_BASE + port.slot} vnet_hdr`),
    ],
    taps: unfinished.map(([name]) => name),
    details: [
      ...['lo', UPLINK, ...taps.keys()].flatMap((name) => raise(name, links.get(name))),
      ...missingAddresses('lo', addresses, links.get('lo')),
      ...missingAddresses(UPLINK, [LINK.vpcAddress], links.get(UPLINK)),
      ...replacements(routeFacts(spec, names), observed.routes.map(routeAsFact)),
      ...replacements(neighbourFacts(spec, names), observed.neighbours.map(neighbourAsFact)),
      ...observed.routes.filter((route) => isStaleRoute(route, spec, names, gone)).map((route) =>
        `route del ${route.type === 'unreachable' ? `unreachable ${route.dst}` : `${route.dst} dev ${route.dev}`}`),
      ...observed.neighbours.filter((each) => isStaleNeighbour(each, taps, gone)).map((each) =>
        `neigh del ${each.dst} dev ${each.dev}`),
      ...extraAddresses('lo', addresses, links.get('lo')),
      ...unfinished.map(([name, port]) => `link set dev ${name} alias ${port.interfaceId}`),
    ],
  }
}

/** What is missing or wrong on the host's end of the link; the link itself exists. */
export function planHostLink(spec: VpcSpec, names: Names, observed: Observed): string[] {
  const dev = names.hostLink(spec.slot)
  const published = spec.ports.flatMap((port) => port.publicIp ?? [])
  const routes = published.map((address): Fact => ({
    place: address,
    value: `${dev} via ${LINK.vpcAddress}`,
    set: `route replace ${address}/32 via ${LINK.vpcAddress} dev ${dev} onlink`,
  }))
  const link = observed.links.find((each) => each.ifname === dev)
  return [
    ...raise(dev, link),
    ...missingAddresses(dev, [LINK.hostAddress], link),
    ...replacements([neighbourFact(LINK.vpcAddress, LINK.vpcMac, dev)], observed.neighbours.map(neighbourAsFact)),
    ...replacements(routes, observed.routes.map((route) => (
      { place: route.dst, value: `${route.dev} via ${route.gateway}` }))),
    ...observed.routes
      .filter((route) => route.dev === dev && route.gateway === LINK.vpcAddress && !published.includes(route.dst))
      .map((route) => `route del ${route.dst} dev ${dev}`),
  ]
}

/** Addresses of the namespace itself: routers, resolvers, the metadata service. */
export function localAddresses(spec: VpcSpec): string[] {
  const routers = spec.subnets.map((subnet) => gatewayOf(subnet.cidr))
  return [...new Set([...routers, ...resolversOf(spec), METADATA_ADDRESS])]
}

function routeFacts(spec: VpcSpec, names: Names): Fact[] {
  return [
    // What is in the VPC and nobody's is nowhere: it must not leave through the default route.
    ...spec.cidrs.map((cidr) => ({ place: cidr, value: 'unreachable', set: `route replace unreachable ${cidr}` })),
    {
      place: 'default',
      value: `${UPLINK} via ${LINK.hostAddress}`,
      set: `route replace default via ${LINK.hostAddress} dev ${UPLINK} onlink`,
    },
    ...spec.ports.map((port) => {
      const dev = names.tap(port.slot)
      const source = gatewayOfPort(spec, port)
      return {
        place: port.privateIp,
        value: `${dev} src ${source}`,
        set: `route replace ${port.privateIp}/32 dev ${dev} src ${source}`,
      }
    }),
  ]
}

function routeAsFact(route: ObservedRoute): Pick<Fact, 'place' | 'value'> {
  if (route.type === 'unreachable') return { place: route.dst, value: 'unreachable' }
  if (route.gateway !== undefined) return { place: route.dst, value: `${route.dev} via ${route.gateway}` }
  return { place: route.dst, value: `${route.dev} src ${route.prefsrc}` }
}

/** Permanent, so that no guest's ARP can claim another's address. */
function neighbourFacts(spec: VpcSpec, names: Names): Fact[] {
  return [
    neighbourFact(LINK.hostAddress, LINK.hostMac, UPLINK),
    ...spec.ports.map((port) => neighbourFact(port.privateIp, port.mac, names.tap(port.slot))),
  ]
}

function neighbourFact(address: string, mac: string, dev: string): Fact {
  return {
    place: `${dev} ${address}`,
    value: mac,
    set: `neigh replace ${address} lladdr ${mac} dev ${dev} nud permanent`,
  }
}

function neighbourAsFact(neighbour: ObservedNeighbour): Pick<Fact, 'place' | 'value'> {
  const isPermanent = neighbour.state.includes('PERMANENT')
  return { place: `${neighbour.dev} ${neighbour.dst}`, value: isPermanent ? (neighbour.lladdr ?? '') : 'learned' }
}

function isStaleRoute(route: ObservedRoute, spec: VpcSpec, names: Names, gone: Set<string>): boolean {
  if (route.type === 'unreachable') return !spec.cidrs.includes(route.dst)
  const { dev } = route
  if (dev === undefined || !dev.startsWith(names.tapPrefix) || gone.has(dev)) return false
  return !spec.ports.some((port) => port.privateIp === route.dst)
}

function isStaleNeighbour(each: ObservedNeighbour, taps: Map<string, PortSpec>, gone: Set<string>): boolean {
  const port = taps.get(each.dev)
  return !gone.has(each.dev) && port !== undefined && each.state.includes('PERMANENT') && each.dst !== port.privateIp
}

function gatewayOfPort(spec: VpcSpec, port: PortSpec): string {
  const subnet = spec.subnets.find((each) => each.subnetId === port.subnetId)
  if (subnet === undefined) throw new Error(`no subnet ${port.subnetId} for ${port.interfaceId}`)
  return gatewayOf(subnet.cidr)
}

function raise(name: string, link: ObservedLink | undefined): string[] {
  const isRaised = link?.flags.includes('UP') && (name === 'lo' || link.mtu === MTU)
  if (isRaised) return []
  return [name === 'lo' ? 'link set dev lo up' : `link set dev ${name} mtu ${MTU} up`]
}

const ipv4Of = (link: ObservedLink | undefined) =>
  (link?.addr_info ?? []).filter((each) => each.family === 'inet').map((each) => each.local)

function missingAddresses(dev: string, wanted: string[], link: ObservedLink | undefined): string[] {
  const present = ipv4Of(link)
  return wanted.filter((address) => !present.includes(address)).map((address) => `addr add ${address}/32 dev ${dev}`)
}

function extraAddresses(dev: string, wanted: string[], link: ObservedLink | undefined): string[] {
  return ipv4Of(link)
    .filter((address) => !wanted.includes(address) && !address.startsWith('127.'))
    .map((address) => `addr del ${address}/32 dev ${dev}`)
}

function replacements(wanted: Fact[], present: Pick<Fact, 'place' | 'value'>[]): string[] {
  const seen = new Set(present.map((each) => `${each.place}\n${each.value}`))
  return wanted.filter((fact) => !seen.has(`${fact.place}\n${fact.value}`)).map((fact) => fact.set)
}
