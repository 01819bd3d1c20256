import { createHash } from 'node:crypto'
import type { InstanceMetadataOptionsRequest, InstanceTypeInfo, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { instanceType, suggestType } from '../catalogue/instance-types.ts'
import type { MetadataOptions } from '../model/instance.ts'
import { checkEnum, invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { requestedCpu } from './run-instances-options.ts'

/** EC2's default when no type is named. */
export const DEFAULT_INSTANCE_TYPE = 'm1.small'

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html */
const USER_DATA_LIMIT_BYTES = 16 * 1024

/** The new-VPC default of EC2; more in one call is asked of nobody. */
const MAX_COUNT_LIMIT = 1000

/** Parameters that Hearth knows and does not honour yet. */
const REFUSED = [
  'KernelId', 'RamdiskId', 'Ipv6AddressCount', 'Ipv6Addresses', 'AdditionalInfo', 'IamInstanceProfile',
  'ElasticGpuSpecification', 'ElasticInferenceAccelerators', 'InstanceMarketOptions', 'LicenseSpecifications',
  'EnclaveOptions', 'EnablePrimaryIpv6', 'NetworkPerformanceOptions', 'Operator', 'SecondaryInterfaces',
] as const satisfies readonly (keyof RunInstancesRequest)[]

/** Checks what can be checked without the database. */
export function checkRunInstances(input: RunInstancesRequest): { minCount: number; maxCount: number } {
  refuseParameters(input, REFUSED.filter((name) => !asksForNothing(input[name])))
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
  if (input.ClientToken && !/^[\x21-\x7e]{1,64}$/.test(input.ClientToken)) {
    throw invalidValue('ClientToken', input.ClientToken, 'It may have up to 64 ASCII characters.')
  }
  return { minCount: input.MinCount, maxCount: input.MaxCount }
}

/** Whether a value is absent, empty or "off" in all its parts ("EnclaveOptions.Enabled=false"). */
function asksForNothing(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).every(asksForNothing)
  return value === undefined || value === '' || value === false
}

/** What a type promises to an instance. */
export interface InstanceSize {
  name: string
  vcpus: number
  memoryMib: number
}

/**
 * The type asked for, with what it promises; CPU options may ask for fewer processors.
 *
 * @throws ApiError InvalidParameterValue for one that there is not, or that does not run the image's architecture;
 * InvalidParameterCombination for one that needs a network driver which the image does not say it has.
 */
export function requestedType(input: RunInstancesRequest, image: { architecture: string; hasEna: boolean }): InstanceSize {
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
  if (!architectures.some((each) => each === image.architecture)) {
    throw new ApiError(
      'InvalidParameterValue',
      `The architecture '${architectures.join(',')}' of the specified instance type does not match the architecture ` +
        `'${image.architecture}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, ` +
        "and try again. You can use 'describe-instance-types' or 'describe-images' to discover the architecture of the " +
        'instance type or AMI.',
    )
  }
  if (!image.hasEna && info.NetworkInfo?.EnaSupport === 'required') {
    throw new ApiError(
      'InvalidParameterCombination',
      `Enhanced networking with the Elastic Network Adapter (ENA) is required for the '${name}' instance type. Ensure that ` +
        'you are using an AMI that is enabled for ENA.',
    )
  }
  const size = sizeOf(name, info)
  const cpu = requestedCpu(input, info)
  return cpu ? { ...size, vcpus: cpu.coreCount * cpu.threadsPerCore } : size
}

/** What a type of the catalogue promises. */
export function sizeOf(name: string, info: InstanceTypeInfo): InstanceSize {
  return { name, vcpus: info.VCpuInfo?.DefaultVCpus ?? 1, memoryMib: info.MemoryInfo?.SizeInMiB ?? 1024 }
}

/**
 * User data, base64 as it is kept; null when there is none.
 *
 * @throws ApiError InvalidParameterValue for what is not base64, or more than 16 KiB decoded.
 */
export function requestedUserData(input: { UserData?: string | undefined }): string | null {
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

/**
 * The metadata options of a launch: what it asks for, else what the account prefers, else EC2's
 * defaults. Images that say ImdsSupport v2.0 require tokens and get two hops.
 */
export function requestedMetadataOptions(
  input: RunInstancesRequest,
  imdsSupport: 'v2.0' | null,
  accountDefaults: Partial<MetadataOptions>,
): MetadataOptions {
  return changedMetadataOptions(input.MetadataOptions ?? {}, {
    httpTokens: imdsSupport === 'v2.0' ? 'required' : 'optional',
    httpPutResponseHopLimit: imdsSupport === 'v2.0' ? 2 : 1,
    httpEndpoint: 'enabled',
    instanceMetadataTags: 'disabled',
    ...accountDefaults,
  }, 'MetadataOptions.')
}

/**
 * Metadata options after a change: what the change does not name stays. `prefix` is what stands
 * before the names of the parameters in this call.
 */
export function changedMetadataOptions(
  change: InstanceMetadataOptionsRequest,
  current: MetadataOptions,
  prefix = '',
): MetadataOptions {
  const ipv6 = checkEnum(`${prefix}HttpProtocolIpv6`, change.HttpProtocolIpv6, ['enabled', 'disabled'])
  if (ipv6 === 'enabled') throw unsupportedParameter(`${prefix}HttpProtocolIpv6=enabled`)
  const hopLimit = change.HttpPutResponseHopLimit ?? current.httpPutResponseHopLimit
  if (hopLimit < 1 || hopLimit > 64) {
    throw invalidValue(`${prefix}HttpPutResponseHopLimit`, hopLimit, 'It must be between 1 and 64.')
  }
  return {
    httpTokens: checkEnum(`${prefix}HttpTokens`, change.HttpTokens, ['optional', 'required']) ?? current.httpTokens,
    httpPutResponseHopLimit: hopLimit,
    httpEndpoint: checkEnum(`${prefix}HttpEndpoint`, change.HttpEndpoint, ['enabled', 'disabled']) ?? current.httpEndpoint,
    instanceMetadataTags:
      checkEnum(`${prefix}InstanceMetadataTags`, change.InstanceMetadataTags, ['enabled', 'disabled']) ??
      current.instanceMetadataTags,
  }
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
