import type {
  BootModeValues, ImportImageTask, ImportSnapshotTask, SnapshotDetail, SnapshotTaskDetail, Tag,
} from '@aws-sdk/client-ec2'
import type { ImportTaskTable } from '../store/schema.ts'
import { kmsKeyArn } from './kms-key.ts'
import { formatName, importTaskDoc, type ImportDisk, type ImportTaskDoc } from './import-task.ts'

/** A task as DescribeImportSnapshotTasks shows it. */
export function importSnapshotTaskToWire(row: ImportTaskTable, region: string, tags: Tag[]): ImportSnapshotTask {
  const doc = importTaskDoc(row)
  const [disk] = doc.disks
  const detail: SnapshotTaskDetail = {
    ...(disk ? fileToWire(disk) : {}),
    ...encryptionToWire(row, doc, region),
    Progress: String(doc.progressPercent), SnapshotId: disk?.snapshotId ?? undefined, Status: row.state,
    StatusMessage: doc.statusMessage,
  }
  return {
    Description: doc.description ?? undefined, ImportTaskId: row.task_id, SnapshotTaskDetail: detail, Tags: someTags(tags),
  }
}

/** A task as DescribeImportImageTasks shows it. */
export function importImageTaskToWire(row: ImportTaskTable, region: string, tags: Tag[]): ImportImageTask {
  const doc = importTaskDoc(row)
  return {
    Architecture: doc.image?.architecture,
    BootMode: doc.image?.bootMode satisfies BootModeValues | undefined,
    Description: doc.description ?? undefined,
    ...encryptionToWire(row, doc, region),
    Hypervisor: 'xen',
    ImageId: doc.imageId,
    ImportTaskId: row.task_id,
    LicenseType: 'BYOL',
    Platform: 'Linux',
    Progress: String(doc.progressPercent),
    SnapshotDetails: doc.disks.map((disk) => diskToWire(row, disk)),
    Status: row.state,
    StatusMessage: doc.statusMessage,
    Tags: someTags(tags),
    UsageOperation: 'RunInstances',
  }
}

function diskToWire(row: ImportTaskTable, disk: ImportDisk): SnapshotDetail {
  return {
    ...fileToWire(disk), DeviceName: disk.deviceName ?? undefined, SnapshotId: disk.snapshotId ?? undefined,
    Status: row.state === 'completed' ? 'completed' : 'active',
  }
}

/** The size is that of the file in bytes, as EC2 answers it, whatever its reference says of GiB. */
function fileToWire(disk: ImportDisk): Pick<SnapshotDetail, 'Description' | 'DiskImageSize' | 'Format' | 'Url'> {
  const format = disk.found?.format ?? disk.format
  return {
    Description: disk.description ?? undefined, DiskImageSize: disk.found?.identity.sizeBytes ?? 0,
    Format: format === null ? undefined : formatName(format), Url: disk.url ?? undefined,
  }
}

function encryptionToWire(row: ImportTaskTable, doc: ImportTaskDoc, region: string): { Encrypted: boolean; KmsKeyId?: string } {
  if (doc.kmsKeyId === null) return { Encrypted: false }
  return { Encrypted: true, KmsKeyId: kmsKeyArn(region, row.account_id, doc.kmsKeyId) }
}

function someTags(tags: Tag[]): Tag[] | undefined {
  return tags.length > 0 ? tags : undefined
}
