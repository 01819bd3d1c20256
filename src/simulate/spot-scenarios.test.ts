import type { Reservation, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { requestStops } from '../cli/down.ts'
import { instanceDoc, type InstanceDoc } from '../model/instance.ts'
import { giveNotice } from '../model/spot-interruption.ts'
import { loadMarket } from '../model/spot-market.ts'
import { moveZone, type ZoneState } from '../model/zone.ts'
import type { InstanceTable } from '../store/schema.ts'
import { checkAlways, checkSettled } from './invariants.ts'
import { drawHibernatable } from './memory-calls.ts'
import { SimulatedCloud } from './simulator.ts'
import { checkRoom, checkSpot } from './spot-calls.ts'
import { checkZones } from './zone-calls.ts'

const ZONE = 'us-east-1a'
const NOTICE_MS = 120_000
const SECOND_MS = 1000

let cloud: SimulatedCloud
beforeEach(async () => {
  cloud = await SimulatedCloud.create(8)
  // In a zone of four places what is kept free for on demand would be one of them.
  await cloud.store.transaction('no-buffer', async (db) => {
    const { region } = cloud.settings
    const doc = JSON.stringify({ ...(await loadMarket(db, region)), bufferPpm: 0 })
    await db.updateTable('spot_market').set({ doc }).where('region', '=', region).execute()
  })
})
afterEach(() => cloud.close())

type Behavior = 'terminate' | 'stop' | 'hibernate'

/** Launches in the zone, on spot where a behavior is given. */
async function launch(count: number, behavior?: Behavior): Promise<string[]> {
  const image = await cloud.store.read((db) => db.selectFrom('images').select(['image_id', 'root_device_name']).executeTakeFirstOrThrow())
  const market: Partial<RunInstancesRequest> = behavior === undefined ? {} : {
    InstanceMarketOptions: { MarketType: 'spot', SpotOptions: behavior === 'terminate' ? {} : { SpotInstanceType: 'persistent', InstanceInterruptionBehavior: behavior } },
    ...(behavior === 'hibernate' ? drawHibernatable(image) : {}),
  }
  const result = await cloud.call('RunInstances', {
    ImageId: image.image_id, InstanceType: 't3.micro', MinCount: count, MaxCount: count, Placement: { AvailabilityZone: ZONE }, ...market,
  })
  if (result.kind !== 'answered') throw new Error(JSON.stringify(result))
  return ((result.output as Reservation).Instances ?? []).map((each) => each.InstanceId ?? '')
}

const rowOf = (id: string): Promise<InstanceTable> =>
  cloud.store.read((db) => db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow())
const stateOf = async (id: string) => (await rowOf(id)).state
const statesOf = (ids: readonly string[]) => Promise.all(ids.map(stateOf))
const docOf = async (id: string): Promise<InstanceDoc> => instanceDoc(await rowOf(id))
const requestOf = async (id: string) => {
  const { state, status_code: status } = await cloud.store.read((db) =>
    db.selectFrom('spot_requests').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow())
  return `${state} ${status}`
}
const notice = (id: string) => cloud.store.transaction('notice', (db) =>
  giveNotice(db, { instance_id: id }, { cause: 'no-capacity', noticeMs: NOTICE_MS, nowMs: cloud.clock.now() }))
const cap = (ppm: number) => cloud.store.transaction('cap', async (db) => {
  await db.insertInto('spot_zones').values({ zone: ZONE, clearing_ppm: 0, supply_cap_ppm: ppm, updated_ms: 0, doc: '{}' })
    .onConflict((conflict) => conflict.column('zone').doUpdateSet({ supply_cap_ppm: ppm })).execute()
})
const moveTo = (state: ZoneState) => cloud.store.transaction('zone', (db) => moveZone({ db, nowMs: cloud.clock.now() }, ZONE, state))

/** Time goes on; what must hold at any moment is checked all the time. */
async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= SECOND_MS) {
    await cloud.clock.advance(Math.min(left, SECOND_MS))
    expect([...(await checkAlways(cloud)), ...(await checkRoom(cloud)), ...(await checkZones(cloud))]).toEqual([])
  }
}

async function settle(): Promise<void> {
  await cloud.converge()
  expect([...(await checkSettled(cloud)), ...(await checkSpot(cloud)), ...(await checkAlways(cloud)), ...(await checkRoom(cloud))]).toEqual([])
}

/** A zone that is full, of its four places three on spot, and who takes the room of one of them. */
async function takeRoom(behavior: Behavior): Promise<{ spot: string[]; taker: string; victim: string }> {
  const spot = await launch(3, behavior)
  await launch(1)
  await settle()
  const [taker = ''] = await launch(1)
  const [victim = ''] = (await docOf(taker)).waitsFor ?? []
  expect(spot).toContain(victim)
  return { spot, taker, victim }
}

describe('On demand takes the room of spot', () => {
  it.each(['terminate', 'stop', 'hibernate'] as const)('that is to %s, and starts when that is gone', async (behavior) => {
    const { taker, victim } = await takeRoom(behavior)
    await pass(NOTICE_MS - SECOND_MS)
    expect([await stateOf(taker), await stateOf(victim)]).toEqual(['pending', 'running'])
    await pass(60 * SECOND_MS)
    await settle()
    expect([await stateOf(taker), await stateOf(victim)]).toEqual(['running', behavior === 'terminate' ? 'terminated' : 'stopped'])
    if (behavior === 'terminate') return
    // It comes back by itself when there is room: the same one, with its memory where that was kept.
    const { resumed } = cloud.host.world
    await cloud.call('TerminateInstances', { InstanceIds: [taker] })
    await pass(180 * SECOND_MS)
    await settle()
    expect([await stateOf(victim), await requestOf(victim)]).toEqual(['running', 'active fulfilled'])
    expect(cloud.host.world.resumed - resumed).toBe(behavior === 'hibernate' ? 1 : 0)
  })

  it('and waits while its zone has failed, until that is healed', async () => {
    const { taker, victim } = await takeRoom('stop')
    await moveTo('unavailable')
    await pass(2 * NOTICE_MS)
    expect(await stateOf(taker)).toBe('pending')
    await moveTo('available')
    await pass(60 * SECOND_MS)
    await settle()
    expect([await stateOf(taker), await stateOf(victim)]).toEqual(['running', 'stopped'])
    expect(await requestOf(victim)).toBe('disabled instance-stopped-no-capacity')
  })

  it('and starts in time although all agents die now and then', async () => {
    const { taker, victim } = await takeRoom('hibernate')
    for (let each = 0; each < 30; each++) {
      cloud.killAgent()
      await pass(7 * SECOND_MS)
    }
    await settle()
    expect([await stateOf(taker), await stateOf(victim)]).toEqual(['running', 'stopped'])
  })

  it('and starts after a power cut, which is not the end of those who have to go', async () => {
    const { spot, taker, victim } = await takeRoom('terminate')
    await pass(30 * SECOND_MS)
    cloud.restartHost()
    await pass(60 * SECOND_MS)
    expect([await stateOf(victim), await stateOf(taker)]).toEqual(['running', 'pending'])
    expect(await requestOf(victim)).toBe('active marked-for-termination')
    await pass(90 * SECOND_MS)
    await settle()
    expect(await requestOf(victim)).toBe('closed instance-terminated-no-capacity')
    expect(await statesOf([taker, ...spot.filter((id) => id !== victim)])).toEqual(['running', 'running', 'running'])
  })

  it('which its user gives up: nobody waits for it, and the room is spot\'s again', async () => {
    const { taker, victim } = await takeRoom('stop')
    await cloud.call('TerminateInstances', { InstanceIds: [taker] })
    await pass(2 * NOTICE_MS + 60 * SECOND_MS)
    await settle()
    expect([await stateOf(victim), await requestOf(victim)]).toEqual(['running', 'active fulfilled'])
  })
})

describe('A power cut', () => {
  it('brings spot instances back as others: nobody has interrupted them', async () => {
    const spot = [...await launch(1, 'terminate'), ...await launch(1, 'stop')]
    await settle()
    cloud.restartHost()
    await pass(60 * SECOND_MS)
    await settle()
    expect(await statesOf(spot)).toEqual(['running', 'running'])
    for (const id of spot) expect(await requestOf(id)).toBe('active fulfilled')
  })

  it.each(['terminate', 'stop', 'hibernate'] as const)('in which a notice to %s is over is followed by what was said', async (behavior) => {
    const [id = ''] = await launch(1, behavior)
    await settle()
    await cap(0)
    await notice(id)
    await pass(NOTICE_MS - SECOND_MS)
    cloud.restartHost()
    await pass(120 * SECOND_MS)
    await settle()
    expect([await stateOf(id), await requestOf(id)]).toEqual(behavior === 'terminate'
      ? ['terminated', 'closed instance-terminated-no-capacity'] : ['stopped', 'disabled instance-stopped-no-capacity'])
  })
})

describe('A fleet that is maintained', () => {
  /** Of so many in the zone, on spot where that is to stop them. */
  async function fleetOf(count: number, type: 'on-demand' | 'spot' = 'on-demand'): Promise<string> {
    const image = await cloud.store.read((db) => db.selectFrom('images').select('image_id').executeTakeFirstOrThrow())
    const LaunchTemplateName = `of-${cloud.random.int(1_000_000)}`
    await cloud.call('CreateLaunchTemplate', {
      LaunchTemplateName, LaunchTemplateData: { ImageId: image.image_id, InstanceType: 't3.micro', Placement: { AvailabilityZone: ZONE } },
    })
    const result = await cloud.call('CreateFleet', {
      Type: 'maintain', LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateName, Version: '1' } }],
      TargetCapacitySpecification: { TotalTargetCapacity: count, DefaultTargetCapacityType: type },
      ...(type === 'spot' ? { SpotOptions: { InstanceInterruptionBehavior: 'stop' } } : {}), ExcessCapacityTerminationPolicy: 'termination',
    })
    if (result.kind !== 'answered') throw new Error(JSON.stringify(result))
    return (result.output as { FleetId?: string }).FleetId ?? ''
  }
  const membersOf = (fleetId: string) => cloud.store.read((db) =>
    db.selectFrom('instances').select(['instance_id', 'state', 'doc']).where('fleet_id', '=', fleetId).execute())

  it('takes the room of spot instances, and its own wait for them', async () => {
    const spot = await launch(3, 'stop')
    await settle()
    const fleet = await fleetOf(2)
    await pass(10 * SECOND_MS)
    expect((await membersOf(fleet)).map(({ state }) => state).toSorted()).toEqual(['pending', 'running'])
    await pass(NOTICE_MS + 60 * SECOND_MS)
    await settle()
    expect((await membersOf(fleet)).map(({ state }) => state)).toEqual(['running', 'running'])
    expect((await statesOf(spot)).toSorted()).toEqual(['running', 'running', 'stopped'])
  })

  it('is not filled again while the cloud is taken down, but when that is given up', async () => {
    const fleet = await fleetOf(2)
    await pass(10 * SECOND_MS)
    await settle()
    for (let each = 0; each < 60; each++) {
      await requestStops(cloud.store, cloud.clock.now())
      await pass(SECOND_MS)
    }
    expect((await membersOf(fleet)).map(({ state }) => state)).toEqual(['stopped', 'stopped'])
    await pass(60 * SECOND_MS)
    expect((await membersOf(fleet)).map(({ state }) => state).toSorted()).toEqual(['running', 'running'])
  })

  it('has one in place of each that its user ends, though their requests are persistent; and none when it is deleted', async () => {
    const fleet = await fleetOf(1, 'spot')
    await pass(10 * SECOND_MS)
    await settle()
    const [{ instance_id: first } = { instance_id: '' }] = await membersOf(fleet)
    await cloud.call('TerminateInstances', { InstanceIds: [first] })
    await pass(120 * SECOND_MS)
    await settle()
    expect((await membersOf(fleet)).map(({ state }) => state).toSorted()).toEqual(['running', 'terminated'])
    await cloud.call('DeleteFleets', { FleetIds: [fleet], TerminateInstances: true })
    await pass(120 * SECOND_MS)
    await settle()
    expect((await membersOf(fleet)).map(({ state }) => state)).toEqual(['terminated', 'terminated'])
    expect(await cloud.store.read((db) => db.selectFrom('spot_requests').select('state').execute())).toEqual([{ state: 'closed' }, { state: 'closed' }])
  })

  it('leaves one that was interrupted as it is, once it has another one instead', async () => {
    const fleet = await fleetOf(1, 'spot')
    await pass(10 * SECOND_MS)
    await settle()
    const [{ instance_id: first } = { instance_id: '' }] = await membersOf(fleet)
    await notice(first)
    await pass(NOTICE_MS + 300 * SECOND_MS)
    await settle()
    const states = async () => Object.fromEntries((await membersOf(fleet)).map(({ instance_id: id, state }) => [id === first ? 'first' : 'other', state]))
    expect(await states()).toEqual({ first: 'stopped', other: 'running' })
    expect(await requestOf(first)).toBe('disabled instance-stopped-no-capacity')
    await cloud.call('ModifyFleet', { FleetId: fleet, TargetCapacitySpecification: { TotalTargetCapacity: 2 } })
    await pass(300 * SECOND_MS)
    await settle()
    expect((await membersOf(fleet)).filter(({ state }) => state === 'running')).toHaveLength(2)
  })
})
