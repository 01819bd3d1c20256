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
import { checkSourceRegion, insertCopy, keyOfCopy, type SnapshotSource } from './copy-snapshot.ts'
import { checkImageName, checkUsable, requireVisibleImage } from './image-rows.ts'
import { insertImage } from './new-image.ts'
import type { PrepareAmbient } from './operation.ts'
import { missingParameter, refuseParameters } from './parameters.ts'
import { checkDescription } from './snapshot-rows.ts'
import { checkTags, insertTags, parseTagSpecifications, tagsOf, toWireTags, type TagInput } from './tags.ts'

type Caller = Pick<Context, 'db' | 'account'>

/** What is copied of an image. */
interface ImageSource {
  image: ImageTable
  /** By id; those that its devices begin as. */
  snapshots: ReadonlyMap<string, SnapshotSource>
  /** Null where they are not to be copied. */
  tags: readonly TagInput[] | null
}

/** A source in another region, or why it cannot be copied. */
export type ForeignImage = ImageSource | { failure: ApiError }

/** Tags of an image's owner that go with a copy of another account. */
const SHARED_TAG = 'ec2:SharedTag/'

/** For a source in another region: what of it the account may see there. */
export async function prepareCopyImage(
  input: CopyImageRequest,
  { account, region, elsewhere }: PrepareAmbient,
): Promise<ForeignImage | undefined> {
  checkInput(input)
  if (input.SourceRegion === region) return undefined
  try {
    return await elsewhere(input.SourceRegion ?? '')?.read((db) => readSource({ db, account }, input))
  } catch (error) {
    if (error instanceof ApiError) return { failure: error }
    throw error
  }
}

/**
 * CopyImage: of an own, shared or public image into an own one in the region that is called, with copies of its snapshots.
 * Those that are to be protected as their source in the same region is share its data and are complete at once; others are
 * filled in the background.
 *
 * @throws ApiError InvalidAMIID.NotFound and .Unavailable, InvalidRequest for an image whose snapshots are not shared
 * with the account, InvalidAMIName.Malformed and .Duplicate, IdempotentParameterMismatch, what `requestedKmsKey` throws.
 */
export async function copyImage(
  context: Context,
  input: CopyImageRequest,
  foreign?: ForeignImage,
): Promise<CopyImageResult> {
  checkInput(input)
  checkSourceRegion(context, input.SourceRegion)
  const given = parseTagSpecifications(input.TagSpecifications, ['image', 'snapshot'])
  const imageId = newId(context.random, 'ami')
  const earlier = await claimToken(context, 'CopyImage', input, imageId)
  if (earlier) return { ImageId: earlier }
  // Of a call that is repeated the source may be gone by now, which is no matter.
  if (foreign && 'failure' in foreign) throw foreign.failure
  const sourceRegion = foreign ? (input.SourceRegion ?? null) : null
  const { image: source, snapshots, tags: copiedTags } = foreign ?? (await readSource(context, input))
  const name = await checkImageName(context, input.Name)
  const tags = joinTags(copiedTags, given.get('image') ?? [])
  const { mappings, isComplete } = await copyMappings(
    context, { image: source, snapshots, sourceRegion }, { imageId, input, tags: given.get('snapshot') ?? [] })
  const { deprecationMs: _d, deregistrationProtection: _p, stateReason: _s, sourceInstanceId: _i, ...doc } = imageDoc(source)
  await insertImage(context, {
    imageId, name, architecture: ARCHITECTURES.find((each) => each === source.architecture) ?? 'x86_64',
    rootDeviceName: source.root_device_name, mappings, isComplete, tags,
    doc: {
      ...doc, recipe: null, description: input.Description ?? doc.description, sourceImageId: source.image_id,
      sourceImageRegion: sourceRegion ?? context.region,
    },
  })
  return { ImageId: imageId }
}

function checkInput(input: CopyImageRequest): void {
  refuseParameters(input, [
    'DestinationOutpostArn', 'DestinationAvailabilityZone', 'DestinationAvailabilityZoneId',
    'SnapshotCopyCompletionDurationMinutes',
  ])
  if (!input.SourceImageId) throw missingParameter('SourceImageId')
  if (!input.SourceRegion) throw missingParameter('SourceRegion')
  checkDescription(input.Description)
}

async function readSource(caller: Caller, input: CopyImageRequest): Promise<ImageSource> {
  const image = await requireVisibleImage(caller, input.SourceImageId)
  checkUsable(image)
  const snapshots = new Map<string, SnapshotSource>()
  for (const { snapshotId } of mappingsOf(image)) {
    if (snapshotId === null || snapshots.has(snapshotId)) continue
    const row = await requireStorage(caller, image, snapshotId)
    const layer = row.layer_id === null ? undefined : await layerOf(caller.db, row.layer_id)
    if (!layer) throw new Error(`${snapshotId} has no layer`)
    snapshots.set(snapshotId, { row, layer })
  }
  return { image, snapshots, tags: input.CopyImageTags === true ? await tagsToCopy(caller, image) : null }
}

/** Those that its owner shares with it, and those that the account gave it. */
async function tagsToCopy({ db, account }: Caller, source: ImageTable): Promise<TagInput[]> {
  const tagsBy = async (by: string) => (await tagsOf(db, [source.image_id], by)).get(source.image_id) ?? []
  const shared = (await tagsBy(source.account_id)).filter(({ key }) => key.startsWith(SHARED_TAG))
  return [...shared, ...(await tagsBy(account))]
}

/** The tags of the copy: those of the call before those of the source, if they are to be copied. */
function joinTags(fromSource: readonly TagInput[] | null, given: readonly TagInput[]): TagInput[] {
  if (fromSource === null) return [...given]
  const copied = new Map([...fromSource, ...given].map((tag) => [tag.key, tag]))
  return checkTags(toWireTags([...copied.values()].filter(({ key }) => !/^aws:/i.test(key))))
}

/** Copies each snapshot once, however many devices begin as it. */
async function copyMappings(
  context: Context,
  { image, snapshots, sourceRegion }: Omit<ImageSource, 'tags'> & { sourceRegion: string | null },
  { imageId, input, tags }: { imageId: string; input: CopyImageRequest; tags: readonly TagInput[] },
): Promise<{ mappings: ImageMapping[]; isComplete: boolean }> {
  const { db, account } = context
  const copies = new Map<string, SnapshotTable>()
  const mappings: ImageMapping[] = []
  for (const { kmsKeyId: _, ...mapping } of mappingsOf(image)) {
    if (mapping.snapshotId === null) {
      mappings.push({ ...mapping, ...(await emptyDevice(context, mapping, input)) })
      continue
    }
    let copy = copies.get(mapping.snapshotId)
    if (!copy) {
      const source = snapshots.get(mapping.snapshotId)
      if (!source) throw new Error(`${mapping.snapshotId} was not read`)
      copy = await copyOf(context, { ...source, sourceRegion }, { input, description:
        `Copied for DestinationAmi ${imageId} from SourceAmi ${image.image_id} for SourceSnapshot ${mapping.snapshotId}.` })
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
  { row, layer, sourceRegion }: SnapshotSource & { sourceRegion: string | null },
  { input, description }: { input: CopyImageRequest; description: string },
): Promise<SnapshotTable> {
  const asked = { Encrypted: input.Encrypted || undefined, KmsKeyId: input.KmsKeyId }
  const kmsKeyId = await keyOfCopy(context, asked, row, sourceRegion)
  return insertCopy(context, { source: row, layer, kmsKeyId, sourceRegion, description })
}

/** Whoever may launch an image may not read its snapshots for that alone; those of Hearth's own images all may. */
async function requireStorage({ db, account }: Caller, source: ImageTable, snapshotId: string): Promise<SnapshotTable> {
  let query = db.selectFrom('snapshots').selectAll().where('snapshot_id', '=', snapshotId)
  if (source.account_id !== PROVIDER_ACCOUNT) query = query.where(isSnapshotVisible(account))
  const row = await query.executeTakeFirst()
  if (!row) throw new ApiError('InvalidRequest', 'You do not have permission to access the storage of this ami')
  return row
}
