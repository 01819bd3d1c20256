import type { ImageDiskContainer, ImportImageRequest, ImportImageResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { importImageTaskToWire } from '../model/import-task-wire.ts'
import {
  DATA_DEVICE_NAMES, insertImportTask, newImportTaskId, ROOT_DEVICE_NAME, type ImportDisk, type ImportedImage,
} from '../model/import-task.ts'
import { requestedKmsKey } from '../model/kms-key.ts'
import { isSnapshotVisible } from '../model/visible.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { importDisk, importHost } from './import-input.ts'
import { requireImportTask } from './import-tasks.ts'
import { checkEnum, invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'
import { insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'

const ARCHITECTURES = ['i386', 'x86_64', 'arm64'] as const
const BOOT_MODES = ['legacy-bios', 'uefi'] as const
/** EC2 imports no more disks of one machine. */
const MOST_DISKS = 22

/**
 * ImportImage: an AMI of disk files in the import folder, or of snapshots; the first disk is the root. It
 * is named after the task, as on EC2. What is wrong with a file, DescribeImportImageTasks tells.
 *
 * @throws ApiError UnsupportedOperation, MissingParameter, InvalidParameterValue, InvalidParameterCombination,
 * InvalidSnapshot.NotFound, IncorrectState and what KmsKeyId may end in.
 */
export async function importImage(context: Context, input: ImportImageRequest): Promise<ImportImageResult> {
  const { db, account, region, random } = context
  const kind = RESOURCE_KINDS.importImageTask
  const taskId = newImportTaskId(random, 'image')
  const earlier = await claimToken(context, 'ImportImage', input, taskId)
  if (earlier !== undefined) {
    const tags = await tagsOf(db, [earlier], account)
    return importImageTaskToWire(await requireImportTask(context, kind, earlier), region, toWireTags(tags.get(earlier)))
  }
  refuseParameters(input, ['ClientData', 'RoleName', 'LicenseSpecifications', 'UsageOperation'])
  const image = imageOf(input)
  const tags = parseTagSpecifications(input.TagSpecifications, [kind.type]).get(kind.type) ?? []
  const kmsKeyId = await requestedKmsKey(context, { Encrypted: input.Encrypted, KmsKeyId: input.KmsKeyId })
  const disks = await disksOf(context, input.DiskContainers ?? [], kmsKeyId)
  const row = await insertImportTask(
    context, { taskId, account, kind: 'image', hostId: await importHost(context) },
    { description: input.Description ?? null, disks, kmsKeyId, image },
  )
  await insertTags(db, account, kind.type, taskId, tags)
  return importImageTaskToWire(row, region, toWireTags(tags))
}

function imageOf(input: ImportImageRequest): ImportedImage {
  checkEnum('Hypervisor', input.Hypervisor, ['xen'])
  const platform = checkEnum('Platform', input.Platform, ['Linux', 'Windows'])
  if (platform === 'Windows') throw unsupportedParameter('Platform with the value Windows')
  const license = checkEnum('LicenseType', input.LicenseType, ['AWS', 'BYOL'])
  if (license === 'AWS') throw unsupportedParameter('LicenseType with the value AWS')
  const architecture = checkEnum('Architecture', input.Architecture, ARCHITECTURES) ?? 'x86_64'
  const bootMode = checkEnum('BootMode', input.BootMode, BOOT_MODES) ?? (architecture === 'arm64' ? 'uefi' : 'legacy-bios')
  if (architecture === 'arm64' && bootMode !== 'uefi') {
    throw new ApiError('InvalidParameterCombination', 'Images of the architecture arm64 boot by UEFI only.')
  }
  return { name: null, description: input.Description ?? null, architecture, bootMode, isPublic: false, sshUser: null }
}

async function disksOf(context: Context, containers: ImageDiskContainer[], kmsKeyId: string | null): Promise<ImportDisk[]> {
  if (containers.length === 0) throw missingParameter('DiskContainers')
  if (containers.length > MOST_DISKS) {
    throw invalidValue('DiskContainers', containers.length, `At most ${MOST_DISKS} disks can be imported.`)
  }
  const disks: ImportDisk[] = []
  for (const [index, container] of containers.entries()) {
    const parameter = `DiskContainer.${index + 1}`
    const disk = container.SnapshotId
      ? await snapshotDisk(context, container, parameter, kmsKeyId)
      : importDisk(container, parameter)
    const usual = index === 0 ? ROOT_DEVICE_NAME : (DATA_DEVICE_NAMES[index - 1] ?? null)
    disks.push({ ...disk, deviceName: disk.deviceName ?? usual })
  }
  const names = disks.map((disk) => disk.deviceName)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw invalidValue('DeviceName', twice, 'Every disk needs a device name of its own.')
  const odd = names.find((name) => !/^(\/dev\/)?(sd|xvd|vd|hd)[a-z]{1,2}\d{0,2}$/.test(name ?? ''))
  if (odd !== undefined) throw invalidValue('DeviceName', odd)
  return disks
}

/** A disk that is there as a snapshot: it becomes part of the image as it is. */
async function snapshotDisk(
  { db, account }: Context,
  container: ImageDiskContainer,
  parameter: string,
  kmsKeyId: string | null,
): Promise<ImportDisk> {
  const snapshotId = container.SnapshotId ?? ''
  if (container.Url || container.UserBucket) {
    throw new ApiError('InvalidParameterCombination', `${parameter} may have a SnapshotId, or a Url, and not both.`)
  }
  checkIds(RESOURCE_KINDS.snapshot, [snapshotId])
  const row = await db
    .selectFrom('snapshots').select(['state', 'encrypted', 'account_id'])
    .where('snapshot_id', '=', snapshotId).where(isSnapshotVisible(account)).executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.snapshot, [snapshotId])
  if (row.account_id !== account) throw unsupportedParameter(`${parameter}.SnapshotId of another account`)
  if (row.state !== 'completed') throw new ApiError('IncorrectState', `The snapshot '${snapshotId}' is not 'completed'.`)
  if (kmsKeyId !== null && row.encrypted === 0) {
    throw unsupportedParameter(`Encrypted with the plain snapshot ${snapshotId} (copy it encrypted first)`)
  }
  return {
    url: null, file: null, isOwned: false, format: null, description: container.Description ?? null,
    deviceName: container.DeviceName ?? null, snapshotId,
  }
}
