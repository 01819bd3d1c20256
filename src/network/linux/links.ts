import type { DesiredVpc } from './desired.ts'
import { type Device, type Fact, isKernelRule, localAddresses, rulePlace } from './facts.ts'
import { LINK, MTU, TAP_MAC, UPLINK } from './names.ts'
import type { ObservedProxy } from './public-interface.ts'

/** What is seen of one side of a VPC: links with their addresses, routes, permanent neighbours, rules. */
export interface Observed {
  links: ObservedLink[]
  routes: ObservedRoute[]
  neighbours: ObservedNeighbour[]
  rules: ObservedRule[]
  /** Addresses that the host answers ARP for. */
  proxies: ObservedProxy[]
}

export interface ObservedLink {
  ifname: string
  flags: string[]
  mtu: number
  qdisc?: string
  ifalias?: string
  addr_info?: { family: string; local: string; prefixlen: number }[]
}

export interface ObservedRoute {
  type?: string
  dst: string
  gateway?: string
  dev?: string
  prefsrc?: string
  /** Absent for the main table. */
  table?: string
  flags?: string[]
}

export interface ObservedNeighbour {
  dst: string
  dev: string
  lladdr?: string
  state: string[]
}

export interface ObservedRule {
  priority: number
  fwmark?: string
  table: string
}

/** Commands for `ip -batch`, and the taps whose settings under /proc are not yet made. */
export interface LinkPlan {
  /** Makes and removes devices. */
  devices: string[]
  taps: string[]
  /** Addresses, routes, neighbours; and, last, the mark on each tap that all of it is done. */
  details: string[]
}

type Seen = Pick<Fact, 'place' | 'value' | 'unset'>

/** What is missing or wrong inside a VPC's namespace. An empty plan means that all is as it should be. */
export function planVpcLinks(desired: DesiredVpc, observed: Observed): LinkPlan {
  const { frame } = desired
  const { inside, devices } = desired.facts
  const { names } = frame
  const wanted = new Map(devices.map((each) => [each.name, each]))
  const links = new Map(observed.links.map((link) => [link.ifname, link]))
  const gone = [...links.keys()].filter((name) => name.startsWith(names.tapPrefix) && !wanted.has(name))
  // The alias is set last, so a tap that carries its interface's id is a finished one.
  const unfinished = devices.filter((each) => links.get(each.name)?.ifalias !== each.interfaceId)
  const others = [...links.keys()].filter((name) => name.startsWith(names.natPrefix) || name.startsWith(names.peeringPrefix))
  const addresses = localAddresses(frame)
  const seen = [
    ...observed.routes.map(routeAsSeen), ...observed.neighbours.map(neighbourAsSeen), ...observed.rules.flatMap(ruleAsSeen),
  ].filter((each) => !gone.includes(each.dev ?? ''))
  return {
    devices: [
      ...gone.map((name) => `link del dev ${name}`),
      ...unfinished.filter((each) => !links.has(each.name)).map(makeTap),
    ],
    taps: unfinished.map((each) => each.name),
    details: [
      ...['lo', UPLINK, ...others].flatMap((name) => raise(name, links.get(name))),
      ...devices.flatMap((each) => (links.get(each.name)?.flags.includes('UP') ? raise(each.name, links.get(each.name)) : raiseTap(each))),
      ...missingAddresses('lo', addresses, links.get('lo')),
      ...missingAddresses(UPLINK, [LINK.vpcAddress], links.get(UPLINK)),
      ...replacements(inside, seen),
      ...leftovers(inside, seen),
      ...extraAddresses('lo', addresses, links.get('lo')),
      ...unfinished.map(markTap),
    ],
  }
}

export function makeTap({ name, uid }: Device): string {
  return `tuntap add dev ${name} mode tap user ${uid} vnet_hdr`
}

/**
 * The MAC address is the same at every making, since a guest that was hibernated goes on sending to the router that it knew.
 * Setting it empties the neighbours of a tap: only before it is up, and they are made.
 */
export function raiseTap({ name }: Pick<Device, 'name'>): string {
  return `link set dev ${name} address ${TAP_MAC} mtu ${MTU} up`
}

/** The mark of a finished tap. */
export function markTap({ name, interfaceId }: Device): string {
  return `link set dev ${name} alias ${interfaceId}`
}

/** What is missing or wrong on the host's end of the link; the link itself exists. */
export function planHostLink(desired: DesiredVpc, observed: Observed): string[] {
  const { names, slot } = desired.frame
  const dev = names.hostLink(slot)
  const { host } = desired.facts
  const link = observed.links.find((each) => each.ifname === dev)
  const seen = [
    ...observed.routes.map(routeAsSeen), ...observed.neighbours.map(neighbourAsSeen),
    ...observed.proxies.map((each) => ({ place: `proxy ${each.dst}`, value: each.dev, unset: '' })),
  ]
  return [
    ...raise(dev, link),
    ...missingAddresses(dev, [LINK.hostAddress], link),
    ...replacements(host, seen),
    // What other VPCs have on the host is not ours to judge.
    ...leftovers(host, observed.routes.map(routeAsSeen).filter((each) => each.value === `${dev} via ${LINK.vpcAddress}`)),
  ]
}

function routeAsSeen(route: ObservedRoute): Seen & { dev: string | undefined } {
  const table = route.table ?? 'main'
  const where = table === 'main' ? '' : ` table ${table}`
  const { type, dst, dev } = route
  return {
    place: `route ${table} ${dst}`, dev, value: valueOf(route),
    unset: `route del ${type === undefined ? '' : `${type} `}${dst}${dev === undefined || type !== undefined ? '' : ` dev ${dev}`}${where}`,
  }
}

function valueOf({ type, gateway, dev, prefsrc }: ObservedRoute): string {
  if (type !== undefined) return type
  return gateway === undefined ? `${dev} src ${prefsrc}` : `${dev} via ${gateway}`
}

function neighbourAsSeen({ dst, dev, lladdr, state }: ObservedNeighbour): Seen & { dev: string } {
  const isPermanent = state.includes('PERMANENT')
  return {
    place: `neigh ${dev} ${dst}`, dev, value: isPermanent ? (lladdr ?? '') : 'learned',
    // The kernel forgets by itself what it learned.
    unset: isPermanent ? `neigh del ${dst} dev ${dev}` : '',
  }
}

function ruleAsSeen({ priority, fwmark, table }: ObservedRule): (Seen & { dev: undefined })[] {
  if (isKernelRule(priority)) return []
  const mark = fwmark === undefined ? '' : ` fwmark ${Number(fwmark)}`
  return [{
    place: rulePlace(priority, fwmark, table), value: '', dev: undefined,
    unset: `rule del pref ${priority}${mark} lookup ${table}`,
  }]
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

function replacements(wanted: readonly Fact[], present: readonly Seen[]): string[] {
  const seen = new Set(present.map((each) => `${each.place}\n${each.value}`))
  return wanted.filter((fact) => !seen.has(`${fact.place}\n${fact.value}`)).map((fact) => fact.set)
}

/** What is where nothing should be. */
function leftovers(wanted: readonly Fact[], present: readonly Seen[]): string[] {
  const places = new Set(wanted.map((fact) => fact.place))
  return present.filter((each) => !places.has(each.place) && each.unset !== '').map((each) => each.unset)
}
