import type { SnapshotTable, VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { emitEvent, isoSecond, regionOf, regionOfZone } from './cloud-event.ts'
import { ec2Arn } from './arn.ts'

// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-cloud-watch-events.html

/** What becomes of a volume, and how that ends. */
type VolumeOutcome =
  | { event: 'createVolume'; result: 'available' | 'failed' }
  | { event: 'deleteVolume'; result: 'deleted' }
  | { event: 'attachVolume'; result: 'attached' }
  | { event: 'modifyVolume'; result: 'optimizing' | 'completed' }

/** EBS Volume Notification; `requestId` is of the call that asked for it, "" where none did. */
export async function emitVolumeEvent(
  db: Db,
  row: Pick<VolumeTable, 'volume_id' | 'account_id' | 'zone'>,
  outcome: VolumeOutcome & { cause?: string; requestId: string | undefined },
  nowMs: number,
): Promise<void> {
  const { event, result, cause = '', requestId = '' } = outcome
  await emitEvent(db, {
    accountId: row.account_id, detailType: 'EBS Volume Notification',
    resources: [ec2Arn(regionOfZone(row.zone), row.account_id, 'volume', row.volume_id)],
    detail: { result, cause, event, 'request-id': requestId },
  }, nowMs)
}

/** Events of snapshots name them, and volumes, in a form of their own: arn:aws:ec2::us-east-1:snapshot/snap-… */
function snapshotEventArn(region: string, type: 'snapshot' | 'volume', id: string): string {
  return `arn:aws:ec2::${region}:${type}/${id}`
}

type SnapshotRow = Pick<SnapshotTable, 'snapshot_id' | 'account_id' | 'volume_id' | 'created_ms'>

/** A snapshot that is complete, or in error; `copyOf` names the source of a copy. */
export async function emitSnapshotEnded(
  db: Db,
  row: SnapshotRow,
  { cause, copyOf, isIncremental }: { cause: string | null; copyOf: { region: string | null; snapshotId: string } | null; isIncremental: boolean },
  nowMs: number,
): Promise<void> {
  const region = await regionOf(db)
  const arn = snapshotEventArn(region, 'snapshot', row.snapshot_id)
  const source = copyOf
    ? snapshotEventArn(copyOf.region ?? region, 'snapshot', copyOf.snapshotId)
    : row.volume_id === null ? '' : snapshotEventArn(region, 'volume', row.volume_id)
  await emitEvent(db, {
    accountId: row.account_id, detailType: 'EBS Snapshot Notification', resources: [arn],
    detail: {
      event: copyOf ? 'copySnapshot' : 'createSnapshot', result: cause === null ? 'succeeded' : 'failed', cause: cause ?? '', 'request-id': '',
      snapshot_id: arn, source, startTime: isoSecond(row.created_ms), endTime: isoSecond(nowMs),
      ...(copyOf && cause === null ? { incremental: String(isIncremental), transferType: 'standard' } : {}),
    },
  }, nowMs)
}

/** All snapshots of one CreateSnapshots have ended. */
export async function emitSnapshotSetEnded(
  db: Db,
  rows: readonly (SnapshotRow & Pick<SnapshotTable, 'state'>)[],
  nowMs: number,
): Promise<void> {
  const [first] = rows
  if (!first) return
  const region = await regionOf(db)
  const arnOf = (row: SnapshotRow) => snapshotEventArn(region, 'snapshot', row.snapshot_id)
  const broken = rows.find((row) => row.state === 'error')
  await emitEvent(db, {
    accountId: first.account_id, detailType: 'EBS Multi-Volume Snapshots Completion Status', resources: rows.map(arnOf),
    detail: {
      event: 'createSnapshots', result: broken ? 'failed' : 'succeeded',
      cause: broken ? `Snapshot ${broken.snapshot_id} is in status error` : '', 'request-id': '',
      startTime: isoSecond(first.created_ms), endTime: isoSecond(nowMs),
      snapshots: rows.map((row) => ({
        snapshot_id: arnOf(row), source: snapshotEventArn(region, 'volume', row.volume_id ?? ''), status: row.state,
      })),
    },
  }, nowMs)
}

/** Another account shares a private snapshot with `accountId`, which is told. */
export async function emitSnapshotShared(db: Db, row: SnapshotRow, accountId: string, nowMs: number): Promise<void> {
  const arn = snapshotEventArn(await regionOf(db), 'snapshot', row.snapshot_id)
  await emitEvent(db, {
    accountId, detailType: 'EBS Snapshot Notification', resources: [arn],
    detail: {
      event: 'shareSnapshot', result: 'succeeded', cause: '', 'request-id': '', snapshot_id: arn, source: row.account_id,
      startTime: isoSecond(nowMs), endTime: isoSecond(nowMs),
    },
  }, nowMs)
}
