import type { CopySnapshotRequest, CopySnapshotResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { requestedKmsKey } from '../model/kms-key.ts'
import { insertLayerCopy, layerDoc, layerOf } from '../model/layer.ts'
import { insertSnapshot } from '../model/snapshot.ts'
import type { LayerTable, SnapshotTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { RESOURCE_KINDS } from './resources.ts'
import { checkDescription, requireVisibleSnapshot } from './snapshot-rows.ts'
import { insertTags, parseTagSpecifications, toWireTags } from './tags.ts'

const TYPE = RESOURCE_KINDS.snapshot.type

/**
 * CopySnapshot: of an own, shared or public one, into an own one, within the region of this cloud, the only one
 * there is. Where it is to be protected as its source is, both have the same data from then on, and it is complete at once;
 * else it is filled in the background.
 *
 * DestinationRegion and PresignedUrl, which SDKs add by themselves, are for a source in another region:
 * the first must be this one, and the second vouches for nothing that the call's own signature does not.
 *
 * @throws ApiError InvalidSnapshot.NotFound; IncorrectState for a source that is not complete; those of `requestedKmsKey`.
 */
export async function copySnapshot(context: Context, input: CopySnapshotRequest): Promise<CopySnapshotResult> {
  const { db, account, region } = context
  checkInput(input)
  for (const [name, value] of [['sourceRegion', input.SourceRegion], ['destinationRegion', input.DestinationRegion]] as const) {
    if (value && value !== region) throw invalidValue(name, value, `The only region of this cloud is ${region}.`)
  }
  const tags = parseTagSpecifications(input.TagSpecifications, [TYPE]).get(TYPE) ?? []
  const source = await requireVisibleSnapshot(context, input.SourceSnapshotId)
  const layer = source.layer_id === null ? undefined : await layerOf(db, source.layer_id)
  if (source.state !== 'completed' || !layer) {
    throw new ApiError('IncorrectState', `Snapshot ${source.snapshot_id} is in invalid state - ${source.state}`)
  }
  const { Encrypted, KmsKeyId } = input
  const kmsKeyId = await requestedKmsKey(context, { Encrypted, KmsKeyId, snapshot: source })
  const copy = await insertCopy(context, { source, layer, kmsKeyId, description: input.Description ?? '' })
  await insertTags(db, account, TYPE, copy.snapshot_id, tags)
  return { SnapshotId: copy.snapshot_id, Tags: tags.length > 0 ? toWireTags(tags) : undefined }
}

function checkInput(input: CopySnapshotRequest): void {
  if (!input.SourceRegion) throw missingParameter('sourceRegion')
  refuseParameters(input, ['DestinationOutpostArn', 'DestinationAvailabilityZone'])
  if (input.CompletionDurationMinutes !== undefined) throw unsupportedParameter('CompletionDurationMinutes')
  checkDescription(input.Description)
}

/** What a copy is made of, and how it is to be protected: under a key, or not at all. */
export interface SnapshotCopy {
  source: SnapshotTable
  /** Of the source; immutable. */
  layer: LayerTable
  kmsKeyId: string | null
  description: string
}

/** Writes a copy: of the same layer where that is under the same key, else of a new one that is to be filled. */
export async function insertCopy(
  context: Pick<Context, 'db' | 'account' | 'nowMs' | 'random'>,
  { source, layer, kmsKeyId, description }: SnapshotCopy,
): Promise<SnapshotTable> {
  const { db, account, nowMs, random } = context
  const isSame = (layerDoc(layer).kmsKeyId ?? null) === kmsKeyId
  const target = isSame ? layer : await insertLayerCopy(context, layer, { account, kmsKeyId })
  return insertSnapshot(db, {
    snapshot_id: newId(random, 'snap'), account_id: account, size_gib: source.size_gib, volume_id: null,
    encrypted: kmsKeyId === null ? 0 : 1, created_ms: nowMs,
  }, target, { isCopy: true, ...(description ? { description } : {}), ...(kmsKeyId === null ? {} : { kmsKeyId }) })
}
