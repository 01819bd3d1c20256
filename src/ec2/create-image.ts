import type { CreateImageRequest, CreateImageResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { requestFreeze, type FreezeMode } from '../model/freeze.ts'
import { imageDoc, type ImageDoc, type ImageMapping } from '../model/image.ts'
import { currentBootMode, instanceDoc } from '../model/instance.ts'
import { layerDoc, layerOf } from '../model/layer.ts'
import { insertSnapshot } from '../model/snapshot.ts'
import { inDiskOrder, volumeDoc } from '../model/volume.ts'
import type { VolumeTypeName } from '../model/volume-type.ts'
import { isAttached } from '../model/volume-wire.ts'
import type { InstanceTable, VolumeTable } from '../store/schema.ts'
import { enqueue } from '../store/work.ts'
import { awaitFrozen } from './await-frozen.ts'
import type { Context } from './context.ts'
import { askedPerformance, requestedMappings } from './image-mappings.ts'
import { checkImageName } from './image-rows.ts'
import { requireInstance } from './instance-rows.ts'
import { insertImage } from './new-image.ts'
import type { FinishAmbient } from './operation.ts'
import { checkEnum, refuseParameters } from './parameters.ts'
import { checkDescription } from './snapshot-rows.ts'
import { insertTags, parseTagSpecifications, type TagInput } from './tags.ts'
import { requireZone } from './zone-available.ts'

/** An attached volume, and what of it the image would have. */
interface Source {
  volume: VolumeTable
  mapping: ImageMapping & { snapshotId: string }
}

/**
 * CreateImage: the instance's disks as they are at one moment, without copying anything. Unless NoReboot, that
 * moment is while the guest is down for a reboot; else its file systems are frozen for it, where the guest has an
 * agent. The image is available when all its snapshots are complete.
 *
 * @throws ApiError InvalidAMIName.Malformed and .Duplicate; InvalidParameterValue for an instance without a root
 * volume, or that has not come up yet or is on its way out; what `requestedMappings` throws;
 * Unavailable while its zone has failed.
 */
export async function createImage(context: Context, input: CreateImageRequest): Promise<CreateImageResult> {
  refuseParameters(input, ['SnapshotLocation'])
  checkDescription(input.Description)
  const tags = parseTagSpecifications(input.TagSpecifications, ['image', 'snapshot'])
  const instance = await requireInstance(context, input.InstanceId)
  checkState(instance)
  const name = await checkImageName(context, input.Name)
  const sources = await sourcesOf(context, instance)
  const { rootDeviceName } = instanceDoc(instance)
  const mappings = await requestedMappings(
    context, { rootDeviceName, present: sources.map(({ mapping }) => mapping) }, input.BlockDeviceMappings,
  )
  await requireZone(context, instance.zone)
  const imageId = newId(context.random, 'ami')
  const own = { ...(await inherited(context, instance)), ...bootModeOverride(input, instance) }
  const kept = sources.filter(({ mapping }) => mappings.some(({ snapshotId }) => snapshotId === mapping.snapshotId))
  await freezeInto(context, { instance, imageId, kept, noReboot: input.NoReboot === true, tags: tags.get('snapshot') ?? [] })
  await insertImage(context, {
    imageId, name, architecture: instanceDoc(instance).architecture, rootDeviceName, mappings, isComplete: false,
    tags: tags.get('image') ?? [],
    doc: {
      ...own,
      description: input.Description ?? '', sizeGib: rootSizeGib(kept, mappings), sourceInstanceId: instance.instance_id,
    },
  })
  return { ImageId: imageId }
}

/** CreateImage with NoReboot answers when the moment has come that the image is of. */
export async function finishCreateImage(
  ambient: FinishAmbient,
  _nowMs: number,
  { NoReboot: noReboot }: CreateImageRequest,
  { ImageId: imageId }: CreateImageResult,
): Promise<void> {
  if (!noReboot || !imageId) return
  const rows = await ambient.store.read((db) =>
    db.selectFrom('image_snapshots').select('snapshot_id').where('image_id', '=', imageId).execute())
  await awaitFrozen(ambient, rows.map((row) => row.snapshot_id))
}

/** The words are EC2's. */
function checkState({ instance_id: id, state }: InstanceTable): void {
  if (state === 'running' || state === 'stopping' || state === 'stopped') return
  throw new ApiError(
    'InvalidParameterValue', `Invalid value '${id}' for instanceId. Instance is not in state 'running' or 'stopping' or 'stopped'`,
  )
}

/** The volumes that the instance has, the root first; those that it is to give up are not among them. */
async function sourcesOf({ db, random }: Context, instance: InstanceTable): Promise<Source[]> {
  const rows = await db
    .selectFrom('volumes').selectAll()
    .where('account_id', '=', instance.account_id).where('instance_id', '=', instance.instance_id).execute()
  const { rootDeviceName } = instanceDoc(instance)
  const volumes = inDiskOrder(rows.filter((row) => isAttached(row) && row.attach_state !== 'detaching'), rootDeviceName)
  if (volumes[0]?.device !== rootDeviceName) {
    throw new ApiError(
      'InvalidParameterValue',
      `Invalid value '${instance.instance_id}' for instanceId. Instance does not have a volume attached at root (${rootDeviceName})`,
    )
  }
  return volumes.map((volume) => ({ volume, mapping: mappingOf(volume, newId(random, 'snap')) }))
}

function mappingOf(volume: VolumeTable, snapshotId: string): Source['mapping'] {
  const volumeType = volume.volume_type as VolumeTypeName
  return {
    deviceName: volume.device ?? '', snapshotId, sizeGib: volume.size_gib, volumeType,
    ...askedPerformance(volumeType, volumeDoc(volume)),
    deleteOnTermination: volume.delete_on_termination === 1, encrypted: volume.encrypted === 1,
  }
}

/** Asks for one moment for all volumes that are kept, and writes the snapshots of it. */
async function freezeInto(
  context: Context,
  image: { instance: InstanceTable; imageId: string; kept: readonly Source[]; noReboot: boolean; tags: readonly TagInput[] },
): Promise<void> {
  const { db, account, nowMs } = context
  const { instance, imageId, kept } = image
  const layerIds = await requestFreeze(context, kept.map(({ volume }) => volume), freezeMode(instance, image.noReboot))
  for (const { volume, mapping } of kept) {
    const layer = await layerOf(db, layerIds.get(volume.volume_id) ?? '')
    if (!layer) throw new Error(`${volume.volume_id} has no layer`)
    const { kmsKeyId } = layerDoc(layer)
    await insertSnapshot(
      db,
      {
        snapshot_id: mapping.snapshotId, account_id: account, size_gib: volume.size_gib, volume_id: volume.volume_id,
        encrypted: volume.encrypted, created_ms: nowMs,
      },
      layer,
      {
        description: `Created by CreateImage(${instance.instance_id}) for ${imageId}`,
        ...(kmsKeyId === undefined ? {} : { kmsKeyId }),
      },
    )
    await insertTags(db, account, 'snapshot', mapping.snapshotId, image.tags)
  }
  if (instance.state !== 'running' || image.noReboot) return
  await db
    .updateTable('instances').set({ reboot_requested: instance.reboot_requested + 1 })
    .where('instance_id', '=', instance.instance_id).execute()
  await enqueue(db, { kind: 'instance', id: instance.instance_id, hostId: instance.host_id }, nowMs)
}

/** A guest that is going down anyway is waited for as one that reboots is. */
function freezeMode({ state }: InstanceTable, noReboot: boolean): FreezeMode {
  if (state === 'stopped') return 'crash'
  if (state === 'stopping') return 'down'
  return noReboot ? 'quiesced' : 'down'
}

/** What an image has of the one that its instance was launched from, which may be gone. */
async function inherited({ db }: Context, instance: InstanceTable): Promise<Omit<ImageDoc, 'description' | 'sizeGib'>> {
  const source = await db
    .selectFrom('images').select('doc').where('image_id', '=', instance.image_id).executeTakeFirst()
  const image = source && imageDoc(source)
  const { bootMode, sshUser } = instanceDoc(instance)
  return {
    recipe: null,
    bootMode: bootMode === undefined ? (image?.bootMode ?? 'legacy-bios') : bootMode,
    sshUser: sshUser ?? image?.sshUser ?? null,
    imdsSupport: image?.imdsSupport ?? null,
    ...(image?.enaSupport === undefined ? {} : { enaSupport: image.enaSupport }),
    ...(image?.sriovNetSupport === undefined ? {} : { sriovNetSupport: image.sriovNetSupport }),
  }
}

/** @throws ApiError InvalidParameterValue for UEFI of a machine that does not boot by it. */
function bootModeOverride(input: CreateImageRequest, instance: InstanceTable): Pick<ImageDoc, 'bootMode'> | undefined {
  const bootMode = checkEnum('BootModeOverride', input.BootModeOverride, ['uefi'])
  if (!bootMode) return undefined
  if (currentBootMode(instanceDoc(instance)) === 'uefi') return { bootMode }
  throw new ApiError(
    'InvalidParameterValue',
    `Value (uefi) for parameter BootModeOverride is invalid. The current instance boot mode of ${instance.instance_id} is not uefi.`,
  )
}

/** How large a root volume must be at least: the data, whatever a launch gets unless it says otherwise. */
function rootSizeGib(kept: readonly Source[], mappings: readonly ImageMapping[]): number {
  const root = kept.find(({ mapping }) => mapping.snapshotId === mappings[0]?.snapshotId)
  return root?.volume.size_gib ?? 1
}
