import type { DescribeImagesRequest, ImageAttributeName, ModifyImageAttributeRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  insertImage, insertInstance, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore,
} from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import type { ImageDoc } from '../model/image.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { describeImageAttribute, IMAGE_ATTRIBUTE_NAMES } from './image-attributes.ts'
import { disableImage, disableImageDeprecation, enableImage, enableImageDeprecation } from './image-lifecycle.ts'
import {
  disableImageBlockPublicAccess, enableImageBlockPublicAccess, getImageBlockPublicAccessState,
} from './image-public-access.ts'
import { describeImages } from './images.ts'
import { cancelImageLaunchPermission, modifyImageAttribute, resetImageAttribute } from './modify-image-attribute.ts'
import { createTags } from './tags.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const THIRD_ACCOUNT = '111122223333'

const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: { code: string; message: string }) => `${error.code}: ${error.message}`)

const insertOwn = (context: Context, change: Partial<Omit<ImageTable, 'doc'>> = {}, doc: Partial<ImageDoc> = {}) =>
  insertImage(context, { account_id: DEFAULT_ACCOUNT, is_public: 0, name: 'own', ...change }, doc)

const asOther = (context: Context): Context => ({ ...context, account: OTHER_ACCOUNT })

/** Names of the images that an account finds. */
const names = async (context: Context, input: DescribeImagesRequest = {}) =>
  (await describeImages(context, input)).Images?.map((image) => image.Name)

const permissions = async (context: Context, imageId: string) =>
  (await describeImageAttribute(context, { ImageId: imageId, Attribute: 'launchPermission' })).LaunchPermissions

describe('describeImageAttribute', () => {
  it.each<[ImageAttributeName, object]>([
    ['description', { Description: { Value: 'Tiny' } }],
    ['kernel', { KernelId: {} }],
    ['ramdisk', { RamdiskId: {} }],
    ['launchPermission', { LaunchPermissions: [{ Group: 'all' }, { UserId: THIRD_ACCOUNT }] }],
    ['productCodes', { ProductCodes: [] }],
    ['sriovNetSupport', { SriovNetSupport: { Value: 'simple' } }],
    ['bootMode', { BootMode: { Value: 'legacy-bios' } }],
    ['tpmSupport', { TpmSupport: {} }],
    ['uefiData', { UefiData: {} }],
    ['lastLaunchedTime', { LastLaunchedTime: { Value: '2026-01-01T00:00:00.009Z' } }],
    ['imdsSupport', { ImdsSupport: {} }],
    ['deregistrationProtection', { DeregistrationProtection: { Value: 'disabled' } }],
  ])('tells %s', async (Attribute, expected) => {
    await test.run(async (context) => {
      const { image_id: ImageId } = await insertOwn(context, { is_public: 1 })
      await context.db.insertInto('image_permissions').values({ image_id: ImageId, account_id: THIRD_ACCOUNT }).execute()
      await insertInstance(context, { image_id: ImageId })
      await insertInstance(asOther(context), { image_id: ImageId, created_ms: NOW_MS + 9 })
      expect(await describeImageAttribute(context, { ImageId, Attribute })).toEqual({ ImageId, ...expected })
    })
  })

  it('tells nothing of somebody else\'s image, and no devices at all, as EC2', async () => {
    await test.run(async (context) => {
      const { image_id: open } = await insertImage(context)
      for (const Attribute of IMAGE_ATTRIBUTE_NAMES) {
        expect(await failure(describeImageAttribute(context, { ImageId: open, Attribute }))).toBe(
          `AuthFailure: Not authorized for image:${open}`)
      }
      const { image_id: ImageId } = await insertOwn(context)
      expect(await failure(describeImageAttribute(context, { ImageId, Attribute: 'blockDeviceMapping' }))).toBe(
        'AuthFailure: Unauthorized attempt to access restricted resource')
      expect(await failure(describeImageAttribute(context, { ImageId, Attribute: 'x' as 'kernel' }))).toMatch(/^InvalidParameterValue/)
    })
  })
})

describe('modifyImageAttribute', () => {
  it('shares an image with accounts and with all, who may launch and tag it then', async () => {
    await test.run(async (context) => {
      const { image_id: ImageId } = await insertOwn(context)
      const modify = (input: Partial<ModifyImageAttributeRequest>) => modifyImageAttribute(context, { ImageId, ...input })
      expect(await names(asOther(context))).toEqual([])
      await modify({ LaunchPermission: { Add: [{ UserId: OTHER_ACCOUNT }, { UserId: '1111-2222-3333' }] } })
      expect(await permissions(context, ImageId)).toEqual([{ UserId: THIRD_ACCOUNT }, { UserId: OTHER_ACCOUNT }])
      expect(await names(asOther(context), { ExecutableUsers: ['self'] })).toEqual(['own'])
      expect(await names(context, { ExecutableUsers: [OTHER_ACCOUNT] })).toEqual(['own'])
      expect(await names(context, { ExecutableUsers: ['self'] })).toEqual([])
      await createTags(asOther(context), { Resources: [ImageId], Tags: [{ Key: 'theirs', Value: '' }] })
      expect((await describeImages(context, {})).Images?.[0]?.Tags).toBeUndefined()
      await modify({ LaunchPermission: { Remove: [{ UserId: OTHER_ACCOUNT }, { UserId: '999999999999' }] } })
      expect(await names(asOther(context))).toEqual([])
      await modify({ Attribute: 'launchPermission', OperationType: 'add', UserGroups: ['all'], UserIds: [OTHER_ACCOUNT] })
      expect(await permissions(context, ImageId)).toEqual([{ Group: 'all' }, { UserId: THIRD_ACCOUNT }, { UserId: OTHER_ACCOUNT }])
      await modify({ OperationType: 'remove', UserGroups: ['all'] })
      expect(await names(asOther(context), { ExecutableUsers: ['all'] })).toEqual([])
      await resetImageAttribute(context, { ImageId, Attribute: 'launchPermission' })
      expect(await permissions(context, ImageId)).toEqual([])
    })
  })

  it('changes the description, and that instances want tokens', async () => {
    await test.run(async (context) => {
      const { image_id: ImageId } = await insertOwn(context)
      await modifyImageAttribute(context, { ImageId, Description: { Value: 'new' } })
      await modifyImageAttribute(context, { ImageId, ImdsSupport: { Value: 'v2.0' } })
      expect((await describeImages(context, {})).Images).toMatchObject([{ Description: 'new', ImdsSupport: 'v2.0' }])
      // As Ansible's ec2_ami writes it.
      await modifyImageAttribute(context, { ImageId, Attribute: 'Description ', Description: { Value: 'newer' } })
      expect((await describeImages(context, {})).Images).toMatchObject([{ Description: 'newer' }])
      await modifyImageAttribute(context, { ImageId, Attribute: 'description', Value: '' })
      expect((await describeImages(context, {})).Images).toMatchObject([{ Description: '' }])
    })
  })

  it.each<[Partial<ModifyImageAttributeRequest>, RegExp]>([
    [{}, /^InvalidParameterCombination: No attributes specified\.$/],
    [{ Description: { Value: 'a' }, ImdsSupport: { Value: 'v2.0' } }, /^InvalidParameterCombination: Fields for multiple attribute types/],
    [{ Attribute: 'bootMode', Value: 'uefi' }, /^UnsupportedOperation/],
    [{ Attribute: 'launchPermission' }, /^MissingParameter/],
    [{ UserIds: [OTHER_ACCOUNT] }, /^MissingParameter: .*operationType$/],
    [{ ImdsSupport: { Value: 'v1.0' } }, /^InvalidParameterValue/],
    [{ OrganizationArns: ['arn'] }, /^UnsupportedOperation/],
    [{ LaunchPermission: { Add: [{ OrganizationArn: 'arn' }] } }, /^UnsupportedOperation/],
    [{ ProductCodes: ['code'] }, /^UnsupportedOperation/],
    [
      { LaunchPermission: { Add: [{ UserId: 'bob' }] } },
      /^InvalidAMIAttributeItemValue: Invalid attribute item value "bob" for userId item type\.$/,
    ],
    [{ OperationType: 'add', UserGroups: ['everyone'] }, /"everyone" for group item type\.$/],
  ])('refuses %j', async (input, expected) => {
    await test.run(async (context) => {
      const { image_id: ImageId } = await insertOwn(context)
      expect(await failure(modifyImageAttribute(context, { ImageId, ...input }))).toMatch(expected)
    })
  })

  it('leaves alone what is pending, disabled or somebody else\'s', async () => {
    await test.run(async (context) => {
      const shared = { LaunchPermission: { Add: [{ UserId: OTHER_ACCOUNT }] } }
      const { image_id: pending } = await insertOwn(context, { state: 'pending', name: 'pending' })
      expect(await failure(modifyImageAttribute(context, { ImageId: pending, ...shared }))).toBe(
        `InvalidAMIID.Unavailable: The AMI ID '${pending}' is currently pending and may not be used for this operation`)
      const { image_id: disabled } = await insertOwn(context, { state: 'disabled', name: 'disabled' })
      expect(await failure(modifyImageAttribute(context, { ImageId: disabled, ...shared }))).toMatch(/^InvalidAMIID.Unavailable/)
      const { image_id: open } = await insertImage(context)
      expect(await failure(modifyImageAttribute(context, { ImageId: open, ...shared }))).toMatch(/^AuthFailure/)
    })
  })

  it('makes nothing public where the account blocks that, or that is encrypted', async () => {
    await test.run(async (context) => {
      const { image_id: ImageId } = await insertOwn(context)
      const everybody = { LaunchPermission: { Add: [{ Group: 'all' as const }] } }
      expect(await getImageBlockPublicAccessState(context)).toEqual({ ImageBlockPublicAccessState: 'unblocked', ManagedBy: 'account' })
      await enableImageBlockPublicAccess(context, { ImageBlockPublicAccessState: 'block-new-sharing' })
      await enableImageBlockPublicAccess(context, { ImageBlockPublicAccessState: 'block-new-sharing' })
      expect(await getImageBlockPublicAccessState(context)).toMatchObject({ ImageBlockPublicAccessState: 'block-new-sharing' })
      expect(await failure(modifyImageAttribute(context, { ImageId, ...everybody }))).toMatch(/^OperationNotPermitted: You can't publicly share/)
      expect(await disableImageBlockPublicAccess(context)).toEqual({ ImageBlockPublicAccessState: 'unblocked' })
      await modifyImageAttribute(context, { ImageId, ...everybody })
      await enableImageBlockPublicAccess(context, { ImageBlockPublicAccessState: 'block-new-sharing' })
      await modifyImageAttribute(context, { ImageId, ...everybody })
      await disableImageBlockPublicAccess(context)
      const secret = await insertOwn(context, { name: 'secret' }, {
        mappings: [{
          deviceName: '/dev/vda', snapshotId: null, sizeGib: 1, volumeType: 'gp3', iops: null, throughputMibps: null,
          deleteOnTermination: true, encrypted: true,
        }],
      })
      expect(await failure(modifyImageAttribute(context, { ImageId: secret.image_id, ...everybody }))).toMatch(/^OperationNotPermitted: .*encrypted/)
    })
  })
})

describe('cancelImageLaunchPermission', () => {
  it('gives back what was granted by name', async () => {
    await test.run(async (context) => {
      const { image_id: ImageId } = await insertOwn(context)
      expect(await failure(cancelImageLaunchPermission(asOther(context), { ImageId }))).toMatch(/^InvalidAMIID.NotFound/)
      await modifyImageAttribute(context, { ImageId, LaunchPermission: { Add: [{ UserId: OTHER_ACCOUNT }] } })
      expect(await cancelImageLaunchPermission(asOther(context), { ImageId })).toEqual({ Return: true })
      expect(await names(asOther(context))).toEqual([])
      expect(await failure(cancelImageLaunchPermission(context, { ImageId }))).toMatch(/^OperationNotPermitted/)
    })
  })
})

describe('an image that is disabled', () => {
  it('is shared no more, found only where disabled ones are asked for, and comes back unshared', async () => {
    await test.run(async (context) => {
      const { image_id: ImageId } = await insertOwn(context, { is_public: 1 })
      await modifyImageAttribute(context, { ImageId, LaunchPermission: { Add: [{ UserId: OTHER_ACCOUNT }] } })
      expect(await disableImage(context, { ImageId })).toEqual({ Return: true })
      expect(await names(context)).toEqual([])
      expect((await describeImages(context, { IncludeDisabled: true })).Images).toMatchObject([{ State: 'disabled', Public: false }])
      expect(await names(asOther(context), { IncludeDisabled: true })).toEqual([])
      expect(await enableImage(context, { ImageId })).toEqual({ Return: true })
      expect(await names(context)).toEqual(['own'])
      expect(await permissions(context, ImageId)).toEqual([])
      const { image_id: pending } = await insertOwn(context, { name: 'pending', state: 'pending' })
      expect(await failure(disableImage(context, { ImageId: pending }))).toMatch(/^InvalidAMIID.Unavailable/)
    })
  })
})

describe('an image that is deprecated', () => {
  const at = (iso: string) => ({ DeprecateAt: new Date(iso) })

  it('is found by its owner, by its id and where deprecated ones are asked for, from that minute on', async () => {
    await test.run(async (context) => {
      const { image_id: ImageId } = await insertOwn(context, { is_public: 1 })
      await enableImageDeprecation(context, { ImageId, ...at('2026-01-02T10:00:40Z') })
      expect((await describeImages(context, {})).Images).toMatchObject([{ DeprecationTime: '2026-01-02T10:01:00.000Z' }])
      const other = (nowMs: number) => ({ ...asOther(context), nowMs })
      const whenMs = Date.parse('2026-01-02T10:01:00Z')
      expect(await names(other(whenMs - 1))).toEqual(['own'])
      expect(await names(other(whenMs))).toEqual([])
      expect(await names(other(whenMs), { IncludeDeprecated: true })).toEqual(['own'])
      expect(await names(other(whenMs), { ImageIds: [ImageId] })).toEqual(['own'])
      expect(await names({ ...context, nowMs: whenMs })).toEqual(['own'])
      await disableImageDeprecation(context, { ImageId })
      expect(await names(other(whenMs))).toEqual(['own'])
    })
  })

  it.each<[string, number, RegExp]>([
    ['2025-12-31T23:59:00Z', 0, /must not be in the past/],
    ['2036-01-01T00:01:00Z', 0, /The latest date for this image is 2036-01-01/],
    ['2028-01-01T00:01:00Z', 1, /The latest date for this image is 2028-01-01/],
    ['no date', 0, /^InvalidParameterValue/],
  ])('is not so from %s on (public: %i)', async (date, isPublic, expected) => {
    await test.run(async (context) => {
      const { image_id: ImageId } = await insertOwn(context, { is_public: isPublic })
      expect(await failure(enableImageDeprecation(context, { ImageId, ...at(date) }))).toMatch(expected)
    })
  })
})
