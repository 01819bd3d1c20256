import type { DescribeImagesRequest, DescribeImagesResult, Image } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { PROVIDER_ACCOUNT } from '../model/account.ts'
import { imageToWire } from '../model/image-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { fromWireTags, tagsOf, toWireTags } from './tags.ts'

/**
 * DescribeImages: the account's own images and the public ones, oldest first. IncludeDeprecated and
 * IncludeDisabled widen the answer by images of which there are none here.
 */
export async function describeImages(context: Context, input: DescribeImagesRequest): Promise<DescribeImagesResult> {
  refuseIdsWithMaxResults(input.ImageIds, input.MaxResults, 'imageIdsSet')
  const matches = compileFilters(input.Filters, FIELDS, (item: Image) => fromWireTags(item.Tags))
  const isOwned = ownerPredicate(context.account, input.Owners ?? [])
  const isExecutable = executablePredicate(input.ExecutableUsers ?? [])
  const rows = (await selectRows(context, input)).filter((row) => isOwned(row) && isExecutable(row))
  const tags = await tagsOf(context.db, rows.map((row) => row.image_id), context.account)
  const images = rows.map((row) => imageToWire(row, toWireTags(tags.get(row.image_id))))
  const { page, nextToken } = paginate(images.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeImages',
    keyOf: (each) => timeKey(Date.parse(each.CreationDate ?? ''), each.ImageId ?? ''),
  })
  return { Images: page, NextToken: nextToken }
}

async function selectRows({ db, account }: Context, input: DescribeImagesRequest): Promise<ImageTable[]> {
  const query = db
    .selectFrom('images').selectAll()
    .where((eb) => eb.or([eb('account_id', '=', account), eb('is_public', '=', 1)]))
  const ids = input.ImageIds ?? []
  if (ids.length > 0) {
    checkIds(RESOURCE_KINDS.image, ids)
    const rows = await inBatches(ids, (batch) => query.where('image_id', 'in', batch).execute())
    requireAll(RESOURCE_KINDS.image, ids, new Set(rows.map((row) => row.image_id)))
    return rows
  }
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

/**
 * `all` is whoever may launch a public image. Images cannot be shared with one account, so that
 * neither `self` (an explicit permission) nor an account finds any.
 */
function executablePredicate(users: readonly string[]): (row: ImageTable) => boolean {
  if (users.length === 0) return () => true
  for (const user of users) if (user !== 'all' && user !== 'self') accountId(user)
  return (row) => users.includes('all') && row.is_public === 1
}

function accountId(text: string): string {
  if (!/^\d{12}$/.test(text)) throw new ApiError('InvalidUserID.Malformed', `Invalid user id: "${text}"`)
  return text
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
  'sriov-net-support': (each) => each.SriovNetSupport,
  state: (each) => each.State,
  'virtualization-type': (each) => each.VirtualizationType,
  ...withoutValue(
    'free-tier-eligible', 'image-allowed', 'kernel-id', 'platform', 'product-code', 'product-code.type', 'ramdisk-id',
    'source-image-id', 'source-image-region', 'source-instance-id', 'state-reason-code', 'state-reason-message',
  ),
}
