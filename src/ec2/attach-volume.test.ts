import type { AttachVolumeRequest } from '@aws-sdk/client-ec2'
import { beforeEach, expect, test } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { insertInstance, insertVolume, NOW_MS } from '../../test/support/rows.ts'
import type { InstanceTable, VolumeTable } from '../store/schema.ts'
import { attachVolume, detachVolume } from './attach-volume.ts'
import type { Context } from './context.ts'
import { describeInstances } from './describe-instances.ts'
import { startInstances } from './instance-lifecycle.ts'
import { describeVolumes } from './volumes.ts'

let cloud: MemoryAccount
let instance: InstanceTable
let root: VolumeTable
let data: VolumeTable

beforeEach(async () => {
  cloud = await openMemoryAccount()
  await make('running')
})

/** An instance with its root, and a free volume. */
async function make(state: InstanceTable['state']): Promise<void> {
  await cloud.call(async (context: Context) => {
    instance = await insertInstance(context, { state }, { rootDeviceName: '/dev/sda1' })
    root = await insertVolume(context, instance, { device: '/dev/sda1' })
    data = await insertVolume(context, undefined)
  }, {})
}

const attachment = (change: Partial<AttachVolumeRequest> = {}) =>
  ({ VolumeId: data.volume_id, InstanceId: instance.instance_id, Device: '/dev/sdf', ...change })
const row = (id: string) => cloud.query((db) => db.selectFrom('volumes').selectAll().where('volume_id', '=', id).executeTakeFirstOrThrow())
const due = () => cloud.query(async (db) => (await db.selectFrom('work').select(['kind', 'id']).execute()).map(({ kind, id }) => `${kind} ${id}`))
const devices = async () => {
  const { Reservations } = await cloud.call(describeInstances, { InstanceIds: [instance.instance_id] })
  return Reservations?.[0]?.Instances?.[0]?.BlockDeviceMappings?.map((each) => `${each.DeviceName} ${each.Ebs?.Status}`)
}

test('a running instance gets a volume soon; it stays when the instance is terminated', async () => {
  expect(await cloud.call(attachVolume, attachment())).toEqual({
    VolumeId: data.volume_id, InstanceId: instance.instance_id, Device: '/dev/sdf', State: 'attaching',
    AttachTime: new Date(NOW_MS), DeleteOnTermination: false,
  })
  expect(await row(data.volume_id)).toMatchObject({ state: 'in-use', attach_state: 'attaching', revision: 2, synced_revision: 1, delete_on_termination: 0 })
  expect(await devices()).toEqual(['/dev/sda1 attached', '/dev/sdf attaching'])
  expect(await due()).toContain(`instance ${instance.instance_id}`)
})

test('a stopped instance has it at once', async () => {
  await make('stopped')
  await cloud.call(attachVolume, attachment())
  expect(await devices()).toEqual(['/dev/sda1 attached', '/dev/sdf attached'])
})

test('what cannot be attached', async () => {
  const failure = (change: Partial<AttachVolumeRequest>) => cloud.failure(attachVolume, attachment(change))
  expect(await failure({ VolumeId: root.volume_id })).toBe(`VolumeInUse: ${root.volume_id} is already attached to an instance`)
  expect(await failure({ Device: 'sda1' }))
    .toBe("InvalidParameterValue: Invalid value 'sda1' for unixDevice. Attachment point sda1 is already in use")
  expect(await failure({ Device: '/dev/sdf1' }))
    .toBe('InvalidParameterValue: Value (/dev/sdf1) for parameter device is invalid. /dev/sdf1 is not a valid EBS device name.')
  expect(await failure({ Device: '' })).toMatch(/^MissingParameter/)
  expect(await failure({ EbsCardIndex: 1 })).toMatch(/^UnsupportedOperation/)
  const other = await cloud.call((context: Context) => insertVolume(context, undefined, { zone: 'us-east-1b' }), {})
  expect(await failure({ VolumeId: other.volume_id })).toBe(
    `InvalidVolume.ZoneMismatch: The volume '${other.volume_id}' is not in the same availability zone as instance '${instance.instance_id}'`,
  )
  const unmade = await cloud.call((context: Context) => insertVolume(context, undefined, { state: 'creating' }), {})
  expect(await failure({ VolumeId: unmade.volume_id })).toBe(`IncorrectState: ${unmade.volume_id} is not 'available'.`)
  await make('pending')
  expect(await failure({})).toBe(`IncorrectState: Instance '${instance.instance_id}' is not 'running'.`)
  expect(await row(data.volume_id)).toEqual(data)
})

test('a machine has places for a root and fifteen others', async () => {
  for (const letter of 'bcdefghijklmnop') {
    const { volume_id: VolumeId } = await cloud.call((context: Context) => insertVolume(context, undefined), {})
    await cloud.call(attachVolume, attachment({ VolumeId, Device: `/dev/sd${letter}` }))
  }
  expect(await cloud.failure(attachVolume, attachment({ Device: '/dev/sdq' }))).toMatch(/^AttachmentLimitExceeded/)
})

test('a running guest is asked to give a volume up; again is the same, or adds the force', async () => {
  await cloud.call(attachVolume, attachment())
  expect(await cloud.call(detachVolume, { VolumeId: data.volume_id })).toMatchObject({ State: 'detaching', Device: '/dev/sdf' })
  expect(await row(data.volume_id)).toMatchObject({ state: 'in-use', attach_state: 'detaching', revision: 3 })
  expect(await devices()).toEqual(['/dev/sda1 attached', '/dev/sdf detaching'])
  await cloud.call(detachVolume, { VolumeId: data.volume_id, InstanceId: instance.instance_id, Device: '/dev/sdf', Force: true })
  expect(JSON.parse((await row(data.volume_id)).doc)).toMatchObject({ forceDetach: true })
})

test('of a stopped instance it goes at once', async () => {
  await make('stopped')
  await cloud.call(attachVolume, attachment())
  await cloud.call(detachVolume, { VolumeId: data.volume_id })
  expect((await cloud.call(describeVolumes, { VolumeIds: [data.volume_id] })).Volumes).toMatchObject([{ State: 'available', Attachments: [] }])
  expect(await devices()).toEqual(['/dev/sda1 attached'])
})

test('what cannot be detached', async () => {
  expect(await cloud.failure(detachVolume, { VolumeId: data.volume_id }))
    .toBe(`IncorrectState: Volume '${data.volume_id}' is in the 'available' state.`)
  expect(await cloud.failure(detachVolume, { VolumeId: root.volume_id }))
    .toBe(`OperationNotPermitted: Unable to detach root volume '${root.volume_id}' from instance '${instance.instance_id}'`)
  expect(await cloud.failure(detachVolume, { VolumeId: root.volume_id, Device: '/dev/sdz' })).toMatch(/^InvalidAttachment.NotFound/)
  const other = await cloud.call((context: Context) => insertInstance(context), {})
  expect(await cloud.failure(detachVolume, { VolumeId: root.volume_id, InstanceId: other.instance_id })).toMatch(/^InvalidAttachment.NotFound/)
  expect(await cloud.failure(detachVolume, { VolumeId: 'vol-00000000000000000' })).toMatch(/^InvalidVolume.NotFound/)
})

test('the root of a stopped instance can be exchanged; without one it does not start', async () => {
  await make('stopped')
  await cloud.call(detachVolume, { VolumeId: root.volume_id })
  expect(await cloud.failure(startInstances, { InstanceIds: [instance.instance_id] })).toBe(
    `InvalidParameterValue: Invalid value '${instance.instance_id}' for instanceId. ` +
      'Instance does not have a volume attached at root (/dev/sda1)',
  )
  await cloud.call(attachVolume, attachment({ Device: '/dev/sda1' }))
  expect(await devices()).toEqual(['/dev/sda1 attached'])
  expect(await cloud.failure(startInstances, { InstanceIds: [instance.instance_id] })).toBe('no failure')
})
