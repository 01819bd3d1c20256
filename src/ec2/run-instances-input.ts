import { createHash } from 'node:crypto'
import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { instanceType, suggestType } from '../catalogue/instance-types.ts'
import type { MetadataOptions } from '../model/instance.ts'
import { checkEnum, invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'

/** EC2's default when no type is named. */
const DEFAULT_INSTANCE_TYPE = 'm1.small'

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html */
const USER_DATA_LIMIT_BYTES = 16 * 1024

/** The new-VPC default of EC2; more in one call is asked of nobody. */
const MAX_COUNT_LIMIT = 1000

/** Parameters that Hearth knows and does not honour yet. */
const REFUSED = [
  'KernelId', 'RamdiskId', 'Monitoring', 'Ipv6AddressCount', 'Ipv6Addresses', 'AdditionalInfo', 'EbsOptimized',
  'IamInstanceProfile', 'ElasticGpuSpecification', 'ElasticInferenceAccelerators', 'LaunchTemplate',
  'InstanceMarketOptions', 'CreditSpecification', 'CpuOptions', 'CapacityReservationSpecification',
  'HibernationOptions', 'LicenseSpecifications', 'EnclaveOptions', 'PrivateDnsNameOptions', 'MaintenanceOptions',
  'DisableApiStop', 'DisableApiTermination', 'EnablePrimaryIpv6', 'NetworkPerformanceOptions', 'Operator',
  'SecondaryInterfaces',
] as const satisfies readonly (keyof RunInstancesRequest)[]

/** Structures whose parts may all be "off", which is what Hearth does anyway. */
const OFF = {
  Monitoring: (input: RunInstancesRequest) => input.Monitoring?.Enabled === false,
  HibernationOptions: (input: RunInstancesRequest) => input.HibernationOptions?.Configured === false,
  EnclaveOptions: (input: RunInstancesRequest) => input.EnclaveOptions?.Enabled === false,
} as const

/** Checks what can be checked without the database. */
export function checkRunInstances(input: RunInstancesRequest): { minCount: number; maxCount: number } {
  refuseParameters(input, REFUSED.filter((name) => !(name in OFF && OFF[name as keyof typeof OFF](input))))
  const placement = input.Placement ?? {}
  for (const name of ['Affinity', 'GroupName', 'GroupId', 'HostId', 'HostResourceGroupArn', 'PartitionNumber', 'SpreadDomain'] as const) {
    if (placement[name]) throw unsupportedParameter(`Placement.${name}`)
  }
  if (placement.Tenancy && placement.Tenancy !== 'default') throw unsupportedParameter(`Placement.Tenancy=${placement.Tenancy}`)
  if (!input.ImageId) throw missingParameter('ImageId')
  if (input.MinCount === undefined) throw missingParameter('MinCount')
  if (input.MaxCount === undefined) throw missingParameter('MaxCount')
  if (input.MinCount < 1) throw invalidValue('MinCount', input.MinCount, 'It must be at least 1.')
  if (input.MaxCount < input.MinCount) {
    throw new ApiError('InvalidParameterValue', 'The parameter MaxCount must be at least as large as MinCount')
  }
  if (input.MaxCount > MAX_COUNT_LIMIT) {
    throw new ApiError('InstanceLimitExceeded', `You may launch at most ${MAX_COUNT_LIMIT} instances in one call.`)
  }
  if (input.ClientToken !== undefined && !/^[\x21-\x7e]{1,64}$/.test(input.ClientToken)) {
    throw invalidValue('ClientToken', input.ClientToken, 'It may have up to 64 ASCII characters.')
  }
  return { minCount: input.MinCount, maxCount: input.MaxCount }
}

/** The type asked for, with what it promises. */
export function requestedType(input: RunInstancesRequest): { name: string; vcpus: number; memoryMib: number } {
  const name = input.InstanceType || DEFAULT_INSTANCE_TYPE
  const info = instanceType(name)
  if (!info) {
    const suggestion = suggestType(name)
    throw new ApiError(
      'InvalidParameterValue',
      `Invalid value '${name}' for InstanceType.${suggestion ? ` Did you mean '${suggestion}'?` : ''}`,
    )
  }
  const architectures = info.ProcessorInfo?.SupportedArchitectures ?? []
  if (!architectures.includes('x86_64')) {
    throw new ApiError(
      'InvalidParameterValue',
      `The architecture '${architectures.join(',')}' of the specified instance type does not match the architecture ` +
        `'x86_64' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.`,
    )
  }
  return { name, vcpus: info.VCpuInfo?.DefaultVCpus ?? 1, memoryMib: info.MemoryInfo?.SizeInMiB ?? 1024 }
}

/** User data, base64 as it is kept; null when there is none. */
export function requestedUserData(input: RunInstancesRequest): string | null {
  if (!input.UserData) return null
  const text = input.UserData.replaceAll(/\s/g, '')
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) {
    throw new ApiError('InvalidParameterValue', 'Invalid BASE64 encoding of user data.')
  }
  if (Buffer.from(text, 'base64').length > USER_DATA_LIMIT_BYTES) {
    throw new ApiError('InvalidParameterValue', `User data is limited to ${USER_DATA_LIMIT_BYTES} bytes`)
  }
  return text
}

/** Metadata options with EC2's defaults; images that say ImdsSupport v2.0 require tokens and get two hops. */
export function requestedMetadataOptions(input: RunInstancesRequest, imdsSupport: 'v2.0' | null): MetadataOptions {
  const options = input.MetadataOptions ?? {}
  if (options.HttpProtocolIpv6 === 'enabled') throw unsupportedParameter('MetadataOptions.HttpProtocolIpv6=enabled')
  const hopLimit = options.HttpPutResponseHopLimit ?? (imdsSupport === 'v2.0' ? 2 : 1)
  if (hopLimit < 1 || hopLimit > 64) {
    throw invalidValue('MetadataOptions.HttpPutResponseHopLimit', hopLimit, 'It must be between 1 and 64.')
  }
  return {
    httpTokens:
      checkEnum('MetadataOptions.HttpTokens', options.HttpTokens, ['optional', 'required']) ??
      (imdsSupport === 'v2.0' ? 'required' : 'optional'),
    httpPutResponseHopLimit: hopLimit,
    httpEndpoint: checkEnum('MetadataOptions.HttpEndpoint', options.HttpEndpoint, ['enabled', 'disabled']) ?? 'enabled',
    instanceMetadataTags:
      checkEnum('MetadataOptions.InstanceMetadataTags', options.InstanceMetadataTags, ['enabled', 'disabled']) ??
      'disabled',
  }
}

/** The root volume asked for. */
export interface RootVolumeRequest {
  deviceName: string
  sizeGib: number
  volumeType: 'gp2' | 'gp3' | 'standard'
  deleteOnTermination: boolean
}

/** Volume sizes in GiB: https://docs.aws.amazon.com/ebs/latest/userguide/volume_constraints.html */
const SIZE_LIMITS_GIB = { gp2: 16_384, gp3: 65_536, standard: 1024 } as const

/** The root volume from the block device mappings; only the root device may be mapped yet. */
export function requestedRootVolume(
  input: RunInstancesRequest,
  image: { rootDeviceName: string; sizeGib: number },
): RootVolumeRequest {
  const mappings = input.BlockDeviceMappings ?? []
  if (mappings.length > 1) throw unsupportedParameter('BlockDeviceMapping of more than the root device')
  const mapping = mappings[0]
  const root: RootVolumeRequest = {
    deviceName: image.rootDeviceName, sizeGib: image.sizeGib, volumeType: 'gp3', deleteOnTermination: true,
  }
  if (!mapping) return root
  if (mapping.DeviceName === undefined) throw missingParameter('BlockDeviceMapping.1.DeviceName')
  if (mapping.DeviceName !== image.rootDeviceName) {
    throw unsupportedParameter(`BlockDeviceMapping of ${mapping.DeviceName} (only the root device ${image.rootDeviceName})`)
  }
  if (mapping.NoDevice !== undefined || mapping.VirtualName) throw unsupportedParameter('BlockDeviceMapping.NoDevice or VirtualName')
  const ebs = mapping.Ebs ?? {}
  for (const name of ['Encrypted', 'Iops', 'SnapshotId', 'KmsKeyId', 'Throughput', 'OutpostArn', 'VolumeInitializationRate'] as const) {
    if (ebs[name]) throw unsupportedParameter(`BlockDeviceMapping.Ebs.${name}`)
  }
  const volumeType = checkEnum('VolumeType', ebs.VolumeType, ['gp2', 'gp3', 'standard']) ?? root.volumeType
  const sizeGib = ebs.VolumeSize ?? root.sizeGib
  if (sizeGib < image.sizeGib) {
    throw new ApiError(
      'InvalidBlockDeviceMapping',
      `Volume of size ${sizeGib}GB is smaller than snapshot of the image, expect size >= ${image.sizeGib}GB`,
    )
  }
  if (sizeGib > SIZE_LIMITS_GIB[volumeType]) {
    throw invalidValue('BlockDeviceMapping.Ebs.VolumeSize', sizeGib, `${volumeType} volumes have at most ${SIZE_LIMITS_GIB[volumeType]} GiB.`)
  }
  return { ...root, sizeGib, volumeType, deleteOnTermination: ebs.DeleteOnTermination ?? true }
}

/** Identifies the parameters of a call, for ClientToken; independent of their order. */
export function hashParameters(input: object): string {
  const canonical = (value: unknown): unknown => {
    if (value instanceof Uint8Array) return Buffer.from(value).toString('base64')
    if (value instanceof Date) return value.toISOString()
    if (Array.isArray(value)) return value.map(canonical)
    if (value === null || typeof value !== 'object') return value
    return Object.entries(value)
      .filter(([, each]) => each !== undefined)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, each]) => [name, canonical(each)])
  }
  return createHash('sha256').update(JSON.stringify(canonical(input))).digest('hex')
}
