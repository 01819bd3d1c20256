import type {
  InstanceInterruptionBehavior, SpotInstanceType,
  GetLaunchTemplateDataRequest, GetLaunchTemplateDataResult, Instance, ResponseLaunchTemplateData,
} from '@aws-sdk/client-ec2'
import { instanceDoc, type InstanceDoc } from '../model/instance.ts'
import { kmsKeyArn } from '../model/kms-key.ts'
import { spotRequestDoc } from '../model/spot-request.ts'
import type { InstanceTable, VolumeTable } from '../store/schema.ts'
import { volumeDoc } from '../model/volume.ts'
import type { Context } from './context.ts'
import { requireLivingInstance } from './instance-rows.ts'
import { loadInstances } from './load-instances.ts'

/**
 * GetLaunchTemplateData: what a template would have to say for another instance like this one: with the same image, devices,
 * subnet, groups and options; addresses, which nobody else can have, are left out.
 */
export async function getLaunchTemplateData(
  context: Context,
  input: GetLaunchTemplateDataRequest,
): Promise<GetLaunchTemplateDataResult> {
  const row = await requireLivingInstance(context, input.InstanceId)
  const [instance] = await loadInstances(context.db, context.region, [row])
  if (!instance) throw new Error(`${row.instance_id}: its wire form is missing`)
  const volumes = await context.db.selectFrom('volumes').selectAll().where('instance_id', '=', row.instance_id).execute()
  const data = dataOf(instance, instanceDoc(row), volumes, context.region)
  const market = await marketOf(context, row)
  return { LaunchTemplateData: market ? { ...data, InstanceMarketOptions: market } : data }
}

/** The market of a spot instance, as its request says it; what is over in any case, the end of that request, is left out. */
async function marketOf({ db }: Context, { spot_request_id: id }: InstanceTable): Promise<ResponseLaunchTemplateData['InstanceMarketOptions']> {
  if (id === null) return undefined
  const request = await db.selectFrom('spot_requests').selectAll().where('request_id', '=', id).executeTakeFirst()
  if (!request) return { MarketType: 'spot' }
  const { spotPrice, behavior } = spotRequestDoc(request)
  return {
    MarketType: 'spot',
    SpotOptions: { SpotInstanceType: request.type as SpotInstanceType, InstanceInterruptionBehavior: behavior as InstanceInterruptionBehavior, MaxPrice: spotPrice || undefined },
  }
}

function dataOf(instance: Instance, doc: InstanceDoc, volumes: readonly VolumeTable[], region: string): ResponseLaunchTemplateData {
  const tags = (instance.Tags ?? []).filter(({ Key: key }) => !key?.startsWith('aws:'))
  return {
    ImageId: instance.ImageId, InstanceType: instance.InstanceType, KeyName: instance.KeyName,
    EbsOptimized: instance.EbsOptimized, Monitoring: { Enabled: doc.options.monitoring === 'enabled' },
    Placement: placementOf(instance),
    DisableApiTermination: doc.options.disableApiTermination, DisableApiStop: doc.options.disableApiStop,
    InstanceInitiatedShutdownBehavior: doc.shutdownBehavior, UserData: doc.userData ?? undefined,
    BlockDeviceMappings: (instance.BlockDeviceMappings ?? []).flatMap(({ DeviceName, Ebs }) => {
      const volume = volumes.find((each) => each.volume_id === Ebs?.VolumeId)
      return volume ? [{ DeviceName, Ebs: ebsOf(volume, region) }] : []
    }),
    NetworkInterfaces: (instance.NetworkInterfaces ?? []).map((each, _index, all) => ({
      DeviceIndex: each.Attachment?.DeviceIndex, SubnetId: each.SubnetId, Description: each.Description,
      Groups: each.Groups?.flatMap((group) => group.GroupId ?? []), DeleteOnTermination: each.Attachment?.DeleteOnTermination,
      // With several interfaces none may be asked for: what there is was associated later.
      AssociatePublicIpAddress: each.Association !== undefined && all.length === 1, InterfaceType: each.InterfaceType, NetworkCardIndex: 0,
    })),
    MetadataOptions: {
      HttpTokens: doc.metadataOptions.httpTokens, HttpEndpoint: doc.metadataOptions.httpEndpoint,
      HttpPutResponseHopLimit: doc.metadataOptions.httpPutResponseHopLimit, InstanceMetadataTags: doc.metadataOptions.instanceMetadataTags,
    },
    ...(doc.options.cpuCredits === null ? {} : { CreditSpecification: { CpuCredits: doc.options.cpuCredits } }),
    // Many types do not take any, and the type's own follow from the type.
    ...(doc.options.cpu === null ? {} : { CpuOptions: instance.CpuOptions }),
    HibernationOptions: { Configured: instance.HibernationOptions?.Configured ?? false },
    MaintenanceOptions: { AutoRecovery: doc.options.autoRecovery },
    CapacityReservationSpecification: instance.CapacityReservationSpecification,
    ...(tags.length === 0 ? {} : { TagSpecifications: [{ ResourceType: 'instance', Tags: tags }] }),
  }
}

function placementOf({ Placement: placement = {} }: Instance): ResponseLaunchTemplateData['Placement'] {
  // A group by its name, as EC2 shows it; both would be one too many for a launch.
  const { GroupId: _groupId, AvailabilityZoneId: _zoneId, ...rest } = placement
  return rest as ResponseLaunchTemplateData['Placement']
}

/** Types whose performance is asked for; that of others follows from their size. */
const PROVISIONED = ['gp3', 'io1', 'io2']

function ebsOf(volume: VolumeTable, region: string) {
  const { kmsKeyId } = volumeDoc(volume)
  const { iops, throughputMibps } = PROVISIONED.includes(volume.volume_type) ? volumeDoc(volume) : { iops: null, throughputMibps: null }
  return {
    VolumeSize: volume.size_gib, VolumeType: volume.volume_type as 'gp3', Encrypted: volume.encrypted === 1,
    DeleteOnTermination: volume.delete_on_termination === 1, SnapshotId: volume.snapshot_id ?? undefined,
    Iops: iops ?? undefined, Throughput: throughputMibps ?? undefined,
    KmsKeyId: kmsKeyId === undefined ? undefined : kmsKeyArn(region, volume.account_id, kmsKeyId),
  }
}
