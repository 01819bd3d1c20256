import type { BlockDeviceMapping, EbsBlockDevice } from '@aws-sdk/client-ec2'
import { instanceType } from '../catalogue/instance-types.ts'
import { ApiError } from '../core/errors.ts'
import { MAX_DISKS } from '../hypervisor/driver.ts'
import { imageDoc, mappingsOf, type ImageMapping } from '../model/image.ts'
import { requestedKmsKey } from '../model/kms-key.ts'
import { canonicalDevice, isDataDevice, isSameDevice } from '../model/volume-device.ts'
import { isBootable, VOLUME_TYPES, volumePerformance } from '../model/volume-type.ts'
import type { ImageTable, InstanceTable, SnapshotTable } from '../store/schema.ts'
import { prepared } from '../store/prepared.ts'
import type { Context } from './context.ts'
import { DEFAULT_VOLUME_TYPE, smallerThanSnapshot } from './create-volume.ts'
import { insertVolume, type NewVolume } from './new-volume.ts'
import { checkEnum, invalidValue, missingParameter, unsupportedParameter } from './parameters.ts'
import type { TagInput } from './tags.ts'
import { requireSnapshotToUse } from './volume-rows.ts'

/** A volume that every instance of a launch gets. */
export interface VolumeRequest extends NewVolume {
  deviceName: string
  deleteOnTermination: boolean
}

/** Members of `Ebs` that Hearth honours; every other one is refused. */
const HONOURED: readonly string[] = [
  'DeleteOnTermination', 'Encrypted', 'Iops', 'KmsKeyId', 'SnapshotId', 'Throughput', 'VolumeSize', 'VolumeType',
] satisfies (keyof EbsBlockDevice)[]

/** What a launch says of one device: the image's mapping of it, where it has one, and its own. */
interface Wish {
  deviceName: string
  own: ImageMapping | undefined
  ebs: EbsBlockDevice
}

/**
 * The volumes of a launch, the root first: the image's own, changed, left out and added to by the launch's
 * block device mappings.
 *
 * @throws ApiError InvalidBlockDeviceMapping and what `volumePerformance` and `requestedKmsKey` throw;
 * UnsupportedOperation for instance store and more disks than a machine takes.
 */
export async function requestedVolumes(
  context: Context,
  image: ImageTable,
  launch: { typeName: string; mappings: readonly BlockDeviceMapping[] | undefined },
): Promise<VolumeRequest[]> {
  const wishes = wishesOf(image, launch)
  if (wishes.length > MAX_DISKS) {
    throw unsupportedParameter(`BlockDeviceMapping with more than ${MAX_DISKS} volumes, the root included`)
  }
  const volumes: VolumeRequest[] = []
  for (const wish of wishes) volumes.push(await requestedVolume(context, image, wish))
  return volumes
}

/** One wish for each device that is to be, in the order of the image's mappings and then of the launch's. */
function wishesOf(
  image: ImageTable,
  { typeName, mappings }: { typeName: string; mappings: readonly BlockDeviceMapping[] | undefined },
): Wish[] {
  const wishes = new Map<string, Wish>(mappingsOf(image).map((own) =>
    [canonicalDevice(own.deviceName), { deviceName: own.deviceName, own, ebs: {} }]))
  const taken = new Set<string>()
  for (const [index, mapping] of (mappings ?? []).entries()) {
    const deviceName = mapping.DeviceName
    if (!deviceName) throw missingParameter(`BlockDeviceMapping.${index + 1}.DeviceName`)
    const name = canonicalDevice(deviceName)
    const wish = wishes.get(name)
    if (!wish && !isDataDevice(deviceName)) throw invalidMapping(`Invalid device name ${deviceName}`)
    if (taken.has(name)) throw invalidMapping(`The device '${name}' is used in more than one block-device mapping`)
    taken.add(name)
    checkAlternatives(mapping, typeName)
    const ebs = mapping.Ebs ?? {}
    refuseOthers(ebs)
    if (mapping.NoDevice === undefined && !mapping.VirtualName) {
      wishes.set(name, wish ? { ...wish, ebs } : { deviceName, own: undefined, ebs })
    } else if (isRoot(image, deviceName)) {
      throw invalidMapping(`The root device ${deviceName} must be an EBS volume: an instance boots from it.`)
    } else wishes.delete(name)
  }
  return [...wishes.values()]
}

function isRoot(image: ImageTable, deviceName: string): boolean {
  return isSameDevice(image.root_device_name, deviceName)
}

/** A mapping is a volume, an instance store volume, or nothing. */
function checkAlternatives(mapping: BlockDeviceMapping, typeName: string): void {
  const { VirtualName: virtualName, NoDevice: noDevice, Ebs: ebs } = mapping
  const hasEbs = ebs !== undefined && Object.values(ebs).some((value) => value !== undefined && value !== '')
  const given = [hasEbs, Boolean(virtualName), noDevice !== undefined].filter(Boolean)
  if (given.length > 1) {
    throw new ApiError(
      'InvalidParameterCombination',
      `The block device mapping of ${mapping.DeviceName} must have one of Ebs, VirtualName and NoDevice.`,
    )
  }
  if (!virtualName) return
  if (!/^ephemeral(\d|1\d|2[0-3])$/.test(virtualName)) {
    throw invalidValue('BlockDeviceMapping.VirtualName', virtualName, 'Expecting ephemeral0 to ephemeral23.')
  }
  // EC2 passes over instance store volumes that the type does not have.
  if (instanceType(typeName)?.InstanceStorageSupported) {
    throw unsupportedParameter(`BlockDeviceMapping.VirtualName=${virtualName} (instance store) with ${typeName}`)
  }
}

/**
 * A volume as the image has it, changed as the launch says. What is made by a launch through the API goes with its
 * instance, unless the image or the launch says otherwise; only what is attached later stays. Another type
 * than the image's leaves the image's IOPS and throughput behind.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/preserving-volumes-on-termination.html
 */
async function requestedVolume(context: Context, image: ImageTable, { deviceName, own, ebs }: Wish): Promise<VolumeRequest> {
  const isOfRoot = isRoot(image, deviceName)
  if (isOfRoot && ebs.SnapshotId && ebs.SnapshotId !== image.snapshot_id) {
    throw invalidMapping('snapshotId cannot be modified on root device')
  }
  const snapshot = await snapshotOf(context, image, own, ebs)
  const sizeGib = ebs.VolumeSize ?? own?.sizeGib ?? snapshot?.size_gib
  if (sizeGib === undefined) throw missingParameter('size or snapshotId')
  checkHoldsSnapshot(sizeGib, snapshot, isOfRoot ? imageDoc(image).sizeGib : 0)
  const asked = checkEnum('volumeType', ebs.VolumeType, VOLUME_TYPES)
  const volumeType = asked ?? own?.volumeType ?? DEFAULT_VOLUME_TYPE
  if (isOfRoot && !isBootable(volumeType)) {
    throw invalidValue('volumeType', volumeType, `The root volume cannot be of type ${volumeType}.`)
  }
  const kept = volumeType === own?.volumeType ? own : undefined
  const kmsKeyId = await keyOf(context, image, { own, ebs, snapshot })
  return {
    deviceName, sizeGib, volumeType, snapshotId: snapshot?.snapshot_id ?? null,
    deleteOnTermination: ebs.DeleteOnTermination ?? own?.deleteOnTermination ?? true,
    ...volumePerformance(volumeType, sizeGib, {
      iops: ebs.Iops ?? kept?.iops ?? undefined, throughputMibps: ebs.Throughput ?? kept?.throughputMibps ?? undefined,
    }),
    ...(kmsKeyId === null ? {} : { kmsKeyId }),
  }
}

const snapshotById = prepared((db, snapshotId: string) =>
  db.selectFrom('snapshots').selectAll().where('snapshot_id', '=', snapshotId))

/** What it starts from: the snapshot of the launch, which the account must see or that is under the image, or the image's own. */
async function snapshotOf(
  context: Context,
  image: ImageTable,
  own: ImageMapping | undefined,
  ebs: EbsBlockDevice,
): Promise<SnapshotTable | undefined> {
  if (ebs.SnapshotId && ebs.SnapshotId !== own?.snapshotId) return requireSnapshotToUse(context, ebs.SnapshotId, image.image_id)
  if (!own || own.snapshotId === null) return undefined
  const [row] = await snapshotById(context.db, own.snapshotId)
  if (!row) throw new Error(`${image.image_id} has no snapshot ${own.snapshotId}`)
  return row
}

/** The key of a volume; what an image of another account says of keys means that account's. */
async function keyOf(
  context: Context,
  image: ImageTable,
  { own, ebs, snapshot }: Pick<Wish, 'own' | 'ebs'> & { snapshot: SnapshotTable | undefined },
): Promise<string | null> {
  const isEncrypted = ebs.Encrypted ?? (own?.encrypted ? true : undefined)
  const ofImage = isEncrypted && image.account_id === context.account ? own?.kmsKeyId : undefined
  return requestedKmsKey(context, { Encrypted: isEncrypted, KmsKeyId: ebs.KmsKeyId || ofImage, snapshot })
}

function checkHoldsSnapshot(sizeGib: number, snapshot: SnapshotTable | undefined, imageGib: number): void {
  if (!snapshot) return
  const leastGib = Math.max(snapshot.size_gib, imageGib)
  if (sizeGib < leastGib) throw invalidMapping(smallerThanSnapshot(sizeGib, snapshot.snapshot_id, leastGib))
}

function refuseOthers(ebs: EbsBlockDevice): void {
  for (const [name, value] of Object.entries(ebs)) {
    if (!HONOURED.includes(name) && value !== undefined && value !== '') {
      throw unsupportedParameter(`BlockDeviceMapping.Ebs.${name}`)
    }
  }
}

function invalidMapping(message: string): ApiError {
  return new ApiError('InvalidBlockDeviceMapping', message)
}

/** Writes the volumes of a new instance with their tags. */
export async function insertVolumes(
  context: Context,
  volumes: readonly VolumeRequest[],
  instance: InstanceTable,
  tags: readonly TagInput[],
): Promise<void> {
  for (const { deviceName, deleteOnTermination, ...volume } of volumes) {
    await insertVolume(
      context, volume,
      { hostId: instance.host_id, zone: instance.zone, attachment: { instance, deviceName, deleteOnTermination } }, tags,
    )
  }
}
