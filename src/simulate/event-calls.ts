import { pick } from '../core/random.ts'
import { EVENT_CODES, insertEvent } from '../model/instance-event.ts'
import type { SimulatedCloud } from './simulator.ts'

const LONGEST_MS = 5000

/**
 * Plans something for an instance, within seconds.
 *
 * @returns the instance, and whether that is to stop it; undefined where there is none.
 */
export function planSomething({ store, random, clock }: SimulatedCloud): Promise<{ instanceId: string; stops: boolean } | undefined> {
  return store.transaction('simulated.event', async (db) => {
    const instances = await db
      .selectFrom('instances').selectAll().where('state', 'in', ['pending', 'running', 'stopping', 'stopped'])
      .orderBy('instance_id').execute()
    if (instances.length === 0) return undefined
    const instance = pick(random, instances)
    const code = pick(random, EVENT_CODES)
    const nowMs = clock.now()
    const notBeforeMs = nowMs + random.int(LONGEST_MS)
    const notAfterMs = random.int(2) === 0 ? null : notBeforeMs + random.int(LONGEST_MS)
    await insertEvent({ db, random, nowMs }, instance, { code, notBeforeMs, notAfterMs, deadlineMs: null })
    return { instanceId: instance.instance_id, stops: code === 'instance-stop' || code === 'instance-retirement' }
  })
}

/** Once everything has settled: what was planned has come about, and is of an instance that there is. */
export async function checkEvents({ store }: SimulatedCloud): Promise<string[]> {
  const { events, instances } = await store.read(async (db) => ({
    events: await db.selectFrom('instance_events').selectAll().execute(),
    instances: await db.selectFrom('instances').select('instance_id').execute(),
  }))
  const ids = new Set(instances.map((row) => row.instance_id))
  return [
    ...events.filter((event) => event.state === 'scheduled').map((event) => `${event.event_id} (${event.code}) has not come about`),
    ...events.filter((event) => !ids.has(event.instance_id)).map((event) => `${event.event_id} is of no instance`),
  ]
}
