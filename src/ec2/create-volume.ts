import type { CreateVolumeRequest, Volume } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { requestedKmsKey } from '../model/kms-key.ts'
import { VOLUME_TYPES, volumePerformance, type VolumeTypeName } from '../model/volume-type.ts'
import type { SnapshotTable } from '../store/schema.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { chosenZone } from './create-subnet.ts'
import { insertVolume, layerUnder, type NewVolume } from './new-volume.ts'
import { checkEnum, missingParameter, refuseParameters } from './parameters.ts'
import { pickHost } from './pick-host.ts'
import { parseTagSpecifications } from './tags.ts'
import { requireSnapshotToUse } from './volume-rows.ts'
import { loadVolumes } from './volumes.ts'

/** The type that the API gives to a volume that names none, and that no image asks for. */
export const DEFAULT_VOLUME_TYPE: VolumeTypeName = 'gp2'

/**
 * CreateVolume: an empty one, or one of a snapshot that the account sees, in a zone. It answers `creating`;
 * the file follows, and takes no time that depends on the snapshot's size.
 *
 * @throws ApiError MissingParameter, InvalidParameterValue, InvalidParameterCombination,
 *   InvalidSnapshot.NotFound, IncorrectState of a snapshot that is not complete, and those of `requestedKmsKey`.
 */
export async function createVolume(context: Context, input: CreateVolumeRequest): Promise<Volume> {
  refuseParameters(input, ['MultiAttachEnabled', 'OutpostArn', 'VolumeInitializationRate'])
  if (input.Operator?.Principal) refuseParameters(input, ['Operator'])
  const tags = parseTagSpecifications(input.TagSpecifications, ['volume']).get('volume') ?? []
  const zone = chosenZone(context, input, 'Volumes')
  if (zone === undefined) throw missingParameter('AvailabilityZone or AvailabilityZoneId')
  const volumeId = newId(context.random, 'vol')
  const earlier = await claimToken(context, 'CreateVolume', input, volumeId)
  if (earlier) return repeated(context, earlier, input.ClientToken ?? '')
  const snapshot = input.SnapshotId ? await requireSnapshotToUse(context, input.SnapshotId) : undefined
  const volume = await requestedVolume(context, input, snapshot)
  await insertVolume(context, volume, { hostId: await hostFor(context, zone, snapshot), zone, attachment: null }, tags, volumeId)
  return wireOf(context, volumeId)
}

async function wireOf({ db, region }: Context, volumeId: string): Promise<Volume> {
  const row = await db.selectFrom('volumes').selectAll().where('volume_id', '=', volumeId).executeTakeFirstOrThrow()
  const [wire] = await loadVolumes(db, region, [row])
  if (!wire) throw new Error(`${volumeId}: its wire form is missing`)
  return wire
}

/** Of a call that was made before: its volume, unless that is gone. */
async function repeated(context: Context, volumeId: string, token: string): Promise<Volume> {
  const row = await context.db
    .selectFrom('volumes').select('state').where('volume_id', '=', volumeId).where('binned_ms', 'is', null).executeTakeFirst()
  if (row && row.state !== 'deleting') return wireOf(context, volumeId)
  throw new ApiError(
    'IdempotentParameterMismatch',
    `The client token '${token}' is associated with resource '${volumeId}' which has already been deleted. ` +
      'Please use a different client token.',
  )
}

async function requestedVolume(
  context: Context,
  input: CreateVolumeRequest,
  snapshot: SnapshotTable | undefined,
): Promise<NewVolume> {
  const sizeGib = input.Size ?? snapshot?.size_gib
  if (sizeGib === undefined) throw missingParameter('size or snapshotId')
  if (snapshot && sizeGib < snapshot.size_gib) {
    throw new ApiError('InvalidParameterValue', smallerThanSnapshot(sizeGib, snapshot.snapshot_id, snapshot.size_gib))
  }
  const volumeType = checkEnum('volumeType', input.VolumeType, VOLUME_TYPES) ?? DEFAULT_VOLUME_TYPE
  const performance = volumePerformance(volumeType, sizeGib, { iops: input.Iops, throughputMibps: input.Throughput })
  const kmsKeyId = await requestedKmsKey(context, { Encrypted: input.Encrypted, KmsKeyId: input.KmsKeyId, snapshot })
  return {
    sizeGib, volumeType, snapshotId: snapshot?.snapshot_id ?? null, ...performance, ...(kmsKeyId === null ? {} : { kmsKeyId }),
  }
}

/** EC2's sentence for a volume that does not hold the snapshot that it is made of. */
export function smallerThanSnapshot(sizeGib: number, snapshotId: string, leastGib: number): string {
  return `Volume of size ${sizeGib}GB is smaller than snapshot '${snapshotId}', expect size>= ${leastGib}GB`
}

async function hostFor(context: Context, zone: string, snapshot: SnapshotTable | undefined): Promise<string> {
  const layer = await layerUnder(context.db, snapshot?.snapshot_id ?? null)
  const hostId = await pickHost(context, zone, layer)
  if (hostId === undefined) throw new ApiError('InsufficientVolumeCapacity', 'There is no host yet that could carry a volume.', 500)
  return hostId
}
