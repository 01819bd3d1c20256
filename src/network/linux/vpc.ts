import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { waitFor, type Clock } from '../../core/clock.ts'
import type { VpcSpec } from '../driver.ts'
import { createSerial } from '../serial.ts'
import { type KernelChange, DesiredVpc } from './desired.ts'
import { CommandError, type Exec } from './exec.ts'
import { frameOf } from './frame.ts'
import {
  type LinkPlan, type Observed, type ObservedLink, type ObservedNeighbour, type ObservedRoute, type ObservedRule,
  planHostLink, planVpcLinks,
} from './links.ts'
import { DOOMED_GROUP, LINK, MTU, type Names, NETNS_FOLDER, UPLINK, VPC_TABLE } from './names.ts'
import { createNatGateways } from './nat.ts'
import { createPeerings } from './peerings.ts'
import { createArpProxies } from './public-interface.ts'
import { hostLinkSettings, NAMESPACE_SETTINGS, tapSettings } from './settings.ts'
import { createTools } from './tools.ts'
import { hostCommands, insideCommands } from './vpc-change.ts'

const NAMESPACES = 'namespaces'
/** The kernel does it at once, unless others keep its lock for network devices busy. */
const SENDING = { timeoutMs: 5_000, pollMs: 10 }

/** One VPC in the kernel: its namespace, links and rules. */
export interface VpcKernel {
  /**
   * Makes the kernel match the spec, whatever it looked like. Rules before links, so that a new port is
   * never open.
   *
   * @returns what the kernel has now, and the VPCs that got the other end of a new link.
   */
  ensure(spec: VpcSpec): Promise<{ desired: DesiredVpc; linked: string[] }>
  /** Changes a kernel that is as `frame`'s VPC was before the change. */
  change(frame: DesiredVpc['frame'], change: KernelChange): Promise<void>
  /** Removes a namespace with all that is in it, finished or not. */
  remove(netns: string): Promise<void>
  /** This home's namespaces, with the id of the VPC each holds; null where one was never finished. */
  list(): Promise<Namespace[]>
  /** Removes namespaces whose making was cut short before they got a VPC's id; they hold nothing. */
  removeUnfinished(): Promise<void>
}

export interface Namespace {
  netns: string
  vpcId: string | null
}

export interface VpcKernelOptions {
  exec: Exec
  clock: Clock
  names: Names
  publicPool: string
  /** The host's interface on which public addresses are answered for; null for none. */
  publicInterface: string | null
}

export function createVpcKernel({ exec, clock, names, publicPool, publicInterface }: VpcKernelOptions): VpcKernel {
  // A namespace in the making has no VPC's id for a moment: nobody may take it for an unfinished one.
  const serial = createSerial()
  const tools = createTools(exec)
  const { ip, batch, json, shell } = tools
  const proxies = createArpProxies(tools, publicPool, publicInterface)
  const natGateways = createNatGateways({ exec, names })
  const peerings = createPeerings({ exec, names, vpcIdIn })

  /** The id of the VPC in a namespace: the alias of its loopback. Null where it has none (yet). */
  async function vpcIdIn(netns: string): Promise<string | null> {
    try {
      const [loopback] = await json<ObservedLink>(netns, ['link', 'show', 'dev', 'lo'])
      return loopback?.ifalias ?? null
    } catch (error) {
      // setns on a file that no namespace is mounted on. Any other failure is not the VPC's absence.
      if (error instanceof CommandError && /Invalid argument/.test(error.stderr)) return null
      throw error
    }
  }

  /** The namespace, empty or not, marked with the VPC's id. */
  async function ensureNamespace(spec: VpcSpec): Promise<string> {
    const netns = names.netns(spec.slot)
    const all = await list()
    for (const other of all) {
      // The same VPC in another slot, or another VPC in this slot: left over from an earlier life.
      const isStale = other.vpcId === spec.vpcId ? other.netns !== netns : other.netns === netns && other.vpcId !== null
      if (isStale) await remove(other.netns)
    }
    const present = all.find((each) => each.netns === netns)
    if (present?.vpcId === spec.vpcId) return netns
    // A namespace without a name is one whose making was cut short; it may not even be mounted.
    if (present?.vpcId === null) await remove(netns)
    await ip(undefined, ['netns', 'add', netns])
    await ip(netns, ['link', 'set', 'dev', 'lo', 'alias', spec.vpcId])
    return netns
  }

  /** Whether the link had to be made. Its two ends come and go together. */
  async function ensureUplink(netns: string, spec: VpcSpec, inside: Observed, outside: Observed): Promise<boolean> {
    const dev = names.hostLink(spec.slot)
    const isInside = inside.links.some((link) => link.ifname === UPLINK)
    const isOutside = outside.links.some((link) => link.ifname === dev)
    if (isInside && isOutside) return false
    if (isOutside) await ip(undefined, ['link', 'del', 'dev', dev])
    if (isInside) await ip(netns, ['link', 'del', 'dev', UPLINK])
    await shell(netns, NAMESPACE_SETTINGS)
    await ip(undefined, [
      'link', 'add', dev, 'address', LINK.hostMac, 'mtu', String(MTU), 'type', 'veth',
      'peer', 'name', UPLINK, 'address', LINK.vpcMac, 'mtu', String(MTU), 'netns', netns,
    ])
    return true
  }

  async function observeInside(netns: string): Promise<Observed> {
    const [links, routes, neighbours, rules] = await Promise.all([
      json<ObservedLink>(netns, ['addr', 'show']),
      json<ObservedRoute>(netns, ['-4', 'route', 'show', 'table', 'all']),
      json<ObservedNeighbour>(netns, ['neigh', 'show']),
      json<ObservedRule>(netns, ['-4', 'rule', 'show']),
    ])
    return { links, routes: routes.filter((route) => route.table !== 'local'), neighbours, rules, proxies: [] }
  }

  async function observeHost(dev: string): Promise<Observed> {
    const [links, routes, neighbours, answered] = await Promise.all([
      json<ObservedLink>(undefined, ['addr', 'show']),
      json<ObservedRoute>(undefined, ['route', 'show', 'table', 'main', 'root', publicPool]),
      json<ObservedNeighbour>(undefined, ['neigh', 'show', LINK.vpcAddress]),
      publicInterface === null ? [] : proxies.observe(),
    ])
    return { links: links.filter((link) => link.ifname === dev), routes, neighbours, rules: [], proxies: answered }
  }

  async function ensureRules(netns: string, { marker, wholeRules }: DesiredVpc): Promise<void> {
    const isInForce = await exec.inside(netns, ['nft', '-t', 'list', 'chain', 'inet', VPC_TABLE, marker]).then(
      () => true,
      (error: unknown) => {
        if (error instanceof CommandError && error.stderr.includes('No such file')) return false
        throw error
      },
    )
    if (!isInForce) await exec.inside(netns, ['nft', '-f', '-'], wholeRules)
  }

  async function apply(netns: string, plan: LinkPlan): Promise<void> {
    await batch(netns, plan.devices)
    if (plan.taps.length > 0) await exec.inside(netns, ['sh', '-s'], tapSettings(plan.taps))
    await batch(netns, plan.details)
  }

  /**
   * A link that has come up is given its queue by a task of the kernel that comes some time later; until then what is sent
   * on it is lost, the first packet of a guest to a peer for instance.
   */
  async function untilLinksSend(netns: string): Promise<void> {
    await waitFor(clock, `links in ${netns} to send`, SENDING.timeoutMs, async () => {
      const links = await json<ObservedLink>(netns, ['link', 'show'])
      return !links.some((link) => link.flags.includes('LOWER_UP') && link.qdisc === 'noop')
    }, SENDING.pollMs)
  }

  async function list(): Promise<Namespace[]> {
    const found = await readdir(NETNS_FOLDER).catch(() => [])
    const ours = found.filter((name) => name.startsWith(names.netnsPrefix)).toSorted()
    return Promise.all(ours.map(async (netns) => ({ netns, vpcId: await vpcIdIn(netns) })))
  }

  async function remove(netns: string): Promise<void> {
    const dev = names.hostLinkPrefix + netns.slice(names.netnsPrefix.length)
    const hostLinks = await json<ObservedLink>(undefined, ['link', 'show'])
    if (hostLinks.some((link) => link.ifname === dev)) await ip(undefined, ['link', 'del', 'dev', dev])
    // Deleting the name alone would keep the devices alive as long as any process is inside.
    const inside = (await vpcIdIn(netns)) === null ? [] : await json<ObservedLink>(netns, ['link', 'show'])
    await natGateways.remove(netns, inside)
    const doomed = inside.filter(({ ifname }) => ifname.startsWith(names.tapPrefix) || ifname.startsWith(names.peeringPrefix))
    if (doomed.length > 0) {
      await batch(netns, doomed.map((link) => `link set dev ${link.ifname} group ${DOOMED_GROUP}`))
      await ip(netns, ['link', 'del', 'group', String(DOOMED_GROUP)])
    }
    const isThere = await stat(path.join(NETNS_FOLDER, netns)).then(() => true, () => false)
    if (isThere) await ip(undefined, ['netns', 'del', netns])
    if (publicInterface !== null) await proxies.removeStale()
  }

  return {
    async ensure(spec) {
      const desiredWith = (present: ReadonlySet<string>) => new DesiredVpc(spec, { names, present, publicInterface })
      const netns = await serial(NAMESPACES, () => ensureNamespace(spec))
      const dev = names.hostLink(spec.slot)
      const [inside, outside] = await Promise.all([observeInside(netns), observeHost(dev)])
      const frame = frameOf(spec, names)
      const isPeering = (link: ObservedLink) => link.ifname.startsWith(names.peeringPrefix)
      const isPair = (link: ObservedLink) => isPeering(link) || link.ifname === UPLINK || link.ifname.startsWith(names.natPrefix)
      const seen = new Set(inside.links.filter(isPeering).map((link) => link.ifname))
      let desired = desiredWith(seen)
      // Settings and rules come first: nothing is forwarded before it is judged.
      await ensureRules(netns, desired)
      const isUplinkNew = await ensureUplink(netns, spec, inside, outside)
      const hasNatChanged = await serial(NAMESPACES, () => natGateways.ensure(netns, frame, inside.links))
      const { present, linked } = await peerings.ensure(netns, frame, inside.links)
      const isPeerNew = present.size !== seen.size || [...present].some((each) => !seen.has(each))
      if (isPeerNew) desired = desiredWith(present)
      const isStale = isUplinkNew || hasNatChanged || isPeerNew
      await apply(netns, planVpcLinks(desired, isStale ? await observeInside(netns) : inside))
      const outsidePlan = planHostLink(desired, isUplinkNew ? await observeHost(dev) : outside)
      if (outsidePlan.length > 0) {
        await shell(undefined, hostLinkSettings(dev))
        await batch(undefined, outsidePlan)
      }
      if (publicInterface !== null) await proxies.removeStale()
      const hasNewCarrier = isStale || inside.links.some((link) => isPair(link) && !link.flags.includes('LOWER_UP'))
      if (hasNewCarrier) await untilLinksSend(netns)
      return { desired, linked }
    },
    async change(frame, change) {
      const inside = insideCommands(change)
      const host = hostCommands(change)
      // Where the host sends a packet too early, no rule lets it in.
      await Promise.all([
        inside && shell(names.netns(frame.slot), inside.script, inside.rules),
        host && shell(undefined, host),
      ])
    },
    remove,
    list,
    removeUnfinished: () => serial(NAMESPACES, async () => {
      for (const each of await list()) {
        if (each.vpcId === null) await remove(each.netns)
      }
      await natGateways.removeUnlinked()
    }),
  }
}
