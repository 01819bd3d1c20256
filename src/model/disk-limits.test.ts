import { describe, expect, test } from 'vitest'
import { diskLimitsOf } from './disk-limits.ts'

const MIB = 2 ** 20
/** "3000 IOPS, 125 MiB/s, to 3000 for 1862 s" */
function text(...args: Parameters<typeof diskLimitsOf>): string {
  const { iops, burst, bytesPerSecond } = diskLimitsOf(...args)
  const throughput = bytesPerSecond === null ? 'any throughput' : `${Number((bytesPerSecond / MIB).toFixed(2))} MiB/s`
  return `${iops ?? 'any'} IOPS, ${throughput}${burst ? `, to ${burst.iops} for ${burst.seconds} s` : ''}`
}

describe('limits of a disk', () => {
  test.each([
    ['gp3', 8, 3000, 125, '3000 IOPS, 125 MiB/s'],
    ['gp3', 500, 80_000, 2000, '80000 IOPS, 2000 MiB/s'],
    ['gp3', 8, null, null, '3000 IOPS, 125 MiB/s'],
    ['gp2', 1, 100, null, '100 IOPS, 128 MiB/s, to 3000 for 1862 s'],
    ['gp2', 170, 510, null, '510 IOPS, 128 MiB/s, to 3000 for 2168 s'],
    ['gp2', 500, 1500, null, '1500 IOPS, 250 MiB/s, to 3000 for 3600 s'],
    ['gp2', 1000, 3000, null, '3000 IOPS, 250 MiB/s'],
    ['gp2', 16_384, 16_000, null, '16000 IOPS, 250 MiB/s'],
    ['io1', 4, 200, null, '200 IOPS, 50 MiB/s'],
    ['io1', 1000, 32_000, null, '32000 IOPS, 500 MiB/s'],
    ['io1', 2000, 64_000, null, '64000 IOPS, 1000 MiB/s'],
    ['io2', 4, 1000, null, '1000 IOPS, 256 MiB/s'],
    ['io2', 1000, 256_000, null, '256000 IOPS, 4000 MiB/s'],
    ['st1', 125, null, null, 'any IOPS, 30.52 MiB/s'],
    ['st1', 16_384, null, null, 'any IOPS, 500 MiB/s'],
    ['sc1', 1024, null, null, 'any IOPS, 80 MiB/s'],
    ['standard', 1, null, null, '200 IOPS, 90 MiB/s'],
  ] as const)('of type %s, %d GiB, %j IOPS and %j MiB/s', (type, sizeGib, iops, throughput, expected) => {
    expect(text(type, sizeGib, iops, throughput)).toBe(expected)
  })
})
