import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import type { VpcSpec } from '../driver.ts'
import { createSerial } from '../serial.ts'
import { CommandError, type Exec } from './exec.ts'
import {
  type LinkPlan, type Observed, type ObservedLink, type ObservedNeighbour, type ObservedRoute, planHostLink,
  planVpcLinks,
} from './links.ts'
import { LINK, MTU, type Names, NETNS_FOLDER, UPLINK, VPC_TABLE } from './names.ts'
import { renderVpcRules } from './vpc-rules.ts'

const NAMESPACES = 'namespaces'
const BATCH_LIMIT = 250
/** Group of the devices of a VPC that is being removed: a group goes at once. */
const DOOMED_GROUP = 72

/** One VPC in the kernel: its namespace, links and rules. Everything is judged by what is observed. */
export interface VpcKernel {
  /** Makes the kernel match the spec. Rules before links, so that a new port is never open. */
  ensure(spec: VpcSpec): Promise<void>
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

export function createVpcKernel(options: { exec: Exec; names: Names; publicPool: string }): VpcKernel {
  const { exec, names, publicPool } = options
  // A namespace in the making has no VPC's id for a moment: nobody may take it for an unfinished one.
  const serial = createSerial()
  const ip = (netns: string | undefined, args: string[], input?: string) =>
    netns === undefined ? exec.host(['ip', ...args], input) : exec.inside(netns, ['ip', ...args], input)

  async function batch(netns: string | undefined, commands: string[]): Promise<void> {
    // Taking a device away costs the kernel some 20 ms: no batch may outlast the deadline.
    for (let start = 0; start < commands.length; start += BATCH_LIMIT) {
      await ip(netns, ['-batch', '-'], `${commands.slice(start, start + BATCH_LIMIT).join('\n')}\n`)
    }
  }

  async function json<T>(netns: string | undefined, args: string[]): Promise<T[]> {
    // An empty list is printed as nothing at all by some versions of iproute2.
    return JSON.parse((await ip(netns, ['-j', ...args])) || '[]') as T[]
  }

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
    await exec.host(['ip', 'netns', 'add', netns])
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
    await exec.inside(netns, ['sh', '-s'], NAMESPACE_SETTINGS)
    await ip(undefined, [
      'link', 'add', dev, 'address', LINK.hostMac, 'mtu', String(MTU), 'type', 'veth',
      'peer', 'name', UPLINK, 'address', LINK.vpcMac, 'mtu', String(MTU), 'netns', netns,
    ])
    return true
  }

  async function observeInside(netns: string): Promise<Observed> {
    const [links, routes, neighbours] = await Promise.all([
      json<ObservedLink>(netns, ['addr', 'show']),
      json<ObservedRoute>(netns, ['route', 'show', 'table', 'main']),
      json<ObservedNeighbour>(netns, ['neigh', 'show']),
    ])
    return { links, routes, neighbours }
  }

  async function observeHost(dev: string): Promise<Observed> {
    const [links, routes, neighbours] = await Promise.all([
      json<ObservedLink>(undefined, ['addr', 'show']),
      json<ObservedRoute>(undefined, ['route', 'show', 'table', 'main', 'root', publicPool]),
      json<ObservedNeighbour>(undefined, ['neigh', 'show', LINK.vpcAddress]),
    ])
    return { links: links.filter((link) => link.ifname === dev), routes, neighbours }
  }

  async function ensureRules(netns: string, spec: VpcSpec): Promise<void> {
    const { marker, text } = renderVpcRules(spec, names)
    const isInForce = await exec.inside(netns, ['nft', '-t', 'list', 'chain', 'inet', VPC_TABLE, marker]).then(
      () => true,
      (error: unknown) => {
        if (error instanceof CommandError && error.stderr.includes('No such file')) return false
        throw error
      },
    )
    if (!isInForce) await exec.inside(netns, ['nft', '-f', '-'], text)
  }

  async function apply(netns: string, plan: LinkPlan): Promise<void> {
    await batch(netns, plan.devices)
    if (plan.taps.length > 0) await exec.inside(netns, ['sh', '-s'], tapSettings(plan.taps))
    await batch(netns, plan.details)
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
    const taps = inside.filter((link) => link.ifname.startsWith(names.tapPrefix))
    if (taps.length > 0) {
      await batch(netns, taps.map((link) => `link set dev ${link.ifname} group ${DOOMED_GROUP}`))
      await ip(netns, ['link', 'del', 'group', String(DOOMED_GROUP)])
    }
    const isThere = await stat(path.join(NETNS_FOLDER, netns)).then(() => true, () => false)
    if (isThere) await exec.host(['ip', 'netns', 'del', netns])
  }

  return {
    async ensure(spec) {
      const netns = await serial(NAMESPACES, () => ensureNamespace(spec))
      const dev = names.hostLink(spec.slot)
      let [inside, outside] = await Promise.all([observeInside(netns), observeHost(dev)])
      // Settings and rules come first: nothing is forwarded before it is judged.
      await ensureRules(netns, spec)
      if (await ensureUplink(netns, spec, inside, outside)) {
        ;[inside, outside] = await Promise.all([observeInside(netns), observeHost(dev)])
      }
      await apply(netns, planVpcLinks(spec, names, inside))
      const outsidePlan = planHostLink(spec, names, outside)
      if (outsidePlan.length > 0) {
        await exec.host(['sh', '-s'], hostLinkSettings(dev))
        await batch(undefined, outsidePlan)
      }
    },
    remove,
    list,
    removeUnfinished: () => serial(NAMESPACES, async () => {
      for (const each of await list()) {
        if (each.vpcId === null) await remove(each.netns)
      }
    }),
  }
}

/** Written before the uplink is made, so that an uplink that is there means they are in force. */
const NAMESPACE_SETTINGS = `set -e
cd /proc/sys/net
echo 1 > ipv4/ip_forward
for name in all default; do
  echo 0 > ipv4/conf/$name/rp_filter
  echo 0 > ipv4/conf/$name/send_redirects
  echo 0 > ipv4/conf/$name/accept_redirects
  if [ -d ipv6/conf/$name ]; then echo 1 > ipv6/conf/$name/disable_ipv6; fi
done
`

/**
 * Proxy ARP makes the namespace answer for every neighbour, so that guests see one subnet. Without
 * proxy_delay=0 the kernel waits up to 0.8 s before it does.
 */
function tapSettings(taps: string[]): string {
  return `set -e
cd /proc/sys/net/ipv4
for name in ${taps.join(' ')}; do
  echo 1 > conf/$name/proxy_arp
  echo 0 > conf/$name/rp_filter
  echo 0 > conf/$name/send_redirects
  echo 0 > neigh/$name/proxy_delay
done
`
}

/** A guest that calls another one's public address comes in and goes out by the same link. */
function hostLinkSettings(dev: string): string {
  return `set -e
cd /proc/sys/net
echo 0 > ipv4/conf/${dev}/rp_filter
echo 0 > ipv4/conf/${dev}/send_redirects
echo 0 > ipv4/conf/${dev}/accept_redirects
if [ -d ipv6/conf/${dev} ]; then echo 1 > ipv6/conf/${dev}/disable_ipv6; fi
`
}
