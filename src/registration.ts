import type { HostDoc, HostRegistration } from './model/host.ts'
import type { Settings } from './settings.ts'

/** What runs the machines of a host, and why. */
export interface Engine {
  engine: 'qemu' | 'sim'
  accelerator: 'kvm' | 'tcg' | 'sim'
  reason: string
}

/** Capacity of a host: what it has, times what may be promised of it. */
export function registration(
  hostId: string,
  settings: Settings,
  engine: Engine,
  real: Pick<HostDoc, 'cpus' | 'memoryMib' | 'guestLimits' | 'architectures'>,
): HostRegistration {
  return {
    hostId,
    region: settings.region,
    vcpus: Math.floor(real.cpus * settings.overcommitVcpus),
    memoryMib: Math.floor(real.memoryMib * settings.overcommitMemory),
    doc: { engine: engine.engine, accelerator: engine.accelerator, acceleratorReason: engine.reason, ...real },
  }
}
