import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import type { NatGatewaySpec } from '../driver.ts'
import type { Exec } from './exec.ts'
import { type Frame, subnetOf } from './frame.ts'
import type { ObservedLink } from './links.ts'
import { MTU, NAT_DEVICE, NAT_ROUTER_MAC, type Names, NETNS_FOLDER } from './names.ts'
import { NAMESPACE_SETTINGS } from './settings.ts'
import { createTools } from './tools.ts'

/** NAT gateways: each a namespace with one device, on which packets come in and go out again. */
export interface NatGateways {
  /**
   * Makes those of the frame that are missing or otherwise than they should be, and takes away the rest.
   *
   * @returns whether any device came or went.
   */
  ensure(netns: string, frame: Frame, links: readonly ObservedLink[]): Promise<boolean>
  /** Removes those whose devices are among the links of a VPC's namespace. */
  remove(netns: string, links: readonly ObservedLink[]): Promise<void>
  /** Removes namespaces without a link to a VPC: of a making or a removal that was cut short. */
  removeUnlinked(): Promise<void>
}

/** EC2 forgets an idle connection through a NAT gateway after this time. */
const IDLE_SECONDS = 350

export function createNatGateways({ exec, names }: { exec: Exec; names: Names }): NatGateways {
  const { ip, batch, json, shell } = createTools(exec)
  const slotOf = (dev: string) => Number(dev.slice(names.natPrefix.length))

  async function namespaces(): Promise<string[]> {
    const found = await readdir(NETNS_FOLDER).catch(() => [])
    return found.filter((name) => name.startsWith(names.natNetnsPrefix))
  }

  async function removeOne(netns: string, dev: string): Promise<void> {
    await ip(netns, ['link', 'del', 'dev', dev])
    const own = names.natNetns(slotOf(dev))
    if ((await namespaces()).includes(own)) await ip(undefined, ['netns', 'del', own])
  }

  async function make(netns: string, frame: Frame, nat: NatGatewaySpec): Promise<void> {
    const own = names.natNetns(nat.slot)
    const dev = names.nat(nat.slot)
    if ((await namespaces()).includes(own)) await ip(undefined, ['netns', 'del', own])
    await ip(undefined, ['netns', 'add', own])
    // Rules and settings before the link: nothing passes that is not translated.
    await shell(own, NAMESPACE_SETTINGS)
    await exec.inside(own, ['nft', '-f', '-'], rulesOf(nat))
    await ip(netns, [
      'link', 'add', dev, 'address', NAT_ROUTER_MAC, 'mtu', String(MTU), 'type', 'veth',
      'peer', 'name', NAT_DEVICE, 'address', nat.mac, 'mtu', String(MTU), 'netns', own,
    ])
    const { gateway } = subnetOf(frame, nat)
    await batch(own, [
      `addr add ${nat.privateIp}/32 dev ${NAT_DEVICE}`, `link set dev ${NAT_DEVICE} up`,
      `neigh replace ${gateway} lladdr ${NAT_ROUTER_MAC} dev ${NAT_DEVICE} nud permanent`,
      `route replace default via ${gateway} dev ${NAT_DEVICE} onlink`,
    ])
    await shell(own, `echo ${IDLE_SECONDS} > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established`)
    // Set last: a device that carries it belongs to a finished gateway.
    await ip(netns, ['link', 'set', 'dev', dev, 'alias', aliasOf(frame, nat)])
  }

  return {
    async ensure(netns, frame, links) {
      const wanted = new Map(frame.natGateways.map((nat) => [names.nat(nat.slot), nat]))
      const present = links.filter((link) => link.ifname.startsWith(names.natPrefix))
      const isSound = (link: ObservedLink) => {
        const nat = wanted.get(link.ifname)
        return nat !== undefined && link.ifalias === aliasOf(frame, nat)
      }
      const stale = present.filter((link) => !isSound(link))
      for (const link of stale) await removeOne(netns, link.ifname)
      const missing = [...wanted].filter(([dev]) => !present.some((link) => link.ifname === dev && isSound(link)))
      for (const [, nat] of missing) await make(netns, frame, nat)
      return stale.length + missing.length > 0
    },
    async remove(netns, links) {
      for (const { ifname } of links) {
        if (ifname.startsWith(names.natPrefix)) await removeOne(netns, ifname)
      }
    },
    async removeUnlinked() {
      for (const own of await namespaces()) {
        // One that is not mounted cannot be looked into, and holds nothing.
        const links = await json<ObservedLink>(own, ['link', 'show']).catch(() => [])
        if (!links.some((link) => link.ifname === NAT_DEVICE)) await ip(undefined, ['netns', 'del', own])
      }
    },
  }
}

/** Tells a gateway from one of the same slot that is otherwise. */
function aliasOf(frame: Frame, nat: NatGatewaySpec): string {
  const config = [nat.natGatewayId, nat.mac, nat.privateIp, subnetOf(frame, nat).gateway].join(' ')
  return `${nat.natGatewayId}:${createHash('sha256').update(config).digest('hex').slice(0, 16)}`
}

function rulesOf({ privateIp }: NatGatewaySpec): string {
  return `table ip hearth
delete table ip hearth
table ip hearth {
  chain input {
    type filter hook input priority filter; policy drop;
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ct state invalid drop
    iifname "${NAT_DEVICE}" oifname "${NAT_DEVICE}" accept
  }
  chain translate {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr != ${privateIp} snat to ${privateIp}
  }
}
`
}
