import type { ArchitectureValues, BlockDeviceMapping, Image, ImageState, Tag } from '@aws-sdk/client-ec2'
import type { ImageTable } from '../store/schema.ts'
import { PROVIDER_ACCOUNT } from './account.ts'
import { imageDoc, mappingsOf, type ImageDoc, type ImageMapping } from './image.ts'

/** What the wire shows of an image beside its own row. */
export interface ImageRelated {
  /** Those of the account that asks. */
  tags: Tag[]
  /** When an instance of it was launched last; only its owner may know. */
  lastLaunchedMs?: number | undefined
}

/** The name that an owner goes by; undefined for users of this cloud. */
export function ownerAlias(accountId: string): string | undefined {
  return accountId === PROVIDER_ACCOUNT ? 'amazon' : undefined
}

/** An image as DescribeImages shows it: EBS, HVM, Linux. */
export function imageToWire(row: ImageTable, related: ImageRelated): Image {
  const doc = imageDoc(row)
  const alias = ownerAlias(row.account_id)
  return {
    Architecture: row.architecture as ArchitectureValues,
    BlockDeviceMappings: mappingsOf(row).map(imageMappingToWire),
    BootMode: doc.bootMode ?? undefined,
    CreationDate: new Date(row.created_ms).toISOString(),
    DeprecationTime: timeText(doc.deprecationMs),
    DeregistrationProtection: deregistrationProtection(doc),
    Description: doc.description,
    EnaSupport: doc.enaSupport ?? true,
    Hypervisor: 'xen',
    ImageId: row.image_id,
    ImageLocation: `${alias ?? row.account_id}/${row.name}`,
    ImageOwnerAlias: alias,
    ImageType: 'machine',
    ImdsSupport: doc.imdsSupport ?? undefined,
    LastLaunchedTime: timeText(related.lastLaunchedMs),
    Name: row.name,
    OwnerId: row.account_id,
    PlatformDetails: 'Linux/UNIX',
    Public: row.is_public === 1,
    RootDeviceName: row.root_device_name,
    RootDeviceType: 'ebs',
    SourceImageId: doc.sourceImageId,
    SourceImageRegion: doc.sourceImageRegion,
    SourceInstanceId: doc.sourceInstanceId,
    SriovNetSupport: sriovNetSupport(doc) ?? undefined,
    State: row.state as ImageState,
    StateReason: doc.stateReason === undefined ? undefined : { Code: 'Server.InternalError', Message: doc.stateReason },
    Tags: related.tags.length > 0 ? related.tags : undefined,
    UsageOperation: 'RunInstances',
    VirtualizationType: 'hvm',
  }
}

/** A device of an image as the API shows it. */
function imageMappingToWire(mapping: ImageMapping): BlockDeviceMapping {
  return {
    DeviceName: mapping.deviceName,
    Ebs: {
      DeleteOnTermination: mapping.deleteOnTermination,
      Encrypted: mapping.encrypted,
      Iops: mapping.iops ?? undefined,
      SnapshotId: mapping.snapshotId ?? undefined,
      Throughput: mapping.throughputMibps ?? undefined,
      VolumeSize: mapping.sizeGib,
      VolumeType: mapping.volumeType,
    },
  }
}

/** What the API calls the state of an image's protection. */
export function deregistrationProtection({ deregistrationProtection: protection }: ImageDoc): string {
  if (!protection?.enabled) return 'disabled'
  return protection.cooldown ? 'enabled-with-cooldown' : 'enabled-without-cooldown'
}

/** Whether an image has the driver of Intel's virtual functions. */
export function sriovNetSupport(doc: ImageDoc): 'simple' | null {
  return doc.sriovNetSupport === undefined ? 'simple' : doc.sriovNetSupport
}

function timeText(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString()
}
