import type { BlockDeviceMapping, EbsBlockDevice } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { ImageMapping } from '../model/image.ts'
import { canonicalDevice, isDataDevice } from '../model/volume-device.ts'
import { isBootable, VOLUME_TYPES, volumePerformance, type VolumeTypeName } from '../model/volume-type.ts'
import type { Context } from './context.ts'
import { DEFAULT_VOLUME_TYPE, smallerThanSnapshot } from './create-volume.ts'
import { checkEnum, invalidValue, missingParameter, unsupportedParameter } from './parameters.ts'
import { requireSnapshotToUse } from './volume-rows.ts'

/** Types whose IOPS, and whose throughput, are asked for. */
const WITH_IOPS: readonly VolumeTypeName[] = ['gp3', 'io1', 'io2']
const WITH_THROUGHPUT: readonly VolumeTypeName[] = ['gp3']

/** Members of `Ebs` that mean something in an image; every other one is refused. */
const HONOURED: readonly string[] = [
  'DeleteOnTermination', 'Encrypted', 'Iops', 'SnapshotId', 'Throughput', 'VolumeSize', 'VolumeType',
] satisfies (keyof EbsBlockDevice)[]

/**
 * The block device mappings of a new image, the root first: those that it has anyway (`present`), changed, left out and
 * added to by those of the call.
 *
 * @throws ApiError InvalidBlockDeviceMapping; InvalidSnapshot.NotFound and IncorrectState for a snapshot that cannot be
 * used; what `volumePerformance` throws; UnsupportedOperation for instance store and what else is not kept.
 */
export async function requestedMappings(
  context: Context,
  image: { rootDeviceName: string; present: readonly ImageMapping[] },
  asked: readonly BlockDeviceMapping[] | undefined,
): Promise<ImageMapping[]> {
  const root = canonicalDevice(image.rootDeviceName)
  const byName = new Map(image.present.map((each) => [canonicalDevice(each.deviceName), each]))
  const named = new Set<string>()
  for (const [index, mapping] of (asked ?? []).entries()) {
    if (!mapping.DeviceName) throw missingParameter(`BlockDeviceMapping.${index + 1}.DeviceName`)
    const name = canonicalDevice(mapping.DeviceName)
    if (named.has(name)) throw invalidMapping(`The device '${name}' is used in more than one block-device mapping`)
    named.add(name)
    if (name !== root && !byName.has(name) && !isDataDevice(mapping.DeviceName)) {
      throw invalidMapping(`Invalid device name ${mapping.DeviceName}`)
    }
    checkAlternatives(mapping)
    if (mapping.NoDevice !== undefined && name === root) {
      throw invalidMapping(`The root device ${mapping.DeviceName} must be an EBS volume: an instance boots from it.`)
    }
    if (mapping.NoDevice === undefined) byName.set(name, await changedMapping(context, mapping, byName.get(name)))
    else byName.delete(name)
  }
  const rootMapping = byName.get(root)
  if (!rootMapping?.snapshotId) throw invalidMapping('No root snapshot specified in device mapping.')
  if (!isBootable(rootMapping.volumeType)) {
    throw invalidValue('volumeType', rootMapping.volumeType, `The root volume cannot be of type ${rootMapping.volumeType}.`)
  }
  byName.delete(root)
  return [rootMapping, ...byName.values()]
}

/** A device of an image is a volume or, over one that the image has anyway, nothing. */
function checkAlternatives(mapping: BlockDeviceMapping): void {
  if (mapping.VirtualName) throw unsupportedParameter(`BlockDeviceMapping.VirtualName=${mapping.VirtualName} (instance store)`)
  const hasEbs = Object.values(mapping.Ebs ?? {}).some((value) => value !== undefined && value !== '')
  if (!hasEbs || mapping.NoDevice === undefined) return
  throw new ApiError(
    'InvalidParameterCombination',
    `The block device mapping of ${mapping.DeviceName} must have one of Ebs, VirtualName and NoDevice.`,
  )
}

/** One device: new, or what the image has there with some of it changed. Its data stays what it was. */
async function changedMapping(
  context: Context,
  { DeviceName: deviceName = '', Ebs: ebs = {} }: BlockDeviceMapping,
  present: ImageMapping | undefined,
): Promise<ImageMapping> {
  for (const [name, value] of Object.entries(ebs)) {
    if (HONOURED.includes(name) || value === undefined || value === '') continue
    throw unsupportedParameter(`BlockDeviceMapping.Ebs.${name}`)
  }
  if (present && ebs.SnapshotId && ebs.SnapshotId !== present.snapshotId) {
    throw invalidMapping(`snapshotId cannot be modified on device ${present.deviceName}`)
  }
  const snapshot = !present && ebs.SnapshotId ? await requireSnapshotToUse(context, ebs.SnapshotId) : undefined
  const source = present
    ? { snapshotId: present.snapshotId, leastGib: present.sizeGib, encrypted: present.encrypted }
    : { snapshotId: snapshot?.snapshot_id ?? null, leastGib: snapshot?.size_gib, encrypted: snapshot?.encrypted === 1 }
  if (ebs.Encrypted !== undefined && source.snapshotId !== null) {
    throw invalidMapping(`the encrypted flag cannot be specified since device ${deviceName} has a snapshot specified.`)
  }
  const sizeGib = ebs.VolumeSize ?? source.leastGib
  if (sizeGib === undefined) throw missingParameter('size or snapshotId')
  if (source.snapshotId !== null && sizeGib < (source.leastGib ?? 0)) {
    throw invalidMapping(smallerThanSnapshot(sizeGib, source.snapshotId, source.leastGib ?? 0))
  }
  return {
    deviceName: present?.deviceName ?? deviceName, snapshotId: source.snapshotId, sizeGib,
    ...requestedPerformance(ebs, sizeGib, present),
    deleteOnTermination: ebs.DeleteOnTermination ?? present?.deleteOnTermination ?? true,
    encrypted: source.encrypted || ebs.Encrypted === true,
  }
}

/** Type, IOPS and throughput; checked as those of a volume, and kept as far as they were asked for. */
function requestedPerformance(
  ebs: EbsBlockDevice,
  sizeGib: number,
  present: ImageMapping | undefined,
): Pick<ImageMapping, 'volumeType' | 'iops' | 'throughputMibps'> {
  const volumeType = checkEnum('volumeType', ebs.VolumeType, VOLUME_TYPES) ?? present?.volumeType ?? DEFAULT_VOLUME_TYPE
  const kept = present?.volumeType === volumeType ? present : undefined
  const iops = ebs.Iops ?? kept?.iops ?? undefined
  const throughputMibps = ebs.Throughput ?? kept?.throughputMibps ?? undefined
  volumePerformance(volumeType, sizeGib, { iops, throughputMibps })
  return { volumeType, ...askedPerformance(volumeType, { iops: iops ?? null, throughputMibps: throughputMibps ?? null }) }
}

/** Of what a volume has, what a launch may ask for: IOPS that follow from the type or the size it may not. */
export function askedPerformance(
  volumeType: VolumeTypeName,
  { iops, throughputMibps }: { iops: number | null; throughputMibps: number | null },
): { iops: number | null; throughputMibps: number | null } {
  return {
    iops: WITH_IOPS.includes(volumeType) ? iops : null,
    throughputMibps: WITH_THROUGHPUT.includes(volumeType) ? throughputMibps : null,
  }
}

function invalidMapping(message: string): ApiError {
  return new ApiError('InvalidBlockDeviceMapping', message)
}
