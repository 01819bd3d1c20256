import { pick } from '../core/random.ts'
import { moveZone, ZONE_MOVES, zoneStates, zoneStatus, zonesOf } from '../model/zone.ts'
import type { MemoryExpectations } from './memory-expectations.ts'
import type { SimulatedCloud } from './simulator.ts'

/**
 * Zones that fail, are impaired, and are healed. What callers wish for stays so and comes about after the heal; what was in
 * the memory of guests may be lost.
 */
export class ZoneCalls {
  readonly #cloud: SimulatedCloud
  readonly #memory: MemoryExpectations

  constructor(cloud: SimulatedCloud, memory: MemoryExpectations) {
    this.#cloud = cloud
    this.#memory = memory
  }

  /** Does something to a zone; one that has failed is healed, or fails altogether. */
  async draw(): Promise<void> {
    const { random, settings } = this.#cloud
    const zone = pick(random, zonesOf(settings))
    const { state } = await this.#cloud.store.read((db) => zoneStatus(db, zone))
    await this.#move(zone, pick(random, ZONE_MOVES[state]))
  }

  /** Nothing comes about in a zone that has failed: to be called before anybody waits for that. */
  async healAll(): Promise<void> {
    const zones = await this.#cloud.store.read(zoneStates)
    for (const { zone, state } of zones.values()) if (state !== 'available') await this.#move(zone, 'available')
  }

  async #move(zone: string, to: Parameters<typeof moveZone>[2]): Promise<void> {
    const { store, clock } = this.#cloud
    const instances = await store.transaction('zone', async (db) => {
      await moveZone({ db, nowMs: clock.now() }, zone, to)
      return db.selectFrom('instances').select('instance_id').where('zone', '=', zone).execute()
    })
    for (const { instance_id: id } of instances) this.#memory.forget(id)
  }
}

/**
 * What must hold at any moment: where a failed zone's state is in force on a host, its machines have no power, or stand still;
 * and no machine stands still anywhere else.
 */
export async function checkZones({ store, host: { world } }: SimulatedCloud): Promise<string[]> {
  const { hosts, zones, instances } = await store.read(async (db) => ({
    hosts: await db.selectFrom('hosts').selectAll().execute(), zones: await zoneStates(db),
    instances: await db.selectFrom('instances').select(['instance_id', 'host_id']).execute(),
  }))
  const stateOf = new Map(hosts.map((host) => {
    const zone = zones.get(host.zone ?? '')
    const isInForce = zone === undefined || host.zone_revision >= zone.revision
    return [host.host_id, isInForce ? zone?.state ?? 'available' : 'unknown'] as const
  }))
  return instances.flatMap(({ instance_id: id, host_id: hostId }) => {
    const process = world.machines.get(id)?.process
    const state = stateOf.get(hostId)
    if (!process) return []
    if (state === 'unavailable') return [`${id} runs without power`]
    if (state === 'impaired' && process.frozenMs === undefined) return [`${id} does not stand still in an impaired zone`]
    return state === 'available' && process.frozenMs !== undefined ? [`${id} stands still, and its zone has not failed`] : []
  })
}
