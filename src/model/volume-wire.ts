import type { InstanceBlockDeviceMapping, Tag, Volume, VolumeAttachment, VolumeType } from '@aws-sdk/client-ec2'
import type { VolumeTable } from '../store/schema.ts'
import { kmsKeyArn } from './kms-key.ts'
import { volumeDoc } from './volume.ts'
import { zoneIdOf } from './zone.ts'

/** A volume as DescribeVolumes shows it. */
export function volumeToWire(row: VolumeTable, region: string, tags: Tag[]): Volume {
  const doc = volumeDoc(row)
  return {
    Attachments: attachmentsToWire(row),
    AvailabilityZone: row.zone,
    AvailabilityZoneId: zoneIdOf(row.zone),
    CreateTime: new Date(row.created_ms),
    Encrypted: row.encrypted === 1,
    Iops: doc.iops ?? undefined,
    KmsKeyId: doc.kmsKeyId === undefined ? undefined : kmsKeyArn(region, row.account_id, doc.kmsKeyId),
    MultiAttachEnabled: false,
    Operator: { Managed: false },
    Size: row.size_gib,
    SnapshotId: row.snapshot_id ?? '',
    State: row.state,
    Tags: tags.length > 0 ? tags : undefined,
    Throughput: doc.throughputMibps ?? undefined,
    VolumeId: row.volume_id,
    VolumeType: row.volume_type as VolumeType,
  }
}

function attachmentsToWire(row: VolumeTable): VolumeAttachment[] {
  return isAttached(row) ? [attachmentToWire(row)] : []
}

/** What attaches a volume to its instance. */
export function attachmentToWire(row: VolumeTable): VolumeAttachment {
  return {
    AttachTime: new Date(row.attached_ms ?? row.created_ms),
    DeleteOnTermination: row.delete_on_termination === 1,
    Device: row.device ?? undefined,
    InstanceId: row.instance_id ?? undefined,
    State: row.attach_state ?? undefined,
    VolumeId: row.volume_id,
  }
}

/** Whether the volume shows among its instance's block devices. */
export function isAttached(row: VolumeTable): boolean {
  return row.instance_id !== null && row.attach_state !== null && row.attach_state !== 'detached'
}

/** A volume as its instance shows it. */
export function volumeToInstanceWire(row: VolumeTable): InstanceBlockDeviceMapping {
  return {
    DeviceName: row.device ?? undefined,
    Ebs: {
      AttachTime: new Date(row.attached_ms ?? row.created_ms),
      DeleteOnTermination: row.delete_on_termination === 1,
      Operator: { Managed: false },
      Status: row.attach_state ?? undefined,
      VolumeId: row.volume_id,
    },
  }
}
