import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { instanceType } from '../catalogue/instance-types.ts'
import { ApiError } from '../core/errors.ts'
import type { VolumeRequest } from './run-instances-volumes.ts'

/** Linux guests with more memory cannot be hibernated. */
const LEAST_MEMORY_TOO_MUCH_MIB = 150 * 1024

/** Hibernation wants a solid state disk. */
const ROOT_VOLUME_TYPES: readonly string[] = ['gp2', 'gp3', 'io1', 'io2']

/**
 * Whether a launch asks for instances that can be hibernated; `root` is the volume that they boot from.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/hibernating-prerequisites.html
 *
 * @throws ApiError UnsupportedHibernationConfiguration for a type or a root volume that hibernation is not for.
 */
export function requestedHibernation(
  { HibernationOptions: options }: Pick<RunInstancesRequest, 'HibernationOptions'>,
  typeName: string,
  root: Pick<VolumeRequest, 'sizeGib' | 'volumeType' | 'kmsKeyId'> | undefined,
): boolean {
  if (options?.Configured !== true) return false
  checkHibernationType(typeName)
  if (!root?.kmsKeyId) throw unsupported('For hibernation, the root device volume must be encrypted.')
  if (!ROOT_VOLUME_TYPES.includes(root.volumeType)) {
    const allowed = ROOT_VOLUME_TYPES.join(', ')
    throw unsupported(`For hibernation, the root device volume must be one of ${allowed}, not ${root.volumeType}.`)
  }
  const memoryMib = memoryOf(typeName)
  if (root.sizeGib * 1024 < memoryMib) {
    throw unsupported(
      `For hibernation, the root device volume must be large enough for the instance's memory: it has ${root.sizeGib} GiB, ` +
        `and ${typeName} has ${memoryMib} MiB of memory.`,
    )
  }
  return true
}

/** Refuses a type that hibernation is not for, as bare metal, and one with too much memory. */
export function checkHibernationType(typeName: string): void {
  if (!instanceType(typeName)?.HibernationSupported) {
    throw unsupported(`Hibernation is not supported for the instance type '${typeName}'.`)
  }
  if (memoryOf(typeName) >= LEAST_MEMORY_TOO_MUCH_MIB) {
    throw unsupported(`For hibernation, the instance must have less than 150 GiB of memory; '${typeName}' has more.`)
  }
}

function memoryOf(typeName: string): number {
  return instanceType(typeName)?.MemoryInfo?.SizeInMiB ?? 0
}

function unsupported(message: string): ApiError {
  return new ApiError('UnsupportedHibernationConfiguration', message)
}
