import type {
  CreateSnapshotRequest, CreateSnapshotsRequest, CreateSnapshotsResult, InstanceSpecification, Snapshot, SnapshotInfo,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { requestFreeze } from '../model/freeze.ts'
import { instanceDoc } from '../model/instance.ts'
import { layerDoc, layerOf } from '../model/layer.ts'
import { insertSnapshot, type SnapshotDoc } from '../model/snapshot.ts'
import { newSnapshotToWire } from '../model/snapshot-wire.ts'
import { inDiskOrder } from '../model/volume.ts'
import { isAttached } from '../model/volume-wire.ts'
import type { VolumeTable } from '../store/schema.ts'
import { awaitFrozen } from './await-frozen.ts'
import type { Context } from './context.ts'
import { requireInstance } from './instance-rows.ts'
import type { FinishAmbient } from './operation.ts'
import { checkEnum, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'
import { checkSnapshotLimits } from './snapshot-limits.ts'
import { checkDescription } from './snapshot-rows.ts'
import { checkTags, insertTags, parseTagSpecifications, tagsOf, toWireTags, type TagInput } from './tags.ts'
import { requireZone } from './zone-available.ts'

const TYPE = RESOURCE_KINDS.snapshot.type

/** EC2's limit of ExcludeDataVolumeIds. */
const MAX_EXCLUDED = 40

/**
 * CreateSnapshot: of a volume as it is now, attached or not; no data is copied. It is complete when nobody
 * writes any more into the file that it is of.
 *
 * @throws ApiError InvalidVolume.NotFound; IncorrectState for a volume that is being made or deleted;
 * ConcurrentSnapshotLimitExceeded, SnapshotCreationPerVolumeRateExceeded; Unavailable while its zone has failed.
 */
export async function createSnapshot(context: Context, input: CreateSnapshotRequest): Promise<Snapshot> {
  checkInput(input)
  const tags = parseTagSpecifications(input.TagSpecifications, [TYPE]).get(TYPE) ?? []
  const volume = await requireVolume(context, input.VolumeId)
  const [created] = await snapshotVolumes(context, [{ volume, tags }], input.Description)
  return created ?? {}
}

/** CreateSnapshot answers when the moment has come that the snapshot is of. */
export async function finishCreateSnapshot(
  ambient: FinishAmbient,
  _nowMs: number,
  _input: CreateSnapshotRequest,
  created: Snapshot,
): Promise<void> {
  await awaitFrozen(ambient, [created.SnapshotId])
}

/**
 * CreateSnapshots: of the volumes of an instance, all at one instant; the root first.
 *
 * @throws ApiError InvalidInstanceID.NotFound, InvalidParameterValue for what ExcludeDataVolumeIds names
 * wrongly, and what CreateSnapshot throws for each volume.
 */
export async function createSnapshots(context: Context, input: CreateSnapshotsRequest): Promise<CreateSnapshotsResult> {
  checkInput(input)
  const given = parseTagSpecifications(input.TagSpecifications, [TYPE]).get(TYPE) ?? []
  const copiesTags = checkEnum('copyTagsFromSource', input.CopyTagsFromSource, ['volume']) !== undefined
  const volumes = await specifiedVolumes(context, input.InstanceSpecification ?? { InstanceId: undefined })
  const tagsOfSources = copiesTags ? await tagsOf(context.db, volumes.map((volume) => volume.volume_id)) : undefined
  const wanted = volumes.map((volume) => ({ volume, tags: joinTags(tagsOfSources?.get(volume.volume_id) ?? [], given) }))
  return { Snapshots: await snapshotVolumes(context, wanted, input.Description, true) }
}

/** CreateSnapshots answers when the moment has come that the snapshots are of. */
export async function finishCreateSnapshots(
  ambient: FinishAmbient,
  _nowMs: number,
  _input: CreateSnapshotsRequest,
  { Snapshots: created = [] }: CreateSnapshotsResult,
): Promise<void> {
  await awaitFrozen(ambient, created.map((each) => each.SnapshotId))
}

/** Outposts and Local Zones are nowhere here; what is kept is kept in the region. */
function checkInput(input: CreateSnapshotRequest | CreateSnapshotsRequest): void {
  refuseParameters(input, ['OutpostArn'])
  if (checkEnum('location', input.Location, ['regional', 'local']) === 'local') throw unsupportedParameter('Location=local')
  checkDescription(input.Description)
}

async function requireVolume({ db, account }: Context, volumeId: string | undefined): Promise<VolumeTable> {
  if (!volumeId) throw missingParameter('VolumeId')
  checkIds(RESOURCE_KINDS.volume, [volumeId])
  const row = await db
    .selectFrom('volumes').selectAll().where('account_id', '=', account).where('volume_id', '=', volumeId)
    .where('binned_ms', 'is', null).executeTakeFirst()
  if (!row) throw notFoundError(RESOURCE_KINDS.volume, [volumeId])
  return row
}

/** The volumes of the instance that are not excluded, in the order of its disks. */
async function specifiedVolumes(context: Context, specification: InstanceSpecification): Promise<VolumeTable[]> {
  const instance = await requireInstance(context, specification.InstanceId)
  const { rootDeviceName } = instanceDoc(instance)
  const rows = await context.db
    .selectFrom('volumes').selectAll().where('instance_id', '=', instance.instance_id)
    .where('account_id', '=', context.account).execute()
  const attached = inDiskOrder(rows.filter(isAttached), rootDeviceName)
  const excluded = specification.ExcludeDataVolumeIds ?? []
  checkExcluded(excluded, instance.instance_id, attached, rootDeviceName)
  const volumes = attached.filter((volume) => volume.device === rootDeviceName
    ? specification.ExcludeBootVolume !== true
    : !excluded.includes(volume.volume_id))
  if (volumes.length > 0) return volumes
  throw new ApiError('InvalidParameterValue', `No volume of instance ${instance.instance_id} is left to make a snapshot of.`)
}

function checkExcluded(
  excluded: readonly string[],
  instanceId: string,
  attached: readonly VolumeTable[],
  rootDeviceName: string,
): void {
  if (excluded.length > MAX_EXCLUDED) {
    throw new ApiError('InvalidParameterValue', `At most ${MAX_EXCLUDED} volumes can be excluded in one call.`)
  }
  checkIds(RESOURCE_KINDS.volume, excluded)
  for (const id of excluded) {
    const volume = attached.find((each) => each.volume_id === id)
    if (!volume) throw new ApiError('InvalidParameterValue', `Volume ${id} is not attached to instance ${instanceId}.`)
    if (volume.device === rootDeviceName) {
      throw new ApiError(
        'InvalidParameterValue',
        `Volume ${id} is the root volume of instance ${instanceId}; use ExcludeBootVolume to exclude it.`,
      )
    }
  }
}

/** A volume's own tags, and those that the call gives; of one key the latter's. EC2's own are not copied. */
function joinTags(own: readonly TagInput[], given: readonly TagInput[]): TagInput[] {
  const copied = own.filter(({ key }) => !/^aws:/i.test(key) && !given.some((tag) => tag.key === key))
  return checkTags(toWireTags([...copied, ...given]))
}

/** Writes the snapshots, and asks for one moment for all of them. */
async function snapshotVolumes(
  context: Context,
  wanted: readonly { volume: VolumeTable; tags: readonly TagInput[] }[],
  description: string | undefined,
  isSet = false,
): Promise<SnapshotInfo[]> {
  const { db, account, nowMs, random } = context
  for (const { volume } of wanted) checkState(volume)
  for (const zone of new Set(wanted.map(({ volume }) => volume.zone))) await requireZone(context, zone)
  const volumes = wanted.map(({ volume }) => volume)
  await checkSnapshotLimits(context, volumes)
  const layerIds = await requestFreeze(context, volumes, 'crash')
  const created: SnapshotInfo[] = []
  const set = wanted.map(() => newId(random, 'snap'))
  for (const [index, { volume, tags }] of wanted.entries()) {
    const layer = await layerOf(db, layerIds.get(volume.volume_id) ?? '')
    if (!layer) throw new Error(`${volume.volume_id} has no layer`)
    const { kmsKeyId } = layerDoc(layer)
    const doc: SnapshotDoc = {
      ...(description ? { description } : {}), ...(kmsKeyId === undefined ? {} : { kmsKeyId }), ...(isSet ? { set } : {}),
    }
    const row = await insertSnapshot(db, {
      snapshot_id: set[index] ?? '', account_id: account, size_gib: volume.size_gib, volume_id: volume.volume_id,
      encrypted: volume.encrypted, created_ms: nowMs,
    }, layer, doc)
    await insertTags(db, account, TYPE, row.snapshot_id, tags)
    created.push(newSnapshotToWire(row, toWireTags(tags)))
  }
  return created
}

/** @throws ApiError IncorrectState for a volume that has no data yet, or will have none soon. */
function checkState(volume: VolumeTable): void {
  const { volume_id: id, state } = volume
  if (state === 'available' || state === 'in-use') return
  throw new ApiError('IncorrectState', `The volume '${id}' is not 'available' or 'in-use'; it is '${state}'.`)
}
