import type { HostDoc, HostRegistration } from './model/host.ts'
import type { Settings } from './settings.ts'

/** What runs the machines of a host, and why. */
export interface Engine {
  engine: 'qemu' | 'sim'
  accelerator: 'kvm' | 'tcg' | 'sim'
  reason: string
}

/** Which host it is, and which part of its node it promises: 1 for all of it, 0 for a node that carries the network alone. */
export interface HostShare {
  hostId: string
  nodeId: string
  zone: string | null
  share: number
}

/** A node that is not divided: it carries the network and the instances of every zone. */
export function wholeNode(hostId: string): HostShare {
  return { hostId, nodeId: hostId, zone: null, share: 1 }
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
