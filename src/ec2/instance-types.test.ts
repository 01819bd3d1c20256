import type { DescribeInstanceTypesRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openTestStore, type TestStore } from '../../test/support/rows.ts'
import { instanceTypeNames } from '../catalogue/instance-types.ts'
import { describeInstanceTypes } from './instance-types.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const describeTypes = (input: DescribeInstanceTypesRequest) =>
  test.run((context) => describeInstanceTypes(context, input))
const names = async (input: DescribeInstanceTypesRequest): Promise<string[]> =>
  (await describeTypes(input)).InstanceTypes?.map((type) => String(type.InstanceType)) ?? []

describe('describeInstanceTypes', () => {
  it('answers the types asked for, in full', async () => {
    const { InstanceTypes } = await describeTypes({ InstanceTypes: ['t3.micro', 'm5.large', 't3.micro'] })
    expect(InstanceTypes).toMatchObject([
      { InstanceType: 'm5.large', VCpuInfo: { DefaultVCpus: 2 }, MemoryInfo: { SizeInMiB: 8192 } },
      { InstanceType: 't3.micro', VCpuInfo: { DefaultVCpus: 2 }, MemoryInfo: { SizeInMiB: 1024 } },
    ])
  })

  it('refuses types that do not exist', async () => {
    await expect(names({ InstanceTypes: ['t3.micro', 'x', '__proto__'] as never })).rejects.toMatchObject({
      code: 'InvalidInstanceType', message: 'The following supplied instance types do not exist: [x, __proto__]',
    })
  })

  it('pages through all of them, a hundred at a time', async () => {
    const seen: string[] = []
    let NextToken: string | undefined
    do {
      const result = await describeTypes({ NextToken })
      const page = result.InstanceTypes ?? []
      expect(page.length).toBeLessThanOrEqual(100)
      seen.push(...page.map((type) => String(type.InstanceType)))
      NextToken = result.NextToken
    } while (NextToken)
    expect(seen).toEqual([...instanceTypeNames()].toSorted())
  })

  it.each([4, 101])('refuses MaxResults %d', async (MaxResults) => {
    await expect(names({ MaxResults })).rejects.toMatchObject({ code: 'InvalidParameterValue' })
  })

  it.each([
    ['instance-type', 't3.*'], ['memory-info.size-in-mib', '1024'], ['vcpu-info.default-vcpus', '2'],
    ['vcpu-info.default-cores', '1'], ['vcpu-info.default-threads-per-core', '2'], ['vcpu-info.valid-cores', '1'],
    ['vcpu-info.valid-threads-per-core', '1,2'], ['vcpu-info.valid-threads-per-core', '2'],
    ['processor-info.supported-architecture', 'x86_64'], ['processor-info.sustained-clock-speed-in-ghz', '2.5'],
    ['burstable-performance-supported', 'true'], ['bare-metal', 'false'], ['current-generation', 'true'],
    ['auto-recovery-supported', 'true'], ['dedicated-hosts-supported', 'true'], ['free-tier-eligible', 'true'],
    ['hibernation-supported', 'true'], ['hypervisor', 'nitro'], ['instance-storage-supported', 'false'],
    ['ebs-info.attachment-limit-type', 'shared'], ['ebs-info.maximum-ebs-attachments', '27'],
    ['ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps', '87'],
    ['ebs-info.ebs-optimized-info.baseline-iops', '500'],
    ['ebs-info.ebs-optimized-info.baseline-throughput-in-mbps', '10.875'],
    ['ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps', '2085'],
    ['ebs-info.ebs-optimized-info.maximum-iops', '11800'],
    ['ebs-info.ebs-optimized-info.maximum-throughput-in-mbps', '260.625'],
    ['ebs-info.ebs-optimized-support', 'default'], ['ebs-info.encryption-support', 'supported'],
    ['ebs-info.nvme-support', 'required'], ['network-info.ena-support', 'required'],
    ['network-info.efa-supported', 'false'], ['network-info.ipv4-addresses-per-interface', '2'],
    ['network-info.ipv6-addresses-per-interface', '2'], ['network-info.ipv6-supported', 'true'],
    ['network-info.maximum-network-cards', '1'], ['network-info.maximum-network-interfaces', '2'],
    ['network-info.network-performance', 'Up to 5 Gigabit'], ['network-info.encryption-in-transit-supported', 'false'],
    ['network-info.flexible-ena-queues-support', 'unsupported'], ['nitro-enclaves-support', 'unsupported'],
    ['nitro-tpm-support', 'supported'], ['nitro-tpm-info.supported-versions', '2.0'],
    ['reboot-migration-support', 'supported'], ['supported-boot-mode', 'uefi'], ['supported-root-device-type', 'ebs'],
    ['supported-usage-class', 'spot'], ['supported-virtualization-type', 'hvm'],
  ])('t3.micro has %s = %s', async (Name, value) => {
    expect(await names({ InstanceTypes: ['t3.micro'], Filters: [{ Name, Values: [value] }] })).toEqual(['t3.micro'])
  })

  it.each([
    ['instance-storage-info.disk.count', '4'], ['instance-storage-info.disk.size-in-gb', '900'],
    ['instance-storage-info.disk.type', 'ssd'], ['instance-storage-info.encryption-support', 'required'],
    ['instance-storage-info.nvme-support', 'required'], ['instance-storage-info.total-size-in-gb', '3600'],
    ['bare-metal', 'true'],
  ])('m5d.metal has %s = %s', async (Name, value) => {
    expect(await names({ InstanceTypes: ['m5d.metal'], Filters: [{ Name, Values: [value] }] })).toEqual(['m5d.metal'])
  })

  it.each(DOCUMENTED_FILTERS.DescribeInstanceTypes)('knows the filter %s', async (Name) => {
    expect(await names({ Filters: [{ Name, Values: ['no such value'] }] })).toEqual([])
  })

  it('finds the types that a filter names exactly', async () => {
    const Filters = [{ Name: 'instance-type', Values: ['t3.micro', 'no.such', 't3.nano'] }]
    expect(await names({ Filters })).toEqual(['t3.micro', 't3.nano'])
  })
})
