import type { BlockDeviceMapping, VolumeType } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { insertImage, insertSnapshot, OTHER_ACCOUNT, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { ApiError } from '../core/errors.ts'
import { imageDoc, type ImageMapping } from '../model/image.ts'
import { setEncryptedByDefault } from '../model/kms-key.ts'
import type { ImageTable } from '../store/schema.ts'
import { requestedVolumes } from './run-instances-volumes.ts'

let store: TestStore
let image: ImageTable
beforeEach(async () => {
  store = await openTestStore()
  image = await store.run((context) => insertImage(context, { root_device_name: '/dev/xvda' }, { sizeGib: 2 }))
})

const volumes = (mappings: BlockDeviceMapping[] | undefined, typeName = 't3.micro') =>
  store.run((context) => requestedVolumes(context, image, { typeName, mappings }))
const failure = (mappings: BlockDeviceMapping[], typeName?: string) =>
  volumes(mappings, typeName).then(
    () => 'no failure',
    (error: unknown) => error instanceof ApiError ? `${error.code}: ${error.message}` : Promise.reject(error),
  )
const root = {
  deviceName: '/dev/xvda', sizeGib: 2, volumeType: 'gp3', iops: 3000, throughputMibps: 125, deleteOnTermination: true,
}

describe('requestedVolumes', () => {
  it('gives the root of the image without mappings, or with an empty one', async () => {
    expect(await volumes(undefined)).toEqual([{ ...root, snapshotId: image.snapshot_id }])
    expect(await volumes([{ DeviceName: '/dev/xvda' }])).toEqual([{ ...root, snapshotId: image.snapshot_id }])
  })

  it('changes the root as asked, by any of its names', async () => {
    for (const name of ['/dev/xvda', 'xvda', '/dev/sda']) {
      const ebs = { VolumeSize: 10, VolumeType: 'io1' as const, Iops: 500, DeleteOnTermination: false, SnapshotId: image.snapshot_id }
      expect(await volumes([{ DeviceName: name, Ebs: ebs }])).toEqual([{
        ...root, snapshotId: image.snapshot_id, sizeGib: 10, volumeType: 'io1', iops: 500, throughputMibps: null,
        deleteOnTermination: false,
      }])
    }
  })

  it('adds data volumes, root first, with the defaults of the API', async () => {
    const asked = [
      { DeviceName: '/dev/sdf', Ebs: { VolumeSize: 3 } },
      { DeviceName: '/dev/xvda', Ebs: { VolumeSize: 4 } },
      { DeviceName: 'xvdca', Ebs: { SnapshotId: image.snapshot_id, VolumeType: 'gp3' as const, DeleteOnTermination: false, Encrypted: false } },
    ]
    expect(await volumes(asked)).toEqual([
      { ...root, snapshotId: image.snapshot_id, sizeGib: 4 },
      { deviceName: '/dev/sdf', sizeGib: 3, volumeType: 'gp2', iops: 100, throughputMibps: null, snapshotId: null, deleteOnTermination: true },
      { ...root, deviceName: 'xvdca', sizeGib: 1, snapshotId: image.snapshot_id, deleteOnTermination: false },
    ])
  })

  it('passes over what leaves nothing to do: NoDevice, and instance store that the type does not have', async () => {
    const asked = [{ DeviceName: '/dev/sdb', NoDevice: '' }, { DeviceName: '/dev/sdc', VirtualName: 'ephemeral0' }]
    expect(await volumes(asked)).toHaveLength(1)
  })

  it.each<[string, BlockDeviceMapping[], string]>([
    ['a device without a name', [{ Ebs: { VolumeSize: 1 } }], 'MissingParameter: The request must contain the parameter BlockDeviceMapping.1.DeviceName'],
    ['a device name with a number', [{ DeviceName: '/dev/sde1', Ebs: { VolumeSize: 1 } }], 'InvalidBlockDeviceMapping: Invalid device name /dev/sde1'],
    ['no device name at all', [{ DeviceName: '/dev/nvme0n1', Ebs: { VolumeSize: 1 } }], 'InvalidBlockDeviceMapping: Invalid device name /dev/nvme0n1'],
    ['one device twice', [{ DeviceName: '/dev/sdb', Ebs: { VolumeSize: 1 } }, { DeviceName: 'xvdb', Ebs: { VolumeSize: 1 } }],
      "InvalidBlockDeviceMapping: The device 'xvdb' is used in more than one block-device mapping"],
    ['a volume of no size', [{ DeviceName: '/dev/sdb', Ebs: { VolumeType: 'gp3' } }], 'MissingParameter: The request must contain the parameter size or snapshotId'],
    ['a volume that is nothing', [{ DeviceName: '/dev/sdb' }], 'MissingParameter: The request must contain the parameter size or snapshotId'],
    ['a root of another snapshot', [{ DeviceName: '/dev/xvda', Ebs: { SnapshotId: 'snap-00000000000000000' } }],
      'InvalidBlockDeviceMapping: snapshotId cannot be modified on root device'],
    ['a snapshot that is not there', [{ DeviceName: '/dev/sdb', Ebs: { SnapshotId: 'snap-00000000000000000' } }],
      "InvalidSnapshot.NotFound: The snapshot 'snap-00000000000000000' does not exist."],
    ['a root that is left out', [{ DeviceName: '/dev/xvda', NoDevice: '' }], 'InvalidBlockDeviceMapping: The root device /dev/xvda must be an EBS volume: an instance boots from it.'],
    ['both a volume and nothing', [{ DeviceName: '/dev/sdb', NoDevice: '', Ebs: { VolumeSize: 1 } }],
      'InvalidParameterCombination: The block device mapping of /dev/sdb must have one of Ebs, VirtualName and NoDevice.'],
    ['a root that cannot be booted from', [{ DeviceName: '/dev/xvda', Ebs: { VolumeType: 'st1', VolumeSize: 125 } }],
      'InvalidParameterValue: Value (st1) for parameter volumeType is invalid. The root volume cannot be of type st1.'],
    ['an unknown type', [{ DeviceName: '/dev/sdb', Ebs: { VolumeSize: 1, VolumeType: 'gp9' as VolumeType } }],
      'InvalidParameterValue: Value (gp9) for parameter volumeType is invalid. Valid values are: standard, gp2, gp3, io1, io2, st1, sc1.'],
    ['instance store of no name', [{ DeviceName: '/dev/sdb', VirtualName: 'ephemeral24' }],
      'InvalidParameterValue: Value (ephemeral24) for parameter BlockDeviceMapping.VirtualName is invalid. Expecting ephemeral0 to ephemeral23.'],
  ])('refuses %s', async (_what, mappings, message) => {
    expect(await failure(mappings)).toBe(message)
  })

  it('refuses volumes smaller than what they start from', async () => {
    expect(await failure([{ DeviceName: '/dev/xvda', Ebs: { VolumeSize: 1 } }]))
      .toBe(`InvalidBlockDeviceMapping: Volume of size 1GB is smaller than snapshot '${image.snapshot_id}', expect size>= 2GB`)
  })

  it('refuses what is not honoured', async () => {
    for (const ebs of [{ OutpostArn: 'arn:x' }, { VolumeInitializationRate: 100 }]) {
      expect(await failure([{ DeviceName: '/dev/sdb', Ebs: { VolumeSize: 1, ...ebs } }])).toMatch(/^UnsupportedOperation/)
    }
    expect(await failure([{ DeviceName: '/dev/sdb', VirtualName: 'ephemeral0' }], 'm5d.large')).toMatch(/^UnsupportedOperation/)
    const many = [...'bcdefghijklmnopq'].map((letter) => ({ DeviceName: `/dev/sd${letter}`, Ebs: { VolumeSize: 1 } }))
    expect(await failure(many)).toMatch(/^UnsupportedOperation/)
    expect(await volumes(many.slice(1))).toHaveLength(16)
  })

  it('knows the snapshots of the account, not those of others', async () => {
    const snapshot = (accountId: string) => store.run(async (context) =>
      (await insertSnapshot(context, { account_id: accountId, size_gib: 5 })).snapshot_id)
    const mine = await snapshot(image.account_id)
    const own = await store.run(async (context) => {
      await context.db.updateTable('snapshots').set({ account_id: context.account }).where('snapshot_id', '=', mine).execute()
      return mine
    })
    expect((await volumes([{ DeviceName: '/dev/sdb', Ebs: { SnapshotId: own } }]))[1]).toMatchObject({ sizeGib: 5, snapshotId: own })
    const foreign = await snapshot(OTHER_ACCOUNT)
    expect(await failure([{ DeviceName: '/dev/sdb', Ebs: { SnapshotId: foreign } }])).toMatch(/^InvalidSnapshot.NotFound/)
  })

  it('gives the volumes of the image, changed or left out as asked', async () => {
    const data = await store.run((context) => insertSnapshot(context, { size_gib: 3 }))
    const mapping = { iops: null, throughputMibps: null, deleteOnTermination: true, encrypted: false }
    image = await store.run((context) => insertImage(context, { root_device_name: '/dev/sda1' }, { sizeGib: 2 }))
    const mappings: ImageMapping[] = [
      { ...mapping, deviceName: '/dev/sda1', snapshotId: image.snapshot_id, sizeGib: 4, volumeType: 'gp2' },
      { ...mapping, deviceName: '/dev/sdb', snapshotId: data.snapshot_id, sizeGib: 6, volumeType: 'io1', iops: 200, deleteOnTermination: false },
      { ...mapping, deviceName: '/dev/sdc', snapshotId: null, sizeGib: 1, volumeType: 'standard' },
    ]
    image = { ...image, doc: JSON.stringify({ ...imageDoc(image), mappings }) }
    const shape = async (asked: BlockDeviceMapping[]) => (await volumes(asked)).map((each) =>
      [each.deviceName, each.sizeGib, each.volumeType, each.iops, each.snapshotId, each.deleteOnTermination])
    const rootShape = ['/dev/sda1', 4, 'gp2', 100, image.snapshot_id, true]
    expect(await shape([])).toEqual([
      rootShape, ['/dev/sdb', 6, 'io1', 200, data.snapshot_id, false], ['/dev/sdc', 1, 'standard', null, null, true],
    ])
    expect(await shape([
      { DeviceName: 'xvdc', NoDevice: '' }, { DeviceName: '/dev/xvdb', Ebs: { VolumeSize: 3, VolumeType: 'gp3', DeleteOnTermination: true } },
    ])).toEqual([rootShape, ['/dev/sdb', 3, 'gp3', 3000, data.snapshot_id, true]])
    expect(await failure([{ DeviceName: '/dev/sdb', Ebs: { VolumeSize: 2, VolumeType: 'gp3' } }]))
      .toBe(`InvalidBlockDeviceMapping: Volume of size 2GB is smaller than snapshot '${data.snapshot_id}', expect size>= 3GB`)
    expect(await failure([{ DeviceName: '/dev/sda1', Ebs: { VolumeSize: 1 } }])).toMatch(/expect size>= 2GB$/)
  })

  it('encrypts what is asked for, and everything where the account has it so by default', async () => {
    const asked = [{ DeviceName: '/dev/xvda', Ebs: { Encrypted: true } }, { DeviceName: '/dev/sdb', Ebs: { VolumeSize: 1 } }]
    const keys = async (mappings: BlockDeviceMapping[]) => (await volumes(mappings)).map((each) => each.kmsKeyId)
    expect(await keys(asked)).toEqual([expect.stringMatching(/^[0-9a-f-]{36}$/), undefined])
    await store.run((context) => setEncryptedByDefault(context.db, context.account, true))
    const [first, second] = await keys(asked)
    expect(second).toBe(first)
    expect(await failure([{ DeviceName: '/dev/sdb', Ebs: { VolumeSize: 1, KmsKeyId: 'alias/aws/ebs' } }])).toMatch(/^InvalidParameterDependency/)
    expect(await failure([{ DeviceName: '/dev/sdb', Ebs: { VolumeSize: 1, Encrypted: true, KmsKeyId: 'alias/x' } }])).toMatch(/^InvalidParameterValue/)
  })
})
