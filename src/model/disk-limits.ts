import type { DiskLimits } from '../hypervisor/driver.ts'
import type { VolumeTypeName } from './volume-type.ts'

const MIB = 2 ** 20
const GIB_PER_TIB = 1024

/** gp2: what a volume may do at all times, and what it has saved up when it was idle. */
const GP2 = { iopsPerGib: 3, least: 100, most: 16_000, burst: 3000, credits: 5_400_000 }
/** Up to this size a gp2 volume has the lower throughput. */
const GP2_SMALL_GIB = 170

/**
 * What a volume lets its guest do each second.
 *
 * gp2 volumes below 1,000 GiB burst to 3,000 IOPS for as long as their credits last. Hard disk types are
 * limited by throughput alone, at their burst rate: that of a volume that is not read without end.
 * https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html
 *
 * @param iops what is provisioned; only of types where that can be asked for.
 */
export function diskLimitsOf(
  type: VolumeTypeName,
  sizeGib: number,
  iops: number | null,
  throughputMibps: number | null,
): DiskLimits {
  switch (type) {
    case 'gp3':
      return plain(iops ?? 3000, throughputMibps ?? 125)
    case 'gp2':
      return gp2Limits(sizeGib)
    case 'io1':
      // Operations of up to 256 KiB to 32,000 IOPS, of 16 KiB above.
      return plain(iops, iops === null ? null : iops > 32_000 ? iops / 64 : Math.min(500, iops / 4))
    case 'io2':
      return plain(iops, iops === null ? null : Math.min(4000, iops * 0.256))
    case 'st1':
      return plain(null, Math.min(500, (250 * sizeGib) / GIB_PER_TIB))
    case 'sc1':
      return plain(null, Math.min(250, (80 * sizeGib) / GIB_PER_TIB))
    case 'standard':
      return plain(200, 90)
  }
}

function gp2Limits(sizeGib: number): DiskLimits {
  const baseline = Math.min(GP2.most, Math.max(GP2.least, GP2.iopsPerGib * sizeGib))
  const limits = plain(baseline, sizeGib <= GP2_SMALL_GIB ? 128 : 250)
  if (baseline >= GP2.burst) return limits
  return { ...limits, burst: { iops: GP2.burst, seconds: Math.floor(GP2.credits / (GP2.burst - baseline)) } }
}

function plain(iops: number | null, mibps: number | null): DiskLimits {
  return { iops, burst: null, bytesPerSecond: mibps === null ? null : Math.floor(mibps * MIB) }
}
