import type { CreateImageRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  insertImage, insertInstance, insertSnapshot, insertVolume, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore,
} from '../../test/support/rows.ts'
import { recordFrozen } from '../model/freeze.ts'
import type { InstanceDoc } from '../model/instance.ts'
import { settleSnapshotsOf } from '../model/snapshot.ts'
import type { InstanceTable, VolumeTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { createImage, finishCreateImage } from './create-image.ts'
import { describeImages } from './images.ts'
import { describeSnapshots } from './snapshots.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: { code: string; message: string }) => `${error.code}: ${error.message}`)

/** An instance with a root of 8 GiB and a data volume. */
async function insertMachine(context: Context, state: InstanceTable['state'] = 'running', doc: Partial<InstanceDoc> = {}) {
  const instance = await insertInstance(context, { state }, { rootDeviceName: '/dev/sda1', ...doc })
  return {
    instance,
    root: await insertVolume(context, instance, { device: '/dev/sda1' }),
    data: await insertVolume(context, instance, {
      device: '/dev/sdf', volume_type: 'gp2', encrypted: 1, delete_on_termination: 0, size_gib: 100,
    }, { iops: 300, throughputMibps: null }),
  }
}

const volumeOf = ({ db }: Context, { volume_id: id }: VolumeTable) =>
  db.selectFrom('volumes').selectAll().where('volume_id', '=', id).executeTakeFirstOrThrow()

/** What the agent does about a volume that is to be frozen. */
async function seal(context: Context, volume: VolumeTable, error?: string): Promise<void> {
  const row = await volumeOf(context, volume)
  await recordFrozen(context, [row])
  const outcome = error === undefined ? { state: 'completed' as const } : { state: 'error' as const, message: error }
  await settleSnapshotsOf(context.db, row.layer_id, outcome, NOW_MS)
}

const create = (context: Context, instance: InstanceTable, input: Partial<CreateImageRequest> = {}) =>
  createImage(context, { InstanceId: instance.instance_id, Name: 'baked', NoReboot: true, ...input })

const shown = async (context: Context) => (await describeImages(context, { Owners: ['self'] })).Images ?? []

describe('createImage', () => {
  it('is pending until the last of its snapshots is complete', async () => {
    await test.run(async (context) => {
      const { instance, root, data } = await insertMachine(context)
      const tag = [{ Key: 'a', Value: 'b' }]
      const { ImageId: imageId } = await create(context, instance, {
        Description: 'with nginx', TagSpecifications: [{ ResourceType: 'image', Tags: tag }, { ResourceType: 'snapshot', Tags: tag }],
      })
      const { Snapshots: snapshots = [] } = await describeSnapshots(context, {})
      expect(snapshots).toHaveLength(2)
      for (const each of snapshots) {
        expect(each).toMatchObject({
          State: 'pending', Tags: tag, Description: `Created by CreateImage(${instance.instance_id}) for ${imageId}`,
        })
      }
      const [rootSnapshot, dataSnapshot] = [root, data].map(({ volume_id: id }) => snapshots.find(({ VolumeId }) => VolumeId === id)?.SnapshotId)
      expect(await shown(context)).toMatchObject([{
        ImageId: imageId, Name: 'baked', Description: 'with nginx', State: 'pending', Public: false, Tags: tag,
        SourceInstanceId: instance.instance_id, RootDeviceName: '/dev/sda1', Architecture: 'x86_64', BootMode: 'legacy-bios',
        BlockDeviceMappings: [
          {
            DeviceName: '/dev/sda1',
            Ebs: {
              SnapshotId: rootSnapshot, VolumeSize: 8, VolumeType: 'gp3', Iops: 3000, Throughput: 125, Encrypted: false,
              DeleteOnTermination: true,
            },
          },
          {
            DeviceName: '/dev/sdf',
            Ebs: { SnapshotId: dataSnapshot, VolumeSize: 100, VolumeType: 'gp2', Encrypted: true, DeleteOnTermination: false },
          },
        ],
      }])
      await seal(context, data)
      expect(await shown(context)).toMatchObject([{ State: 'pending' }])
      await seal(context, root)
      expect(await shown(context)).toMatchObject([{ State: 'available' }])
    })
  })

  it('fails with the first of its snapshots that does', async () => {
    await test.run(async (context) => {
      const { instance, root } = await insertMachine(context)
      await create(context, instance)
      await seal(context, root, 'the disk is full')
      expect(await shown(context)).toMatchObject([
        { State: 'failed', StateReason: { Message: expect.stringContaining('the disk is full') as string } },
      ])
    })
  })

  it.each<[InstanceTable['state'], boolean, string, number]>([
    ['running', true, 'quiesced', 0],
    ['running', false, 'down', 1],
    ['stopping', false, 'down', 0],
    ['stopped', false, 'crash', 0],
  ])('of one that is %s, with NoReboot %s: freezes it %s, and asks for %i reboots', async (state, NoReboot, freeze, reboots) => {
    await test.run(async (context) => {
      const { instance, root, data } = await insertMachine(context, state)
      await create(context, instance, { NoReboot })
      for (const volume of [root, data]) expect(await volumeOf(context, volume)).toMatchObject({ freeze, layer_id: volume.layer_id })
      const row = await context.db
        .selectFrom('instances').select('reboot_requested').where('instance_id', '=', instance.instance_id).executeTakeFirstOrThrow()
      expect(row.reboot_requested).toBe(reboots)
    })
  })

  it('has what the image of its instance had, also when that is gone', async () => {
    await test.run(async (context) => {
      const image = await insertImage(context, {}, { imdsSupport: 'v2.0', sshUser: 'admin', sriovNetSupport: null, enaSupport: false })
      const { instance } = await insertMachine(context, 'running', { bootMode: 'uefi', architecture: 'arm64', sshUser: 'admin' })
      await context.db.updateTable('instances').set({ image_id: image.image_id }).execute()
      const child = await create(context, { ...instance, image_id: image.image_id })
      expect(await shown(context)).toMatchObject([
        { ImdsSupport: 'v2.0', EnaSupport: false, Architecture: 'arm64', BootMode: 'uefi', SriovNetSupport: undefined },
      ])
      await context.db.updateTable('instances').set({ image_id: 'ami-00000000000000001' }).execute()
      await create(context, instance, { Name: 'orphan', BootModeOverride: 'uefi' })
      const docs = await context.db.selectFrom('images').select(['image_id', 'doc']).where('name', 'in', ['baked', 'orphan']).execute()
      for (const row of docs) expect(JSON.parse(row.doc)).toMatchObject({ sshUser: 'admin', recipe: null, sizeGib: 8 })
      expect(docs.map((row) => row.image_id)).toContain(child.ImageId)
    })
  })

  it('changes, leaves out and adds devices', async () => {
    await test.run(async (context) => {
      const { instance, data } = await insertMachine(context)
      const snapshot = await insertSnapshot(context, { size_gib: 3 })
      await create(context, instance, {
        BlockDeviceMappings: [
          { DeviceName: 'sda1', Ebs: { VolumeSize: 20, VolumeType: 'io2', Iops: 500, DeleteOnTermination: false } },
          { DeviceName: '/dev/xvdf', NoDevice: '' },
          { DeviceName: '/dev/sdg', Ebs: { VolumeSize: 5, Encrypted: true } },
          { DeviceName: '/dev/sdh', Ebs: { SnapshotId: snapshot.snapshot_id } },
        ],
      })
      const [image] = await shown(context)
      expect(image?.BlockDeviceMappings).toEqual([
        {
          DeviceName: '/dev/sda1',
          Ebs: {
            SnapshotId: expect.any(String) as string, VolumeSize: 20, VolumeType: 'io2', Iops: 500, Encrypted: false,
            DeleteOnTermination: false,
          },
        },
        { DeviceName: '/dev/sdg', Ebs: { VolumeSize: 5, VolumeType: 'gp2', Encrypted: true, DeleteOnTermination: true } },
        {
          DeviceName: '/dev/sdh',
          Ebs: { SnapshotId: snapshot.snapshot_id, VolumeSize: 3, VolumeType: 'gp2', Encrypted: false, DeleteOnTermination: true },
        },
      ])
      expect(await volumeOf(context, data)).toMatchObject({ next_layer_id: null })
    })
  })

  it('refuses, and then nothing has changed', async () => {
    await test.run(async (context) => {
      const { instance, root } = await insertMachine(context)
      const foreign = await insertSnapshot({ ...context, account: OTHER_ACCOUNT }, {})
      const pending = await insertSnapshot(context, { state: 'pending' })
      const refused = (input: Partial<CreateImageRequest>) => failure(create(context, instance, input))
      const mapping = (...mappings: NonNullable<CreateImageRequest['BlockDeviceMappings']>) => refused({ BlockDeviceMappings: mappings })
      expect(await refused({ Name: 'a' })).toMatch(/^InvalidAMIName.Malformed: AMI names must be between 3 and 128 characters long/)
      expect(await refused({ Name: 'with "quotes"' })).toMatch(/^InvalidAMIName.Malformed/)
      expect(await refused({ SnapshotLocation: 'local' })).toMatch(/^UnsupportedOperation/)
      expect(await refused({ BootModeOverride: 'uefi' })).toMatch(/^InvalidParameterValue: .* is not uefi\.$/)
      expect(await refused({ Description: 'x'.repeat(256) })).toMatch(/^InvalidParameterValue/)
      expect(await mapping({ DeviceName: '/dev/sda1', NoDevice: '' })).toBe(
        'InvalidBlockDeviceMapping: The root device /dev/sda1 must be an EBS volume: an instance boots from it.')
      expect(await mapping({ DeviceName: '/dev/sda1', Ebs: { VolumeSize: 7 } })).toMatch(/^InvalidBlockDeviceMapping: Volume of size 7GB/)
      expect(await mapping({ DeviceName: '/dev/sdf', Ebs: { Encrypted: true } })).toBe(
        'InvalidBlockDeviceMapping: the encrypted flag cannot be specified since device /dev/sdf has a snapshot specified.')
      expect(await mapping({ DeviceName: '/dev/sdf', Ebs: { SnapshotId: pending.snapshot_id } })).toMatch(/snapshotId cannot be modified/)
      expect(await mapping({ DeviceName: '/dev/sdg', Ebs: { SnapshotId: foreign.snapshot_id } })).toMatch(/^InvalidSnapshot.NotFound/)
      expect(await mapping({ DeviceName: '/dev/sdg', Ebs: { SnapshotId: pending.snapshot_id } })).toMatch(/^IncorrectState/)
      expect(await mapping({ DeviceName: '/dev/sdg' })).toBe('MissingParameter: The request must contain the parameter size or snapshotId')
      expect(await mapping({ DeviceName: '/dev/sdg', VirtualName: 'ephemeral0' })).toMatch(/^UnsupportedOperation/)
      expect(await mapping({ DeviceName: '/dev/sdg7', Ebs: { VolumeSize: 1 } })).toBe('InvalidBlockDeviceMapping: Invalid device name /dev/sdg7')
      expect(await mapping({ DeviceName: '/dev/sdg', Ebs: { VolumeSize: 1 } }, { DeviceName: 'xvdg', Ebs: { VolumeSize: 1 } })).toMatch(
        /more than one block-device mapping$/)
      expect(await mapping({ DeviceName: '/dev/sdg', Ebs: { VolumeSize: 1, KmsKeyId: 'k' } })).toMatch(/^UnsupportedOperation/)
      expect(await mapping({ DeviceName: '/dev/sda1', Ebs: { VolumeType: 'st1', VolumeSize: 125 } })).toMatch(/cannot be of type st1/)
      expect(await shown(context)).toEqual([])
      expect(await volumeOf(context, root)).toMatchObject({ next_layer_id: null, freeze: null })
    })
  })

  it('is of no instance that has not come up, is on its way out, has no root or is somebody else\'s', async () => {
    await test.run(async (context) => {
      for (const state of ['pending', 'shutting-down', 'terminated'] as const) {
        const { instance } = await insertMachine(context, state)
        expect(await failure(create(context, instance))).toBe(
          `InvalidParameterValue: Invalid value '${instance.instance_id}' for instanceId. Instance is not in state 'running' or ` +
            "'stopping' or 'stopped'",
        )
      }
      const { instance } = await insertMachine({ ...context, account: OTHER_ACCOUNT })
      expect(await failure(create(context, instance))).toMatch(/^InvalidInstanceID.NotFound/)
      const rootless = await insertInstance(context)
      expect(await failure(create(context, rootless))).toMatch(/does not have a volume attached at root \(\/dev\/vda\)$/)
    })
  })

  it('has a name of its own in its account, but for what is in the recycle bin', async () => {
    await test.run(async (context) => {
      const { instance } = await insertMachine(context)
      const { ImageId: first } = await create(context, instance)
      expect(await failure(create(context, instance))).toBe(
        `InvalidAMIName.Duplicate: AMI name baked is already in use by AMI ${first}`)
      const other = { ...context, account: OTHER_ACCOUNT }
      await create(other, (await insertMachine(other)).instance)
      await context.db.updateTable('images').set({ binned_ms: NOW_MS }).where('image_id', '=', first ?? '').execute()
      await create(context, instance)
    })
  })
})

describe('the answer of createImage', () => {
  it('with NoReboot comes after the moment that the image is of, and at once with a reboot', async () => {
    const { root, data, created, input } = await test.run(async (context) => {
      const { instance, ...volumes } = await insertMachine(context)
      const request = { InstanceId: instance.instance_id, Name: 'baked', NoReboot: true }
      return { ...volumes, input: request, created: await createImage(context, request) }
    })
    let sleeps = 0
    const clock = {
      now: () => NOW_MS + sleeps, after: () => ({ cancel() {} }), soon: () => {},
      sleep: async () => {
        if (++sleeps === 2) await test.run(async (context) => recordFrozen(context, [await volumeOf(context, root), await volumeOf(context, data)]))
      },
    }
    await finishCreateImage({ store: test.store, clock }, NOW_MS, { ...input, NoReboot: false }, created)
    expect(sleeps).toBe(0)
    await finishCreateImage({ store: test.store, clock }, NOW_MS, input, created)
    expect(sleeps).toBe(2)
  })
})
