import type { HostDoc, HostRegistration } from './model/host.ts'
import type { Settings } from './settings.ts'

/** What runs the machines of a host, and why. */
export interface Engine {
  engine: 'qemu' | 'sim'
  accelerator: 'kvm' | 'tcg' | 'sim'
  reason: string
}

/** Which host it is, and which part of its node it promises: 1 for all of it, 0 for a node that carries the network alone. */
export interface HostShare extends Pick<HostRegistration, 'hostId' | 'nodeId' | 'zone' | 'hosts'> {
  share: number
}

/**
 * A node, which promises nothing itself, and the hosts that share it: as many in each zone as the settings say. Of a computer that
 * several regions share they have that region's part.
 */
export function sharesOf(
  nodeId: string,
  settings: Pick<Settings, 'region' | 'zones' | 'hostsPerZone'> & { regionShare?: number },
): { node: HostShare; hosts: HostShare[] } {
  const { region, zones, hostsPerZone, regionShare = 1 } = settings
  const hosts = zones.flatMap((letter) => Array.from({ length: hostsPerZone }, (_, index) =>
    ({ hostId: `${nodeId}-${letter}${index + 1}`, zone: region + letter })))
  return {
    node: { hostId: nodeId, nodeId, zone: null, hosts, share: 0 },
    hosts: hosts.map((host) => ({ ...host, nodeId, hosts, share: regionShare / hosts.length })),
  }
}

/** Capacity of a host: its share of what the node has, times what may be promised of it. */
export function registration(
  { share, ...host }: HostShare,
  settings: Settings,
  engine: Engine,
  real: Pick<HostDoc, 'cpus' | 'memoryMib' | 'guestLimits' | 'architectures'>,
): HostRegistration {
  return {
    ...host,
    region: settings.region,
    vcpus: Math.floor(real.cpus * settings.overcommitVcpus * share),
    memoryMib: Math.floor(real.memoryMib * settings.overcommitMemory * share),
    doc: { engine: engine.engine, accelerator: engine.accelerator, acceleratorReason: engine.reason, ...real },
  }
}
