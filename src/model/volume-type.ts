import { ApiError } from '../core/errors.ts'

/** EC2's volume types, and what each may be: sizes in GiB, throughput in MiB/s. */
interface VolumeTypeLimits {
  sizeGib: readonly [least: number, most: number]
  /** What may be asked for; null where IOPS follow from the size or mean nothing. */
  iops: { range: readonly [least: number, most: number]; mostPerGib: number; byDefault: number | null } | null
  throughputMibps: { range: readonly [least: number, most: number]; byDefault: number } | null
  isBootable: boolean
}

/** https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html */
const LIMITS = {
  standard: { sizeGib: [1, 1024], iops: null, throughputMibps: null, isBootable: true },
  gp2: { sizeGib: [1, 16_384], iops: null, throughputMibps: null, isBootable: true },
  gp3: {
    sizeGib: [1, 65_536], iops: { range: [3000, 80_000], mostPerGib: 500, byDefault: 3000 },
    throughputMibps: { range: [125, 2000], byDefault: 125 }, isBootable: true,
  },
  io1: {
    sizeGib: [4, 16_384], iops: { range: [100, 64_000], mostPerGib: 50, byDefault: null }, throughputMibps: null,
    isBootable: true,
  },
  io2: {
    sizeGib: [4, 65_536], iops: { range: [100, 256_000], mostPerGib: 1000, byDefault: null }, throughputMibps: null,
    isBootable: true,
  },
  st1: { sizeGib: [125, 16_384], iops: null, throughputMibps: null, isBootable: false },
  sc1: { sizeGib: [125, 16_384], iops: null, throughputMibps: null, isBootable: false },
} as const satisfies Record<string, VolumeTypeLimits>

export type VolumeTypeName = keyof typeof LIMITS

export const VOLUME_TYPES = Object.keys(LIMITS) as VolumeTypeName[]

/** Throughput that a gp3 volume may have for each of its IOPS, MiB/s. */
const MOST_THROUGHPUT_PER_IOPS = 0.25

/** What a volume is promised; null where its type promises nothing. */
export interface VolumePerformance {
  iops: number | null
  throughputMibps: number | null
}

/** Whether an instance can boot from that type; hard disk types it cannot. */
export function isBootable(type: VolumeTypeName): boolean {
  return LIMITS[type].isBootable
}

/**
 * Checks size, IOPS and throughput against what the type allows, and fills in what it promises.
 *
 * @throws ApiError InvalidParameterValue for what is out of range, InvalidParameterCombination for
 * IOPS or throughput that the type has none of, or does not do without.
 */
export function volumePerformance(
  type: VolumeTypeName,
  sizeGib: number,
  asked: { iops?: number | undefined; throughputMibps?: number | undefined },
): VolumePerformance {
  const limits: VolumeTypeLimits = LIMITS[type]
  checkRange(`Volume of size ${sizeGib}GiB`, sizeGib, limits.sizeGib, `GiB for volumes of type ${type}`)
  const iops = provisionedIops(type, sizeGib, asked.iops)
  if (asked.throughputMibps !== undefined && !limits.throughputMibps) {
    throw new ApiError('InvalidParameterCombination', `The parameter throughput is not supported for ${type} volumes.`)
  }
  if (!limits.throughputMibps) return { iops, throughputMibps: null }
  const throughputMibps = asked.throughputMibps ?? limits.throughputMibps.byDefault
  checkRange(`Volume throughput of ${throughputMibps}`, throughputMibps, limits.throughputMibps.range, 'MiBps')
  const ratio = throughputMibps / (iops ?? 1)
  if (ratio > MOST_THROUGHPUT_PER_IOPS) {
    throw new ApiError(
      'InvalidParameterValue',
      `Throughput (MiBps) to iops ratio of ${ratio.toFixed(6)} is too high; maximum is ` +
        `${MOST_THROUGHPUT_PER_IOPS.toFixed(6)} MiBps per iops`,
    )
  }
  return { iops, throughputMibps }
}

function provisionedIops(type: VolumeTypeName, sizeGib: number, asked: number | undefined): number | null {
  const limits: VolumeTypeLimits['iops'] = LIMITS[type].iops
  if (!limits) {
    if (asked !== undefined) {
      throw new ApiError('InvalidParameterCombination', `The parameter iops is not supported for ${type} volumes.`)
    }
    // Three for each GiB, as gp2's baseline is described.
    return type === 'gp2' ? Math.min(16_000, Math.max(100, 3 * sizeGib)) : null
  }
  const iops = asked ?? limits.byDefault
  if (iops === null) {
    throw new ApiError('InvalidParameterCombination', `The parameter iops must be specified for ${type} volumes.`)
  }
  checkRange(`Volume iops of ${iops}`, iops, limits.range, `for volumes of type ${type}`)
  // What a type has anyway it has at any size.
  if (iops !== limits.byDefault && iops / sizeGib > limits.mostPerGib) {
    throw new ApiError(
      'InvalidParameterValue',
      `Iops to volume size ratio of ${(iops / sizeGib).toFixed(6)} is too high; maximum is ${limits.mostPerGib}`,
    )
  }
  return iops
}

function checkRange(what: string, value: number, [least, most]: readonly [number, number], unit: string): void {
  if (value < least) throw new ApiError('InvalidParameterValue', `${what} is too low; minimum is ${least} ${unit}.`)
  if (value > most) throw new ApiError('InvalidParameterValue', `${what} is too high; maximum is ${most} ${unit}.`)
}
