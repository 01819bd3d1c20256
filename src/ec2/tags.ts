import type {
  CreateTagsRequest, DeleteTagsRequest, DescribeTagsRequest, DescribeTagsResult, ResourceType, Tag, TagSpecification,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { instanceDoc } from '../model/instance.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues } from './filters.ts'
import { paginate } from './pagination.ts'
import { missingParameter } from './parameters.ts'
import { recycleBinTags } from './recycle-bin.ts'
import { existingIds, kindOfId, requireAll, RESOURCE_KINDS, type ResourceKind } from './resources.ts'

/** A tag as rows and filters have it; the wire's has capitals. */
export interface TagInput {
  key: string
  value: string
}

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions */
const MAX_TAGS = 50
const MAX_KEY_LENGTH = 128
const MAX_VALUE_LENGTH = 256
const MAX_RESOURCES = 1000
const MAX_DELETED_TAGS = 1000

/** Keys of tags that an instance's metadata can show. */
const METADATA_KEY = /^[0-9a-zA-Z\-_+=,.@:]{1,255}$/
const RESERVED_METADATA_KEYS: readonly string[] = ['.', '..', '_index']

/** Rows of one insert; each binds five variables. */
const INSERT_ROWS = 100

/**
 * The tags that a call gives to what it creates, by resource type.
 *
 * @throws ApiError InvalidParameterValue, TagLimitExceeded.
 */
export function parseTagSpecifications(
  specifications: TagSpecification[] | undefined,
  allowedTypes: readonly string[],
): Map<string, TagInput[]> {
  const byType = new Map<string, TagInput[]>()
  for (const { ResourceType: type, Tags: tags = [] } of specifications ?? []) {
    if (!type) throw new ApiError('InvalidParameterValue', 'Tag specification resource type must have a value')
    if (!allowedTypes.includes(type)) {
      throw new ApiError('InvalidParameterValue', `'${type}' is not a valid taggable resource type for this operation.`)
    }
    if (byType.has(type)) {
      throw new ApiError(
        'InvalidParameterValue',
        'The same resource type may not be specified more than once in tag specifications',
      )
    }
    if (tags.length === 0) throw new ApiError('InvalidParameterValue', 'Tag specification must have at least one tag')
    byType.set(type, checkTags(tags))
  }
  return byType
}

/**
 * Checks the tags of a call: keys, lengths, reserved prefix, duplicates and their number. A tag
 * without a value is one with the empty value.
 */
export function checkTags(tags: readonly Tag[]): TagInput[] {
  const byKey = new Map<string, TagInput>()
  for (const { Key, Value: value = '' } of tags) {
    const key = checkKey(Key)
    checkValue(value)
    if (byKey.has(key)) throw new ApiError('InvalidParameterValue', `Duplicate tag key '${key}' specified.`)
    byKey.set(key, { key, value })
  }
  if (byKey.size > MAX_TAGS) throw new ApiError('TagLimitExceeded', `More than ${MAX_TAGS} tags specified`)
  return [...byKey.values()]
}

function checkKey(key: string | undefined): string {
  if (!key) throw new ApiError('InvalidParameterValue', 'Tag key cannot be null or empty')
  if (lengthOf(key) > MAX_KEY_LENGTH) {
    throw new ApiError('InvalidParameterValue', `Tag key exceeds the maximum length of ${MAX_KEY_LENGTH} characters`)
  }
  if (!isReserved(key)) return key
  throw new ApiError(
    'InvalidParameterValue',
    `Value ( ${key} ) for parameter key is invalid. Tag keys starting with 'aws:' are reserved for internal use`,
  )
}

function checkValue(value: string): void {
  if (lengthOf(value) <= MAX_VALUE_LENGTH) return
  throw new ApiError('InvalidParameterValue', `Tag value exceeds the maximum length of ${MAX_VALUE_LENGTH} characters`)
}

/** Tags that only EC2 itself makes and removes. */
function isReserved(key: string): boolean {
  return /^aws:/i.test(key)
}

/** Characters, not UTF-16 units. */
function lengthOf(text: string): number {
  return [...text].length
}

/** Writes tags of a resource; a key that it has already gets the new value. */
export async function insertTags(
  db: Db,
  account: string,
  resourceType: string,
  resourceId: string,
  tags: readonly TagInput[],
): Promise<void> {
  for (let start = 0; start < tags.length; start += INSERT_ROWS) {
    const rows = tags.slice(start, start + INSERT_ROWS).map(({ key, value }) => ({
      account_id: account, resource_type: resourceType, resource_id: resourceId, key, value,
    }))
    await db
      .insertInto('tags')
      .values(rows)
      .onConflict((conflict) =>
        conflict
          .columns(['resource_id', 'account_id', 'key'])
          .doUpdateSet((eb) => ({ value: eb.ref('excluded.value') })),
      )
      .execute()
  }
}

/**
 * Tags of the resources, by id; ids without tags are not in the map. `account` narrows to one
 * account's tags, for what several accounts may tag: public images.
 */
export async function tagsOf(
  db: Db,
  resourceIds: Iterable<string>,
  account?: string,
): Promise<Map<string, TagInput[]>> {
  const rows = await inBatches(resourceIds, (batch) => {
    const query = db
      .selectFrom('tags').select(['resource_id', 'key', 'value'])
      .where('resource_id', 'in', batch).orderBy('resource_id').orderBy('key')
    return (account === undefined ? query : query.where('account_id', '=', account)).execute()
  })
  const byId = new Map<string, TagInput[]>()
  for (const [id, tags] of groupBy(rows, (row) => row.resource_id)) {
    byId.set(id, tags.map(({ key, value }) => ({ key, value })))
  }
  return byId
}

/** Tags as the wire has them. */
export function toWireTags(tags: readonly TagInput[] | undefined): Tag[] {
  return (tags ?? []).map(({ key, value }) => ({ Key: key, Value: value }))
}

/** Tags of something in its wire form, for its filters. */
export function fromWireTags(tags: readonly Tag[] | undefined): TagInput[] {
  return (tags ?? []).map((tag) => ({ key: tag.Key ?? '', value: tag.Value ?? '' }))
}

/** Removes all tags, of every account, of resources that are going away. */
export async function deleteTagsOf(db: Db, resourceIds: Iterable<string>): Promise<void> {
  await inBatches(resourceIds, (batch) => db.deleteFrom('tags').where('resource_id', 'in', batch).execute())
}

/** CreateTags: every tag on every resource, or nothing when one of the ids does not exist. */
export async function createTags(context: Context, input: CreateTagsRequest): Promise<Record<string, never>> {
  const { db, account } = context
  const ids = resourceIds(input.Resources)
  if (!input.Tags || input.Tags.length === 0) throw missingParameter('tagSet')
  const tags = checkTags(input.Tags)
  const kinds = await requireResources(context, ids)
  await checkMetadataKeys(context, kinds, tags)
  const present = await tagsOf(db, kinds.keys(), account)
  for (const [id, kind] of kinds) {
    const keys = new Set([...(present.get(id) ?? []), ...tags].map((tag) => tag.key).filter((key) => !isReserved(key)))
    if (keys.size > MAX_TAGS) {
      throw new ApiError('TagLimitExceeded', 'The maximum number of Tags for a resource has been reached.')
    }
    await insertTags(db, account, kind.type, id, tags)
  }
  return {}
}

/**
 * DeleteTags: of every resource those of the keys, where a value is given only when it is equal;
 * without keys all. What is not there is as good as deleted.
 */
export async function deleteTags(context: Context, input: DeleteTagsRequest): Promise<Record<string, never>> {
  const { db, account } = context
  const ids = resourceIds(input.Resources)
  const asked = input.Tags ?? []
  if (asked.length > MAX_DELETED_TAGS) {
    throw new ApiError('InvalidParameterValue', `At most ${MAX_DELETED_TAGS} tags can be deleted in one call.`)
  }
  for (const tag of asked) {
    checkKey(tag.Key)
    checkValue(tag.Value ?? '')
  }
  await requireResources(context, ids)
  const doomed = (tag: TagInput) => (asked.length === 0
    ? !isReserved(tag.key)
    : asked.some(({ Key, Value }) => Key === tag.key && (Value === undefined || Value === tag.value)))
  for (const [id, tags] of await tagsOf(db, ids, account)) {
    await inBatches(tags.filter(doomed).map((tag) => tag.key), (keys) =>
      db.deleteFrom('tags')
        .where('resource_id', '=', id).where('account_id', '=', account).where('key', 'in', keys)
        .execute())
  }
  return {}
}

/** The ids that a call names, each once; at least one and not too many. */
function resourceIds(resources: readonly string[] | undefined): string[] {
  const ids = [...new Set(resources ?? [])]
  if (ids.length === 0) throw missingParameter('resourceIdSet')
  if (ids.length <= MAX_RESOURCES) return ids
  throw new ApiError('InvalidParameterValue', `At most ${MAX_RESOURCES} resources can be tagged in one call.`)
}

/**
 * The kinds of the resources, by id.
 *
 * @throws ApiError InvalidID, or the NotFound of the kind, when one does not exist.
 */
async function requireResources(
  { db, account }: Context,
  ids: readonly string[],
): Promise<Map<string, ResourceKind>> {
  const kinds = new Map(ids.map((id) => [id, kindOrThrow(id)]))
  for (const [kind, group] of groupBy(ids, (id) => kinds.get(id))) {
    if (kind) requireAll(kind, group, await existingIds(db, account, kind, group))
  }
  return kinds
}

/** Tags that an instance's metadata shows are parts of paths there. */
async function checkMetadataKeys(
  { db }: Context,
  kinds: ReadonlyMap<string, ResourceKind>,
  tags: readonly TagInput[],
): Promise<void> {
  const ids = [...kinds].flatMap(([id, kind]) => (kind.type === RESOURCE_KINDS.instance.type ? [id] : []))
  const rows = await inBatches(ids, (batch) =>
    db.selectFrom('instances').select('doc').where('instance_id', 'in', batch).execute())
  if (rows.every((row) => instanceDoc(row).metadataOptions.instanceMetadataTags === 'disabled')) return
  const bad = tags.find(({ key }) => !METADATA_KEY.test(key) || RESERVED_METADATA_KEYS.includes(key))
  if (!bad) return
  throw new ApiError(
    'InvalidParameterValue',
    `'${bad.key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{1,255}), and must not ` +
      "be a reserved name ('.', '..', '_index')",
  )
}

function kindOrThrow(id: string): ResourceKind {
  const kind = kindOfId(id)
  if (!kind) throw new ApiError('InvalidID', `The ID '${id}' is not valid`)
  return kind
}

/** DescribeTags: the account's tags, by resource and key, and those by which EC2 marks what is in the recycle bin. */
export async function describeTags(context: Context, input: DescribeTagsRequest): Promise<DescribeTagsResult> {
  const matches = compileFilters<{ resource_type: string; resource_id: string; key: string; value: string }>(
    input.Filters,
    {
      key: (tag) => tag.key,
      'resource-id': (tag) => tag.resource_id,
      'resource-type': (tag) => tag.resource_type,
      value: (tag) => tag.value,
    },
    (tag) => [tag],
  )
  let query = context.db.selectFrom('tags').selectAll().where('account_id', '=', context.account)
  const ids = exactValues(input.Filters, 'resource-id')
  const keys = exactValues(input.Filters, 'key')
  if (ids) query = query.where('resource_id', 'in', ids)
  if (keys) query = query.where('key', 'in', keys)
  const tags = [...await query.execute(), ...await recycleBinTags(context)]
  const { page, nextToken } = paginate(tags.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    keyOf: (tag) => `${tag.resource_id}/${tag.key}`,
    operation: 'DescribeTags',
  })
  return {
    Tags: page.map((tag) => ({
      Key: tag.key, ResourceId: tag.resource_id, ResourceType: tag.resource_type as ResourceType, Value: tag.value,
    })),
    NextToken: nextToken,
  }
}
