import type { InstanceTypeInfo, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { instanceType } from '../catalogue/instance-types.ts'
import { ApiError } from '../core/errors.ts'
import { isBurstable, type CpuCredits, type InstanceOptions } from '../model/instance.ts'
import { checkEnum, invalidValue, missingParameter, unsupportedParameter } from './parameters.ts'

/**
 * The options of a launch that the machine does not depend on.
 *
 * @throws ApiError InstanceCreditSpecification.NotSupported, Unsupported (EBS optimization),
 *   UnsupportedOperation for what Hearth does not honour.
 */
export function requestedOptions(input: RunInstancesRequest, typeName: string): InstanceOptions {
  const ebsOptimized = input.EbsOptimized ?? false
  if (ebsOptimized) checkEbsOptimized(typeName)
  checkPrivateDnsName(input.PrivateDnsNameOptions)
  return {
    monitoring: input.Monitoring?.Enabled === true ? 'enabled' : 'disabled',
    disableApiTermination: input.DisableApiTermination ?? false,
    disableApiStop: input.DisableApiStop ?? false,
    cpuCredits: input.CreditSpecification ? requestedCredits(input.CreditSpecification.CpuCredits, typeName) : null,
    ebsOptimized,
    sriovNetSupport: null,
    autoRecovery:
      checkEnum('MaintenanceOptions.AutoRecovery', input.MaintenanceOptions?.AutoRecovery, ['default', 'disabled']) ?? 'default',
    rebootMigration: 'default',
    capacityReservationPreference: input.CapacityReservationSpecification?.CapacityReservationPreference === 'none' ? 'none' : 'open',
    cpu: requestedCpu(input, instanceType(typeName)),
  }
}

/**
 * The CPU options asked for, null for the type's own. A guest's processors have one thread each, so
 * that the cores of a type can be had with one thread per core.
 *
 * @throws ApiError InvalidParameterValue for what the catalogue does not list for the type.
 */
export function requestedCpu(
  { CpuOptions: options }: Pick<RunInstancesRequest, 'CpuOptions'>,
  type: InstanceTypeInfo | undefined,
): InstanceOptions['cpu'] {
  if (!options) return null
  for (const name of ['AmdSevSnp', 'NestedVirtualization'] as const) {
    if (options[name] === 'enabled') throw unsupportedParameter(`CpuOptions.${name}=enabled`)
    checkEnum(`CpuOptions.${name}`, options[name], ['enabled', 'disabled'])
  }
  const { CoreCount: coreCount, ThreadsPerCore: threadsPerCore } = options
  if (coreCount === undefined && threadsPerCore === undefined) return null
  if (coreCount === undefined) throw missingParameter('CpuOptions.CoreCount')
  if (threadsPerCore === undefined) throw missingParameter('CpuOptions.ThreadsPerCore')
  const { ValidCores: cores, ValidThreadsPerCore: threads, DefaultCores, DefaultThreadsPerCore } = type?.VCpuInfo ?? {}
  if (!cores || !threads) {
    throw new ApiError('UnsupportedOperation', `The ${type?.InstanceType} instance type does not support specifying CpuOptions.`)
  }
  if (!cores.includes(coreCount)) throw invalidValue('CpuOptions.CoreCount', coreCount, `Valid values are: ${cores.join(', ')}.`)
  if (!threads.includes(threadsPerCore)) {
    throw invalidValue('CpuOptions.ThreadsPerCore', threadsPerCore, `Valid values are: ${threads.join(', ')}.`)
  }
  if (coreCount === DefaultCores && threadsPerCore === DefaultThreadsPerCore) return null
  if (threadsPerCore !== 1) throw unsupportedParameter(`CpuOptions.ThreadsPerCore=${threadsPerCore} with CoreCount=${coreCount}`)
  return { coreCount, threadsPerCore }
}

/** A credit option that the type has. */
function requestedCredits(cpuCredits: string | undefined, typeName: string): CpuCredits | null {
  const credits = checkEnum('CreditSpecification.CpuCredits', cpuCredits, ['standard', 'unlimited'])
  if (credits === undefined) return null
  if (!isBurstable(typeName)) throw new ApiError('InstanceCreditSpecification.NotSupported', creditsNotSupported(typeName))
  return credits
}

/** EC2's sentence for a type without CPU credits. */
export function creditsNotSupported(typeName: string): string {
  return `The ${typeName} instance type does not support T2 Unlimited.`
}

/** Refuses EBS optimization for a type that does not have it. */
export function checkEbsOptimized(typeName: string): void {
  if (canBeEbsOptimized(typeName)) return
  throw new ApiError(
    'Unsupported',
    'EBS-optimized instances are not supported for your requested configuration. ' +
      'Please check the documentation for supported configurations.',
  )
}

/** Whether the catalogue lists EBS optimization for a type, by default or on demand. */
export function canBeEbsOptimized(typeName: string): boolean {
  return ['supported', 'default'].includes(instanceType(typeName)?.EbsInfo?.EbsOptimizedSupport ?? 'unsupported')
}

/** Private names are made of addresses here, so that only these can be asked for. */
function checkPrivateDnsName(options: RunInstancesRequest['PrivateDnsNameOptions']): void {
  const hostnameType = checkEnum('PrivateDnsNameOptions.HostnameType', options?.HostnameType, ['ip-name', 'resource-name'])
  if (hostnameType === 'resource-name') throw unsupportedParameter('PrivateDnsNameOptions.HostnameType=resource-name')
  for (const name of ['EnableResourceNameDnsARecord', 'EnableResourceNameDnsAAAARecord'] as const) {
    if (options?.[name]) throw unsupportedParameter(`PrivateDnsNameOptions.${name}`)
  }
}
