import type { ImageTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { VolumeTypeName } from './volume-type.ts'

/** What images may be made for. */
export const ARCHITECTURES = ['i386', 'x86_64', 'arm64'] as const
export type Architecture = (typeof ARCHITECTURES)[number]

/** How an image says that it boots; `uefi-preferred` knows both ways. */
export const BOOT_MODES = ['legacy-bios', 'uefi', 'uefi-preferred'] as const
export type BootMode = (typeof BOOT_MODES)[number]

/** What of an image SQL never looks into. */
export interface ImageDoc {
  description: string
  /** Name of the recipe that Hearth built it from; null for images that users made. */
  recipe: string | null
  /** Smallest root volume it fits on. */
  sizeGib: number
  /** Null for one that was registered without saying it: it boots as is usual for its architecture. */
  bootMode: BootMode | null
  /** The user that SSH lets in; null where that is not known. */
  sshUser: string | null
  /** 'v2.0' makes IMDSv2 required by default. */
  imdsSupport: 'v2.0' | null
  /** Whether it has the drivers of EC2's faster networks; absent for `true` and `simple`. */
  enaSupport?: boolean
  sriovNetSupport?: 'simple' | null
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
  /** The call that made it; events name it. */
  requestId?: string
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

/** Changes part of an image's doc, as it is in this transaction. */
export async function changeImageDoc(db: Db, imageId: string, change: Partial<ImageDoc>): Promise<void> {
  const row = await db.selectFrom('images').select('doc').where('image_id', '=', imageId).executeTakeFirst()
  if (!row) return
  const doc = JSON.stringify({ ...imageDoc(row), ...change })
  await db.updateTable('images').set({ doc }).where('image_id', '=', imageId).execute()
}

/**
 * What a machine boots by: what its image says, UEFI where that likes it best, and what is usual for
 * the architecture where it says nothing.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-boot.html
 */
export function bootModeInForce(architecture: Architecture, bootMode: BootMode | null | undefined): 'legacy-bios' | 'uefi' {
  if (architecture === 'arm64') return 'uefi'
  return bootMode === 'uefi' || bootMode === 'uefi-preferred' ? 'uefi' : 'legacy-bios'
}

/** An image's block device mappings, the root first. */
export function mappingsOf(row: Pick<ImageTable, 'doc' | 'root_device_name' | 'snapshot_id'>): ImageMapping[] {
  const doc = imageDoc(row)
  return doc.mappings ?? [{
    deviceName: row.root_device_name, snapshotId: row.snapshot_id, sizeGib: doc.sizeGib, volumeType: IMAGE_VOLUME_TYPE,
    iops: null, throughputMibps: null, deleteOnTermination: true, encrypted: false,
  }]
}
