import type { DescribeInstanceTypesRequest, DescribeInstanceTypesResult, InstanceTypeInfo } from '@aws-sdk/client-ec2'
import { instanceType, instanceTypeNames } from '../catalogue/instance-types.ts'
import { ApiError } from '../core/errors.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues, filterText as text, type FilterFields } from './filters.ts'
import { paginate } from './pagination.ts'

/** A page is never larger, whether MaxResults is given or not. */
const PAGE_SIZE = 100

/**
 * DescribeInstanceTypes, by name. Every type of the catalogue is offered in the region, so that
 * IncludeUnsupportedInRegion changes nothing.
 */
export async function describeInstanceTypes(
  _context: Context,
  input: DescribeInstanceTypesRequest,
): Promise<DescribeInstanceTypesResult> {
  const matches = compileFilters(input.Filters, FIELDS)
  const isFiltered = (input.Filters ?? []).length > 0
  // A type is expanded from the compact catalogue each time it is asked for: no more than needed.
  const wanted = selectNames(input).filter((name) => !isFiltered || matches(typeOf(name)))
  const { page, nextToken } = paginate(wanted, {
    maxResults: input.MaxResults ?? PAGE_SIZE, nextToken: input.NextToken, max: PAGE_SIZE, keyOf: (name) => name,
    operation: 'DescribeInstanceTypes',
  })
  return { InstanceTypes: page.map(typeOf), NextToken: nextToken }
}

function selectNames(input: DescribeInstanceTypesRequest): string[] {
  const asked: readonly string[] = input.InstanceTypes ?? []
  const known = new Set(instanceTypeNames())
  const unknown = [...new Set(asked)].filter((name) => !known.has(name))
  if (unknown.length > 0) {
    throw new ApiError(
      'InvalidInstanceType',
      `The following supplied instance types do not exist: [${unknown.join(', ')}]`,
    )
  }
  const exact = exactValues(input.Filters, 'instance-type')?.filter((name) => known.has(name))
  return [...new Set(asked.length > 0 ? asked : (exact ?? known))]
}

function typeOf(name: string): InstanceTypeInfo {
  const type = instanceType(name)
  if (!type) throw new Error(`${name} is listed in the catalogue, but not in it`)
  return type
}

const FIELDS: FilterFields<InstanceTypeInfo> = {
  'auto-recovery-supported': (type) => text(type.AutoRecoverySupported),
  'bare-metal': (type) => text(type.BareMetal),
  'burstable-performance-supported': (type) => text(type.BurstablePerformanceSupported),
  'current-generation': (type) => text(type.CurrentGeneration),
  'dedicated-hosts-supported': (type) => text(type.DedicatedHostsSupported),
  'free-tier-eligible': (type) => text(type.FreeTierEligible),
  'hibernation-supported': (type) => text(type.HibernationSupported),
  hypervisor: (type) => type.Hypervisor,
  'instance-type': (type) => type.InstanceType,
  'memory-info.size-in-mib': (type) => text(type.MemoryInfo?.SizeInMiB),
  'nitro-enclaves-support': (type) => type.NitroEnclavesSupport,
  'nitro-tpm-info.supported-versions': (type) => type.NitroTpmInfo?.SupportedVersions,
  'nitro-tpm-support': (type) => type.NitroTpmSupport,
  'reboot-migration-support': (type) => type.RebootMigrationSupport,
  'supported-boot-mode': (type) => type.SupportedBootModes,
  'supported-root-device-type': (type) => type.SupportedRootDeviceTypes,
  'supported-usage-class': (type) => type.SupportedUsageClasses,
  'supported-virtualization-type': (type) => type.SupportedVirtualizationTypes,
  ...ebsFields(),
  ...storageFields(),
  ...networkFields(),
  ...processorFields(),
}

function ebsFields(): FilterFields<InstanceTypeInfo> {
  const optimized = 'ebs-info.ebs-optimized-info'
  return {
    'ebs-info.attachment-limit-type': (type) => type.EbsInfo?.AttachmentLimitType,
    'ebs-info.maximum-ebs-attachments': (type) => text(type.EbsInfo?.MaximumEbsAttachments),
    [`${optimized}.baseline-bandwidth-in-mbps`]: (type) =>
      text(type.EbsInfo?.EbsOptimizedInfo?.BaselineBandwidthInMbps),
    [`${optimized}.baseline-iops`]: (type) => text(type.EbsInfo?.EbsOptimizedInfo?.BaselineIops),
    [`${optimized}.baseline-throughput-in-mbps`]: (type) =>
      decimals(type.EbsInfo?.EbsOptimizedInfo?.BaselineThroughputInMBps),
    [`${optimized}.maximum-bandwidth-in-mbps`]: (type) => text(type.EbsInfo?.EbsOptimizedInfo?.MaximumBandwidthInMbps),
    [`${optimized}.maximum-iops`]: (type) => text(type.EbsInfo?.EbsOptimizedInfo?.MaximumIops),
    [`${optimized}.maximum-throughput-in-mbps`]: (type) =>
      decimals(type.EbsInfo?.EbsOptimizedInfo?.MaximumThroughputInMBps),
    'ebs-info.ebs-optimized-support': (type) => type.EbsInfo?.EbsOptimizedSupport,
    'ebs-info.encryption-support': (type) => type.EbsInfo?.EncryptionSupport,
    'ebs-info.nvme-support': (type) => type.EbsInfo?.NvmeSupport,
  }
}

function storageFields(): FilterFields<InstanceTypeInfo> {
  return {
    'instance-storage-info.disk.count': (type) => type.InstanceStorageInfo?.Disks?.map((disk) => text(disk.Count)),
    'instance-storage-info.disk.size-in-gb': (type) =>
      type.InstanceStorageInfo?.Disks?.map((disk) => text(disk.SizeInGB)),
    'instance-storage-info.disk.type': (type) => type.InstanceStorageInfo?.Disks?.map((disk) => disk.Type),
    'instance-storage-info.encryption-support': (type) => type.InstanceStorageInfo?.EncryptionSupport,
    'instance-storage-info.nvme-support': (type) => type.InstanceStorageInfo?.NvmeSupport,
    'instance-storage-info.total-size-in-gb': (type) => text(type.InstanceStorageInfo?.TotalSizeInGB),
    'instance-storage-supported': (type) => text(type.InstanceStorageSupported),
  }
}

function networkFields(): FilterFields<InstanceTypeInfo> {
  return {
    'network-info.bandwidth-weightings': (type) => type.NetworkInfo?.BandwidthWeightings,
    'network-info.efa-info.maximum-efa-interfaces': (type) => text(type.NetworkInfo?.EfaInfo?.MaximumEfaInterfaces),
    'network-info.efa-supported': (type) => text(type.NetworkInfo?.EfaSupported),
    'network-info.ena-support': (type) => type.NetworkInfo?.EnaSupport,
    'network-info.encryption-in-transit-supported': (type) => text(type.NetworkInfo?.EncryptionInTransitSupported),
    'network-info.flexible-ena-queues-support': (type) => type.NetworkInfo?.FlexibleEnaQueuesSupport,
    'network-info.ipv4-addresses-per-interface': (type) => text(type.NetworkInfo?.Ipv4AddressesPerInterface),
    'network-info.ipv6-addresses-per-interface': (type) => text(type.NetworkInfo?.Ipv6AddressesPerInterface),
    'network-info.ipv6-supported': (type) => text(type.NetworkInfo?.Ipv6Supported),
    'network-info.maximum-network-cards': (type) => text(type.NetworkInfo?.MaximumNetworkCards),
    'network-info.maximum-network-interfaces': (type) => text(type.NetworkInfo?.MaximumNetworkInterfaces),
    'network-info.network-performance': (type) => type.NetworkInfo?.NetworkPerformance,
  }
}

function processorFields(): FilterFields<InstanceTypeInfo> {
  return {
    'processor-info.supported-architecture': (type) => type.ProcessorInfo?.SupportedArchitectures,
    'processor-info.supported-features': (type) => type.ProcessorInfo?.SupportedFeatures,
    'processor-info.sustained-clock-speed-in-ghz': (type) => decimals(type.ProcessorInfo?.SustainedClockSpeedInGhz),
    'vcpu-info.default-cores': (type) => text(type.VCpuInfo?.DefaultCores),
    'vcpu-info.default-threads-per-core': (type) => text(type.VCpuInfo?.DefaultThreadsPerCore),
    'vcpu-info.default-vcpus': (type) => text(type.VCpuInfo?.DefaultVCpus),
    'vcpu-info.valid-cores': (type) => numbers(type.VCpuInfo?.ValidCores),
    'vcpu-info.valid-threads-per-core': (type) => numbers(type.VCpuInfo?.ValidThreadsPerCore),
  }
}

/** A fractional number, which people write as 3 or 3.0. */
function decimals(value: number | undefined): string[] | undefined {
  if (value === undefined) return undefined
  return Number.isInteger(value) ? [String(value), value.toFixed(1)] : [String(value)]
}

/** Each number, and all of them in the one value that EC2 documents: "1,2". */
function numbers(values: number[] | undefined): string[] | undefined {
  return values && [...values.map(String), values.join(',')]
}
