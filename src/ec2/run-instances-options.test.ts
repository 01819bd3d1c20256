import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { describe, expect, it } from 'vitest'
import { DEFAULT_INSTANCE_OPTIONS } from '../model/instance.ts'
import { checkRunInstances, requestedType } from './run-instances-input.ts'
import { requestedOptions } from './run-instances-options.ts'

const launch = (change: Partial<RunInstancesRequest>): RunInstancesRequest => ({
  ImageId: 'ami-1', InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, ...change,
})

const IMAGE = { architecture: 'x86_64', hasEna: true }

/** What a launch would keep, checked as RunInstances checks it. */
function options(change: Partial<RunInstancesRequest> = {}) {
  const input = launch(change)
  checkRunInstances(input)
  return requestedOptions(input, requestedType(input, IMAGE).name)
}

describe('the options of a launch', () => {
  it('have EC2\'s defaults, also where clients send empty values', () => {
    expect(options()).toEqual(DEFAULT_INSTANCE_OPTIONS)
    expect(options({
      KernelId: '', HibernationOptions: { Configured: false }, EnclaveOptions: { Enabled: false }, IamInstanceProfile: {},
      Monitoring: { Enabled: false }, EbsOptimized: false, CpuOptions: {}, LicenseSpecifications: [],
    })).toEqual(DEFAULT_INSTANCE_OPTIONS)
  })

  it('are kept as asked for', () => {
    expect(options({
      Monitoring: { Enabled: true }, DisableApiTermination: true, DisableApiStop: true, EbsOptimized: true,
      CreditSpecification: { CpuCredits: 'standard' }, MaintenanceOptions: { AutoRecovery: 'disabled' },
      PrivateDnsNameOptions: { HostnameType: 'ip-name', EnableResourceNameDnsARecord: false },
      CapacityReservationSpecification: { CapacityReservationPreference: 'none' },
    })).toEqual({
      monitoring: 'enabled', disableApiTermination: true, disableApiStop: true, cpuCredits: 'standard', ebsOptimized: true,
      sriovNetSupport: null, autoRecovery: 'disabled', rebootMigration: 'default', capacityReservationPreference: 'none',
      cpu: null,
    })
  })

  it.each<[RegExp, Partial<RunInstancesRequest>]>([
    [/^The m5.large instance type does not support T2 Unlimited/,
      { InstanceType: 'm5.large', CreditSpecification: { CpuCredits: 'standard' } }],
    [/\(lots\) for parameter CreditSpecification.CpuCredits/, { CreditSpecification: { CpuCredits: 'lots' } }],
    [/^EBS-optimized instances are not supported/, { InstanceType: 't2.micro', EbsOptimized: true }],
    [/HostnameType=resource-name is not supported/, { PrivateDnsNameOptions: { HostnameType: 'resource-name' } }],
    [/EnableResourceNameDnsARecord is not supported/, { PrivateDnsNameOptions: { EnableResourceNameDnsARecord: true } }],
    [/LicenseSpecifications is not supported/, { LicenseSpecifications: [{ LicenseConfigurationArn: 'x' }] }],
  ])('are refused with %s', (message, change) => {
    expect(() => options(change)).toThrow(message)
  })
})

describe('CPU options', () => {
  it('take cores away, one thread each, or are the type\'s own', () => {
    const fewer = { InstanceType: 'm5.4xlarge', CpuOptions: { CoreCount: 4, ThreadsPerCore: 1 } } as const
    expect(options(fewer).cpu).toEqual({ coreCount: 4, threadsPerCore: 1 })
    expect(requestedType(launch(fewer), IMAGE)).toEqual({ name: 'm5.4xlarge', vcpus: 4, memoryMib: 65_536 })
    const own = { InstanceType: 'm5.4xlarge', CpuOptions: { CoreCount: 8, ThreadsPerCore: 2 } } as const
    expect(options(own).cpu).toBeNull()
    expect(requestedType(launch(own), IMAGE).vcpus).toBe(16)
  })

  it.each<[RegExp, RunInstancesRequest['CpuOptions']]>([
    [/\(3\) for parameter CpuOptions.CoreCount is invalid/, { CoreCount: 3, ThreadsPerCore: 1 }],
    [/\(4\) for parameter CpuOptions.ThreadsPerCore is invalid/, { CoreCount: 4, ThreadsPerCore: 4 }],
    [/must contain the parameter CpuOptions.ThreadsPerCore/, { CoreCount: 4 }],
    [/CpuOptions.ThreadsPerCore=2 with CoreCount=4 is not supported/, { CoreCount: 4, ThreadsPerCore: 2 }],
    [/CpuOptions.AmdSevSnp=enabled is not supported/, { AmdSevSnp: 'enabled' }],
  ])('are refused with %s', (message, CpuOptions) => {
    expect(() => options({ InstanceType: 'm5.4xlarge', CpuOptions })).toThrow(message)
  })

  it('are refused for types that have none', () => {
    expect(() => options({ InstanceType: 't2.micro', CpuOptions: { CoreCount: 1, ThreadsPerCore: 1 } })).toThrow(
      /^The t2.micro instance type does not support specifying CpuOptions.$/)
  })
})
