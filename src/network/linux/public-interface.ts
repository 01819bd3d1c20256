import { contains, parseCidr, parseIpv4, type Cidr } from '../../core/cidr.ts'
import type { ObservedRoute } from './links.ts'
import type { Tools } from './tools.ts'

/** An address that the host answers ARP for on one of its interfaces. */
export interface ObservedProxy {
  dst: string
  dev: string
}

/** The host's answers to ARP for public addresses, which go with the addresses' routes. */
export interface ArpProxies {
  observe(): Promise<ObservedProxy[]>
  /** Takes back answers for addresses of the pool that no route leads to, or that another interface is for. */
  removeStale(): Promise<void>
  removeAll(): Promise<void>
}

export function createArpProxies({ json, batch }: Tools, publicPool: string, publicInterface: string | null): ArpProxies {
  const pool = parseCidr(publicPool)

  async function observe(): Promise<ObservedProxy[]> {
    const all = await json<ObservedProxy>(undefined, ['-4', 'neigh', 'show', 'proxy'])
    return all.filter(({ dst }) => isIn(pool, dst))
  }

  const remove = (proxies: readonly ObservedProxy[]) =>
    batch(undefined, proxies.map(({ dst, dev }) => `neigh del proxy ${dst} dev ${dev}`))

  return {
    observe,
    async removeStale() {
      const proxies = await observe()
      if (proxies.length === 0) return
      const routes = await json<ObservedRoute>(undefined, ['route', 'show', 'table', 'main', 'root', publicPool])
      const routed = new Set(routes.map((route) => route.dst))
      await remove(proxies.filter(({ dst, dev }) => dev !== publicInterface || !routed.has(dst)))
    },
    removeAll: async () => remove(await observe()),
  }
}

function isIn(pool: Cidr | undefined, address: string): boolean {
  const number = parseIpv4(address)
  return pool !== undefined && number !== undefined && contains(pool, number)
}
