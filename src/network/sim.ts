import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import { createPauses, type DelayRange } from '../hypervisor/sim-pauses.ts'
import type { GroupSpec, Network, PortSpec, VpcChange, VpcSpec } from './driver.ts'
import { createSerial } from './serial.ts'

/** A port that is in force. */
export interface SimPort {
  vpcId: string
  interfaceId: string
  privateIp: string
  publicIp: string | null
  groupIds: string[]
  isCut?: true
}

/** A VPC in force, its ports by interface id. */
export interface SimVpc extends Omit<VpcSpec, 'ports' | 'groups'> {
  ports: Map<string, PortSpec>
  groups: Map<string, GroupSpec>
}

/**
 * The network of a simulated host: what stays in force whatever becomes of the agent. Drivers come
 * and go over it.
 */
export class SimNetworkWorld {
  /** What is in force, by VPC id. */
  readonly vpcs = new Map<string, SimVpc>()

  /** Every port in force, ordered by VPC and interface id. */
  ports(): SimPort[] {
    return [...this.vpcs.values()]
      .flatMap(({ vpcId, ports }) =>
        [...ports.values()].map(({ interfaceId, privateIp, publicIp, groupIds, isCut }) =>
          ({ vpcId, interfaceId, privateIp, publicIp, groupIds: [...groupIds], ...(isCut && { isCut }) })))
      .toSorted((a, b) => compare(a.vpcId, b.vpcId) || compare(a.interfaceId, b.interfaceId))
  }
}

/** A host without any VPC. */
export function createSimNetworkWorld(): SimNetworkWorld {
  return new SimNetworkWorld()
}

export interface SimNetworkOptions {
  clock: Clock
  random: Random
  /** How long a change takes, in milliseconds; without it, or at [0, 0], there are no timers. */
  delays?: { syncMs: DelayRange }
  world: SimNetworkWorld
  /** Of these interfaces, those behind which a guest answers; all unless given. */
  answering?: (interfaceIds: ReadonlySet<string>) => ReadonlySet<string>
}

/**
 * A network over simulated VPCs, which belong to `world`. After `close`, calls under way end with an
 * error and without effect, as a crash would leave them. Calls for one VPC take effect in their order.
 */
export function createSimNetwork({ clock, random, delays, world, answering = (all) => all }: SimNetworkOptions): Network {
  const syncMs: DelayRange = delays?.syncMs ?? [0, 0]
  const pauses = createPauses(clock, random)
  const serial = createSerial()
  return {
    ensureHost: () => pauses.pause([0, 0]),
    async syncVpc(spec, change) {
      const known = world.vpcs.get(spec.vpcId)
      const effect = known && change ? changing(known, change) : replacing(world, spec)
      await serial(spec.vpcId, async () => {
        await pauses.pause(syncMs)
        effect()
      })
    },
    async askPorts({ vpcId }, ports) {
      await pauses.pause([0, 0])
      const known = world.vpcs.get(vpcId)?.ports
      const inForce = ports.map((port) => port.interfaceId).filter((id) => known?.has(id))
      const answered = answering(new Set(inForce))
      return new Map(inForce.map((id) => [id, answered.has(id) && !known?.get(id)?.isCut]))
    },
    removeVpc: (vpcId) => serial(vpcId, async () => {
      await pauses.pause(world.vpcs.has(vpcId) ? syncMs : [0, 0])
      world.vpcs.delete(vpcId)
    }),
    async list() {
      await pauses.pause([0, 0])
      return [...world.vpcs.keys()].toSorted()
    },
    tapOf: (interfaceSlot) => `sim${interfaceSlot}`,
    netnsPathOf: () => null,
    close: async () => pauses.close(),
    async removeAll() {
      await pauses.pause(world.vpcs.size > 0 ? syncMs : [0, 0])
      world.vpcs.clear()
    },
  }
}

/** Puts a whole spec in force; what the caller does to it later has no effect. */
function replacing(world: SimNetworkWorld, spec: VpcSpec): () => void {
  checkSpec(spec)
  const { ports, groups, ...wanted } = structuredClone({ ...spec })
  const vpc = {
    ...wanted, ports: new Map(ports.map((port) => [port.interfaceId, port])),
    groups: new Map(groups.map((group) => [group.groupId, group])),
  }
  return () => void world.vpcs.set(spec.vpcId, vpc)
}

/** Applies a change to what is in force. */
function changing(vpc: SimVpc, change: VpcChange): () => void {
  checkSpec({ ...vpc, groups: [...vpc.groups.values(), ...change.groups], ports: change.ports })
  const { ports, removed, groups } = structuredClone(change)
  return () => {
    for (const group of groups) vpc.groups.set(group.groupId, group)
    for (const interfaceId of removed) vpc.ports.delete(interfaceId)
    for (const port of ports) vpc.ports.set(port.interfaceId, port)
  }
}

/** @throws Error on what the kernel would refuse or confuse: a mistake of the caller. */
function checkSpec({ vpcId, groups, subnets, ports, natGateways }: VpcSpec): void {
  const groupIds = new Set(groups.map((group) => group.groupId))
  const subnetIds = new Set(subnets.map((subnet) => subnet.subnetId))
  const seen = new Set<string>()
  const unique = (what: string) => {
    if (seen.has(what)) throw new Error(`${vpcId}: two ports with ${what}`)
    seen.add(what)
  }
  for (const owner of [...ports, ...natGateways]) {
    unique(`MAC ${owner.mac}`)
    unique(`slot ${owner.slot}`)
    for (const { privateIp, publicIp } of [owner, ...('secondary' in owner ? owner.secondary : [])]) {
      unique(`address ${privateIp}`)
      if (publicIp !== null) unique(`public address ${publicIp}`)
    }
    if (!subnetIds.has(owner.subnetId)) throw new Error(`${owner.interfaceId}: no subnet ${owner.subnetId} in ${vpcId}`)
  }
  for (const port of ports) {
    for (const groupId of port.groupIds) {
      if (!groupIds.has(groupId)) throw new Error(`${port.interfaceId}: no group ${groupId} in ${vpcId}`)
    }
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
