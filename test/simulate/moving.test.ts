import type { Reservation } from '@aws-sdk/client-ec2'
import { describe, expect, test } from 'vitest'
import { pick } from '../../src/core/random.ts'
import { instanceDoc } from '../../src/model/instance.ts'
import { checkDisks } from '../../src/simulate/disk-invariants.ts'
import { checkAlways, checkSettled } from '../../src/simulate/invariants.ts'
import { drawHibernatable } from '../../src/simulate/memory-calls.ts'
import { MemoryExpectations } from '../../src/simulate/memory-expectations.ts'
import { SimulatedCloud, type CallResult } from '../../src/simulate/simulator.ts'
import { ZoneCalls } from '../../src/simulate/zone-calls.ts'

const ZONE = 'us-east-1a'
/** Half of what a host of the simulated cloud promises. */
const TYPE = 't3.small'
const SEEDS = 25
const DIVIDED_SEEDS = 12

/** A cloud with two hosts to a zone, and what people do in the first of its zones. */
class Zone {
  readonly cloud: SimulatedCloud

  constructor(cloud: SimulatedCloud) {
    this.cloud = cloud
  }

  row(id: string) {
    return this.cloud.store.read((db) => db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow())
  }

  volumes(id: string) {
    return this.cloud.store.read((db) =>
      db.selectFrom('volumes').selectAll().where('instance_id', '=', id).orderBy('device').execute())
  }

  async launch(isHibernatable = false): Promise<string | undefined> {
    const image = await this.cloud.store.read((db) => db.selectFrom('images').selectAll().executeTakeFirstOrThrow())
    const result = await this.cloud.call('RunInstances', {
      ImageId: image.image_id, InstanceType: TYPE, MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: ZONE },
      ...(isHibernatable ? drawHibernatable(image) : {}),
    })
    if (result.kind !== 'answered') return undefined
    await this.cloud.converge()
    return (result.output as Reservation).Instances?.[0]?.InstanceId
  }

  /** Leaves no room on a host, and on the others of the zone what they have. */
  async fill(hostId: string): Promise<void> {
    const elsewhere: string[] = []
    for (let id = await this.launch(); id !== undefined; id = await this.launch()) {
      if ((await this.row(id)).host_id !== hostId) elsewhere.push(id)
    }
    await this.done(await this.cloud.call('TerminateInstances', { InstanceIds: elsewhere }))
  }

  async stop(id: string, change: { Hibernate?: boolean } = {}): Promise<void> {
    await this.done(await this.cloud.call('StopInstances', { InstanceIds: [id], ...change }))
  }

  async start(id: string): Promise<void> {
    await this.done(await this.cloud.call('StartInstances', { InstanceIds: [id] }))
  }

  /** What a process that died did not answer is asked again; what was answered comes about. */
  async done(result: CallResult): Promise<void> {
    expect(result.kind).toBe('answered')
    await this.cloud.converge()
    expect([...(await checkAlways(this.cloud)), ...(await checkSettled(this.cloud)), ...(await checkDisks(this.cloud))]).toEqual([])
  }
}

async function inZone(seed: number, body: (zone: Zone) => Promise<void>): Promise<void> {
  const cloud = await SimulatedCloud.create(seed)
  try {
    await body(new Zone(cloud))
  } finally {
    await cloud.close()
  }
}

/** An instance with a data volume, each of which holds a number. */
async function withData(zone: Zone, isHibernatable = false): Promise<{ id: string; dataId: string }> {
  const { cloud } = zone
  const id = (await zone.launch(isHibernatable)) ?? ''
  const made = await cloud.call('CreateVolume', { AvailabilityZone: ZONE, Size: 1 })
  await cloud.converge()
  const dataId = (made as { output: { VolumeId?: string } }).output.VolumeId ?? ''
  await zone.done(await cloud.call('AttachVolume', { InstanceId: id, VolumeId: dataId, Device: '/dev/sdf' }))
  const { world } = cloud.host
  expect([world.guestWrites(id, undefined, 7), world.guestWrites(id, dataId, 8, 3)]).toEqual([true, true])
  return { id, dataId }
}

const dataIn = async (zone: Zone, id: string) => (await zone.volumes(id)).map((volume) =>
  Object.fromEntries(zone.cloud.host.world.dataOf(volume.layer_id)))

describe('an instance that is stopped while others take its place', () => {
  test('starts on the other host of its zone, with its data, addresses and volumes', () => inZone(1, async (zone) => {
    const { cloud } = zone
    const { id, dataId } = await withData(zone)
    const before = await zone.row(id)
    const address = () => cloud.store.read((db) => db.selectFrom('interfaces').select(['private_ip', 'host_id']).where('instance_id', '=', id).execute())
    const addressBefore = await address()
    await zone.stop(id)
    await zone.fill(before.host_id)
    await zone.start(id)

    const after = await zone.row(id)
    expect(after).toMatchObject({ state: 'running', zone: before.zone, node_id: before.node_id, slot: before.slot })
    expect(after.host_id).not.toBe(before.host_id)
    expect(await dataIn(zone, id)).toEqual([{ 3: 8 }, { 0: 7 }])
    expect(cloud.host.world.guestWrites(id, dataId, 9, 4)).toBe(true)
    expect(await address()).toEqual(addressBefore)

    // What is done to it and its volumes later is as with any other.
    for (const [action, input] of [
      ['CreateSnapshots', { InstanceSpecification: { InstanceId: id } }], ['RebootInstances', { InstanceIds: [id] }],
      ['ModifyVolume', { VolumeId: dataId, Size: 2 }], ['DetachVolume', { VolumeId: dataId }],
    ] as const) await zone.done(await cloud.call(action, input))
    const snapshots = await cloud.store.read((db) => db.selectFrom('snapshots').select('state').where('volume_id', 'is not', null).execute())
    expect(snapshots).toEqual([{ state: 'completed' }, { state: 'completed' }])
    await zone.done(await cloud.call('TerminateInstances', { InstanceIds: [id] }))
    const left = await cloud.store.read((db) => db.selectFrom('volumes').select(['volume_id', 'state', 'size_gib']).where('volume_id', '=', dataId).execute())
    expect(left).toEqual([{ volume_id: dataId, state: 'available', size_gib: 2 }])
  }))

  test('goes on there with what was in its memory, if it was hibernated', () => inZone(2, async (zone) => {
    const { world } = zone.cloud.host
    const { id, dataId } = await withData(zone, true)
    const before = await zone.row(id)
    await zone.cloud.clock.advance(5 * 60_000)
    expect(world.guestComputes(id)).toBe(true)
    const memory = { ...world.machines.get(id)?.process?.memory }
    await zone.stop(id, { Hibernate: true })
    expect(instanceDoc(await zone.row(id)).memory?.state).toBe('saved')
    await zone.fill(before.host_id)
    await zone.start(id)
    expect((await zone.row(id)).host_id).not.toBe(before.host_id)
    expect(world.machines.get(id)?.process?.memory).toEqual(memory)
    expect(world.resumed).toBe(1)
    expect(await dataIn(zone, id)).toEqual([{ 3: 8 }, { 0: 7 }])
    expect(world.guestWrites(id, dataId, 9)).toBe(true)
  }))

  test('is refused where its zone is full, and starts when there is room again', () => inZone(3, async (zone) => {
    const { id } = await withData(zone)
    await zone.stop(id)
    const others: string[] = []
    for (let other = await zone.launch(); other !== undefined; other = await zone.launch()) others.push(other)
    const refused = await zone.cloud.call('StartInstances', { InstanceIds: [id] })
    expect(refused).toEqual({ kind: 'refused', code: 'InsufficientInstanceCapacity' })
    await zone.cloud.call('TerminateInstances', { InstanceIds: others.slice(0, 1) })
    await zone.cloud.converge()
    await zone.start(id)
    expect(await zone.row(id)).toMatchObject({ state: 'running' })
  }))

  test('moves once and whole, whichever agent dies and whatever was going on with its volumes', async () => {
    let moves = 0
    for (let seed = 1; seed <= SEEDS; seed++) {
      await inZone(seed, async (zone) => {
        const { cloud } = zone
        const { id, dataId } = await withData(zone, true)
        const first = (await zone.row(id)).host_id
        await cloud.clock.advance(5 * 60_000)
        await zone.stop(id, { Hibernate: seed % 2 === 0 })
        await zone.fill(first)
        cloud.mayCrash = true
        // Its host is at work on it when the call comes that takes it away.
        await cloud.call('CreateSnapshot', { VolumeId: dataId })
        if (seed % 2 === 1) await cloud.call('ModifyVolume', { VolumeId: dataId, Size: 2 })
        await cloud.clock.advance(cloud.random.int(60))
        if (cloud.random.int(3) === 0) cloud.killAgent()
        for (let attempt = 1; (await zone.row(id)).state === 'stopped'; attempt++) {
          expect(attempt).toBeLessThan(20)
          await cloud.call('StartInstances', { InstanceIds: [id] })
          await cloud.clock.advance(cloud.random.int(3000))
        }
        await cloud.converge()
        cloud.mayCrash = false
        const row = await zone.row(id)
        if (row.host_id !== first) moves += 1
        expect([seed, row.state, instanceDoc(row).movedFrom ?? null]).toEqual([seed, 'running', null])
        expect(await dataIn(zone, id)).toEqual([{ 3: 8 }, { 0: 7 }])
        expect([...(await checkAlways(cloud)), ...(await checkSettled(cloud)), ...(await checkDisks(cloud))]).toEqual([])
      })
    }
    expect(moves).toBe(SEEDS)
  })
})

/** What one may do meanwhile; of most it does not matter whether it is refused. */
async function drawCall({ cloud }: Zone, ids: readonly string[], dataId: string): Promise<void> {
  const id = pick(cloud.random, ids)
  const calls: [string, object][] = [
    ['StopInstances', { InstanceIds: [id] }], ['StopInstances', { InstanceIds: [id], Hibernate: true }], ['StartInstances', { InstanceIds: [...ids] }],
    ['StartInstances', { InstanceIds: [id] }], ['RebootInstances', { InstanceIds: [id] }], ['CreateSnapshot', { VolumeId: dataId }],
    ['DetachVolume', { VolumeId: dataId }], ['AttachVolume', { VolumeId: dataId, InstanceId: id, Device: '/dev/sdf' }],
  ]
  await cloud.call(...pick(cloud.random, calls))
}

describe('a zone that is divided into fewer hosts, and more', () => {
  test('keeps all that is in it, whatever is going on and whoever dies', async () => {
    let survived = 0
    for (let seed = 1; seed <= DIVIDED_SEEDS; seed++) {
      await inZone(seed, async (zone) => {
        const { cloud } = zone
        const { id, dataId } = await withData(zone, true)
        const ids = [id, (await zone.launch(true)) ?? '', (await zone.launch()) ?? '']
        await cloud.clock.advance(5 * 60_000)
        const zones = new ZoneCalls(cloud, new MemoryExpectations(cloud))
        cloud.mayCrash = true
        for (let step = 0; step < 24; step++) {
          if (step % 4 === 0) await cloud.divide(pick(cloud.random, [1, 2, 3]))
          if (step % 4 === 2 && seed % 2 === 0) await zones.draw()
          await drawCall(zone, ids, dataId)
          await cloud.clock.advance(cloud.random.int(6000))
        }
        await zones.healAll()
        await cloud.converge()
        cloud.mayCrash = false
        survived += cloud.crashes
        // Hosts that are smaller than before may have promised more than they would now.
        const always = (await checkAlways(cloud)).filter((each) => !each.startsWith('capacity oversold'))
        expect([seed, ...always, ...(await checkSettled(cloud)), ...(await checkDisks(cloud))]).toEqual([seed])
        const data = await cloud.store.read((db) => db.selectFrom('volumes').select('layer_id').where('volume_id', '=', dataId).executeTakeFirstOrThrow())
        expect([seed, Object.fromEntries(cloud.host.world.dataOf(data.layer_id))]).toEqual([seed, { 3: 8 }])
        const hosts = await cloud.store.read((db) => db.selectFrom('instances').select(['host_id', 'doc']).execute())
        expect([seed, hosts.filter((row) => instanceDoc(row).movedFrom)]).toEqual([seed, []])
      })
    }
    expect(survived).toBeGreaterThan(DIVIDED_SEEDS)
  })
})
