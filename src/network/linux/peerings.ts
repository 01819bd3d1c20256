import { stat } from 'node:fs/promises'
import path from 'node:path'
import type { PeeringSpec } from '../driver.ts'
import { createSerial } from '../serial.ts'
import type { Exec } from './exec.ts'
import { type Frame, otherEnd } from './frame.ts'
import type { ObservedLink } from './links.ts'
import { MTU, type Names, NETNS_FOLDER, PEERING_ENDS } from './names.ts'
import { createTools } from './tools.ts'

/** Links between VPCs: a veth whose two ends have the same name, each in its VPC's namespace. */
export interface Peerings {
  /**
   * Makes the links whose other VPC is there, and takes away those that the frame does not name.
   *
   * @returns the links that exist, and the VPCs that got an end of a new one.
   */
  ensure(netns: string, frame: Frame, links: readonly ObservedLink[]): Promise<{ present: Set<string>; linked: string[] }>
}

const ALL = 'all'

/** @param vpcIdIn the id of the VPC in a namespace; null where it is not a finished one. */
export function createPeerings(options: {
  exec: Exec
  names: Names
  vpcIdIn: (netns: string) => Promise<string | null>
}): Peerings {
  const { names, vpcIdIn } = options
  const { ip, json } = createTools(options.exec)
  // Both VPCs make the same link, and may do so at the same time.
  const serial = createSerial()

  const has = async (netns: string, dev: string) =>
    (await json<ObservedLink>(netns, ['link', 'show'])).some((link) => link.ifname === dev)

  async function hasPeer({ peerVpcId, peerVpcSlot }: PeeringSpec): Promise<boolean> {
    const netns = names.netns(peerVpcSlot)
    const isThere = await stat(path.join(NETNS_FOLDER, netns)).then(() => true, () => false)
    return isThere && (await vpcIdIn(netns)) === peerVpcId
  }

  /** Whether a link had to be made and could be. */
  async function link(netns: string, peering: PeeringSpec): Promise<boolean> {
    const dev = names.peering(peering.slot)
    if (!(await hasPeer(peering)) || (await has(netns, dev))) return false
    const mac = (end: 'requester' | 'accepter') => ['address', PEERING_ENDS[end].mac, 'mtu', String(MTU)]
    await ip(undefined, [
      'link', 'add', dev, ...mac(peering.side), 'netns', netns, 'type', 'veth',
      'peer', 'name', dev, ...mac(otherEnd(peering)), 'netns', names.netns(peering.peerVpcSlot),
    ])
    return true
  }

  return {
    ensure: (netns, frame, links) => serial(ALL, async () => {
      const present = new Set(links.map((each) => each.ifname).filter((name) => name.startsWith(names.peeringPrefix)))
      const wanted = new Map(frame.peerings.map((each) => [names.peering(each.slot), each]))
      for (const dev of present) {
        if (wanted.has(dev)) continue
        // The other VPC may have taken it away in the meantime.
        if (await has(netns, dev)) await ip(netns, ['link', 'del', 'dev', dev])
        present.delete(dev)
      }
      const linked: string[] = []
      for (const [dev, peering] of wanted) {
        if (present.has(dev)) continue
        if (await link(netns, peering)) linked.push(peering.peerVpcId)
        if (await has(netns, dev)) present.add(dev)
      }
      return { present, linked }
    }),
  }
}
