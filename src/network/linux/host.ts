import { overlaps, parseCidr } from '../../core/cidr.ts'
import type { Logger } from '../../core/logger.ts'
import type { Exec } from './exec.ts'
import { FORWARDING_WAS_OFF, renderHostRules } from './host-rules.ts'
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
  metric?: number
}

const FORWARD_FILE = '/proc/sys/net/ipv4/ip_forward'

export function createHost(options: {
  exec: Exec
  names: Names
  publicPool: string
  publicInterface: string | null
  log: Logger
}): Host {
  const { exec, names, publicPool, log } = options
  const pool = parseCidr(publicPool)
  if (pool === undefined) throw new Error(`public address pool ${publicPool} is not a CIDR such as 198.18.4.0/22`)

  const isOurs = (route: Route) =>
    route.metric === names.poolMetric || (route.dev?.startsWith(names.hostLinkPrefix) ?? false)

  async function routes(): Promise<Route[]> {
    const found = JSON.parse((await exec.host(['ip', '-j', '-4', 'route', 'show', 'table', 'all'])) || '[]')
    return found as Route[]
  }

  function refuseForeign(all: Route[]): void {
    for (const route of all) {
      if (isOurs(route) || route.dst === 'default' || route.type === 'multicast') continue
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
      const forwarding = (await exec.host(['cat', FORWARD_FILE])).trim()
      const wasOff = forwarding === '0' || (await noted(names.hostTable))
      await exec.host(['nft', '-f', '-'], renderHostRules(names, publicPool, wasOff))
      await ensurePoolRoute(all)
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
      for (const route of (await routes()).filter((route) => route.metric === names.poolMetric)) {
        await exec.host(['ip', 'route', 'del', 'unreachable', route.dst, 'metric', String(names.poolMetric)])
      }
      if (all.includes(names.hostTable)) await exec.host(['nft', 'delete', 'table', 'inet', names.hostTable])
    },
  }
}
