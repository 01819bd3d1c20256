import type { ImageTable } from '../store/schema.ts'
import type { VolumeTypeName } from './volume-type.ts'

/** What of an image SQL never looks into. */
export interface ImageDoc {
  description: string
  /** Name of the recipe that Hearth built it from; null for images that users made. */
  recipe: string | null
  /** Smallest root volume it fits on. */
  sizeGib: number
  bootMode: 'legacy-bios' | 'uefi'
  /** The user that SSH lets in; null where that is not known. */
  sshUser: string | null
  /** 'v2.0' makes IMDSv2 required by default. */
  imdsSupport: 'v2.0' | null
  /** Its block device mappings; absent for the images that Hearth built, which have their root only. */
  mappings?: ImageMapping[]
  /** The instance or image that it was made of. */
  sourceInstanceId?: string
  sourceImageId?: string
  sourceImageRegion?: string
  /** When it counts as deprecated. */
  deprecationMs?: number
  deregistrationProtection?: { enabled: boolean; cooldown: boolean; disabledMs?: number }
  /** Why it has failed. */
  stateReason?: string
  /** When it was launched last. */
  lastLaunchedMs?: number
}

/** What a launch gets for one device name of an image. */
export interface ImageMapping {
  deviceName: string
  /** Null for a volume that begins empty. */
  snapshotId: string | null
  sizeGib: number
  volumeType: VolumeTypeName
  iops: number | null
  throughputMibps: number | null
  deleteOnTermination: boolean
  /** Whether a launch's volume is encrypted: always, where the snapshot is. */
  encrypted: boolean
  kmsKeyId?: string
}

/** Type of the volumes that an image asks for, unless it or the launch says otherwise. */
export const IMAGE_VOLUME_TYPE = 'gp3' satisfies VolumeTypeName

/** The doc of an image row. */
export function imageDoc(row: { doc: string }): ImageDoc {
  return JSON.parse(row.doc) as ImageDoc
}

/** An image's block device mappings, the root first. */
export function mappingsOf(row: Pick<ImageTable, 'doc' | 'root_device_name' | 'snapshot_id'>): ImageMapping[] {
  const doc = imageDoc(row)
  return doc.mappings ?? [{
    deviceName: row.root_device_name, snapshotId: row.snapshot_id, sizeGib: doc.sizeGib, volumeType: IMAGE_VOLUME_TYPE,
    iops: null, throughputMibps: null, deleteOnTermination: true, encrypted: false,
  }]
}
