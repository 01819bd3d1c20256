import { pick } from '../core/random.ts'
import { MOST_RECOVERIES } from '../model/status-check.ts'
import type { SimulatedCloud } from './simulator.ts'

/**
 * What befalls a host and its machines without anybody asking: the host is restarted, or a machine hangs. Either way
 * instances come back in the state that their callers expect, so nothing has to be expected otherwise.
 */
export class HostEvents {
  readonly #cloud: SimulatedCloud
  /** How often each machine was made to hang; one that hangs more often in a day is not brought back. */
  readonly #hangs = new Map<string, number>()

  constructor(cloud: SimulatedCloud) {
    this.#cloud = cloud
  }

  draw(): void {
    const { random, host } = this.#cloud
    if (random.int(2) === 0) return this.#cloud.restartHost()
    const running = [...host.world.machines.values()].filter(({ instanceId, process }) =>
      process?.status === 'running' && (this.#hangs.get(instanceId) ?? 0) < MOST_RECOVERIES)
    if (running.length === 0) return
    const { instanceId } = pick(random, running)
    this.#hangs.set(instanceId, (this.#hangs.get(instanceId) ?? 0) + 1)
    host.world.processHangs(instanceId)
  }
}
