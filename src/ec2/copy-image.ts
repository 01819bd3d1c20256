import type { CopyImageRequest, CopyImageResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { PROVIDER_ACCOUNT } from '../model/account.ts'
import { ARCHITECTURES, imageDoc, mappingsOf, type ImageMapping } from '../model/image.ts'
import { requestedKmsKey } from '../model/kms-key.ts'
import { layerOf } from '../model/layer.ts'
import { isSnapshotVisible } from '../model/visible.ts'
import type { ImageTable, SnapshotTable } from '../store/schema.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { insertCopy } from './copy-snapshot.ts'
import { checkImageName, checkUsable, requireVisibleImage } from './image-rows.ts'
import { insertImage } from './new-image.ts'
import { invalidValue, missingParameter, refuseParameters } from './parameters.ts'
import { checkDescription } from './snapshot-rows.ts'
import { checkTags, insertTags, parseTagSpecifications, tagsOf, toWireTags, type TagInput } from './tags.ts'

/** Tags of an image's owner that go with a copy of another account. */
const SHARED_TAG = 'ec2:SharedTag/'

/**
 * CopyImage: of an own, shared or public image into an own one, with copies of its snapshots. Those that are to be
 * protected as their source is share its data and are complete at once; others are filled in the background.
 *
 * @throws ApiError InvalidAMIID.NotFound and .Unavailable, InvalidRequest for an image whose snapshots are not shared
 * with the account, InvalidAMIName.Malformed and .Duplicate, IdempotentParameterMismatch, what `requestedKmsKey` throws.
 */
export async function copyImage(context: Context, input: CopyImageRequest): Promise<CopyImageResult> {
  checkInput(context, input)
  const given = parseTagSpecifications(input.TagSpecifications, ['image', 'snapshot'])
  const imageId = newId(context.random, 'ami')
  const earlier = await claimToken(context, 'CopyImage', input, imageId)
  if (earlier) return { ImageId: earlier }
  const source = await requireVisibleImage(context, input.SourceImageId)
  checkUsable(source)
  const name = await checkImageName(context, input.Name)
  const tags = await joinTags(context, source, input.CopyImageTags === true, given.get('image') ?? [])
  const { mappings, isComplete } = await copyMappings(context, source, { imageId, input, tags: given.get('snapshot') ?? [] })
  const { deprecationMs: _d, deregistrationProtection: _p, stateReason: _s, sourceInstanceId: _i, ...doc } = imageDoc(source)
  await insertImage(context, {
    imageId, name, architecture: ARCHITECTURES.find((each) => each === source.architecture) ?? 'x86_64',
    rootDeviceName: source.root_device_name, mappings, isComplete, tags,
    doc: {
      ...doc, recipe: null, description: input.Description ?? doc.description, sourceImageId: source.image_id,
      sourceImageRegion: context.region,
    },
  })
  return { ImageId: imageId }
}

function checkInput({ region }: Context, input: CopyImageRequest): void {
  refuseParameters(input, [
    'DestinationOutpostArn', 'DestinationAvailabilityZone', 'DestinationAvailabilityZoneId',
    'SnapshotCopyCompletionDurationMinutes',
  ])
  if (!input.SourceImageId) throw missingParameter('SourceImageId')
  if (!input.SourceRegion) throw missingParameter('SourceRegion')
  if (input.SourceRegion !== region) {
    throw invalidValue('sourceRegion', input.SourceRegion, `The only region of this cloud is ${region}.`)
  }
  checkDescription(input.Description)
}

/** The tags of the copy: those of the call before those of the source, if they are to be copied. */
async function joinTags(
  { db, account }: Context,
  source: ImageTable,
  copiesTags: boolean,
  given: readonly TagInput[],
): Promise<TagInput[]> {
  if (!copiesTags) return [...given]
  const tagsBy = async (by: string) => (await tagsOf(db, [source.image_id], by)).get(source.image_id) ?? []
  const shared = (await tagsBy(source.account_id)).filter(({ key }) => key.startsWith(SHARED_TAG))
  const copied = new Map([...shared, ...(await tagsBy(account)), ...given].map((tag) => [tag.key, tag]))
  return checkTags(toWireTags([...copied.values()].filter(({ key }) => !/^aws:/i.test(key))))
}

/** Copies each snapshot once, however many devices begin as it. */
async function copyMappings(
  context: Context,
  source: ImageTable,
  { imageId, input, tags }: { imageId: string; input: CopyImageRequest; tags: readonly TagInput[] },
): Promise<{ mappings: ImageMapping[]; isComplete: boolean }> {
  const { db, account } = context
  const copies = new Map<string, SnapshotTable>()
  const mappings: ImageMapping[] = []
  for (const { kmsKeyId: _, ...mapping } of mappingsOf(source)) {
    if (mapping.snapshotId === null) {
      mappings.push({ ...mapping, ...(await emptyDevice(context, mapping, input)) })
      continue
    }
    let copy = copies.get(mapping.snapshotId)
    if (!copy) {
      copy = await copyOf(context, source, { imageId, snapshotId: mapping.snapshotId, input })
      copies.set(mapping.snapshotId, copy)
      await insertTags(db, account, 'snapshot', copy.snapshot_id, tags)
    }
    mappings.push({ ...mapping, snapshotId: copy.snapshot_id, encrypted: copy.encrypted === 1 })
  }
  return { mappings, isComplete: [...copies.values()].every((copy) => copy.state === 'completed') }
}

/** A device that begins empty has nothing to copy; the copy's volumes are encrypted where the call says so. */
async function emptyDevice(
  context: Context,
  { encrypted }: ImageMapping,
  { Encrypted, KmsKeyId }: CopyImageRequest,
): Promise<Pick<ImageMapping, 'encrypted' | 'kmsKeyId'>> {
  // Without a key of its own, a launch takes what is the account's default then.
  const kmsKeyId = Encrypted && KmsKeyId ? await requestedKmsKey(context, { Encrypted, KmsKeyId }) : null
  return { encrypted: encrypted || Encrypted === true, ...(kmsKeyId === null ? {} : { kmsKeyId }) }
}

/** What an encrypted source is copied to stays encrypted, whatever the call says of plain ones. */
async function copyOf(
  context: Context,
  source: ImageTable,
  { imageId, snapshotId, input }: { imageId: string; snapshotId: string; input: CopyImageRequest },
): Promise<SnapshotTable> {
  const snapshot = await requireStorage(context, source, snapshotId)
  const layer = snapshot.layer_id === null ? undefined : await layerOf(context.db, snapshot.layer_id)
  if (!layer) throw new Error(`${snapshotId} has no layer`)
  const kmsKeyId = await requestedKmsKey(context, { Encrypted: input.Encrypted || undefined, KmsKeyId: input.KmsKeyId, snapshot })
  return insertCopy(context, {
    source: snapshot, layer, kmsKeyId,
    description: `Copied for DestinationAmi ${imageId} from SourceAmi ${source.image_id} for SourceSnapshot ${snapshotId}.`,
  })
}

/** Whoever may launch an image may not read its snapshots for that alone; those of Hearth's own images all may. */
async function requireStorage({ db, account }: Context, source: ImageTable, snapshotId: string): Promise<SnapshotTable> {
  let query = db.selectFrom('snapshots').selectAll().where('snapshot_id', '=', snapshotId)
  if (source.account_id !== PROVIDER_ACCOUNT) query = query.where(isSnapshotVisible(account))
  const row = await query.executeTakeFirst()
  if (!row) throw new ApiError('InvalidRequest', 'You do not have permission to access the storage of this ami')
  return row
}
