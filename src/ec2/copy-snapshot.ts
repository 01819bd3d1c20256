import type { CopySnapshotRequest, CopySnapshotResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { requestedKmsKey, type EncryptionRequest } from '../model/kms-key.ts'
import { insertLayer, insertLayerCopy, layerDoc, layerOf } from '../model/layer.ts'
import { insertSnapshot } from '../model/snapshot.ts'
import type { LayerTable, SnapshotTable } from '../store/schema.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import type { PrepareAmbient } from './operation.ts'
import { invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { pickNode } from './pick-host.ts'
import { RESOURCE_KINDS } from './resources.ts'
import { checkCopyLimit } from './snapshot-limits.ts'
import { checkDescription, requireVisibleSnapshot } from './snapshot-rows.ts'
import { insertTags, parseTagSpecifications, toWireTags } from './tags.ts'

const TYPE = RESOURCE_KINDS.snapshot.type

/** A snapshot that is to be copied, and the layer with its data. */
export interface SnapshotSource {
  row: SnapshotTable
  /** Immutable. */
  layer: LayerTable
}

/**
 * For a source in another region: its rows, as the account may see them there.
 *
 * @throws ApiError what `copySnapshot` throws.
 */
export async function prepareCopySnapshot(
  input: CopySnapshotRequest,
  { account, region, elsewhere }: PrepareAmbient,
): Promise<SnapshotSource | undefined> {
  checkInput(input)
  const { SourceRegion = '' } = input
  return SourceRegion === region ? undefined : elsewhere(SourceRegion)?.read((db) => readSource({ db, account }, input))
}

/**
 * CopySnapshot: of an own, shared or public one, into an own one in the region that is called. Where it is to be protected
 * as its source in the same region is, both have the same data from then on, and it is complete at once; else it
 * is filled in the background.
 *
 * DestinationRegion and PresignedUrl, which SDKs add by themselves, are for a source in another region:
 * the first must be this one, and the second vouches for nothing that the call's own signature does not.
 *
 * @throws ApiError InvalidSnapshot.NotFound; IncorrectState for a source that is not complete; ResourceLimitExceeded; those of `requestedKmsKey`.
 */
export async function copySnapshot(
  context: Context,
  input: CopySnapshotRequest,
  foreign?: SnapshotSource,
): Promise<CopySnapshotResult> {
  const { db, account, region } = context
  checkInput(input)
  if (input.DestinationRegion && !isThisRegion(context, input.DestinationRegion)) {
    throw invalidValue('destinationRegion', input.DestinationRegion, `The call was sent to ${region}, to which it copies.`)
  }
  checkSourceRegion(context, input.SourceRegion)
  const tags = parseTagSpecifications(input.TagSpecifications, [TYPE]).get(TYPE) ?? []
  const { row: source, layer } = foreign ?? (await readSource(context, input))
  await checkCopyLimit(context)
  const sourceRegion = foreign ? (input.SourceRegion ?? null) : null
  const kmsKeyId = await keyOfCopy(context, { Encrypted: input.Encrypted, KmsKeyId: input.KmsKeyId }, source, sourceRegion)
  const copy = await insertCopy(context, { source, layer, kmsKeyId, description: input.Description ?? '', sourceRegion })
  await insertTags(db, account, TYPE, copy.snapshot_id, tags)
  return { SnapshotId: copy.snapshot_id, Tags: tags.length > 0 ? toWireTags(tags) : undefined }
}

async function readSource(caller: Pick<Context, 'db' | 'account'>, input: CopySnapshotRequest): Promise<SnapshotSource> {
  const row = await requireVisibleSnapshot(caller, input.SourceSnapshotId)
  const layer = row.layer_id === null ? undefined : await layerOf(caller.db, row.layer_id)
  if (row.state === 'completed' && layer) return { row, layer }
  throw new ApiError('IncorrectState', `Snapshot ${row.snapshot_id} is in invalid state - ${row.state}`)
}

/** By its name, or by the one that the caller takes for it. */
function isThisRegion({ region, calledAs }: Context, asked: string): boolean {
  return asked === region || asked === calledAs
}

/** @throws ApiError InvalidParameterValue for a region that this cloud does not have. */
export function checkSourceRegion(context: Context, asked: string | undefined): void {
  const { region, regions } = context
  if (asked === undefined || regions.includes(asked) || isThisRegion(context, asked)) return
  const hint = regions.length === 1
    ? `The only region of this cloud is ${region}.`
    : `This cloud has ${regions.join(', ')}; hearth up --more-regions adds others.`
  throw invalidValue('sourceRegion', asked, hint)
}

/** The id of the key that a copy is to be encrypted under; null for a plain one. Keys do not leave their region. */
export function keyOfCopy(
  context: Context,
  asked: Pick<EncryptionRequest, 'Encrypted' | 'KmsKeyId'>,
  source: SnapshotTable,
  sourceRegion: string | null,
): Promise<string | null> {
  return requestedKmsKey(context, { ...asked, snapshot: sourceRegion === null ? source : { ...source, doc: '{}' } })
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
  /** Null for the region of the copy. */
  sourceRegion: string | null
}

/**
 * Writes a copy: of the same layer where that is in this region and under the same key, else of a new one that is to be
 * filled.
 */
export async function insertCopy(context: Context, copy: SnapshotCopy): Promise<SnapshotTable> {
  const { db, account, nowMs, random } = context
  const { source, layer, kmsKeyId, description, sourceRegion } = copy
  const isSame = (layerDoc(layer).kmsKeyId ?? null) === kmsKeyId
  const target = sourceRegion !== null
    ? await insertForeignCopy(context, copy, sourceRegion)
    : isSame ? layer : await insertLayerCopy(context, layer, { account, kmsKeyId })
  return insertSnapshot(db, {
    snapshot_id: newId(random, 'snap'), account_id: account, size_gib: source.size_gib, volume_id: null,
    encrypted: kmsKeyId === null ? 0 : 1, created_ms: nowMs,
  }, target, {
    isCopy: true, copyOf: { snapshotId: source.snapshot_id, region: sourceRegion, isIncremental: target === layer },
    ...(description ? { description } : {}), ...(kmsKeyId === null ? {} : { kmsKeyId }),
  })
}

/** A layer that is to hold what a snapshot of another region does; the agent of this region copies it. */
async function insertForeignCopy(context: Context, { source, layer, kmsKeyId }: SnapshotCopy, region: string): Promise<LayerTable> {
  const { db, account, nowMs } = context
  const hostId = await pickNode(context)
  if (hostId === undefined) throw new ApiError('InsufficientCapacity', 'No host of this region has registered yet.', 500)
  const copy = await insertLayer(context, {
    account, hostId, parent: null, state: 'filling', sizeGib: layer.size_gib,
    doc: { source: { region, snapshotId: source.snapshot_id }, ...(kmsKeyId === null ? {} : { kmsKeyId }) },
  })
  await enqueue(db, { kind: 'layer', id: copy.layer_id, hostId }, nowMs)
  return copy
}
