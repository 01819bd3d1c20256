import type { InstanceRequirementsRequest } from '@aws-sdk/client-ec2'
import { describe, expect, it } from 'vitest'
import { instanceType } from '../catalogue/instance-types.ts'
import { openTestStore } from '../../test/support/rows.ts'
import { getInstanceTypesFromInstanceRequirements, typesWith, withinPriceProtection } from './instance-requirements.ts'

const X86 = { architectures: ['x86_64'], virtualizations: ['hvm'] }
const types = (asked: Partial<InstanceRequirementsRequest>, kind = X86) =>
  typesWith({ VCpuCount: { Min: 0 }, MemoryMiB: { Min: 0 }, ...asked }, kind)

describe('types by their attributes', () => {
  it('have the processors and the memory asked for, and are neither burstable nor bare metal unless that is said', () => {
    const two = types({ VCpuCount: { Min: 2, Max: 2 }, MemoryMiB: { Min: 4096, Max: 4096 } })
    expect(two).toContain('c5.large')
    expect(two).not.toContain('t3.medium')
    for (const name of two) {
      expect(instanceType(name)).toMatchObject({
        VCpuInfo: { DefaultVCpus: 2 }, MemoryInfo: { SizeInMiB: 4096 }, BurstablePerformanceSupported: false, BareMetal: false,
        ProcessorInfo: { SupportedArchitectures: expect.arrayContaining(['x86_64']) },
      })
    }
    const burstable = types({ VCpuCount: { Min: 2, Max: 2 }, MemoryMiB: { Min: 4096, Max: 4096 }, BurstablePerformance: 'required' })
    expect(burstable).toEqual(['t2.medium', 't3.medium', 't3a.medium'])
    expect(types({ BareMetal: 'required' }).every((name) => name.includes('metal'))).toBe(true)
  })

  it('boot the image', () => {
    expect(types({ AllowedInstanceTypes: ['m6g.large', 'm5.large'] })).toEqual(['m5.large'])
    expect(types({ AllowedInstanceTypes: ['m6g.large', 'm5.large'] }, { ...X86, architectures: ['arm64'] })).toEqual(['m6g.large'])
  })

  it('are named with stars, or left out so', () => {
    expect(types({ AllowedInstanceTypes: ['m5.*large'] })).toEqual([
      'm5.12xlarge', 'm5.16xlarge', 'm5.24xlarge', 'm5.2xlarge', 'm5.4xlarge', 'm5.8xlarge', 'm5.large', 'm5.xlarge',
    ])
    const without = types({ ExcludedInstanceTypes: ['c5*', '*metal*'] })
    expect(without.some((name) => name.startsWith('c5'))).toBe(false)
    expect(without).toContain('c6i.large')
  })

  it.each<[Partial<InstanceRequirementsRequest>, string, string]>([
    [{ CpuManufacturers: ['amd'] }, 'm5a.large', 'm5.large'],
    [{ InstanceGenerations: ['previous'] }, 'm3.large', 'm7i.large'],
    [{ LocalStorage: 'required' }, 'm5d.large', 'm5.large'],
    [{ LocalStorage: 'excluded' }, 'm5.large', 'm5d.large'],
    [{ LocalStorage: 'required', LocalStorageTypes: ['hdd'] }, 'd2.xlarge', 'm5d.large'],
    [{ TotalLocalStorageGB: { Min: 100 } }, 'm5d.xlarge', 'm5d.large'],
    [{ MemoryGiBPerVCpu: { Min: 8 } }, 'r5.large', 'm5.large'],
    [{ NetworkInterfaceCount: { Min: 4 } }, 'm5.xlarge', 'm5.large'],
    [{ NetworkBandwidthGbps: { Min: 10 } }, 'm5.12xlarge', 'm5.large'],
    [{ BaselineEbsBandwidthMbps: { Min: 1000 } }, 'm5.xlarge', 'm5.large'],
    [{ AcceleratorCount: { Max: 0 } }, 'm5.large', 'g5.xlarge'],
    [{ AcceleratorTypes: ['gpu'] }, 'g5.xlarge', 'inf1.xlarge'],
    [{ AcceleratorTypes: ['inference'], AcceleratorManufacturers: ['amazon-web-services'] }, 'inf1.xlarge', 'g5.xlarge'],
    [{ AcceleratorNames: ['a10g'], AcceleratorTotalMemoryMiB: { Min: 20_000 } }, 'g5.xlarge', 'g4dn.xlarge'],
    [{ RequireHibernateSupport: true }, 'm5.large', 'm5zn.large'],
    [{ RequireEncryptionInTransit: true }, 'm5n.large', 'm5.large'],
  ])('%j: %s, not %s', (asked, one, other) => {
    expect(types({ ...asked, AllowedInstanceTypes: [one, other] })).toEqual([one])
  })

  it('are asked for in a way that makes sense', () => {
    expect(() => typesWith({ VCpuCount: { Min: 1 }, MemoryMiB: undefined }, X86)).toThrow('MemoryMiB')
    expect(() => types({ VCpuCount: { Min: 2, Max: 1 } })).toThrow('Min must not be greater than Max')
    expect(() => types({ AllowedInstanceTypes: ['a'], ExcludedInstanceTypes: ['b'] })).toThrow('cannot be specified together')
    expect(() => types({ BaselinePerformanceFactors: { Cpu: {} } })).toThrow('BaselinePerformanceFactors')
  })

  it('are within a fifth of the lowest price of a usual one, unless another limit is set', () => {
    const names = ['m5.large', 'm5a.large', 'm5.24xlarge', 't3a.nano']
    const protect = (asked: Partial<InstanceRequirementsRequest>, per: (name: string) => number = () => 1) => withinPriceProtection(names, asked as InstanceRequirementsRequest, per)
    expect(protect({})).toEqual(['m5.large', 'm5a.large', 't3a.nano'])
    expect(protect({ OnDemandMaxPricePercentageOverLowestPrice: 0 })).toEqual(['m5a.large', 't3a.nano'])
    expect(protect({ OnDemandMaxPricePercentageOverLowestPrice: 999_999 })).toEqual(names)
    expect(protect({}, (name) => (name === 'm5.24xlarge' ? 96 : 2))).toContain('m5.24xlarge')
    expect(withinPriceProtection(['t3.nano', 't3.large'], {} as InstanceRequirementsRequest, () => 1)).toEqual(['t3.nano'])
    expect(withinPriceProtection([], {} as InstanceRequirementsRequest, () => 1)).toEqual([])
  })

  it('come page by page', async () => {
    const store = await openTestStore()
    const ask = (more: object) => store.run((context) => getInstanceTypesFromInstanceRequirements(context, {
      ArchitectureTypes: ['x86_64'], VirtualizationTypes: ['hvm'],
      InstanceRequirements: { VCpuCount: { Min: 1 }, MemoryMiB: { Min: 1 }, AllowedInstanceTypes: ['m5.large', 'c5.large'] }, ...more,
    }))
    const first = await ask({ MaxResults: 1 })
    expect(first.InstanceTypes).toEqual([{ InstanceType: 'c5.large' }])
    expect(await ask({ MaxResults: 1, NextToken: first.NextToken })).toEqual({ InstanceTypes: [{ InstanceType: 'm5.large' }], NextToken: undefined })
    await expect(ask({ ArchitectureTypes: [] })).rejects.toThrow('ArchitectureType')
  })
})
