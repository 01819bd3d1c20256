import type { DescribeImagesRequest, DescribeImagesResult, Image } from '@aws-sdk/client-ec2'
import { sql } from 'kysely'
import { PROVIDER_ACCOUNT } from '../model/account.ts'
import { imageDoc } from '../model/image.ts'
import { imageToWire } from '../model/image-wire.ts'
import { recentlyDeregistered } from '../model/image-events.ts'
import { isImageVisible } from '../model/visible.ts'
import { inBatches } from '../store/batch.ts'
import { preparedIn } from '../store/prepared.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { accountId } from './snapshots.ts'
import { fromWireTags, tagsOf, toWireTags } from './tags.ts'

/**
 * DescribeImages: the images that the account may launch, and its own that it may not, oldest first. Those of others
 * that are deprecated, unless they are named, and disabled ones only where they are asked for.
 */
export async function describeImages(context: Context, input: DescribeImagesRequest): Promise<DescribeImagesResult> {
  refuseIdsWithMaxResults(input.ImageIds, input.MaxResults, 'imageIdsSet')
  const matches = compileFilters(input.Filters, FIELDS, (item: Image) => fromWireTags(item.Tags))
  const isOwned = ownerPredicate(context.account, input.Owners ?? [])
  const isShown = shownPredicate(context, input)
  const rows = (await selectRows(context, input)).filter((row) => isOwned(row) && isShown(row))
  const images = await loadImages(context, rows)
  const { page, nextToken } = paginate(images.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeImages',
    keyOf: (each) => timeKey(Date.parse(each.CreationDate ?? ''), each.ImageId ?? ''),
  })
  return { Images: page, NextToken: nextToken }
}

/** The wire form of images, in the order given, with the tags that the account gave them. */
async function loadImages({ db, account }: Context, rows: readonly ImageTable[]): Promise<Image[]> {
  const tags = await tagsOf(db, rows.map((row) => row.image_id), account)
  const launched = await lastLaunchesOf(db, rows.filter((row) => row.account_id === account).map((row) => row.image_id))
  return rows.map((row) =>
    imageToWire(row, { tags: toWireTags(tags.get(row.image_id)), lastLaunchedMs: launched.get(row.image_id) }))
}

const launchesOf = preparedIn((db, imageIds) =>
  db.selectFrom('instances').select(({ fn }) => ['image_id', fn.max('created_ms').as('last_ms')])
    .where('account_id', 'in', db.selectFrom('accounts').select('account_id')).where('image_id', 'in', imageIds)
    .groupBy('image_id'))

/** When the newest instance of each image was launched, by anybody, as far as instances are still remembered. */
export async function lastLaunchesOf(db: Db, imageIds: readonly string[]): Promise<Map<string, number>> {
  const rows = await launchesOf(db, imageIds)
  return new Map(rows.map((row) => [row.image_id, Number(row.last_ms)]))
}

/**
 * An image that was deregistered within the hour is answered with nothing, one that never was with an error:
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImages.html
 */
async function selectRows({ db, account, region, nowMs }: Context, input: DescribeImagesRequest): Promise<ImageTable[]> {
  let query = db.selectFrom('images').selectAll().where(isImageVisible(account))
  const ids = input.ImageIds ?? []
  if (ids.length > 0) {
    checkIds(RESOURCE_KINDS.image, ids)
    const rows = await inBatches(ids, (batch) => query.where('image_id', 'in', batch).execute())
    const found = new Set(rows.map((row) => row.image_id))
    const missing = ids.filter((id) => !found.has(id))
    const gone = missing.length > 0 ? await recentlyDeregistered(db, { accountId: account, region, nowMs }, missing) : []
    requireAll(RESOURCE_KINDS.image, ids, new Set([...found, ...gone]))
    if (!input.ExecutableUsers?.length) return rows
  }
  const users = (input.ExecutableUsers ?? []).map((user) => isExecutableBy(account, user))
  if (users.length > 0) query = query.where((eb) => eb.or(users))
  if (ids.length > 0) return inBatches(ids, (batch) => query.where('image_id', 'in', batch).execute())
  const wanted = exactValues(input.Filters, 'image-id')
  return (wanted ? query.where('image_id', 'in', wanted) : query).execute()
}

/** Owners are accounts, `self`, or the alias of an owner; `amazon` is who Hearth's own images belong to. */
function ownerPredicate(account: string, owners: readonly string[]): (row: ImageTable) => boolean {
  if (owners.length === 0) return () => true
  const accountOf = (owner: string) => (owner === 'self' ? account : (ALIASES.get(owner) ?? accountId(owner)))
  const accounts = new Set(owners.map(accountOf))
  return (row) => accounts.has(row.account_id)
}

/**
 * Aliases of owners; '' owns nothing here.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImages.html
 */
const ALIASES = new Map([
  ['amazon', PROVIDER_ACCOUNT],
  ['aws-marketplace', ''],
  ['aws-backup-vault', ''],
])

/** As a condition: `all` means public images, `self` and accounts those that were shared with them explicitly. */
function isExecutableBy(account: string, user: string) {
  if (user === 'all') return sql<boolean>`images.is_public = 1`
  const to = user === 'self' ? account : accountId(user)
  return sql<boolean>`exists (select 1 from image_permissions
    where image_permissions.image_id = images.image_id and image_permissions.account_id = ${to})`
}

function shownPredicate({ account, nowMs }: Context, input: DescribeImagesRequest): (row: ImageTable) => boolean {
  const showsDeprecated = input.IncludeDeprecated === true || (input.ImageIds ?? []).length > 0
  return (row) => {
    if (row.state === 'disabled' && input.IncludeDisabled !== true) return false
    const { deprecationMs } = imageDoc(row)
    return showsDeprecated || row.account_id === account || deprecationMs === undefined || deprecationMs > nowMs
  }
}

const FIELDS: FilterFields<Image> = {
  architecture: (each) => each.Architecture,
  'block-device-mapping.delete-on-termination': (each) =>
    each.BlockDeviceMappings?.map((mapping) => text(mapping.Ebs?.DeleteOnTermination)),
  'block-device-mapping.device-name': (each) => each.BlockDeviceMappings?.map((mapping) => mapping.DeviceName),
  'block-device-mapping.encrypted': (each) => each.BlockDeviceMappings?.map((mapping) => text(mapping.Ebs?.Encrypted)),
  'block-device-mapping.snapshot-id': (each) => each.BlockDeviceMappings?.map((mapping) => mapping.Ebs?.SnapshotId),
  'block-device-mapping.volume-size': (each) =>
    each.BlockDeviceMappings?.map((mapping) => text(mapping.Ebs?.VolumeSize)),
  'block-device-mapping.volume-type': (each) => each.BlockDeviceMappings?.map((mapping) => mapping.Ebs?.VolumeType),
  'creation-date': (each) => each.CreationDate,
  description: (each) => each.Description,
  'ena-support': (each) => text(each.EnaSupport),
  hypervisor: (each) => each.Hypervisor,
  'image-id': (each) => each.ImageId,
  'image-type': (each) => each.ImageType,
  'is-public': (each) => text(each.Public),
  'manifest-location': (each) => each.ImageLocation,
  name: (each) => each.Name,
  'owner-alias': (each) => each.ImageOwnerAlias,
  'owner-id': (each) => each.OwnerId,
  'root-device-name': (each) => each.RootDeviceName,
  'root-device-type': (each) => each.RootDeviceType,
  'source-image-id': (each) => each.SourceImageId,
  'source-image-region': (each) => each.SourceImageRegion,
  'source-instance-id': (each) => each.SourceInstanceId,
  'sriov-net-support': (each) => each.SriovNetSupport,
  state: (each) => each.State,
  'state-reason-code': (each) => each.StateReason?.Code,
  'state-reason-message': (each) => each.StateReason?.Message,
  'virtualization-type': (each) => each.VirtualizationType,
  ...withoutValue(
    'free-tier-eligible', 'image-allowed', 'kernel-id', 'platform', 'product-code', 'product-code.type', 'ramdisk-id',
  ),
}
