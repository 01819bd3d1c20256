import { afterEach, beforeEach, expect, test } from 'vitest'
import { VirtualClock } from '../core/virtual-clock.ts'
import { hostOf, insertInstance, NOW_MS, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { hostBootIdOf, moveZone, zoneStatus, type ZoneState } from '../model/zone.ts'
import { changeZone, describeChange, type ZoneChange } from './zones.ts'

const ZONE = `${REGION}a`

let world: TestStore
let clock: VirtualClock
beforeEach(async () => {
  world = await openTestStore()
  clock = new VirtualClock(world.random, NOW_MS)
  await world.run(({ db }) => db.updateTable('hosts').set({ doc: JSON.stringify({ bootId: 'run' }) }).execute())
})
afterEach(() => world.store.close())

const move = (to: ZoneState) => world.run((context) => moveZone(context, ZONE, to))
const set = (id: string, state: 'running' | 'pending' | 'stopping', cuts: number) => world.run(({ db }) => db.updateTable('instances')
  .set({ state, doc: JSON.stringify({ hostBootId: hostBootIdOf('run', cuts) }) }).where('instance_id', '=', id).execute())
const add = async (state: 'running' | 'pending') => {
  const { instance_id: id } = await world.run((context) => insertInstance(context, { zone: ZONE, host_id: hostOf(ZONE) }))
  await set(id, state, 0)
  return id
}
/** What the agents of the zone and of the node do. */
const putInForce = () => world.run(async ({ db }) => {
  const zones = await db.selectFrom('zones').select('revision').execute()
  await db.updateTable('hosts').set({ zone_revision: zones.reduce((sum, { revision }) => sum + revision, 0) }).execute()
})

/** `hearth zone …`: what it says in the end. */
function zone(to: ZoneState, say: (line: string) => void = () => {}): Promise<string> {
  const change: ZoneChange = { to, isUp: () => true, wait: true }
  const terminal = { out: () => {}, say }
  return changeZone({ store: world.store, clock, terminal, region: { region: REGION, zones: ['a'] } }, 'a', change)
    .then((changed) => describeChange(changed, change), (error: Error) => `error: ${error.message}`)
}

/** Time passes until the command has ended. */
async function endOf(command: Promise<string>): Promise<{ said: string; afterMs: number }> {
  const begunMs = clock.now()
  const said: string[] = []
  void command.then((answer) => said.push(answer))
  while (said.length === 0) await clock.advance(100)
  return { said: said[0] ?? '', afterMs: clock.now() - begunMs }
}

test('a command whose zone somebody else changes meanwhile says so, and does not wait for what will not be', async () => {
  await move('unavailable')
  await putInForce()
  const heal = zone('available')
  await clock.advance(1000)
  await move('unavailable')
  await putInForce()
  const { said, afterMs } = await endOf(heal)
  expect(said).toBe(`error: ${ZONE} was changed meanwhile by somebody else, and is unavailable now`)
  expect(afterMs).toBeLessThan(2000)
})

test('a heal waits for what was in the zone, and for nothing that came after it', async () => {
  const [lost, stopped] = [await add('running'), await add('running')]
  await move('unavailable')
  await putInForce()
  const heal = zone('available')
  await clock.advance(1000)
  await putInForce()
  await clock.advance(1000)
  await add('pending')
  await set(stopped, 'running', 1)
  await clock.advance(1000)
  // Its owner stops it, which takes a while.
  await set(stopped, 'stopping', 1)
  await clock.advance(1000)
  await set(lost, 'running', 1)
  const { said, afterMs } = await endOf(heal)
  expect(said).toBe(`${ZONE} is available; instances: 1 running, 2 coming back`)
  expect(afterMs).toBeLessThan(1000)
})

test('a heal of a zone that has not failed waits for no launch in it', async () => {
  await add('pending')
  const { said, afterMs } = await endOf(zone('available'))
  expect(said).toBe(`${ZONE} is available; instances: 1 coming back`)
  expect(afterMs).toBeLessThan(1000)
})

test('who waits is told for which process', async () => {
  const said: string[] = []
  const fail = zone('unavailable', (line) => void said.push(line))
  await clock.advance(5000)
  const { revision } = await world.run(({ db }) => zoneStatus(db, ZONE))
  await world.run(({ db }) => db.updateTable('hosts').set({ zone_revision: revision }).where('zone', '=', ZONE).execute())
  await clock.advance(5000)
  await putInForce()
  expect((await endOf(fail)).said).toBe(`${ZONE} is unavailable; instances: none`)
  expect(said).toEqual([
    `${ZONE} becomes unavailable; waits for the process ${ZONE} and the process agent … 4 s`,
    `${ZONE} becomes unavailable; waits for the process agent … 8 s`,
  ])
})

test('a failure may take as long as the save of a large memory', async () => {
  const fail = zone('unavailable')
  await clock.advance(10 * 60_000)
  await putInForce()
  expect((await endOf(fail)).said).toBe(`${ZONE} is unavailable; instances: none`)
})
