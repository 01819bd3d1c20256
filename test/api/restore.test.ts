import {
  CreateTagsCommand, CreateVolumeCommand, AttachVolumeCommand, DescribeInstancesCommand, DescribeTagsCommand, ListVolumesInRecycleBinCommand,
  ModifyInstanceAttributeCommand, RebootInstancesCommand, RunInstancesCommand, StartInstancesCommand, StopInstancesCommand,
  TerminateInstancesCommand, waitUntilInstanceTerminated, type EC2Client, type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock, type Clock } from '../../src/core/clock.ts'
import { systemRandom } from '../../src/core/random.ts'
import { listBackups } from '../../src/cli/backups.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { TERMINATED_RETENTION_MS } from '../../src/model/instance.ts'
import { DAY_MS } from '../../src/model/recycle-rules.ts'
import { restoreInstance } from '../../src/model/restore-instance.ts'
import { setRetention } from '../../src/model/retention.ts'
import { enqueue } from '../../src/store/work.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

/** The system's clock, some time ahead. */
let aheadMs = 0
const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs }

let cloud: TestCloud
let ec2: EC2Client
let imageId: string
beforeAll(async () => {
  cloud = await startTestCloud({ clock })
  ec2 = cloud.ec2
  // It would set its clock by the answers' Date header, which is the system's.
  Object.defineProperty(ec2.config, 'systemClockOffset', { get: () => aheadMs, set: () => {} })
  imageId = await tinyImageId(cloud)
})
afterAll(() => cloud.close())

async function launch(change: Partial<RunInstancesCommandInput> = {}): Promise<string> {
  const { Instances: [instance] = [] } = await ec2.send(new RunInstancesCommand({
    ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, ...change,
  }))
  return instance?.InstanceId ?? ''
}
async function describeOne(id: string) {
  const { Reservations: [reservation] = [] } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
  return reservation?.Instances?.[0] ?? {}
}
const terminate = (id: string) => ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
const start = (id: string) => ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
const dataOf = async (volumeId: string | undefined) => {
  const { layer_id: layerId } = await cloud.store.read((db) =>
    db.selectFrom('volumes').select('layer_id').where('volume_id', '=', volumeId ?? '').executeTakeFirstOrThrow())
  return Object.fromEntries(cloud.host.world.dataOf(layerId))
}
const restore = async (id: string) => {
  const restored = await cloud.store.transaction('test.restore', (db) =>
    restoreInstance({ db, random: systemRandom, nowMs: clock.now() }, id))
  await cloud.settle()
  return restored
}
async function pass(ms: number): Promise<void> {
  aheadMs += ms
  await cloud.store.transaction('test', async (db) => {
    for (const { instance_id: id, host_id: hostId } of await db.selectFrom('instances').selectAll().where('state', '=', 'terminated').execute()) {
      await enqueue(db, { kind: 'instance', id, hostId }, clock.now())
    }
    await enqueue(db, { kind: 'recycle', id: 'bin', hostId: 'h-sim' }, clock.now())
  })
  await cloud.settle()
}

describe('an instance that was protected', () => {
  it('is terminated as ever, forgotten after an hour, and comes back with what was on its disks', async () => {
    const id = await launch({ DisableApiTermination: true, UserData: Buffer.from('#!/bin/sh').toString('base64') })
    const { VolumeId = '' } = await ec2.send(new CreateVolumeCommand({ AvailabilityZone: 'us-east-1a', Size: 1, VolumeType: 'gp3' }))
    await ec2.send(new AttachVolumeCommand({ VolumeId, InstanceId: id, Device: '/dev/sdf' }))
    await ec2.send(new CreateTagsCommand({ Resources: [id], Tags: [{ Key: 'Name', Value: 'precious' }] }))
    const before = await describeOne(id)
    const rootId = before.BlockDeviceMappings?.[0]?.Ebs?.VolumeId
    cloud.host.world.guestWrites(id, rootId ?? '', 42)
    cloud.host.world.guestWrites(id, VolumeId, 43)

    await expect(terminate(id)).rejects.toMatchObject({ name: 'OperationNotPermitted' })
    // As clients do that mean it.
    await ec2.send(new ModifyInstanceAttributeCommand({ InstanceId: id, DisableApiTermination: { Value: false } }))
    await terminate(id)
    await waitUntilInstanceTerminated({ client: ec2, minDelay: 1, maxWaitTime: 10 }, { InstanceIds: [id] })
    for (const call of [() => start(id), () => ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))]) {
      await expect(call()).rejects.toMatchObject({ name: 'IncorrectInstanceState' })
    }
    expect((await ec2.send(new ListVolumesInRecycleBinCommand({}))).Volumes).toMatchObject([{ VolumeId: rootId }])

    await pass(TERMINATED_RETENTION_MS)
    await expect(describeOne(id)).rejects.toMatchObject({ name: 'InvalidInstanceID.NotFound' })
    expect(await listBackups(cloud.store)).toMatchObject([{ instanceId: id, name: 'precious', obstacle: null, missingVolumeIds: [] }])

    expect(await restore(id)).toEqual({
      instanceId: id, state: 'stopped', isRestored: true, privateIp: before.PrivateIpAddress, notices: [],
    })
    expect(await describeOne(id)).toMatchObject({
      State: { Name: 'stopped' }, StateTransitionReason: '', PrivateIpAddress: before.PrivateIpAddress, Tags: [{ Key: 'Name', Value: 'precious' }],
      LaunchTime: before.LaunchTime, ImageId: imageId, SubnetId: before.SubnetId,
      NetworkInterfaces: [{ NetworkInterfaceId: before.NetworkInterfaces?.[0]?.NetworkInterfaceId, MacAddress: before.NetworkInterfaces?.[0]?.MacAddress }],
      BlockDeviceMappings: [
        { DeviceName: '/dev/xvda', Ebs: { VolumeId: rootId, DeleteOnTermination: true, Status: 'attached' } },
        { DeviceName: '/dev/sdf', Ebs: { VolumeId, DeleteOnTermination: false, Status: 'attached' } },
      ],
    })
    expect((await describeOne(id)).StateReason).toBeUndefined()
    expect((await describeOne(id)).PublicIpAddress).toBeUndefined()
    expect(await listBackups(cloud.store)).toEqual([])

    await start(id)
    expect((await describeOne(id)).State?.Name).toBe('running')
    expect(cloud.host.world.machines.get(id)?.process?.disks.all.size).toBe(2)
    expect([await dataOf(rootId), await dataOf(VolumeId)]).toEqual([{ 0: 42 }, { 0: 43 }])
    expect(cloud.host.network.ports().find((port) => port.privateIp === before.PrivateIpAddress)?.publicIp).toMatch(/^198\.1[89]\./)
    await ec2.send(new RebootInstancesCommand({ InstanceIds: [id] }))
    await terminate(id)
  })

  it('comes back within the hour, too; and its time runs out', async () => {
    const id = await launch()
    await ec2.send(new ModifyInstanceAttributeCommand({ InstanceId: id, DisableApiTermination: { Value: true } }))
    await ec2.send(new ModifyInstanceAttributeCommand({ InstanceId: id, DisableApiTermination: { Value: false } }))
    await terminate(id)
    expect(await restore(id)).toMatchObject({ isRestored: true, state: 'stopped', notices: [] })
    await pass(TERMINATED_RETENTION_MS)
    expect((await describeOne(id)).State?.Name).toBe('stopped')
    await start(id)
    expect((await describeOne(id)).State?.Name).toBe('running')
    expect(await restore(id)).toMatchObject({ isRestored: false, state: 'running' })

    await terminate(id)
    await pass(7 * DAY_MS)
    expect((await listBackups(cloud.store)).map((each) => each.instanceId)).not.toContain(id)
    await expect(restore(id)).rejects.toThrow(/^nothing is kept of i-/)
    const left = await cloud.store.read(async (db) => ({
      volumes: await db.selectFrom('volumes').select('volume_id').where('binned_ms', 'is not', null).execute(),
      slots: await db.selectFrom('slots').select('owner_id').where('owner_id', '=', id).execute(),
    }))
    expect(left).toEqual({ volumes: [], slots: [] })
    expect(cloud.host.world.machines.has(id)).toBe(false)
  })
})

it('a rule keeps what has its tag, also after a shutdown from inside that terminates', async () => {
  await cloud.store.transaction('test', (db) => setRetention(
    { db, random: systemRandom, nowMs: clock.now() }, DEFAULT_ACCOUNT, { tag: { key: 'keep', value: 'yes' }, days: 30 }))
  const TagSpecifications: RunInstancesCommandInput['TagSpecifications'] = [{ ResourceType: 'instance', Tags: [{ Key: 'keep', Value: 'yes' }] }]
  const [kept, plain] = [await launch({ TagSpecifications, InstanceInitiatedShutdownBehavior: 'terminate' }), await launch()]
  cloud.host.world.guestPowersOff(kept)
  await terminate(plain)
  expect((await describeOne(kept)).State?.Name).toBe('terminated')
  expect((await listBackups(cloud.store)).map((each) => each.instanceId)).toEqual([kept])
  await pass(29 * DAY_MS)
  await restore(kept)
  expect((await ec2.send(new DescribeTagsCommand({ Filters: [{ Name: 'resource-id', Values: [kept] }] }))).Tags).toHaveLength(1)
  await start(kept)
  expect((await describeOne(kept)).State?.Name).toBe('running')
})
