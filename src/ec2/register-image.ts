import type { RegisterImageRequest, RegisterImageResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { ARCHITECTURES, BOOT_MODES, imageDoc, type Architecture, type BootMode } from '../model/image.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { requestedMappings } from './image-mappings.ts'
import { checkImageName } from './image-rows.ts'
import { insertImage } from './new-image.ts'
import { checkEnum, invalidValue, refuseParameters, unsupportedParameter } from './parameters.ts'
import { checkDescription } from './snapshot-rows.ts'
import { parseTagSpecifications } from './tags.ts'

/** EC2's, where the call names none. */
const DEFAULT_ROOT_DEVICE = '/dev/sda1'
const DEFAULT_ARCHITECTURE: Architecture = 'i386'

/**
 * RegisterImage: an image of snapshots that are there, available at once. EC2's defaults are those of its first
 * years: i386, and paravirtual, which no host of today runs and which is refused: say `hvm`.
 *
 * @throws ApiError InvalidAMIName.Malformed and .Duplicate, what `requestedMappings` throws, InvalidParameterCombination
 * for a BIOS that the architecture has not.
 */
export async function registerImage(context: Context, input: RegisterImageRequest): Promise<RegisterImageResult> {
  refuseParameters(input, ['ImageLocation', 'BillingProducts', 'KernelId', 'RamdiskId', 'TpmSupport', 'UefiData'])
  checkDescription(input.Description)
  const { architecture, bootMode } = requestedMachine(input)
  const tags = parseTagSpecifications(input.TagSpecifications, ['image'])
  const name = await checkImageName(context, input.Name)
  const rootDeviceName = requestedRootDevice(input.RootDeviceName)
  const mappings = await requestedMappings(context, { rootDeviceName, present: [] }, input.BlockDeviceMappings)
  const [root] = mappings
  const imageId = newId(context.random, 'ami')
  await insertImage(context, {
    imageId, name, architecture, rootDeviceName, mappings, isComplete: true, tags: tags.get('image') ?? [],
    doc: {
      description: input.Description ?? '', recipe: null, bootMode, ...(await factsOf(context.db, root?.snapshotId ?? '')),
      imdsSupport: checkEnum('ImdsSupport', input.ImdsSupport, ['v2.0'] as const) ?? null, enaSupport: input.EnaSupport === true,
      sriovNetSupport: checkEnum('SriovNetSupport', input.SriovNetSupport, ['simple'] as const) ?? null,
    },
  })
  return { ImageId: imageId }
}

function requestedMachine(input: RegisterImageRequest): { architecture: Architecture; bootMode: BootMode | null } {
  const virtualization = checkEnum('VirtualizationType', input.VirtualizationType, ['hvm', 'paravirtual']) ?? 'paravirtual'
  if (virtualization !== 'hvm') throw unsupportedParameter('VirtualizationType=paravirtual (EC2\'s default; say hvm)')
  const named = checkEnum('Architecture', input.Architecture, [...ARCHITECTURES, 'x86_64_mac', 'arm64_mac']) ?? DEFAULT_ARCHITECTURE
  const architecture = ARCHITECTURES.find((each) => each === named)
  if (!architecture) throw unsupportedParameter(`Architecture=${named}`)
  const bootMode = checkEnum('BootMode', input.BootMode, BOOT_MODES) ?? null
  if (architecture === 'arm64' && bootMode !== null && bootMode !== 'uefi') {
    throw new ApiError(
      'InvalidParameterCombination', `The boot mode '${bootMode}' is not supported for the architecture 'arm64'.`,
    )
  }
  return { architecture, bootMode }
}

function requestedRootDevice(name: string | undefined): string {
  if (!name) return DEFAULT_ROOT_DEVICE
  if (/^\/dev\/[a-z]{2,5}[0-9]{0,2}$/.test(name)) return name
  throw invalidValue('RootDeviceName', name)
}

/** Of what is under the root: its size, and who may log in where an image knows that already. */
async function factsOf(db: Db, snapshotId: string): Promise<{ sizeGib: number; sshUser: string | null }> {
  const snapshot = await db
    .selectFrom('snapshots').select('size_gib').where('snapshot_id', '=', snapshotId).executeTakeFirstOrThrow()
  const sibling = await db
    .selectFrom('images').select('doc').where('snapshot_id', '=', snapshotId).orderBy('created_ms').orderBy('image_id')
    .executeTakeFirst()
  return { sizeGib: snapshot.size_gib, sshUser: sibling ? imageDoc(sibling).sshUser : null }
}
