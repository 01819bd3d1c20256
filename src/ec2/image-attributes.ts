import type { DescribeImageAttributeRequest, ImageAttribute, ImageAttributeName } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { imageDoc, type ImageDoc } from '../model/image.ts'
import { deregistrationProtection, sriovNetSupport } from '../model/image-wire.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { requireOwnImage } from './image-rows.ts'
import { lastLaunchesOf } from './images.ts'
import { checkEnum, missingParameter } from './parameters.ts'

/** Every attribute of an image, by its name in Attribute parameters. */
export const IMAGE_ATTRIBUTE_NAMES = [
  'description', 'kernel', 'ramdisk', 'launchPermission', 'productCodes', 'blockDeviceMapping', 'sriovNetSupport', 'bootMode',
  'tpmSupport', 'uefiData', 'lastLaunchedTime', 'imdsSupport', 'deregistrationProtection',
] as const satisfies readonly ImageAttributeName[]

interface AttributeSource {
  context: Context
  row: ImageTable
  doc: ImageDoc
}

type Attribute = Omit<ImageAttribute, 'ImageId'>

/**
 * DescribeImageAttribute: the image's id and the one attribute; what has no value is an empty element. Only the
 * owner may ask.
 *
 * @throws ApiError AuthFailure for an image of somebody else, and for blockDeviceMapping, which EC2 does not tell
 * either: DescribeImages does.
 */
export async function describeImageAttribute(context: Context, input: DescribeImageAttributeRequest): Promise<ImageAttribute> {
  const name = checkEnum('attribute', input.Attribute, IMAGE_ATTRIBUTE_NAMES)
  if (name === undefined) throw missingParameter('attribute')
  const row = await requireOwnImage(context, input.ImageId)
  return { ImageId: row.image_id, ...(await ATTRIBUTES[name]({ context, row, doc: imageDoc(row) })) }
}

const ATTRIBUTES: Record<(typeof IMAGE_ATTRIBUTE_NAMES)[number], (source: AttributeSource) => Promise<Attribute> | Attribute> = {
  description: ({ doc }) => ({ Description: valueOf(doc.description) }),
  // Only paravirtual images have a kernel and a RAM disk of their own.
  kernel: () => ({ KernelId: {} }),
  ramdisk: () => ({ RamdiskId: {} }),
  launchPermission: async ({ context, row }) => ({ LaunchPermissions: await launchPermissions(context, row) }),
  productCodes: () => ({ ProductCodes: [] }),
  blockDeviceMapping: () => {
    throw new ApiError('AuthFailure', 'Unauthorized attempt to access restricted resource')
  },
  sriovNetSupport: ({ doc }) => ({ SriovNetSupport: valueOf(sriovNetSupport(doc)) }),
  bootMode: ({ doc }) => ({ BootMode: valueOf(doc.bootMode) }),
  tpmSupport: () => ({ TpmSupport: {} }),
  uefiData: () => ({ UefiData: {} }),
  lastLaunchedTime: async ({ context, row }) => {
    const ms = (await lastLaunchesOf(context.db, [row.image_id])).get(row.image_id)
    return { LastLaunchedTime: valueOf(ms === undefined ? null : new Date(ms).toISOString()) }
  },
  imdsSupport: ({ doc }) => ({ ImdsSupport: valueOf(doc.imdsSupport) }),
  deregistrationProtection: ({ doc }) => ({ DeregistrationProtection: { Value: deregistrationProtection(doc) } }),
}

function valueOf(text: string | null): { Value?: string } {
  return text === null ? {} : { Value: text }
}

async function launchPermissions({ db }: Context, row: ImageTable): Promise<NonNullable<ImageAttribute['LaunchPermissions']>> {
  const rows = await db
    .selectFrom('image_permissions').select('account_id').where('image_id', '=', row.image_id).orderBy('account_id').execute()
  return [...(row.is_public === 1 ? [{ Group: 'all' as const }] : []), ...rows.map(({ account_id: UserId }) => ({ UserId }))]
}
