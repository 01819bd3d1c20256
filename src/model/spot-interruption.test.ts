import { beforeEach, describe, expect, it } from 'vitest'
import { defaultNetwork, insertImage, insertInstance, insertInterface, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { loadInstanceMetadata } from '../imds/view.ts'
import { buildTree, type Directory } from '../imds/tree.ts'
import type { Context } from '../ec2/context.ts'
import { modifyInstanceCapacityReservationAttributes } from '../ec2/capacity-reservations-instance.ts'
import { modifyInstancePlacement } from '../ec2/modify-instance-placement.ts'
import { modifyInstanceAttribute } from '../ec2/modify-instance-attribute.ts'
import { startInstances, stopInstances, terminateInstances } from '../ec2/instance-lifecycle.ts'
import { runInstances } from '../ec2/run-instances.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import { instanceDoc, moveInstance, type InstanceDoc } from './instance.ts'
import { capacityProblems } from './capacity-audit.ts'
import { carryOutInterruption, giveNotice, interruptionOf, recommendRebalance, type SpotInstanceDoc } from './spot-interruption.ts'
import type { InterruptionBehavior } from './spot-request.ts'

const NOTICE_MS = 120_000
const OVER_MS = NOW_MS + NOTICE_MS
const ZONE = 'us-east-1a'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

interface Asked {
  behavior?: InterruptionBehavior
  type?: SpotRequestTable['type']
  change?: Partial<Omit<InstanceTable, 'doc' | 'vpc_id' | 'subnet_id'>>
  doc?: Partial<InstanceDoc>
}

/** A spot instance that runs on the host of its zone, with its request; what it takes is counted. */
async function spot(context: Context, { behavior = 'terminate', type = 'one-time', change = {}, doc = {} }: Asked = {}): Promise<InstanceTable> {
  const spotDoc: SpotInstanceDoc = { behavior, rebalanceMs: null, interruption: null }
  const id = `sir-${String(context.random.int(1_000_000)).padStart(8, '0')}`
  const row = await insertInstance(context, { lifecycle: 'spot', spot_request_id: id, host_id: `host-1-${ZONE}`, ...change }, { spot: spotDoc, ...doc })
  await context.db.insertInto('spot_requests').values({
    request_id: id, account_id: row.account_id, state: 'active', status_code: 'fulfilled', type, instance_type: row.instance_type, zone: null,
    max_price_micro_usd: 10_400, bid_ppm: 1_000_000, instance_id: row.instance_id, launch_group: null, az_group: null, fleet_id: null,
    valid_from_ms: null, valid_until_ms: null, created_ms: NOW_MS, status_ms: NOW_MS, doc: '{}',
  }).execute()
  await context.db
    .updateTable('hosts').set((eb) => ({ vcpus_used: eb('vcpus_used', '+', row.vcpus), memory_mib_used: eb('memory_mib_used', '+', row.memory_mib) }))
    .where('host_id', '=', row.host_id).execute()
  return row
}

const notice = (context: Context, row: InstanceTable) =>
  giveNotice(context.db, row, { cause: 'by-price', noticeMs: NOTICE_MS, nowMs: NOW_MS })
const now = ({ db }: Context, { instance_id: id }: Pick<InstanceTable, 'instance_id'>) =>
  db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow()
const events = async ({ db }: Context) =>
  (await db.selectFrom('cloud_events').selectAll().where('detail_type', 'like', '%In%').orderBy('seq').execute())
    .filter((each) => /Warning|Rebalance/.test(each.detail_type))
    .map((each) => ({ type: each.detail_type, resources: JSON.parse(each.resources) as unknown, detail: JSON.parse(each.detail) as unknown }))
const statusOf = ({ db }: Context, row: InstanceTable) =>
  db.selectFrom('spot_requests').select(['state', 'status_code']).where('instance_id', '=', row.instance_id).executeTakeFirst()

describe('the notice of an interruption', () => {
  it('comes once, after a rebalance recommendation, with the events of EventBridge and the status of its request', () => test.run(async (context) => {
    const row = await spot(context)
    const { instance_id: id, account_id: account } = row
    expect(await notice(context, row)).toBe(true)
    expect(await notice(context, row)).toBe(false)
    expect(await recommendRebalance(context.db, row, NOW_MS)).toBe(false)
    expect(await events(context)).toEqual([
      { type: 'EC2 Instance Rebalance Recommendation', resources: [`arn:aws:ec2:us-east-1:${account}:instance/${id}`], detail: { 'instance-id': id } },
      {
        type: 'EC2 Spot Instance Interruption Warning', resources: [`arn:aws:ec2:us-east-1a:instance/${id}`],
        detail: { 'instance-id': id, 'instance-action': 'terminate' },
      },
    ])
    expect(await statusOf(context, row)).toEqual({ state: 'active', status_code: 'marked-for-termination' })
  }))

  it.each([
    { behavior: 'terminate', inMetadata: ['{"action":"terminate","time":"2026-01-01T00:02:00Z"}', '2026-01-01T00:02:00Z'] },
    { behavior: 'stop', inMetadata: ['{"action":"stop","time":"2026-01-01T00:02:00Z"}', undefined] },
    { behavior: 'hibernate', inMetadata: ['{"action":"hibernate","time":"2026-01-01T00:02:00Z"}', undefined] },
  ] as const)('is in the metadata of an instance that is to $behavior', ({ behavior, inMetadata }) => test.run(async (context) => {
    const row = await spot(context, { behavior, type: 'persistent' })
    const placed = { ...row, vpc_id: row.vpc_id ?? '', subnet_id: row.subnet_id ?? '' }
    const { private_ip: ip } = await insertInterface(context, placed)
    const at = async (...path: string[]) => {
      const view = await loadInstanceMetadata(context.db, 'us-east-1', placed.vpc_id, ip)
      if (!view) throw new Error('no metadata')
      return path.reduce<unknown>((entry, name) => (entry as Directory | undefined)?.get(name), buildTree(view, { signature: '', pkcs7: '' }))
    }
    expect(await at('meta-data', 'instance-life-cycle')).toBe('spot')
    expect(await at('meta-data', 'spot')).toBeUndefined()
    expect(await at('meta-data', 'events', 'recommendations')).toBeUndefined()
    await notice(context, row)
    expect([await at('meta-data', 'spot', 'instance-action'), await at('meta-data', 'spot', 'termination-time')]).toEqual(inMetadata)
    expect(await at('meta-data', 'events', 'recommendations', 'rebalance')).toBe('{"noticeTime":"2026-01-01T00:00:00Z"}')
  }))

  it('and a rebalance recommendation wake the fleet that it is of', () => test.run(async (context) => {
    const isAwake = async () => (await context.db.selectFrom('work').select('id').where('kind', '=', 'fleet').where('id', '=', 'fleet-1').execute()).length === 1
    const row = await spot(context, { change: { fleet_id: 'fleet-1' } })
    expect(await isAwake()).toBe(false)
    for (const tell of [() => recommendRebalance(context.db, row, NOW_MS), () => notice(context, row)]) {
      await context.db.deleteFrom('work').execute()
      expect(await tell()).toBe(true)
      expect(await isAwake()).toBe(true)
    }
  }))

  it('is not given to one that is on its way out, or on demand', () => test.run(async (context) => {
    expect(await notice(context, await spot(context, { change: { state: 'stopping' } }))).toBe(false)
    expect(await notice(context, await insertInstance(context))).toBe(false)
  }))
})

describe('an interruption', () => {
  it.each([
    { behavior: 'terminate', doc: {}, state: 'shutting-down', hibernate: false, code: 'Server.SpotInstanceTermination' },
    { behavior: 'stop', doc: {}, state: 'stopping', hibernate: false, code: 'Server.SpotInstanceShutdown' },
    { behavior: 'hibernate', doc: { hibernation: true, contactMs: NOW_MS }, state: 'stopping', hibernate: true, code: 'Server.SpotInstanceShutdown' },
    { behavior: 'hibernate', doc: { hibernation: true }, state: 'stopping', hibernate: false, code: 'Server.SpotInstanceShutdown' },
  ] as const)('comes when the notice is over: $behavior, $doc', ({ behavior, doc, state, hibernate, code }) => test.run(async (context) => {
    const row = await spot(context, { behavior, doc, type: 'persistent' })
    await notice(context, row)
    expect(await carryOutInterruption(context.db, row, OVER_MS - 1)).toBe(false)
    expect(await carryOutInterruption(context.db, row, OVER_MS)).toBe(true)
    const after = await now(context, row)
    expect(after.state).toBe(state)
    expect(instanceDoc(after)).toMatchObject({ hibernate, stateReason: { code }, stateTransitionReason: 'Service initiated (2026-01-01 00:02:00 GMT)' })
    expect(interruptionOf(after)).toMatchObject({ cause: 'by-price' })
    expect(await carryOutInterruption(context.db, row, OVER_MS)).toBe(true)
  }))

  it('ends one that is starting still, and waits for its start where it is to be stopped', () => test.run(async (context) => {
    const [ends, stops] = [await spot(context, { change: { state: 'pending' } }), await spot(context, { behavior: 'stop', type: 'persistent', change: { state: 'pending' } })]
    for (const row of [ends, stops]) await notice(context, row)
    expect(await carryOutInterruption(context.db, ends, OVER_MS)).toBe(true)
    expect(await carryOutInterruption(context.db, stops, OVER_MS)).toBe(false)
    await moveInstance(context.db, await now(context, stops), 'running', OVER_MS)
    expect(await carryOutInterruption(context.db, stops, OVER_MS)).toBe(true)
    expect([(await now(context, ends)).state, (await now(context, stops)).state]).toEqual(['shutting-down', 'stopping'])
  }))

  it('leaves alone what its user has ended during the notice', () => test.run(async (context) => {
    const [ended, stopped] = [await spot(context), await spot(context, { behavior: 'stop', type: 'persistent' })]
    for (const row of [ended, stopped]) await notice(context, row)
    await terminateInstances(context, { InstanceIds: [ended.instance_id] })
    await stopInstances(context, { InstanceIds: [stopped.instance_id] })
    for (const row of [ended, stopped]) {
      expect(await carryOutInterruption(context.db, row, OVER_MS)).toBe(true)
      const after = await now(context, row)
      expect(instanceDoc(after).stateReason?.code).toBe('Client.UserInitiatedShutdown')
      expect(interruptionOf(after)).toBeNull()
    }
  }))
})

describe('calls about a spot instance', () => {
  it('cannot stop one of a one-time request, hibernate one, nor start one that was interrupted', () => test.run(async (context) => {
    const once = await spot(context)
    await expect(stopInstances(context, { InstanceIds: [once.instance_id] })).rejects.toMatchObject({
      code: 'UnsupportedOperation', message: `You can't stop the Spot Instance '${once.instance_id}' because it is associated with a one-time Spot `
        + 'Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.',
    })
    const again = await spot(context, { behavior: 'hibernate', type: 'persistent', doc: { hibernation: true } })
    await expect(stopInstances(context, { InstanceIds: [again.instance_id], Hibernate: true })).rejects.toMatchObject({ code: 'UnsupportedOperation' })
    const interrupted = await spot(context, { behavior: 'stop', type: 'persistent', change: { state: 'stopped', holds_capacity: 0 } })
    await expect(startInstances(context, { InstanceIds: [interrupted.instance_id] })).rejects.toMatchObject({
      code: 'IncorrectSpotRequestState', message: `You can't start the Spot Instance '${interrupted.instance_id}' because the associated Spot `
        + 'Instance request is not in an appropriate state to support start.',
    })
  }))

  it.each(['disableApiTermination', 'disableApiStop', 'instanceType'] as const)('cannot change %s', (Attribute) => test.run(async (context) => {
    const { instance_id: InstanceId } = await spot(context)
    const Value = Attribute === 'instanceType' ? 't3.small' : 'true'
    await expect(modifyInstanceAttribute(context, { InstanceId, Attribute, Value })).rejects.toMatchObject({
      code: 'UnsupportedOperation', message: `Modifying '${Attribute}' is not supported for spot instances.`,
    })
  }))
})

describe('a stopped spot instance', () => {
  it('cannot be sent to a dedicated host, nor into a capacity reservation', () => test.run(async (context) => {
    const { instance_id: InstanceId } = await spot(context, { behavior: 'stop', type: 'persistent', change: { state: 'stopped', holds_capacity: 0, instance_type: 'm5.large' } })
    await expect(modifyInstancePlacement(context, { InstanceId, Tenancy: 'host' })).rejects.toMatchObject({
      code: 'InvalidParameterCombination', message: 'Spot Instances cannot be launched on a Dedicated Host.',
    })
    for (const CapacityReservationPreference of ['open', 'capacity-reservations-only'] as const) {
      await expect(modifyInstanceCapacityReservationAttributes(context, { InstanceId, CapacityReservationSpecification: { CapacityReservationPreference } }))
        .rejects.toMatchObject({ code: 'InvalidParameterCombination', message: 'Spot Instances cannot be launched in a Capacity Reservation.' })
    }
    await modifyInstanceCapacityReservationAttributes(context, { InstanceId, CapacityReservationSpecification: { CapacityReservationPreference: 'none' } })
  }))
})

describe('an instance on demand, where a zone is full of spot', () => {
  /** A zone that has room for nothing but the spot instances that are in it. */
  async function fullZone(context: Context, count: number): Promise<InstanceTable[]> {
    const rows: InstanceTable[] = []
    for (let each = 0; each < count; each++) rows.push(await spot(context))
    await context.db.updateTable('hosts').set((eb) => ({ vcpus: eb.ref('vcpus_used'), memory_mib: eb.ref('memory_mib_used') })).where('zone', '=', ZONE).execute()
    return rows
  }

  async function launchMany(context: Context, MinCount: number, MaxCount: number): Promise<InstanceTable[]> {
    const { image_id: ImageId } = await insertImage(context)
    const { subnet } = await defaultNetwork(context, ZONE)
    const { Instances = [] } = await runInstances(context, { ImageId, InstanceType: 't3.micro', MinCount, MaxCount, SubnetId: subnet.subnet_id })
    return Promise.all(Instances.map((each) => now(context, { instance_id: each.InstanceId ?? '' })))
  }
  async function launch(context: Context): Promise<InstanceTable> {
    const [launched] = await launchMany(context, 1, 1)
    if (!launched) throw new Error('one was launched')
    return launched
  }

  it('has the room of one at once, which is told to go, and starts when that has no machine any more', () => test.run(async (context) => {
    const rows = await fullZone(context, 2)
    const launched = await launch(context)
    const { waitsFor = [] } = instanceDoc(launched)
    expect(waitsFor).toHaveLength(1)
    const victim = await now(context, rows.find((row) => waitsFor.includes(row.instance_id)) ?? launched)
    expect(victim).toMatchObject({ state: 'running', holds_capacity: 0, lifecycle: 'spot' })
    expect(instanceDoc(victim).spot).toMatchObject({ interruption: { cause: 'no-capacity' }, promisedTo: [launched.instance_id] })
    expect(await statusOf(context, victim)).toEqual({ state: 'active', status_code: 'marked-for-termination' })
    expect(await capacityProblems(context.db)).toEqual([])
    await carryOutInterruption(context.db, victim, OVER_MS)
    expect(instanceDoc(await now(context, launched)).waitsFor).toEqual(waitsFor)
    await context.db.deleteFrom('work').where('id', '=', launched.instance_id).execute()
    await moveInstance(context.db, await now(context, victim), 'terminated', OVER_MS)
    expect(instanceDoc(await now(context, launched)).waitsFor).toEqual([])
    expect(await context.db.selectFrom('work').select('host_id').where('id', '=', launched.instance_id).execute()).toEqual([{ host_id: launched.host_id }])
    expect(await capacityProblems(context.db)).toEqual([])
  }))

  it('leaves room that is somebody\'s still, when it is terminated before: the next one waits for the same to leave', () => test.run(async (context) => {
    await fullZone(context, 1)
    const first = await launch(context)
    await terminateInstances(context, { InstanceIds: [first.instance_id] })
    await moveInstance(context.db, await now(context, first), 'terminated', NOW_MS)
    const second = await launch(context)
    expect(instanceDoc(second).waitsFor).toEqual(instanceDoc(first).waitsFor)
    expect((await events(context)).filter((each) => each.type.includes('Warning'))).toHaveLength(1)
  }))

  it.each([[2, 2], [1, 2], [1, 9]])('has as many go as it may have instances: of %i to %i as many as there is room for', (min, max) => test.run(async (context) => {
    await fullZone(context, 3)
    const launched = await launchMany(context, min, max)
    expect(launched).toHaveLength(Math.min(max, 3))
    expect((await events(context)).filter((each) => each.type.includes('Warning'))).toHaveLength(Math.min(max, 3))
    expect(await capacityProblems(context.db)).toEqual([])
  }))

  it('takes over from one that goes already, without a second notice', () => test.run(async (context) => {
    const [first, second] = await fullZone(context, 2)
    if (!first || !second) throw new Error('two were launched')
    await notice(context, second)
    expect(instanceDoc(await launch(context)).waitsFor).toEqual([second.instance_id])
    expect((await events(context)).filter((each) => each.type.includes('Warning'))).toHaveLength(1)
    expect(await now(context, first)).toMatchObject({ holds_capacity: 1 })
  }))
})
