import type { ArchitectureValues, Image, ImageState, Tag } from '@aws-sdk/client-ec2'
import type { ImageTable } from '../store/schema.ts'
import { PROVIDER_ACCOUNT } from './account.ts'
import { IMAGE_VOLUME_TYPE, imageDoc } from './image.ts'

/** An image as DescribeImages shows it; the tags are those of the account that asks. */
export function imageToWire(row: ImageTable, tags: Tag[]): Image {
  const doc = imageDoc(row)
  const alias = row.account_id === PROVIDER_ACCOUNT ? 'amazon' : undefined
  return {
    Architecture: row.architecture as ArchitectureValues,
    BlockDeviceMappings: [{
      DeviceName: row.root_device_name,
      Ebs: {
        DeleteOnTermination: true, Encrypted: false, SnapshotId: row.snapshot_id, VolumeSize: doc.sizeGib,
        VolumeType: IMAGE_VOLUME_TYPE,
      },
    }],
    BootMode: doc.bootMode,
    CreationDate: new Date(row.created_ms).toISOString(),
    Description: doc.description,
    EnaSupport: true,
    Hypervisor: 'xen',
    ImageId: row.image_id,
    ImageLocation: `${alias ?? row.account_id}/${row.name}`,
    ImageOwnerAlias: alias,
    ImageType: 'machine',
    ImdsSupport: doc.imdsSupport ?? undefined,
    Name: row.name,
    OwnerId: row.account_id,
    PlatformDetails: 'Linux/UNIX',
    Public: row.is_public === 1,
    RootDeviceName: row.root_device_name,
    RootDeviceType: 'ebs',
    SriovNetSupport: 'simple',
    State: row.state as ImageState,
    Tags: tags.length > 0 ? tags : undefined,
    UsageOperation: 'RunInstances',
    VirtualizationType: 'hvm',
  }
}
