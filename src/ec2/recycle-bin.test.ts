import { beforeEach, describe, expect, test } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { insertImage, insertSnapshot, insertVolume, NOW_MS, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { binned, DAY_MS } from '../model/recycle-rules.ts'
import type { ImageTable, SnapshotTable, VolumeTable } from '../store/schema.ts'
import { listImagesInRecycleBin, listSnapshotsInRecycleBin, listVolumesInRecycleBin } from './recycle-bin.ts'
import { createTags, deleteTags, describeTags } from './tags.ts'
import {
  restoreImageFromRecycleBin, restoreSnapshotFromRecycleBin, restoreVolumeFromRecycleBin,
} from './restore-from-recycle-bin.ts'

const inBin = (afterMs = 0) => binned(NOW_MS + afterMs, DAY_MS)
const times = { RecycleBinEnterTime: new Date(NOW_MS), RecycleBinExitTime: new Date(NOW_MS + DAY_MS) }

let account: MemoryAccount
beforeEach(async () => {
  account = await openMemoryAccount()
})
const addSnapshot = (change: Partial<Omit<SnapshotTable, 'doc'>> = {}) =>
  account.call((context) => insertSnapshot(context, change, { description: 'Friday' }), {})
const addImage = (change: Partial<Omit<ImageTable, 'doc'>> = {}) =>
  account.call((context) => insertImage(context, { account_id: DEFAULT_ACCOUNT, is_public: 0, ...change }), {})
const addVolume = (change: Partial<Omit<VolumeTable, 'doc'>> = {}) =>
  account.call((context) => insertVolume(context, undefined, change), {})

describe('what is in the bin', () => {
  test('is listed with when it came and when it goes', async () => {
    const snapshot = await addSnapshot({ volume_id: 'vol-00000000000000001', ...inBin() })
    const image = await addImage(inBin())
    const volume = await addVolume(inBin())
    expect(await account.call(listSnapshotsInRecycleBin, {})).toEqual({
      Snapshots: [{ SnapshotId: snapshot.snapshot_id, Description: 'Friday', VolumeId: 'vol-00000000000000001', ...times }],
    })
    expect(await account.call(listImagesInRecycleBin, {})).toEqual({
      Images: [{ ImageId: image.image_id, Name: 'hearth-tiny-1', Description: 'Tiny', ...times }],
    })
    expect((await account.call(listVolumesInRecycleBin, {})).Volumes).toEqual([expect.objectContaining({
      VolumeId: volume.volume_id, VolumeType: 'gp3', State: 'available', Size: 8, Iops: 3000, Throughput: 125,
      AvailabilityZone: 'us-east-1a', ...times,
    })])
  })

  test('is nothing that is outside it, of another account, or going already', async () => {
    const { snapshot_id: outside } = await addSnapshot()
    await addSnapshot({ account_id: OTHER_ACCOUNT, ...inBin() })
    await addImage()
    await addVolume({ state: 'deleting', ...inBin() })
    expect((await account.call(listSnapshotsInRecycleBin, {})).Snapshots).toEqual([])
    expect((await account.call(listImagesInRecycleBin, {})).Images).toEqual([])
    expect((await account.call(listVolumesInRecycleBin, {})).Volumes).toEqual([])
    expect(await account.failure(listSnapshotsInRecycleBin, { SnapshotIds: [outside] }))
      .toBe(`InvalidSnapshot.NotFound: The snapshot '${outside}' does not exist.`)
    expect(await account.failure(listImagesInRecycleBin, { ImageIds: ['x'] })).toMatch(/^InvalidAMIID.Malformed/)
  })

  test('comes page by page, oldest in the bin first', async () => {
    const added: string[] = []
    for (let count = 0; count < 12; count += 1) added.push((await addSnapshot(inBin(-count))).snapshot_id)
    const found: (string | undefined)[] = []
    let NextToken: string | undefined
    do {
      const page = await account.call(listSnapshotsInRecycleBin, { MaxResults: 5, NextToken })
      expect(page.Snapshots?.length).toBeLessThanOrEqual(5)
      found.push(...(page.Snapshots ?? []).map((each) => each.SnapshotId))
      NextToken = page.NextToken
    } while (NextToken)
    expect(found).toEqual(added.toReversed())
    const two = added.slice(0, 2)
    expect((await account.call(listSnapshotsInRecycleBin, { SnapshotIds: two })).Snapshots).toHaveLength(2)
  })

  test('has a tag of EC2 itself while it is there', async () => {
    const { image_id: imageId } = await addImage(inBin())
    const { snapshot_id: SnapshotId } = await addSnapshot(inBin())
    await addVolume({ state: 'deleting', ...inBin() })
    const marked = async () => (await account.call(describeTags, { Filters: [{ Name: 'key', Values: ['aws:recycle-bin:*'] }] })).Tags
    const mark = { Key: 'aws:recycle-bin:resource-in-bin', Value: 'true' }
    expect(await marked()).toEqual([
      { ...mark, ResourceId: imageId, ResourceType: 'image' }, { ...mark, ResourceId: SnapshotId, ResourceType: 'snapshot' },
    ])
    await account.call(restoreSnapshotFromRecycleBin, { SnapshotId })
    expect(await marked()).toHaveLength(1)
    expect(await account.failure(deleteTags, { Resources: [imageId], Tags: [mark] })).toMatch(/^InvalidParameterValue/)
    expect(await account.failure(createTags, { Resources: [imageId], Tags: [mark] })).toMatch(/^InvalidParameterValue/)
  })

  test.each([
    [listImagesInRecycleBin, 0], [listSnapshotsInRecycleBin, 4], [listVolumesInRecycleBin, 4], [listVolumesInRecycleBin, 501],
  ])('has no pages of that size: %o, %i', async (handler, MaxResults) => {
    expect(await account.failure(handler as typeof listVolumesInRecycleBin, { MaxResults })).toMatch(/^InvalidParameterValue/)
  })
})

describe('RestoreSnapshotFromRecycleBin', () => {
  test('gives the snapshot back as it was', async () => {
    const { snapshot_id: SnapshotId } = await addSnapshot({ volume_id: 'vol-00000000000000001', ...inBin() })
    expect(await account.call(restoreSnapshotFromRecycleBin, { SnapshotId })).toEqual({
      SnapshotId, Description: 'Friday', Encrypted: false, OwnerId: DEFAULT_ACCOUNT, Progress: '100%', StartTime: new Date(NOW_MS),
      State: 'completed', VolumeId: 'vol-00000000000000001', VolumeSize: 1,
    })
    expect((await account.call(listSnapshotsInRecycleBin, {})).Snapshots).toEqual([])
    expect(await account.failure(restoreSnapshotFromRecycleBin, { SnapshotId })).toMatch(/^InvalidSnapshot.NotFound/)
  })

  test('gives nothing of another account', async () => {
    const { snapshot_id: SnapshotId } = await addSnapshot({ account_id: OTHER_ACCOUNT, ...inBin() })
    expect(await account.failure(restoreSnapshotFromRecycleBin, { SnapshotId })).toMatch(/^InvalidSnapshot.NotFound/)
    expect(await account.failure(restoreSnapshotFromRecycleBin, { SnapshotId: 'snap-x' })).toMatch(/^InvalidSnapshotID.Malformed/)
    expect(await account.failure(restoreSnapshotFromRecycleBin, { SnapshotId: '' })).toMatch(/^MissingParameter/)
  })
})

describe('RestoreImageFromRecycleBin', () => {
  test('gives the image back with its permissions', async () => {
    const { image_id: ImageId } = await addImage({ ...inBin(), is_public: 1 })
    await account.query((db) => db.insertInto('image_permissions').values({ image_id: ImageId, account_id: OTHER_ACCOUNT }).execute())
    expect(await account.call(restoreImageFromRecycleBin, { ImageId })).toEqual({ Return: true })
    const row = await account.query((db) => db.selectFrom('images').selectAll().where('image_id', '=', ImageId).executeTakeFirst())
    expect(row).toMatchObject({ binned_ms: null, bin_exit_ms: null, is_public: 1, state: 'available' })
    expect(await account.query((db) => db.selectFrom('image_permissions').selectAll().execute())).toHaveLength(1)
    expect(await account.failure(restoreImageFromRecycleBin, { ImageId })).toMatch(/^InvalidAMIID.NotFound/)
  })

  test('wants its snapshots back first', async () => {
    const { image_id: ImageId, snapshot_id: SnapshotId } = await addImage(inBin())
    await account.query((db) => db.updateTable('snapshots').set(inBin()).where('snapshot_id', '=', SnapshotId).execute())
    expect(await account.failure(restoreImageFromRecycleBin, { ImageId })).toMatch(/^IncorrectState: .*restore it first/)
    await account.call(restoreSnapshotFromRecycleBin, { SnapshotId })
    expect(await account.call(restoreImageFromRecycleBin, { ImageId })).toEqual({ Return: true })
  })

  test('finds its name taken', async () => {
    const { image_id: ImageId } = await addImage(inBin())
    const { image_id: other } = await addImage()
    expect(await account.failure(restoreImageFromRecycleBin, { ImageId }))
      .toBe(`InvalidAMIName.Duplicate: AMI name hearth-tiny-1 is already in use by AMI ${other}`)
  })
})

describe('RestoreVolumeFromRecycleBin', () => {
  test('makes the volume available again', async () => {
    const { volume_id: VolumeId } = await addVolume(inBin())
    expect(await account.call(restoreVolumeFromRecycleBin, { VolumeId })).toEqual({ Return: true })
    const row = await account.query((db) => db.selectFrom('volumes').selectAll().where('volume_id', '=', VolumeId).executeTakeFirst())
    expect(row).toMatchObject({ binned_ms: null, bin_exit_ms: null, state: 'available' })
    expect(await account.failure(restoreVolumeFromRecycleBin, { VolumeId })).toMatch(/^InvalidVolume.NotFound/)
  })

  test('comes too late for one whose time is over', async () => {
    const { volume_id: VolumeId } = await addVolume({ ...inBin(), state: 'deleting' })
    expect(await account.failure(restoreVolumeFromRecycleBin, { VolumeId })).toMatch(/^InvalidVolume.NotFound/)
  })
})
