import type {
  DescribeInstanceImageMetadataRequest, DescribeInstanceImageMetadataResult, ImageMetadata, InstanceImageMetadata,
  _InstanceType,
} from '@aws-sdk/client-ec2'
import { imageDoc } from '../model/image.ts'
import { ownerAlias } from '../model/image-wire.ts'
import { STATE_CODES } from '../model/instance.ts'
import { isImageVisible } from '../model/visible.ts'
import { zoneIdOf } from '../model/zone.ts'
import { inBatches } from '../store/batch.ts'
import type { ImageTable, InstanceTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { requireInstances } from './instance-rows.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'
import { fromWireTags, tagsOf, toWireTags } from './tags.ts'

/**
 * DescribeInstanceImageMetadata: the account's instances, each with what it may know of the image that it was launched
 * from; no more than the id of one that is gone, or was shared once.
 */
export async function describeInstanceImageMetadata(
  context: Context,
  input: DescribeInstanceImageMetadataRequest,
): Promise<DescribeInstanceImageMetadataResult> {
  refuseIdsWithMaxResults(input.InstanceIds, input.MaxResults, 'instancesSet')
  const matches = compileFilters(input.Filters, FIELDS, ({ wire }: Item) => fromWireTags(wire.Tags))
  const items = (await loadItems(context, await selectRows(context, input))).filter(matches)
  const { page, nextToken } = paginate(items, {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, operation: 'DescribeInstanceImageMetadata',
    keyOf: ({ row }) => timeKey(row.created_ms, row.instance_id),
  })
  return { InstanceImageMetadata: page.map(({ wire }) => wire), NextToken: nextToken }
}

interface Item {
  row: InstanceTable
  wire: InstanceImageMetadata
}

async function selectRows(context: Context, input: DescribeInstanceImageMetadataRequest): Promise<InstanceTable[]> {
  if (input.InstanceIds && input.InstanceIds.length > 0) return requireInstances(context, input.InstanceIds)
  const query = context.db.selectFrom('instances').selectAll().where('account_id', '=', context.account)
  const wanted = exactValues(input.Filters, 'instance-id')
  return (wanted ? query.where('instance_id', 'in', wanted) : query).execute()
}

async function loadItems({ db, account }: Context, rows: readonly InstanceTable[]): Promise<Item[]> {
  const tags = await tagsOf(db, rows.map((row) => row.instance_id))
  const images = await inBatches(new Set(rows.map((row) => row.image_id)), (batch) =>
    db.selectFrom('images').selectAll().where('image_id', 'in', batch).where(isImageVisible(account)).execute())
  const imagesById = new Map(images.map((image) => [image.image_id, image]))
  return rows.map((row) => ({
    row,
    wire: {
      AvailabilityZone: row.zone,
      ImageMetadata: { ImageId: row.image_id, ...metadataOf(imagesById.get(row.image_id)) },
      InstanceId: row.instance_id,
      InstanceType: row.instance_type as _InstanceType,
      LaunchTime: new Date(row.launch_ms),
      Operator: { Managed: false },
      OwnerId: row.account_id,
      State: { Code: STATE_CODES[row.state], Name: row.state },
      Tags: toWireTags(tags.get(row.instance_id)),
      ZoneId: zoneIdOf(row.zone),
    },
  }))
}

function metadataOf(image: ImageTable | undefined): ImageMetadata {
  if (!image) return {}
  const { deprecationMs } = imageDoc(image)
  return {
    CreationDate: new Date(image.created_ms).toISOString(),
    DeprecationTime: deprecationMs === undefined ? undefined : new Date(deprecationMs).toISOString(),
    ImageOwnerAlias: ownerAlias(image.account_id),
    IsPublic: image.is_public === 1,
    Name: image.name,
    OwnerId: image.account_id,
    State: image.state,
  }
}

const FIELDS: FilterFields<Item> = {
  'availability-zone': ({ wire }) => wire.AvailabilityZone,
  'instance-id': ({ wire }) => wire.InstanceId,
  'instance-state-name': ({ wire }) => wire.State?.Name,
  'instance-type': ({ wire }) => wire.InstanceType,
  'launch-time': ({ wire }) => text(wire.LaunchTime),
  'owner-alias': ({ wire }) => wire.ImageMetadata?.ImageOwnerAlias,
  'owner-id': ({ wire }) => wire.ImageMetadata?.OwnerId,
  'zone-id': ({ wire }) => wire.ZoneId,
  ...withoutValue('image-allowed'),
}
