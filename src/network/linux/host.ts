import { contains, overlaps, parseCidr } from '../../core/cidr.ts'
import type { Logger } from '../../core/logger.ts'
import type { Exec } from './exec.ts'
import { createArpProxies } from './public-interface.ts'
import { createTools } from './tools.ts'
import { FORWARDING_WAS_OFF, renderHostRules, type Sibling } from './host-rules.ts'
import type { Names } from './names.ts'

/** What the host itself must have: forwarding, the pool's route, the firewall table. */
export interface Host {
  /** @throws Error when the pool overlaps something of the host that is not ours. */
  ensure(): Promise<void>
  /** Undoes `ensure`. Forwarding goes back to what it was, unless another home still needs it. */
  remove(): Promise<void>
}

interface Route {
  dst: string
  dev?: string
  type?: string
  gateway?: string
  metric?: number
}

const FORWARD_FILE = '/proc/sys/net/ipv4/ip_forward'

export function createHost(options: {
  exec: Exec
  names: Names
  publicPool: string
  publicInterface: string | null
  siblings?: readonly Sibling[]
  log: Logger
}): Host {
  const { exec, names, publicPool, publicInterface, siblings = [], log } = options
  const pool = parseCidr(publicPool)
  if (pool === undefined) throw new Error(`public address pool ${publicPool} is not a CIDR such as 198.18.4.0/22`)

  const tools = createTools(exec)
  const proxies = createArpProxies(tools, publicPool, publicInterface)

  const isOurs = (route: Route) =>
    route.metric === names.poolMetric || (route.dev?.startsWith(names.hostLinkPrefix) ?? false)

  async function routes(): Promise<Route[]> {
    const found = JSON.parse((await exec.host(['ip', '-j', '-4', 'route', 'show', 'table', 'all'])) || '[]')
    return found as Route[]
  }

  /** Whether the pool is a part of the network on the public interface, whose other hosts then find it by ARP. */
  function isOnLink(route: Route): boolean {
    const block = parseCidr(route.dst)
    return publicInterface !== null && route.dev === publicInterface && route.type === undefined
      && route.gateway === undefined && block !== undefined && pool !== undefined
      && block.prefix < pool.prefix && contains(block, pool.base)
  }

  async function refuseUnknownInterface(): Promise<void> {
    if (publicInterface === null) return
    const links = await tools.json<{ ifname: string }>(undefined, ['link', 'show'])
    if (links.some((link) => link.ifname === publicInterface)) return
    throw new Error(`there is no interface ${publicInterface} on this host for --public-interface`)
  }

  function refuseForeign(all: Route[]): void {
    for (const route of all) {
      if (isOurs(route) || route.dst === 'default' || route.type === 'multicast' || isOnLink(route)) continue
      const block = parseCidr(route.dst.includes('/') ? route.dst : `${route.dst}/32`)
      if (pool === undefined || block === undefined || block.prefix === 0 || !overlaps(block, pool)) continue
      const where = [route.type, route.dst, route.dev && `dev ${route.dev}`].filter(Boolean).join(' ')
      throw new Error(
        `the public address pool ${publicPool} overlaps this host's route "${where}": choose another pool`)
    }
  }

  async function tables(): Promise<string[]> {
    const lines = (await exec.host(['nft', 'list', 'tables', 'inet'])).split('\n')
    return lines.flatMap((line) => /^table inet (\S+)/.exec(line)?.[1] ?? [])
  }

  /** Whether a table exists and carries the note that forwarding was off. */
  async function noted(table: string): Promise<boolean> {
    const chains = await exec.host(['nft', 'list', 'chains', 'inet'])
    const block = chains.split(/^table inet /m).find((text) => text.startsWith(`${table} `))
    return block?.includes(`chain ${FORWARDING_WAS_OFF} `) ?? false
  }

  async function ensurePoolRoute(all: Route[]): Promise<void> {
    const mine = all.filter((route) => route.metric === names.poolMetric)
    for (const stale of mine.filter((route) => route.dst !== publicPool)) {
      await exec.host(['ip', 'route', 'del', 'unreachable', stale.dst, 'metric', String(names.poolMetric)])
    }
    // Without it, a packet for an unassigned public address would leave through the default route.
    await exec.host(['ip', 'route', 'replace', 'unreachable', publicPool, 'metric', String(names.poolMetric)])
  }

  return {
    async ensure() {
      const all = await routes()
      refuseForeign(all)
      await refuseUnknownInterface()
      const forwarding = (await exec.host(['cat', FORWARD_FILE])).trim()
      const wasOff = forwarding === '0' || (await noted(names.hostTable))
      await exec.host(['nft', '-f', '-'], renderHostRules({
        siblings,
        names, publicPool, publicInterface, isPoolOnLink: all.some(isOnLink), forwardingWasOff: wasOff,
      }))
      await ensurePoolRoute(all)
      await proxies.removeStale()
      if (forwarding === '0') {
        log.info('turned on IPv4 forwarding on this host', { sysctl: 'net.ipv4.ip_forward' })
        await exec.host(['tee', FORWARD_FILE], '1')
      }
    },

    async remove() {
      const all = await tables()
      const others = all.filter((table) => /^hearth_[0-9a-f]{4}$/.test(table) && table !== names.hostTable)
      if (all.includes(names.hostTable) && (await noted(names.hostTable))) {
        // Another home still forwards: it inherits the note and turns forwarding off when it goes.
        const [heir] = others
        if (heir !== undefined) await exec.host(['nft', 'add', 'chain', 'inet', heir, FORWARDING_WAS_OFF])
        else await exec.host(['tee', FORWARD_FILE], '0')
      }
      await proxies.removeAll()
      for (const route of (await routes()).filter((route) => route.metric === names.poolMetric)) {
        await exec.host(['ip', 'route', 'del', 'unreachable', route.dst, 'metric', String(names.poolMetric)])
      }
      if (all.includes(names.hostTable)) await exec.host(['nft', 'delete', 'table', 'inet', names.hostTable])
    },
  }
}
