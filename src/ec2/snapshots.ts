import type { DescribeSnapshotsRequest, DescribeSnapshotsResult, Snapshot } from '@aws-sdk/client-ec2'
import { sql } from 'kysely'
import { ApiError } from '../core/errors.ts'
import { PROVIDER_ACCOUNT } from '../model/account.ts'
import { layerDoc } from '../model/layer.ts'
import { NO_VOLUME, snapshotToWire } from '../model/snapshot-wire.ts'
import { isSnapshotVisible } from '../model/visible.ts'
import { inBatches } from '../store/batch.ts'
import type { LayerTable, SnapshotTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, filterText as text, type FilterFields } from './filters.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { fromWireTags, tagsOf, toWireTags } from './tags.ts'

/**
 * DescribeSnapshots: those that the account may make volumes from (its own, shared and public ones), the
 * oldest first; by OwnerIds and RestorableByUserIds fewer.
 *
 * @throws ApiError InvalidSnapshot.NotFound, InvalidUserID.Malformed, and those of filters and pages.
 */
export async function describeSnapshots(context: Context, input: DescribeSnapshotsRequest): Promise<DescribeSnapshotsResult> {
  refuseIdsWithMaxResults(input.SnapshotIds, input.MaxResults, 'snapshotSet')
  const matches = compileFilters(input.Filters, FIELDS, (item: Snapshot) => fromWireTags(item.Tags))
  const snapshots = await loadSnapshots(context, await selectRows(context, input))
  const { page, nextToken } = paginate(snapshots.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeSnapshots',
    keyOf: (each) => timeKey(each.StartTime?.getTime() ?? 0, each.SnapshotId ?? ''),
  })
  return { Snapshots: page, NextToken: nextToken }
}

/** The wire form of snapshots, in the order given, with the tags that the account gave them. */
async function loadSnapshots(
  { db, account, region }: Pick<Context, 'db' | 'account' | 'region'>,
  rows: readonly SnapshotTable[],
): Promise<Snapshot[]> {
  const tags = await tagsOf(db, rows.map((row) => row.snapshot_id), account)
  const layers = await layersOf(db, rows.filter((row) => row.state !== 'completed'))
  return rows.map((row) => {
    const layer = layers.get(row.layer_id ?? '')
    return snapshotToWire(row, { region, tags: toWireTags(tags.get(row.snapshot_id)), percent: layer ? percentOf(layer) : 0 })
  })
}

async function layersOf(db: Db, rows: readonly SnapshotTable[]): Promise<Map<string, LayerTable>> {
  const ids = rows.flatMap((row) => row.layer_id ?? [])
  const layers = await inBatches(ids, (batch) => db.selectFrom('layers').selectAll().where('layer_id', 'in', batch).execute())
  return new Map(layers.map((layer) => [layer.layer_id, layer]))
}

/** Only what is being filled takes long enough to have a progress; of what is there, the last part is on its way to the disk. */
function percentOf(layer: LayerTable): number {
  if (layer.state === 'sealing') return 99
  return layer.state === 'filling' ? Math.floor(layerDoc(layer).progress ?? 0) : 0
}

async function selectRows({ db, account }: Context, input: DescribeSnapshotsRequest): Promise<SnapshotTable[]> {
  const visible = db.selectFrom('snapshots').selectAll().where(isSnapshotVisible(account))
  let wanted = visible
  const owners = accountsOf(account, input.OwnerIds ?? [])
  if (owners) wanted = wanted.where('account_id', 'in', owners)
  const users = (input.RestorableByUserIds ?? []).map((user) => isRestorableBy(account, user))
  if (users.length > 0) wanted = wanted.where((eb) => eb.or(users))
  const ids = input.SnapshotIds ?? []
  if (ids.length > 0) {
    checkIds(RESOURCE_KINDS.snapshot, ids)
    const rows = await inBatches(ids, (batch) => visible.where('snapshot_id', 'in', batch).execute())
    requireAll(RESOURCE_KINDS.snapshot, ids, new Set(rows.map((row) => row.snapshot_id)))
    return wanted === visible ? rows : inBatches(ids, (batch) => wanted.where('snapshot_id', 'in', batch).execute())
  }
  for (const [name, column] of COLUMNS) {
    const values = exactValues(input.Filters, name)
    if (values && !values.includes(NO_VOLUME)) wanted = wanted.where(column, 'in', values)
  }
  return wanted.execute()
}

/** Owners are accounts, `self`, or the alias `amazon` of who Hearth's own images belong to; undefined without any. */
function accountsOf(account: string, owners: readonly string[]): string[] | undefined {
  if (owners.length === 0) return undefined
  return owners.map((owner) => (owner === 'self' ? account : owner === 'amazon' ? PROVIDER_ACCOUNT : accountId(owner)))
}

/**
 * As a condition: `all` means public snapshots, `self` those that the caller owns or was given, and an account
 * those of the caller that this account was given.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html
 */
function isRestorableBy(account: string, user: string) {
  if (user === 'all') return sql<boolean>`snapshots.is_public = 1`
  const isGiven = (to: string) => sql<boolean>`exists (select 1 from snapshot_permissions
    where snapshot_permissions.snapshot_id = snapshots.snapshot_id and snapshot_permissions.account_id = ${to})`
  if (user === 'self' || user === account) return sql<boolean>`(snapshots.account_id = ${account} or ${isGiven(account)})`
  return sql<boolean>`(snapshots.account_id = ${account} and ${isGiven(accountId(user))})`
}

/** @throws ApiError InvalidUserID.Malformed. */
export function accountId(user: string): string {
  if (!/^\d{12}$/.test(user)) throw new ApiError('InvalidUserID.Malformed', `Invalid user id: "${user}"`)
  return user
}

/** Filters that are columns. */
const COLUMNS = [
  ['snapshot-id', 'snapshot_id'],
  ['volume-id', 'volume_id'],
  ['owner-id', 'account_id'],
] as const

const FIELDS: FilterFields<Snapshot> = {
  description: (each) => each.Description,
  encrypted: (each) => text(each.Encrypted),
  'owner-alias': (each) => each.OwnerAlias,
  'owner-id': (each) => each.OwnerId,
  progress: (each) => each.Progress,
  'snapshot-id': (each) => each.SnapshotId,
  'start-time': (each) => text(each.StartTime),
  status: (each) => each.State,
  'storage-tier': (each) => each.StorageTier,
  'transfer-type': (each) => each.TransferType,
  'volume-id': (each) => each.VolumeId,
  'volume-size': (each) => text(each.VolumeSize),
}
