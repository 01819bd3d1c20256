import { pick } from '../core/random.ts'
import { MOST_RECOVERIES } from '../model/status-check.ts'
import type { MemoryExpectations } from './memory-expectations.ts'
import type { SimulatedCloud } from './simulator.ts'

/**
 * What befalls a host and its machines without anybody asking: the host is restarted, or a machine hangs. Either way
 * instances come back in the state that their callers expect; only what was in the memory of guests is lost.
 */
export class HostEvents {
  readonly #cloud: SimulatedCloud
  readonly #memory: MemoryExpectations
  /** How often each machine was made to hang; one that hangs more often in a day is not brought back. */
  readonly #hangs = new Map<string, number>()

  constructor(cloud: SimulatedCloud, memory: MemoryExpectations) {
    this.#cloud = cloud
    this.#memory = memory
  }

  draw(): void {
    const { random, host } = this.#cloud
    if (random.int(2) === 0) {
      for (const { instanceId, process } of host.world.machines.values()) if (process) this.#memory.forget(instanceId)
      return this.#cloud.restartHost()
    }
    const running = [...host.world.machines.values()].filter(({ instanceId, process }) =>
      process?.status === 'running' && (this.#hangs.get(instanceId) ?? 0) < MOST_RECOVERIES)
    if (running.length === 0) return
    const { instanceId } = pick(random, running)
    this.#hangs.set(instanceId, (this.#hangs.get(instanceId) ?? 0) + 1)
    this.#memory.forget(instanceId)
    host.world.processHangs(instanceId)
  }
}
