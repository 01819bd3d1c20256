import { describe, expect, test } from 'vitest'
import { inDiskOrder } from './volume.ts'
import { volumePerformance, type VolumeTypeName } from './volume-type.ts'

const failure = (type: VolumeTypeName, sizeGib: number, asked: Parameters<typeof volumePerformance>[2] = {}) => {
  try {
    return JSON.stringify(volumePerformance(type, sizeGib, asked))
  } catch (error) {
    return `${(error as { code: string }).code}: ${(error as Error).message}`
  }
}

describe('volumePerformance', () => {
  test.each([
    ['gp2', 1, {}, { iops: 100, throughputMibps: null }],
    ['gp2', 100, {}, { iops: 300, throughputMibps: null }],
    ['gp2', 16_384, {}, { iops: 16_000, throughputMibps: null }],
    ['gp3', 1, {}, { iops: 3000, throughputMibps: 125 }],
    ['gp3', 8, { iops: 4000, throughputMibps: 1000 }, { iops: 4000, throughputMibps: 1000 }],
    ['gp3', 65_536, { iops: 80_000, throughputMibps: 2000 }, { iops: 80_000, throughputMibps: 2000 }],
    ['io1', 4, { iops: 200 }, { iops: 200, throughputMibps: null }],
    ['io2', 4, { iops: 4000 }, { iops: 4000, throughputMibps: null }],
    ['st1', 125, {}, { iops: null, throughputMibps: null }],
    ['standard', 1024, {}, { iops: null, throughputMibps: null }],
  ] as const)('promises what a %s of %d GiB with %j has', (type, sizeGib, asked, promised) => {
    expect(volumePerformance(type, sizeGib, asked)).toEqual(promised)
  })

  test.each([
    ['gp2', 1, { iops: 100 }, 'InvalidParameterCombination: The parameter iops is not supported for gp2 volumes.'],
    ['st1', 125, { iops: 100 }, 'InvalidParameterCombination: The parameter iops is not supported for st1 volumes.'],
    ['io2', 4, {}, 'InvalidParameterCombination: The parameter iops must be specified for io2 volumes.'],
    ['io1', 4, { iops: 200, throughputMibps: 125 }, 'InvalidParameterCombination: The parameter throughput is not supported for io1 volumes.'],
    ['gp3', 20, { iops: 15_000 }, 'InvalidParameterValue: Iops to volume size ratio of 750.000000 is too high; maximum is 500'],
    ['gp3', 20, { throughputMibps: 1000 }, 'InvalidParameterValue: Throughput (MiBps) to iops ratio of 0.333333 is too high; maximum is 0.250000 MiBps per iops'],
  ] as const)('refuses a %s of %d GiB with %j as EC2 does', (type, sizeGib, asked, message) => {
    expect(failure(type, sizeGib, asked)).toBe(message)
  })

  test.each([
    ['gp2', 0, {}], ['gp2', 16_385, {}], ['gp3', 65_537, {}], ['io1', 3, { iops: 100 }], ['io2', 3, { iops: 100 }],
    ['st1', 124, {}], ['sc1', 16_385, {}], ['standard', 1025, {}], ['gp3', 100, { iops: 2999 }],
    ['gp3', 1000, { iops: 80_001 }], ['gp3', 8, { throughputMibps: 124 }], ['gp3', 1000, { iops: 80_000, throughputMibps: 2001 }],
    ['io1', 4, { iops: 99 }], ['io1', 16_384, { iops: 64_001 }], ['io2', 65_536, { iops: 256_001 }],
  ] as const)('refuses a %s of %d GiB with %j, out of range', (type, sizeGib, asked) => {
    expect(failure(type, sizeGib, asked)).toMatch(/^InvalidParameterValue: .* is too (low|high); (min|max)imum is \d+/)
  })
})

describe('inDiskOrder', () => {
  test('the root comes first, then by the time of attachment, then by device', () => {
    const disk = (device: string, attachedMs: number) => ({ device, attached_ms: attachedMs })
    const disks = [disk('/dev/sdc', 5), disk('xvdba', 1), disk('/dev/sdb', 5), disk('/dev/xvda', 9), disk('xvdz', 1)]
    expect(inDiskOrder(disks, '/dev/xvda').map((each) => each.device))
      .toEqual(['/dev/xvda', 'xvdz', 'xvdba', '/dev/sdb', '/dev/sdc'])
  })
})
