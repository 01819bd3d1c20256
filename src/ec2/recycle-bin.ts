import type {
  ImageRecycleBinInfo, ListImagesInRecycleBinRequest, ListImagesInRecycleBinResult, ListSnapshotsInRecycleBinRequest,
  ListSnapshotsInRecycleBinResult, ListVolumesInRecycleBinRequest, ListVolumesInRecycleBinResult, SnapshotRecycleBinInfo,
  VolumeRecycleBinInfo, VolumeType,
} from '@aws-sdk/client-ec2'
import { imageDoc } from '../model/image.ts'
import { snapshotDoc } from '../model/snapshot.ts'
import { volumeDoc } from '../model/volume.ts'
import { zoneIdOf } from '../model/zone.ts'
import type { ImageTable, SnapshotTable, VolumeTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS, type ResourceKind } from './resources.ts'

// What is in the recycle bin is seen by these operations only, and by those that restore it; its tags can
// be seen and changed as ever. https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-considerations.html

/** The limits of MaxResults differ from operation to operation. */
interface Listing {
  operation: string
  min: number
  max?: number
}

/**
 * ListImagesInRecycleBin: the account's own, oldest in the bin first.
 *
 * @throws ApiError InvalidAMIID.NotFound for an id that is not in the bin.
 */
export async function listImagesInRecycleBin(
  { db, account }: Context,
  input: ListImagesInRecycleBinRequest,
): Promise<ListImagesInRecycleBinResult> {
  const rows = await db
    .selectFrom('images').selectAll().where('account_id', '=', account).where('binned_ms', 'is not', null).execute()
  const listing = { operation: 'ListImagesInRecycleBin', min: 1 }
  const { page, nextToken } = binPage(RESOURCE_KINDS.image, rows, (row) => row.image_id, { ...input, ids: input.ImageIds }, listing)
  return { Images: page.map(imageInfo), NextToken: nextToken }
}

/** ListSnapshotsInRecycleBin: the account's own, oldest in the bin first. */
export async function listSnapshotsInRecycleBin(
  { db, account }: Context,
  input: ListSnapshotsInRecycleBinRequest,
): Promise<ListSnapshotsInRecycleBinResult> {
  const rows = await db
    .selectFrom('snapshots').selectAll().where('account_id', '=', account).where('binned_ms', 'is not', null).execute()
  const listing = { operation: 'ListSnapshotsInRecycleBin', min: 5 }
  const { page, nextToken } = binPage(
    RESOURCE_KINDS.snapshot, rows, (row) => row.snapshot_id, { ...input, ids: input.SnapshotIds }, listing)
  return { Snapshots: page.map(snapshotInfo), NextToken: nextToken }
}

/** ListVolumesInRecycleBin: the account's own, oldest in the bin first. */
export async function listVolumesInRecycleBin(
  { db, account }: Context,
  input: ListVolumesInRecycleBinRequest,
): Promise<ListVolumesInRecycleBinResult> {
  const rows = await db
    .selectFrom('volumes').selectAll()
    .where('account_id', '=', account).where('binned_ms', 'is not', null).where('state', '<>', 'deleting').execute()
  const listing = { operation: 'ListVolumesInRecycleBin', min: 5, max: 500 }
  const { page, nextToken } = binPage(RESOURCE_KINDS.volume, rows, (row) => row.volume_id, { ...input, ids: input.VolumeIds }, listing)
  return { Volumes: page.map(volumeInfo), NextToken: nextToken }
}

/** The tags that EC2 gives to whatever is in the bin, and takes away when it is restored. Nobody else can. */
export async function recycleBinTags(
  { db, account }: Pick<Context, 'db' | 'account'>,
): Promise<{ resource_type: string; resource_id: string; key: string; value: string }[]> {
  const { image, snapshot, volume } = RESOURCE_KINDS
  const ids = await db
    .selectFrom('images').select('image_id as id').where('account_id', '=', account).where('binned_ms', 'is not', null)
    .unionAll(db.selectFrom('snapshots').select('snapshot_id as id').where('account_id', '=', account).where('binned_ms', 'is not', null))
    .unionAll(db.selectFrom('volumes').select('volume_id as id').where('account_id', '=', account).where('binned_ms', 'is not', null)
      .where('state', '<>', 'deleting'))
    .execute()
  return ids.map(({ id }) => {
    const kind = [image, snapshot, volume].find((each) => id.startsWith(`${each.prefix}-`)) ?? volume
    return { resource_type: kind.type, resource_id: id, key: 'aws:recycle-bin:resource-in-bin', value: 'true' }
  })
}

interface BinRequest {
  ids?: string[] | undefined
  MaxResults?: number | undefined
  NextToken?: string | undefined
}

function binPage<Row extends BinnedRow>(
  kind: ResourceKind,
  rows: readonly Row[],
  idOf: (row: Row) => string,
  { ids = [], MaxResults, NextToken }: BinRequest,
  listing: Listing,
): { page: Row[]; nextToken: string | undefined } {
  checkIds(kind, ids)
  requireAll(kind, ids, new Set(rows.map(idOf)))
  const wanted = ids.length === 0 ? rows : rows.filter((row) => ids.includes(idOf(row)))
  return paginate(wanted, {
    ...listing, maxResults: MaxResults, nextToken: NextToken, keyOf: (row) => timeKey(row.binned_ms ?? 0, idOf(row)),
  })
}

type BinnedRow = Pick<ImageTable, 'binned_ms' | 'bin_exit_ms'>

function times(row: BinnedRow): { RecycleBinEnterTime: Date; RecycleBinExitTime: Date } {
  return { RecycleBinEnterTime: new Date(row.binned_ms ?? 0), RecycleBinExitTime: new Date(row.bin_exit_ms ?? 0) }
}

function imageInfo(row: ImageTable): ImageRecycleBinInfo {
  return { ImageId: row.image_id, Name: row.name, Description: imageDoc(row).description, ...times(row) }
}

function snapshotInfo(row: SnapshotTable): SnapshotRecycleBinInfo {
  return {
    SnapshotId: row.snapshot_id, Description: snapshotDoc(row).description ?? '', VolumeId: row.volume_id ?? NO_VOLUME, ...times(row),
  }
}

/** What EC2 says of a snapshot that was not made of a volume. */
export const NO_VOLUME = 'vol-ffffffff'

function volumeInfo(row: VolumeTable): VolumeRecycleBinInfo {
  const doc = volumeDoc(row)
  return {
    VolumeId: row.volume_id, VolumeType: row.volume_type as VolumeType, State: row.state, Size: row.size_gib,
    Iops: doc.iops ?? undefined, Throughput: doc.throughputMibps ?? undefined, AvailabilityZone: row.zone,
    AvailabilityZoneId: zoneIdOf(row.zone), SnapshotId: row.snapshot_id ?? '', Operator: { Managed: false },
    CreateTime: new Date(row.created_ms), ...times(row),
  }
}
