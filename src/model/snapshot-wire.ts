import type { Snapshot, SnapshotInfo, Tag } from '@aws-sdk/client-ec2'
import type { SnapshotTable } from '../store/schema.ts'
import { PROVIDER_ACCOUNT } from './account.ts'
import { kmsKeyArn } from './kms-key.ts'
import { snapshotDoc } from './snapshot.ts'

/** What EC2 names as the volume of a snapshot that was made of none: a copy, or an import. */
export const NO_VOLUME = 'vol-ffffffff'

/** What of a snapshot is not in its row. */
export interface SnapshotView {
  region: string
  /** Those of the account that asks. */
  tags: Tag[]
  /** How much is done of what a pending one is filled with, percent. */
  percent: number
}

/** A snapshot as DescribeSnapshots shows it. */
export function snapshotToWire(row: SnapshotTable, { region, tags, percent }: SnapshotView): Snapshot {
  const doc = snapshotDoc(row)
  return {
    CompletionTime: doc.completedMs === undefined ? undefined : new Date(doc.completedMs),
    Description: doc.description ?? '',
    Encrypted: row.encrypted === 1,
    KmsKeyId: doc.kmsKeyId === undefined ? undefined : kmsKeyArn(region, row.account_id, doc.kmsKeyId),
    OwnerAlias: row.account_id === PROVIDER_ACCOUNT ? 'amazon' : undefined,
    OwnerId: row.account_id,
    Progress: row.state === 'completed' ? '100%' : `${percent}%`,
    SnapshotId: row.snapshot_id,
    StartTime: new Date(row.created_ms),
    State: row.state,
    StateMessage: doc.stateMessage,
    StorageTier: 'standard',
    Tags: tags.length > 0 ? tags : undefined,
    TransferType: doc.isCopy ? 'standard' : undefined,
    VolumeId: row.volume_id ?? NO_VOLUME,
    VolumeSize: row.size_gib,
  }
}

/** A snapshot as the calls show it that have just made it: its progress is not known yet. */
export function newSnapshotToWire(row: SnapshotTable, tags: Tag[]): SnapshotInfo {
  return {
    Description: snapshotDoc(row).description ?? '',
    Encrypted: row.encrypted === 1,
    OwnerId: row.account_id,
    Progress: '',
    SnapshotId: row.snapshot_id,
    StartTime: new Date(row.created_ms),
    State: row.state,
    Tags: tags.length > 0 ? tags : undefined,
    VolumeId: row.volume_id ?? NO_VOLUME,
    VolumeSize: row.size_gib,
  }
}
