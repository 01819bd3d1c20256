import type { CopyImageRequest, RegisterImageRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  insertImage, insertSnapshot, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore,
} from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { mappingsOf } from '../model/image.ts'
import { settleSnapshotsOf } from '../model/snapshot.ts'
import type { Context } from './context.ts'
import { copyImage } from './copy-image.ts'
import { COOLDOWN_MS, deregisterImage } from './deregister-image.ts'
import { disableImageDeregistrationProtection, enableImageDeregistrationProtection } from './image-lifecycle.ts'
import { describeImages } from './images.ts'
import { registerImage } from './register-image.ts'
import { describeSnapshots } from './snapshots.ts'
import { insertTags } from './tags.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: { code: string; message: string }) => `${error.code}: ${error.message}`)

const own = async (context: Context) => (await describeImages(context, { Owners: ['self'] })).Images ?? []
const snapshotIds = async (context: Context) =>
  ((await describeSnapshots(context, { OwnerIds: ['self'] })).Snapshots ?? []).map((each) => each.SnapshotId)

/** A call that registers an image of that snapshot as its root. */
const ofRoot = (snapshotId: string, change: Partial<RegisterImageRequest> = {}): RegisterImageRequest => ({
  Name: 'mine', VirtualizationType: 'hvm', RootDeviceName: '/dev/xvda',
  BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { SnapshotId: snapshotId } }], ...change,
})

/** An image of the account's own, with a root and a data snapshot. */
async function registered(context: Context, change: Partial<RegisterImageRequest> = {}) {
  const root = await insertSnapshot(context)
  const data = await insertSnapshot(context, { size_gib: 4 })
  const { ImageId: imageId = '' } = await registerImage(context, ofRoot(root.snapshot_id, {
    BlockDeviceMappings: [
      { DeviceName: '/dev/sdf', Ebs: { SnapshotId: data.snapshot_id } },
      { DeviceName: '/dev/xvda', Ebs: { SnapshotId: root.snapshot_id } },
    ], ...change,
  }))
  return { imageId, root, data }
}

describe('registerImage', () => {
  it('is available at once, with EC2\'s defaults', async () => {
    await test.run(async (context) => {
      const { root } = await registered(context)
      expect(await own(context)).toMatchObject([{
        State: 'available', Architecture: 'i386', EnaSupport: false, BootMode: undefined, SriovNetSupport: undefined,
        ImdsSupport: undefined, RootDeviceName: '/dev/xvda', OwnerId: DEFAULT_ACCOUNT, Description: '', Public: false,
        ImageLocation: `${DEFAULT_ACCOUNT}/mine`,
        BlockDeviceMappings: [
          { DeviceName: '/dev/xvda', Ebs: { SnapshotId: root.snapshot_id, VolumeSize: 1, VolumeType: 'gp2', DeleteOnTermination: true } },
          { DeviceName: '/dev/sdf', Ebs: { VolumeSize: 4 } },
        ],
      }])
    })
  })

  it('is what it is said to be', async () => {
    await test.run(async (context) => {
      const { snapshot_id: id } = await insertImage(context, { account_id: DEFAULT_ACCOUNT, name: 'older' }, { sshUser: 'admin' })
      await registerImage(context, ofRoot(id, {
        Architecture: 'arm64', BootMode: 'uefi', EnaSupport: true, SriovNetSupport: 'simple', ImdsSupport: 'v2.0', Description: 'd',
        TagSpecifications: [{ ResourceType: 'image', Tags: [{ Key: 'a', Value: 'b' }] }], RootDeviceName: '/dev/sda1',
        BlockDeviceMappings: [{ DeviceName: '/dev/sda1', Ebs: { SnapshotId: id, VolumeSize: 9, VolumeType: 'gp3' } }],
      }))
      expect((await own(context)).at(-1)).toMatchObject({
        Architecture: 'arm64', BootMode: 'uefi', EnaSupport: true, SriovNetSupport: 'simple', ImdsSupport: 'v2.0', Description: 'd',
        Tags: [{ Key: 'a', Value: 'b' }], BlockDeviceMappings: [{ Ebs: { VolumeSize: 9, VolumeType: 'gp3' } }],
      })
      const row = await context.db.selectFrom('images').select('doc').where('name', '=', 'mine').executeTakeFirstOrThrow()
      expect(JSON.parse(row.doc)).toMatchObject({ sshUser: 'admin', sizeGib: 1 })
    })
  })

  it.each<[Partial<RegisterImageRequest>, RegExp]>([
    [{ VirtualizationType: undefined }, /^UnsupportedOperation: .*VirtualizationType=paravirtual/],
    [{ VirtualizationType: 'xen' }, /^InvalidParameterValue/],
    [{ Architecture: 'arm64_mac' }, /^UnsupportedOperation/],
    [{ Architecture: 'arm64', BootMode: 'legacy-bios' }, /^InvalidParameterCombination/],
    [{ ImageLocation: 'bucket/manifest.xml' }, /^UnsupportedOperation/],
    [{ TpmSupport: 'v2.0' }, /^UnsupportedOperation/],
    [{ RootDeviceName: 'root' }, /^InvalidParameterValue/],
    [{ RootDeviceName: undefined }, /^InvalidBlockDeviceMapping: Invalid device name \/dev\/xvda$/],
    [{ BlockDeviceMappings: [] }, /^InvalidBlockDeviceMapping: No root snapshot specified in device mapping\.$/],
    [{ BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { VolumeSize: 8 } }] }, /No root snapshot specified/],
    [{ TagSpecifications: [{ ResourceType: 'snapshot', Tags: [{ Key: 'a', Value: 'b' }] }] }, /^InvalidParameterValue/],
  ])('refuses %j', async (change, expected) => {
    await test.run(async (context) => {
      const { snapshot_id: id } = await insertSnapshot(context)
      expect(await failure(registerImage(context, ofRoot(id, change)))).toMatch(expected)
    })
  })
})

describe('deregisterImage', () => {
  it('leaves the snapshots, or takes along those that no other image needs', async () => {
    await test.run(async (context) => {
      const first = await registered(context)
      await insertTags(context.db, context.account, 'image', first.imageId, [{ key: 'a', value: 'b' }])
      expect(await deregisterImage(context, { ImageId: first.imageId })).toEqual({ Return: true })
      expect(await own(context)).toEqual([])
      expect(await context.db.selectFrom('tags').selectAll().execute()).toEqual([])
      const { root, data } = first
      expect(await snapshotIds(context)).toEqual([root.snapshot_id, data.snapshot_id].toSorted())
      await registerImage(context, ofRoot(root.snapshot_id, { Name: 'sibling' }))
      const { imageId, ...second } = await registered(context)
      await registerImage(context, ofRoot(second.root.snapshot_id, { Name: 'another' }))
      const result = await deregisterImage(context, { ImageId: imageId, DeleteAssociatedSnapshots: true })
      expect(result.DeleteSnapshotResults?.toSorted((a) => (a.SnapshotId === second.root.snapshot_id ? -1 : 1))).toEqual([
        { SnapshotId: second.root.snapshot_id, ReturnCode: 'skipped' },
        { SnapshotId: second.data.snapshot_id, ReturnCode: 'success' },
      ])
      expect(await snapshotIds(context)).not.toContain(second.data.snapshot_id)
      expect(await failure(deregisterImage(context, { ImageId: imageId }))).toMatch(/^InvalidAMIID.NotFound/)
    })
  })

  it('is answered with nothing for an hour, so that who waits for its end sees it, and then with an error', async () => {
    await test.run(async (context) => {
      const { imageId } = await registered(context)
      await deregisterImage(context, { ImageId: imageId })
      expect((await describeImages(context, { ImageIds: [imageId] })).Images).toEqual([])
      expect(await failure(describeImages({ ...context, account: OTHER_ACCOUNT }, { ImageIds: [imageId] }))).toMatch(/^InvalidAMIID.NotFound/)
      expect(await failure(describeImages(context, { ImageIds: [imageId, 'ami-00000000000000001'] })))
        .toBe("InvalidAMIID.NotFound: The image id '[ami-00000000000000001]' does not exist")
      const later = { ...context, nowMs: context.nowMs + 3_600_000 }
      expect(await failure(describeImages(later, { ImageIds: [imageId] }))).toMatch(/^InvalidAMIID.NotFound/)
    })
  })

  it('goes into the recycle bin where a rule says so', async () => {
    await test.run(async (context) => {
      const { imageId, root } = await registered(context)
      await context.db
        .insertInto('recycle_rules')
        .values({
          rule_id: 'rule', account_id: DEFAULT_ACCOUNT, resource_type: 'EC2_IMAGE', created_ms: NOW_MS,
          doc: JSON.stringify({
            description: '', retention: { value: 2, unit: 'DAYS' }, resourceTags: [], excludeResourceTags: [], status: 'available',
            lock: null, tags: [],
          }),
        })
        .execute()
      const result = await deregisterImage(context, { ImageId: imageId, DeleteAssociatedSnapshots: true })
      expect(result.DeleteSnapshotResults?.map((each) => each.ReturnCode)).toEqual(['skipped', 'skipped'])
      expect(await own(context)).toEqual([])
      expect(await snapshotIds(context)).toContain(root.snapshot_id)
      expect(await context.db.selectFrom('images').select(['binned_ms', 'bin_exit_ms']).execute()).toEqual([
        { binned_ms: NOW_MS, bin_exit_ms: NOW_MS + 2 * 24 * 60 * 60 * 1000 },
      ])
      expect(await failure(deregisterImage(context, { ImageId: imageId }))).toMatch(/^InvalidAMIID.NotFound/)
    })
  })

  it('is only for its owner', async () => {
    await test.run(async (context) => {
      const { image_id: open } = await insertImage(context)
      expect(await failure(deregisterImage(context, { ImageId: open }))).toBe(`AuthFailure: Not authorized for image:${open}`)
      const { imageId } = await registered({ ...context, account: OTHER_ACCOUNT })
      expect(await failure(deregisterImage(context, { ImageId: imageId }))).toMatch(/^InvalidAMIID.NotFound/)
    })
  })

  it('waits for its protection to end, with a cooldown for a day more', async () => {
    await test.run(async (context) => {
      const { imageId: ImageId } = await registered(context)
      expect(await enableImageDeregistrationProtection(context, { ImageId })).toEqual({ Return: 'enabled-without-cooldown' })
      expect(await failure(deregisterImage(context, { ImageId }))).toMatch(/^OperationNotPermitted: .*protection is enabled/)
      expect(await enableImageDeregistrationProtection(context, { ImageId, WithCooldown: true })).toEqual({ Return: 'enabled-with-cooldown' })
      expect(await own(context)).toMatchObject([{ DeregistrationProtection: 'enabled-with-cooldown' }])
      expect(await disableImageDeregistrationProtection(context, { ImageId })).toEqual({ Return: 'disabled' })
      expect(await disableImageDeregistrationProtection({ ...context, nowMs: NOW_MS + 5 }, { ImageId })).toEqual({ Return: 'disabled' })
      const later = (ms: number) => ({ ...context, nowMs: NOW_MS + ms })
      expect(await failure(deregisterImage(later(COOLDOWN_MS - 1), { ImageId }))).toMatch(/^OperationNotPermitted: .*2026-01-02T00:00:00.000Z/)
      await deregisterImage(later(COOLDOWN_MS), { ImageId })
    })
  })
})

describe('copyImage', () => {
  const ofSource = (imageId: string, change: Partial<CopyImageRequest> = {}): CopyImageRequest =>
    ({ SourceImageId: imageId, SourceRegion: 'us-east-1', Name: 'copy', ...change })

  const copyOf = async (context: Context) => (await own(context)).find((image) => image.Name === 'copy')

  it('shares the data of its source, and has its own snapshots and tags', async () => {
    await test.run(async (context) => {
      const { imageId, root } = await registered(context, { Description: 'the source', ImdsSupport: 'v2.0' })
      await insertTags(context.db, context.account, 'image', imageId, [{ key: 'a', value: '1' }, { key: 'b', value: '1' }])
      const { ImageId } = await copyImage(context, ofSource(imageId, {
        CopyImageTags: true, TagSpecifications: [
          { ResourceType: 'image', Tags: [{ Key: 'b', Value: '2' }] }, { ResourceType: 'snapshot', Tags: [{ Key: 'c', Value: '3' }] },
        ],
      }))
      const copy = await copyOf(context)
      expect(copy).toMatchObject({
        ImageId, State: 'available', Description: 'the source', SourceImageId: imageId, SourceImageRegion: 'us-east-1', ImdsSupport: 'v2.0',
        Tags: [{ Key: 'a', Value: '1' }, { Key: 'b', Value: '2' }], Architecture: 'i386', RootDeviceName: '/dev/xvda',
      })
      const [rootCopy] = copy?.BlockDeviceMappings ?? []
      expect(rootCopy?.Ebs?.SnapshotId).not.toBe(root.snapshot_id)
      const { Snapshots: [snapshot] = [] } = await describeSnapshots(context, { SnapshotIds: [rootCopy?.Ebs?.SnapshotId ?? ''] })
      expect(snapshot).toMatchObject({
        State: 'completed', Tags: [{ Key: 'c', Value: '3' }],
        Description: `Copied for DestinationAmi ${ImageId} from SourceAmi ${imageId} for SourceSnapshot ${root.snapshot_id}.`,
      })
      expect(await context.db.selectFrom('layers').select('layer_id').execute()).toHaveLength(2)
    })
  })

  it('is filled anew, and pending until then, where it is to be encrypted', async () => {
    await test.run(async (context) => {
      const { image_id: imageId } = await insertImage(context)
      await copyImage(context, ofSource(imageId, { Encrypted: true }))
      expect(await copyOf(context)).toMatchObject({ State: 'pending', BlockDeviceMappings: [{ Ebs: { Encrypted: true } }] })
      const layer = await context.db.selectFrom('layers').selectAll().where('state', '=', 'filling').executeTakeFirstOrThrow()
      expect(await context.db.selectFrom('work').select(['kind', 'id']).where('kind', '=', 'layer').execute()).toEqual([
        { kind: 'layer', id: layer.layer_id },
      ])
      await settleSnapshotsOf(context.db, layer.layer_id, { state: 'completed' }, NOW_MS)
      expect(await copyOf(context)).toMatchObject({ State: 'available' })
    })
  })

  it('has its empty devices encrypted as well, under the key that is named', async () => {
    await test.run(async (context) => {
      const { snapshot_id: id } = await insertSnapshot(context)
      const { ImageId: imageId = '' } = await registerImage(context, ofRoot(id, {
        BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { SnapshotId: id } }, { DeviceName: '/dev/sdf', Ebs: { VolumeSize: 3 } }],
      }))
      await copyImage(context, ofSource(imageId, { Encrypted: true, KmsKeyId: 'alias/aws/ebs' }))
      const row = await context.db.selectFrom('images').selectAll().where('name', '=', 'copy').executeTakeFirstOrThrow()
      const [root, empty] = mappingsOf(row)
      expect(empty).toMatchObject({ snapshotId: null, sizeGib: 3, encrypted: true, kmsKeyId: expect.any(String) as string })
      const key = await context.db.selectFrom('kms_keys').select('key_id').executeTakeFirstOrThrow()
      expect([empty?.kmsKeyId, root?.encrypted]).toEqual([key.key_id, true])
    })
  })

  it('is of a shared image only where the snapshots are shared as well', async () => {
    await test.run(async (context) => {
      const { imageId, root, data } = await registered({ ...context, account: OTHER_ACCOUNT })
      expect(await failure(copyImage(context, ofSource(imageId)))).toMatch(/^InvalidAMIID.NotFound/)
      await context.db.insertInto('image_permissions').values({ image_id: imageId, account_id: DEFAULT_ACCOUNT }).execute()
      expect(await failure(copyImage(context, ofSource(imageId)))).toBe(
        'InvalidRequest: You do not have permission to access the storage of this ami')
      for (const { snapshot_id: snapshotId } of [root, data]) {
        await context.db.insertInto('snapshot_permissions').values({ snapshot_id: snapshotId, account_id: DEFAULT_ACCOUNT }).execute()
      }
      await insertTags(context.db, OTHER_ACCOUNT, 'image', imageId, [{ key: 'theirs', value: '' }, { key: 'ec2:SharedTag/x', value: '' }])
      await copyImage(context, ofSource(imageId, { CopyImageTags: true, Description: 'mine now' }))
      expect(await copyOf(context)).toMatchObject({
        OwnerId: DEFAULT_ACCOUNT, Description: 'mine now', Tags: [{ Key: 'ec2:SharedTag/x', Value: '' }],
      })
    })
  })

  it('with one ClientToken is one copy', async () => {
    await test.run(async (context) => {
      const { image_id: imageId } = await insertImage(context)
      const input = ofSource(imageId, { ClientToken: 'token' })
      expect(await copyImage(context, input)).toEqual(await copyImage(context, input))
      expect(await failure(copyImage(context, { ...input, Name: 'other' }))).toMatch(/^IdempotentParameterMismatch/)
    })
  })

  it.each<[Partial<CopyImageRequest>, RegExp]>([
    [{ SourceRegion: 'eu-west-1' }, /^InvalidParameterValue: .*us-east-1\.$/],
    [{ Name: 'x' }, /^InvalidAMIName.Malformed/],
    [{ KmsKeyId: 'alias/aws/ebs' }, /^InvalidParameterDependency/],
    [{ Encrypted: true, KmsKeyId: 'alias/none' }, /^InvalidParameterValue/],
    [{ DestinationOutpostArn: 'arn' }, /^UnsupportedOperation/],
    [{ SourceImageId: 'ami-00000000000000001' }, /^InvalidAMIID.NotFound/],
  ])('refuses %j', async (change, expected) => {
    await test.run(async (context) => {
      const { image_id: imageId } = await insertImage(context)
      expect(await failure(copyImage(context, ofSource(imageId, change)))).toMatch(expected)
    })
  })

  it('is of no image that is not there yet', async () => {
    await test.run(async (context) => {
      const { image_id: id } = await insertImage(context, { state: 'pending', account_id: DEFAULT_ACCOUNT })
      expect(await failure(copyImage(context, ofSource(id)))).toBe(
        `InvalidAMIID.Unavailable: The AMI ID '${id}' is currently pending and may not be used for this operation`)
    })
  })
})
