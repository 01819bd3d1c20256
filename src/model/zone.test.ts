import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HOST_ID, hostOf, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { hostBootIdOf, hostZone, moveZone, ZONE_MOVES, zoneStates, zoneStatus, type ZoneState } from './zone.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})
afterEach(() => test.store.close())

const ZONE = 'us-east-1b'
const move = (to: ZoneState, nowMs = NOW_MS) => test.run(({ db }) => moveZone({ db, nowMs }, ZONE, to))
const work = async () => (await test.store.read((db) => db.selectFrom('work').selectAll().where('kind', '=', 'zone').orderBy('host_id').execute()))
const inForce = (revision: number, hostId: string) => test.run(({ db }) =>
  db.updateTable('hosts').set({ zone_revision: revision }).where('host_id', '=', hostId).execute())
const onHost = (hostId: string) => test.store.read((db) => hostZone(db, hostId))

describe('The state of a zone', () => {
  it('is available until somebody changes it', async () => {
    expect(await test.store.read((db) => zoneStatus(db, ZONE))).toMatchObject({ state: 'available', revision: 0, powerCuts: 0, message: null })
    expect(await test.store.read(zoneStates)).toEqual(new Map())
  })

  it('tells since when it is so, and counts changes and losses of power', async () => {
    await move('impaired')
    const { status } = await move('unavailable', NOW_MS + 1000)
    expect(status).toEqual({
      zone: ZONE, state: 'unavailable', revision: 2, powerCuts: 1, cutRevision: 2, sinceMs: NOW_MS + 1000, outageSinceMs: NOW_MS,
      message: 'Since 2026-01-01T00:00:01.000Z instances in us-east-1b have no power, and its network is cut.',
    })
    expect((await move('available')).status).toMatchObject({ revision: 3, powerCuts: 1, cutRevision: 2, outageSinceMs: NOW_MS, message: null })
    expect((await move('impaired', NOW_MS + 5000)).status.outageSinceMs).toBe(NOW_MS + 5000)
    expect([...(await test.store.read(zoneStates)).keys()]).toEqual([ZONE])
  })

  it.each(Object.entries(ZONE_MOVES) as [ZoneState, ZoneState[]][])('from %s it may become %s, and no other', async (from, allowed) => {
    for (const to of Object.keys(ZONE_MOVES) as ZoneState[]) {
      await test.run(({ db }) => db.deleteFrom('zones').execute())
      await move(from)
      const moved = move(to)
      if (to === from) expect(await moved).toMatchObject({ hasChanged: false })
      else if (allowed.includes(to)) expect(await moved).toMatchObject({ hasChanged: true, status: { state: to } })
      else await expect(moved).rejects.toThrow(`${ZONE} is ${from}`)
    }
  })

  it('is for its hosts and for every node to put in force, before all else; once', async () => {
    await move('impaired')
    await move('impaired')
    expect((await work()).map(({ host_id: hostId, id, due_ms: dueMs, generation }) => [hostId, id, dueMs, generation])).toEqual(
      [[HOST_ID, ZONE, 0, 1], [hostOf(ZONE), ZONE, 0, 1]])
  })
})

describe('A host', () => {
  it('is in another run after each loss of power, as soon as that is in force on it', async () => {
    expect(await onHost(hostOf(ZONE))).toMatchObject({ powerCuts: 0, isSettled: true })
    await move('unavailable')
    expect(await onHost(hostOf(ZONE))).toMatchObject({ powerCuts: 0, isSettled: false })
    await move('available')
    expect(await onHost(hostOf(ZONE))).toMatchObject({ powerCuts: 0, isSettled: false })
    await inForce(2, hostOf(ZONE))
    expect(await onHost(hostOf(ZONE))).toMatchObject({ powerCuts: 1, isSettled: true })
    expect([hostBootIdOf('run-1', 0), hostBootIdOf('run-1', 1)]).toEqual(['run-1', 'run-1/1'])
  })

  it('notices nothing of other zones, and a node of none', async () => {
    await move('unavailable')
    for (const hostId of [HOST_ID, hostOf('us-east-1c')]) expect(await onHost(hostId)).toMatchObject({ powerCuts: 0, isSettled: true })
  })
})
