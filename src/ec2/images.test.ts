import type { DescribeImagesRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { insertImage, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT, PROVIDER_ACCOUNT } from '../model/account.ts'
import type { Context } from './context.ts'
import { describeImages } from './images.ts'
import { insertTags } from './tags.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const names = async (context: Context, input: DescribeImagesRequest = {}) =>
  (await describeImages(context, input)).Images?.map((image) => image.Name)

/** A public image, one of the account's own, and a private one of somebody else. */
async function threeImages(context: Context) {
  const open = await insertImage(context, { name: 'public' })
  const mine = { account_id: DEFAULT_ACCOUNT, is_public: 0, created_ms: NOW_MS + 1 }
  const own = await insertImage(context, { name: 'own', ...mine })
  const foreign = await insertImage(context, { name: 'foreign', account_id: OTHER_ACCOUNT, is_public: 0 })
  return { open, own, foreign }
}

describe('describeImages', () => {
  it('shows an image as EC2 does', async () => {
    await test.run(async (context) => {
      const row = await insertImage(context, {}, { imdsSupport: 'v2.0' })
      await insertTags(context.db, context.account, 'image', row.image_id, [{ key: 'mine', value: 'yes' }])
      await insertTags(context.db, OTHER_ACCOUNT, 'image', row.image_id, [{ key: 'theirs', value: 'yes' }])
      expect((await describeImages(context, {})).Images).toEqual([{
        Architecture: 'x86_64',
        BlockDeviceMappings: [{
          DeviceName: '/dev/vda',
          Ebs: {
            DeleteOnTermination: true, Encrypted: false, SnapshotId: row.snapshot_id, VolumeSize: 1, VolumeType: 'gp3',
          },
        }],
        BootMode: 'legacy-bios', CreationDate: '2026-01-01T00:00:00.000Z', DeregistrationProtection: 'disabled',
        Description: 'Tiny', EnaSupport: true,
        Hypervisor: 'xen', ImageId: row.image_id, ImageLocation: 'amazon/hearth-tiny-1', ImageOwnerAlias: 'amazon',
        ImageType: 'machine', ImdsSupport: 'v2.0', Name: 'hearth-tiny-1', OwnerId: PROVIDER_ACCOUNT,
        PlatformDetails: 'Linux/UNIX', Public: true, RootDeviceName: '/dev/vda', RootDeviceType: 'ebs',
        SriovNetSupport: 'simple', State: 'available', Tags: [{ Key: 'mine', Value: 'yes' }],
        UsageOperation: 'RunInstances', VirtualizationType: 'hvm',
      }])
    })
  })

  it.each<[DescribeImagesRequest, string[]]>([
    [{}, ['public', 'own']],
    [{ Owners: ['self'] }, ['own']],
    [{ Owners: ['amazon'] }, ['public']],
    [{ Owners: [DEFAULT_ACCOUNT, PROVIDER_ACCOUNT] }, ['public', 'own']],
    [{ Owners: [OTHER_ACCOUNT] }, []],
    [{ Owners: ['aws-marketplace'] }, []],
    [{ ExecutableUsers: ['all'] }, ['public']],
    [{ ExecutableUsers: ['self'] }, []],
    [{ ExecutableUsers: [OTHER_ACCOUNT] }, []],
    [{ Owners: ['self'], ExecutableUsers: ['all'] }, []],
    [{ Filters: [{ Name: 'name', Values: ['pub*'] }] }, ['public']],
    [{ Filters: [{ Name: 'owner-alias', Values: ['amazon'] }] }, ['public']],
    [{ Filters: [{ Name: 'is-public', Values: ['false'] }] }, ['own']],
    [{ Filters: [{ Name: 'block-device-mapping.volume-size', Values: ['1'] }] }, ['public', 'own']],
    [{ IncludeDeprecated: true, IncludeDisabled: true }, ['public', 'own']],
  ])('%j', async (input, expected) => {
    await test.run(async (context) => {
      await threeImages(context)
      expect(await names(context, input)).toEqual(expected)
    })
  })

  it('finds by id what the account may see', async () => {
    await test.run(async (context) => {
      const { open, own, foreign } = await threeImages(context)
      expect(await names(context, { ImageIds: [own.image_id, open.image_id] })).toEqual(['public', 'own'])
      await expect(names(context, { ImageIds: [open.image_id, foreign.image_id] })).rejects.toMatchObject({
        code: 'InvalidAMIID.NotFound', message: `The image id '[${foreign.image_id}]' does not exist`,
      })
    })
  })

  it.each<[string, string]>([
    ['source-instance-id', 'i-00000000000000001'],
    ['source-image-id', 'ami-00000000000000001'],
    ['source-image-region', 'us-east-1'],
    ['state-reason-code', 'Server.InternalError'],
    ['state-reason-message', 'Snapshot snap-1*'],
    ['state', 'failed'],
    ['ena-support', 'false'],
    ['block-device-mapping.encrypted', 'true'],
    ['block-device-mapping.device-name', '/dev/sdf'],
  ])('finds by %s', async (Name, value) => {
    await test.run(async (context) => {
      const mapping = {
        snapshotId: null, sizeGib: 1, volumeType: 'gp3' as const, iops: null, throughputMibps: null, deleteOnTermination: true,
      }
      await threeImages(context)
      await insertImage(context, { name: 'made', account_id: DEFAULT_ACCOUNT, state: 'failed' }, {
        sourceInstanceId: 'i-00000000000000001', sourceImageId: 'ami-00000000000000001', sourceImageRegion: 'us-east-1',
        stateReason: 'Snapshot snap-1: failed', enaSupport: false,
        mappings: [{ ...mapping, deviceName: '/dev/vda', encrypted: false }, { ...mapping, deviceName: '/dev/sdf', encrypted: true }],
      })
      expect(await names(context, { Filters: [{ Name, Values: [value] }] })).toEqual(['made'])
    })
  })

  it('shows nothing that is in the recycle bin', async () => {
    await test.run(async (context) => {
      const { own, open } = await threeImages(context)
      await context.db.updateTable('images').set({ binned_ms: NOW_MS }).execute()
      expect(await names(context, { IncludeDisabled: true, IncludeDeprecated: true })).toEqual([])
      for (const { image_id: id } of [own, open]) await expect(names(context, { ImageIds: [id] })).rejects.toMatchObject({ code: 'InvalidAMIID.NotFound' })
    })
  })

  it.each<[DescribeImagesRequest, string, string]>([
    [{ ImageIds: ['ami-x'] }, 'InvalidAMIID.Malformed', 'Invalid id: "ami-x"'],
    [{ ImageIds: ['x'] }, 'InvalidAMIID.Malformed', 'Invalid id: "x" (expecting "ami-...")'],
    [{ Owners: ['nobody'] }, 'InvalidUserID.Malformed', 'Invalid user id: "nobody"'],
    [{ Owners: ['__proto__'] }, 'InvalidUserID.Malformed', 'Invalid user id: "__proto__"'],
    [{ ExecutableUsers: ['nobody'] }, 'InvalidUserID.Malformed', 'Invalid user id: "nobody"'],
    [
      { ImageIds: ['ami-0123456789abcdef0'], MaxResults: 5 }, 'InvalidParameterCombination',
      'The parameter imageIdsSet cannot be used with the parameter maxResults',
    ],
  ])('refuses %j', async (input, code, message) => {
    await test.run((context) => expect(names(context, input)).rejects.toMatchObject({ code, message }))
  })

  it.each(DOCUMENTED_FILTERS.DescribeImages)('knows the filter %s', async (Name) => {
    await test.run(async (context) => {
      await threeImages(context)
      expect(await names(context, { Filters: [{ Name, Values: ['no such value'] }] })).toEqual([])
    })
  })
})
