import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { GroupSpec, Network, PortSpec, VpcChange, VpcSpec } from '../driver.ts'
import { createSerial } from '../serial.ts'
import type { VpcServicesServer } from '../services-server.ts'
import { refuseOverlap, validateVpcChange, validateVpcSpec } from '../validate.ts'
import { askPorts } from './ask-ports.ts'
import type { DesiredVpc } from './desired.ts'
import { CommandError, createExec, type Exec } from './exec.ts'
import { createHost } from './host.ts'
import { createNames, LINK, METADATA_ADDRESS, netnsPath, TIME_ADDRESS } from './names.ts'
import { createTools } from './tools.ts'
import { createVpcKernel } from './vpc.ts'

export interface LinuxNetworkOptions {
  /** Four hexadecimal digits, unique per home: everything this home makes in the kernel is named by it. */
  homeId: string
  /** Block of the public addresses, such as 198.18.4.0/22; nothing else on the host may use it. */
  publicPool: string
  /** Interface of the host whose network may reach the public addresses in use; the host alone unless given. */
  publicInterface?: string | null
  /** Networks of the same cloud's other regions, by the ids of their homes. */
  siblings?: readonly { homeId: string; publicPool: string }[]
  services: VpcServicesServer
  clock: Clock
  log: Logger
  /** Runs the commands; the real ones on the real host unless given. */
  exec?: Exec
}

/** A VPC as this driver has put it in force. What a change leaves alone need not be looked at. */
interface KnownVpc {
  spec: VpcSpec
  ports: Map<string, PortSpec>
  groups: Map<string, GroupSpec>
  desired: DesiredVpc
  /** When the next change may begin. */
  notBeforeMs: number
}

/**
 * After a change its VPC is left alone for this many times as long as it took: a burst of changes becomes
 * a few large ones, and never takes half a processor. The first of them does not wait.
 */
const PAUSE_FACTOR = 1.5
const MOST_PAUSE_MS = 200

/**
 * The kernel's network: one namespace per VPC without a bridge, a tap per interface with a routed
 * /32 and proxy ARP, nftables for everything that is allowed. Nothing that is remembered in memory is
 * needed: what exists is read from the kernel (a VPC's id is the alias of its namespace's loopback).
 * Once a driver has put a VPC in force it applies changes of it without looking.
 *
 * Needs root, iproute2, nftables and util-linux. Changes of the host: net.ipv4.ip_forward=1 (put
 * back by `removeAll`), a table `inet hearth_<homeId>`, an unreachable route for the pool, and a
 * veth per VPC. Where another firewall drops forwarded packets by default (Docker does), that
 * firewall must let `hv<homeId>.*` pass.
 */
export function createLinuxNetwork(options: LinuxNetworkOptions): Network {
  const { publicPool, services, clock, log, exec = createExec({ clock }), publicInterface = null } = options
  const siblings = (options.siblings ?? []).map(({ homeId, publicPool: pool }) =>
    ({ hostLinkPrefix: createNames(homeId).hostLinkPrefix, publicPool: pool }))
  const names = createNames(options.homeId)
  const host = createHost({ exec, names, publicPool, publicInterface, siblings, log })
  const kernel = createVpcKernel({ exec, clock, names, publicPool, publicInterface })
  const serial = createSerial()
  const known = new Map<string, KnownVpc>()

  async function removeVpc(vpcId: string): Promise<void> {
    known.delete(vpcId)
    // Open sockets would keep the namespace alive.
    await services.close(vpcId)
    for (const each of await kernel.list()) {
      if (each.vpcId === vpcId) await kernel.remove(each.netns)
    }
  }

  /** @returns the VPCs that got the other end of a new link. */
  async function syncWhole(spec: VpcSpec): Promise<string[]> {
    known.delete(spec.vpcId)
    validateVpcSpec(spec)
    refuseOverlap(spec, publicPool, 'the public address pool')
    refuseOverlap(spec, LINK.cidr, 'the link between VPC and host')
    const { desired, linked } = await kernel.ensure(spec)
    known.set(spec.vpcId, {
      spec, desired, ports: new Map(spec.ports.map((port) => [port.interfaceId, port])),
      groups: new Map(spec.groups.map((group) => [group.groupId, group])), notBeforeMs: 0,
    })
    await services.open(spec.vpcId, netnsPath(names.netns(spec.slot)), {
      dhcp: true, dns: desired.frame.resolvers, metadata: METADATA_ADDRESS, ntp: TIME_ADDRESS,
    })
    return linked
  }

  /** Whether the change could be applied by itself. */
  async function syncChange(spec: VpcSpec, change: VpcChange): Promise<boolean> {
    const vpc = known.get(spec.vpcId)
    if (vpc?.spec.slot !== spec.slot) return false
    validateVpcChange(change, vpc.spec)
    // What became of it is unknown after a failure.
    known.delete(spec.vpcId)
    const { ports, groups, desired } = vpc
    const pauseMs = vpc.notBeforeMs - clock.now()
    if (pauseMs > 0) await clock.sleep(pauseMs)
    const begunMs = clock.now()
    const kernelChange = desired.apply(change)
    try {
      await kernel.change(desired.frame, kernelChange)
    } catch (error) {
      // The kernel is not as it was left.
      if (!(error instanceof CommandError)) throw error
      log.warn('a change of a VPC did not apply; doing all of it', { vpcId: spec.vpcId, error: error.message })
      return false
    }
    for (const id of change.removed) ports.delete(id)
    for (const port of change.ports) ports.set(port.interfaceId, port)
    for (const group of change.groups) groups.set(group.groupId, group)
    const endedMs = clock.now()
    vpc.notBeforeMs = endedMs + Math.min(MOST_PAUSE_MS, (endedMs - begunMs) * PAUSE_FACTOR)
    known.set(spec.vpcId, vpc)
    return true
  }

  /** A new link's other VPC has routes that wait for it. */
  async function syncLinked(vpcId: string): Promise<void> {
    const vpc = known.get(vpcId)
    // One that this driver has not yet seen is still to be told of as a whole.
    if (vpc) await syncWhole({ ...vpc.spec, ports: [...vpc.ports.values()], groups: [...vpc.groups.values()] })
  }

  return {
    ensureHost: () => serial('host', async () => {
      await host.ensure()
      await kernel.removeUnfinished()
    }),

    async syncVpc(spec, change) {
      const linked = await serial(spec.vpcId, async () =>
        (change && (await syncChange(spec, change)) ? [] : syncWhole(spec)))
      for (const vpcId of linked) await serial(vpcId, () => syncLinked(vpcId))
    },

    askPorts: ({ vpcId, slot }, ports) =>
      askPorts({ clock, names, tools: createTools(exec), alone: (task) => serial(vpcId, task) }, slot, ports),

    removeVpc: (vpcId) => serial(vpcId, () => removeVpc(vpcId)),

    list: async () => (await kernel.list()).flatMap((each) => each.vpcId ?? []),

    tapOf: (interfaceSlot) => names.tap(interfaceSlot),
    netnsPathOf: (vpcSlot) => netnsPath(names.netns(vpcSlot)),

    close: () => services.closeAll(),

    removeAll: () => serial('host', async () => {
      for (const { netns, vpcId } of await kernel.list()) {
        if (vpcId === null) await kernel.remove(netns)
        else await serial(vpcId, () => removeVpc(vpcId))
      }
      await kernel.removeUnfinished()
      await host.remove()
    }),
  }
}
