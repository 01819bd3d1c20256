import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { insertImage, openTestStore, OTHER_ACCOUNT, type TestStore } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import type { ImageDoc } from '../model/image.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { describeInstances } from './describe-instances.ts'
import { disableImage } from './image-lifecycle.ts'
import { modifyImageAttribute } from './modify-image-attribute.ts'
import { runInstances } from './run-instances.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: { code: string; message: string }) => `${error.code}: ${error.message}`)

const insertOwn = (context: Context, change: Partial<Omit<ImageTable, 'doc'>> = {}, doc: Partial<ImageDoc> = {}) =>
  insertImage(context, { account_id: DEFAULT_ACCOUNT, is_public: 0, ...change }, doc)

const launch = (context: Context, imageId: string, InstanceType: RunInstancesRequest['InstanceType'] = 't3.micro') =>
  runInstances(context, { ImageId: imageId, MinCount: 1, MaxCount: 1, InstanceType })

const asOther = (context: Context): Context => ({ ...context, account: OTHER_ACCOUNT })

describe('a launch', () => {
  it('takes own, shared and public images', async () => {
    await test.run(async (context) => {
      const { image_id: ImageId } = await insertOwn(context)
      await launch(context, ImageId)
      expect(await failure(launch(asOther(context), ImageId))).toBe(`InvalidAMIID.NotFound: The image id '[${ImageId}]' does not exist`)
      await modifyImageAttribute(context, { ImageId, LaunchPermission: { Add: [{ UserId: OTHER_ACCOUNT }] } })
      await launch(asOther(context), ImageId)
      await modifyImageAttribute(context, { ImageId, LaunchPermission: { Remove: [{ UserId: OTHER_ACCOUNT }], Add: [{ Group: 'all' }] } })
      await launch(asOther(context), ImageId)
    })
  })

  it('takes no image that is pending, failed or disabled', async () => {
    await test.run(async (context) => {
      for (const state of ['pending', 'failed'] as const) {
        const { image_id: id } = await insertOwn(context, { state, name: state })
        expect(await failure(launch(context, id))).toBe(`InvalidAMIID.Unavailable: AMI '${id}' is ${state}, and cannot be run`)
      }
      const { image_id: ImageId } = await insertOwn(context)
      await disableImage(context, { ImageId })
      expect(await failure(launch(context, ImageId))).toBe(`InvalidAMIID.Unavailable: AMI '${ImageId}' is disabled, and cannot be run`)
    })
  })

  it('needs a type for the architecture of the image', async () => {
    await test.run(async (context) => {
      const { image_id: arm } = await insertOwn(context, { architecture: 'arm64' })
      expect(await failure(launch(context, arm))).toBe(
        "InvalidParameterValue: The architecture 'x86_64' of the specified instance type does not match the architecture 'arm64' of " +
          'the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. You can use ' +
          "'describe-instance-types' or 'describe-images' to discover the architecture of the instance type or AMI.",
      )
      const { image_id: x86 } = await insertOwn(context, { name: 'x86' })
      expect(await failure(launch(context, x86, 't4g.micro'))).toMatch(/^InvalidParameterValue: The architecture 'arm64' of/)
      const { image_id: old } = await insertOwn(context, { name: 'old', architecture: 'i386' })
      await launch(context, old, 't2.micro')
      expect(await failure(launch(context, old))).toMatch(/does not match the architecture 'i386'/)
    })
  })

  it('needs an image with ENA where the type has no other network', async () => {
    await test.run(async (context) => {
      const { image_id: plain } = await insertOwn(context, {}, { enaSupport: false })
      expect(await failure(launch(context, plain))).toBe(
        "InvalidParameterCombination: Enhanced networking with the Elastic Network Adapter (ENA) is required for the 't3.micro' " +
          'instance type. Ensure that you are using an AMI that is enabled for ENA.',
      )
      expect((await launch(context, plain, 't2.micro')).Instances).toMatchObject([{ EnaSupport: false }])
    })
  })

  it.each<[ImageDoc['bootMode'], string]>([['legacy-bios', 'legacy-bios'], ['uefi-preferred', 'uefi'], ['uefi', 'uefi'], [null, 'legacy-bios']])(
    'of an image whose boot mode is %s boots by %s, also when the image is gone',
    async (bootMode, current) => {
      await test.run(async (context) => {
        const { image_id: id } = await insertOwn(context, {}, { bootMode })
        await launch(context, id)
        await context.db.deleteFrom('images').execute()
        expect((await describeInstances(context, {})).Reservations?.[0]?.Instances).toMatchObject([
          { BootMode: bootMode ?? undefined, CurrentInstanceBootMode: current },
        ])
      })
    },
  )
})
