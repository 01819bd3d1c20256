import type { BlockDeviceMapping, EbsBlockDevice } from '@aws-sdk/client-ec2'
import { instanceType } from '../catalogue/instance-types.ts'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { MAX_DISKS } from '../hypervisor/driver.ts'
import { IMAGE_VOLUME_TYPE, imageDoc } from '../model/image.ts'
import { insertLayer, layerOf } from '../model/layer.ts'
import type { VolumeDoc } from '../model/volume.ts'
import { isBootable, VOLUME_TYPES, volumePerformance, type VolumeTypeName } from '../model/volume-type.ts'
import type { ImageTable, InstanceTable, LayerTable, SnapshotTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { insertRow, prepared } from '../store/prepared.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { checkEnum, invalidValue, missingParameter, unsupportedParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'
import { insertTags, type TagInput } from './tags.ts'

/** A volume that every instance of a launch gets. */
export interface VolumeRequest extends VolumeDoc {
  deviceName: string
  sizeGib: number
  volumeType: VolumeTypeName
  /** What it starts from; null for an empty one. */
  snapshotId: string | null
  deleteOnTermination: boolean
}

/** The type that the API gives to a volume that names none, and that no image asks for. */
const DEFAULT_VOLUME_TYPE: VolumeTypeName = 'gp2'

/** Members of `Ebs` that Hearth honours; every other one is refused. */
const HONOURED: readonly string[] = [
  'DeleteOnTermination', 'Encrypted', 'Iops', 'SnapshotId', 'Throughput', 'VolumeSize', 'VolumeType',
] satisfies (keyof EbsBlockDevice)[]

/**
 * Device names of data volumes on HVM instances, with or without /dev/. Names with a number are
 * for the root device only.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
 */
const DATA_DEVICE = /^(\/dev\/)?(sd[b-z]|xvd[b-z]|xvd[a-d][a-z])$/

/**
 * The volumes of a launch, the root first: the image's own, changed and added to by the launch's
 * block device mappings.
 *
 * @throws ApiError InvalidBlockDeviceMapping and what `volumePerformance` throws; UnsupportedOperation
 * for encryption, instance store and more disks than a machine takes.
 */
export async function requestedVolumes(
  context: Context,
  image: ImageTable,
  launch: { typeName: string; mappings: readonly BlockDeviceMapping[] | undefined },
): Promise<VolumeRequest[]> {
  const taken = new Set<string>()
  let root = requestedRoot(image, {})
  const data: VolumeRequest[] = []
  for (const [index, mapping] of (launch.mappings ?? []).entries()) {
    const deviceName = mapping.DeviceName
    if (!deviceName) throw missingParameter(`BlockDeviceMapping.${index + 1}.DeviceName`)
    const isRoot = canonicalName(deviceName) === canonicalName(image.root_device_name)
    if (!isRoot && !DATA_DEVICE.test(deviceName)) throw invalidMapping(`Invalid device name ${deviceName}`)
    const name = canonicalName(deviceName)
    if (taken.has(name)) throw invalidMapping(`The device '${name}' is used in more than one block-device mapping`)
    taken.add(name)
    checkAlternatives(mapping, launch.typeName)
    if (isRoot) root = requestedRoot(image, rootOverride(mapping))
    // An image maps its root only: there is nothing that NoDevice could leave out.
    else if (mapping.NoDevice === undefined && !mapping.VirtualName) {
      data.push(await requestedData(context, deviceName, mapping.Ebs ?? {}))
    }
  }
  if (data.length + 1 > MAX_DISKS) {
    throw unsupportedParameter(`BlockDeviceMapping with more than ${MAX_DISKS} volumes, the root included`)
  }
  return [root, ...data]
}

/** /dev/sdb, sdb, /dev/xvdb and xvdb are one device to EC2. */
function canonicalName(deviceName: string): string {
  return deviceName.replace(/^\/dev\//, '').replace(/^sd/, 'xvd')
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

function rootOverride(mapping: BlockDeviceMapping): EbsBlockDevice {
  if (mapping.NoDevice === undefined && !mapping.VirtualName) return mapping.Ebs ?? {}
  throw invalidMapping(`The root device ${mapping.DeviceName} must be an EBS volume: an instance boots from it.`)
}

function requestedRoot(image: ImageTable, ebs: EbsBlockDevice): VolumeRequest {
  refuseOthers(ebs)
  const leastGib = imageDoc(image).sizeGib
  if (ebs.SnapshotId && ebs.SnapshotId !== image.snapshot_id) {
    throw invalidMapping('snapshotId cannot be modified on root device')
  }
  const sizeGib = ebs.VolumeSize ?? leastGib
  checkHoldsSnapshot(sizeGib, image.snapshot_id, leastGib)
  const volumeType = checkEnum('volumeType', ebs.VolumeType, VOLUME_TYPES) ?? typeOfImage()
  if (!isBootable(volumeType)) throw invalidValue('volumeType', volumeType, `The root volume cannot be of type ${volumeType}.`)
  return {
    deviceName: image.root_device_name, sizeGib, volumeType, snapshotId: image.snapshot_id,
    deleteOnTermination: ebs.DeleteOnTermination ?? true,
    ...volumePerformance(volumeType, sizeGib, { iops: ebs.Iops, throughputMibps: ebs.Throughput }),
  }
}

function typeOfImage(): VolumeTypeName {
  return VOLUME_TYPES.find((name) => name === IMAGE_VOLUME_TYPE) ?? DEFAULT_VOLUME_TYPE
}

/**
 * A volume beside the root. What is made by a launch through the API goes with its instance, unless
 * the launch says otherwise; only what is attached later stays.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/preserving-volumes-on-termination.html
 */
async function requestedData(context: Context, deviceName: string, ebs: EbsBlockDevice): Promise<VolumeRequest> {
  refuseOthers(ebs)
  const snapshot = ebs.SnapshotId ? await findSnapshot(context, ebs.SnapshotId) : undefined
  const sizeGib = ebs.VolumeSize ?? snapshot?.size_gib
  if (sizeGib === undefined) throw missingParameter('size or snapshotId')
  if (snapshot) checkHoldsSnapshot(sizeGib, snapshot.snapshot_id, snapshot.size_gib)
  const volumeType = checkEnum('volumeType', ebs.VolumeType, VOLUME_TYPES) ?? DEFAULT_VOLUME_TYPE
  return {
    deviceName, sizeGib, volumeType, snapshotId: snapshot?.snapshot_id ?? null,
    deleteOnTermination: ebs.DeleteOnTermination ?? true,
    ...volumePerformance(volumeType, sizeGib, { iops: ebs.Iops, throughputMibps: ebs.Throughput }),
  }
}

/** The account's own snapshots, and those under public images. */
async function findSnapshot({ db, account }: Context, snapshotId: string): Promise<SnapshotTable> {
  checkIds(RESOURCE_KINDS.snapshot, [snapshotId])
  const row = await db
    .selectFrom('snapshots').selectAll().where('snapshot_id', '=', snapshotId)
    .where((eb) => eb.or([
      eb('account_id', '=', account),
      eb.exists(eb.selectFrom('images').select('image_id').where('images.snapshot_id', '=', snapshotId).where('is_public', '=', 1)),
    ]))
    .executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.snapshot, [snapshotId])
  if (row.state !== 'completed') {
    throw new ApiError('IncorrectState', `Snapshot ${snapshotId} is in invalid state - ${row.state}`)
  }
  return row
}

function checkHoldsSnapshot(sizeGib: number, snapshotId: string, leastGib: number): void {
  if (sizeGib >= leastGib) return
  throw invalidMapping(`Volume of size ${sizeGib}GB is smaller than snapshot '${snapshotId}', expect size>= ${leastGib}GB`)
}

function refuseOthers(ebs: EbsBlockDevice): void {
  if (ebs.Encrypted) throw unsupportedParameter('BlockDeviceMapping.Ebs.Encrypted=true')
  for (const [name, value] of Object.entries(ebs)) {
    if (!HONOURED.includes(name) && value !== undefined && value !== '') {
      throw unsupportedParameter(`BlockDeviceMapping.Ebs.${name}`)
    }
  }
}

function invalidMapping(message: string): ApiError {
  return new ApiError('InvalidBlockDeviceMapping', message)
}

/** Writes the volumes of a new instance with their tags, and marks them due: their files do not exist yet. */
export async function insertVolumes(
  context: Context,
  volumes: readonly VolumeRequest[],
  instance: InstanceTable,
  tags: readonly TagInput[],
): Promise<void> {
  const { db, account, random, nowMs } = context
  for (const volume of volumes) {
    const volumeId = newId(random, 'vol')
    const layer = await insertLayer(context, {
      account, hostId: instance.host_id, parent: await layerUnder(db, volume.snapshotId), state: 'making', sizeGib: volume.sizeGib,
    })
    await insertRow(db, 'volumes', {
      volume_id: volumeId, account_id: account, host_id: instance.host_id, zone: instance.zone,
      size_gib: volume.sizeGib, volume_type: volume.volumeType, snapshot_id: volume.snapshotId,
      state: 'creating', ready: 0, instance_id: instance.instance_id, device: volume.deviceName,
      attach_state: 'attaching', attached_ms: nowMs, delete_on_termination: volume.deleteOnTermination ? 1 : 0,
      created_ms: nowMs, layer_id: layer.layer_id, next_layer_id: null, freeze: null, encrypted: 0, revision: 1,
      synced_revision: 0, binned_ms: null, bin_exit_ms: null,
      doc: JSON.stringify({ iops: volume.iops, throughputMibps: volume.throughputMibps } satisfies VolumeDoc),
    })
    await insertTags(db, account, 'volume', volumeId, tags)
    await enqueue(db, { kind: 'volume', id: volumeId, hostId: instance.host_id }, nowMs)
  }
}

const layerIdOf = prepared((db, snapshotId: string) =>
  db.selectFrom('snapshots').select('layer_id').where('snapshot_id', '=', snapshotId))

/** The layer that a volume of that snapshot stands on. */
async function layerUnder(db: Db, snapshotId: string | null): Promise<LayerTable | null> {
  if (snapshotId === null) return null
  const [snapshot] = await layerIdOf(db, snapshotId)
  const layer = snapshot?.layer_id ? await layerOf(db, snapshot.layer_id) : undefined
  if (!layer) throw new Error(`snapshot ${snapshotId} has no layer`)
  return layer
}
