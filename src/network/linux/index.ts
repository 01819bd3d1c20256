import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { Network } from '../driver.ts'
import { createSerial } from '../serial.ts'
import type { VpcServicesServer } from '../services-server.ts'
import { refuseOverlap, validateVpcSpec } from '../validate.ts'
import { createExec, type Exec } from './exec.ts'
import { createHost } from './host.ts'
import { createNames, LINK, METADATA_ADDRESS, NETNS_FOLDER } from './names.ts'
import { createVpcKernel } from './vpc.ts'
import { resolversOf } from './vpc-rules.ts'

const pathOf = (netns: string) => `${NETNS_FOLDER}/${netns}`

export interface LinuxNetworkOptions {
  /** Four hexadecimal digits, unique per home: everything this home makes in the kernel is named by it. */
  homeId: string
  /** Block of the public addresses, such as 198.18.4.0/22; nothing else on the host may use it. */
  publicPool: string
  services: VpcServicesServer
  clock: Clock
  log: Logger
  /** Runs the commands; the real ones on the real host unless given. */
  exec?: Exec
}

/**
 * The kernel's network: one namespace per VPC without a bridge, a tap per interface with a routed
 * /32 and proxy ARP, nftables for everything that is allowed. Nothing is remembered in memory; what
 * exists is read from the kernel (a VPC's id is the alias of its namespace's loopback).
 *
 * Needs root, iproute2, nftables and util-linux. Changes of the host: net.ipv4.ip_forward=1 (put
 * back by `removeAll`), a table `inet hearth_<homeId>`, an unreachable route for the pool, and a
 * veth per VPC. Where another firewall drops forwarded packets by default (Docker does), that
 * firewall must let `hv<homeId>.*` pass.
 */
export function createLinuxNetwork(options: LinuxNetworkOptions): Network {
  const { publicPool, services, clock, log, exec = createExec({ clock }) } = options
  const names = createNames(options.homeId)
  const host = createHost({ exec, names, publicPool, log })
  const kernel = createVpcKernel({ exec, names, publicPool })
  const serial = createSerial()

  async function removeVpc(vpcId: string): Promise<void> {
    // Open sockets would keep the namespace alive.
    await services.close(vpcId)
    for (const each of await kernel.list()) {
      if (each.vpcId === vpcId) await kernel.remove(each.netns)
    }
  }

  return {
    ensureHost: () => serial('host', async () => {
      await host.ensure()
      await kernel.removeUnfinished()
    }),

    syncVpc: (spec) => serial(spec.vpcId, async () => {
      validateVpcSpec(spec)
      refuseOverlap(spec, publicPool, 'the public address pool')
      refuseOverlap(spec, LINK.cidr, 'the link between VPC and host')
      await kernel.ensure(spec)
      await services.open(spec.vpcId, pathOf(names.netns(spec.slot)), {
        dhcp: true, dns: resolversOf(spec), metadata: METADATA_ADDRESS,
      })
    }),

    removeVpc: (vpcId) => serial(vpcId, () => removeVpc(vpcId)),

    list: async () => (await kernel.list()).flatMap((each) => each.vpcId ?? []),

    tapOf: (interfaceSlot) => names.tap(interfaceSlot),
    netnsPathOf: (vpcSlot) => pathOf(names.netns(vpcSlot)),

    close: () => services.closeAll(),

    removeAll: () => serial('host', async () => {
      for (const { netns, vpcId } of await kernel.list()) {
        if (vpcId === null) await kernel.remove(netns)
        else await serial(vpcId, () => removeVpc(vpcId))
      }
      await host.remove()
    }),
  }
}
