import type { VolumeModification, VolumeType } from '@aws-sdk/client-ec2'
import type { VolumeModificationTable } from '../store/schema.ts'

/** What of a volume a modification changes. */
export interface VolumeShape {
  sizeGib: number
  volumeType: string
  iops: number | null
  throughputMibps: number | null
}

/** What of a modification SQL never looks into. */
export interface VolumeModificationDoc {
  original: VolumeShape
  target: VolumeShape
  /** When the volume's modifications of the last day began, this one included. */
  recentMs: number[]
  /** The call that asked for it; events name it. */
  requestId?: string
}

/** The doc of a modification row. */
export function modificationDoc(row: Pick<VolumeModificationTable, 'doc'>): VolumeModificationDoc {
  return JSON.parse(row.doc) as VolumeModificationDoc
}

/** A modification as DescribeVolumesModifications shows it. It comes into force in one step: there is no half of it. */
export function modificationToWire(row: VolumeModificationTable): VolumeModification {
  const { original, target } = modificationDoc(row)
  return {
    VolumeId: row.volume_id,
    ModificationState: row.state,
    Progress: row.state === 'completed' ? 100 : 0,
    StartTime: new Date(row.started_ms),
    EndTime: row.ended_ms === null ? undefined : new Date(row.ended_ms),
    OriginalSize: original.sizeGib,
    OriginalVolumeType: original.volumeType as VolumeType,
    OriginalIops: original.iops ?? undefined,
    OriginalThroughput: original.throughputMibps ?? undefined,
    OriginalMultiAttachEnabled: false,
    TargetSize: target.sizeGib,
    TargetVolumeType: target.volumeType as VolumeType,
    TargetIops: target.iops ?? undefined,
    TargetThroughput: target.throughputMibps ?? undefined,
    TargetMultiAttachEnabled: false,
  }
}
