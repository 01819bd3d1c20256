import { ApiError } from '../core/errors.ts'
import { instanceDoc } from '../model/instance.ts'
import { isReadyToHibernate, keepsMemory } from '../model/memory.ts'
import type { InstanceTable } from '../store/schema.ts'

/**
 * Checks that the instance was launched so that it can be hibernated.
 *
 * @throws ApiError UnsupportedHibernationConfiguration.
 */
export function checkHibernationConfigured(row: InstanceTable): void {
  if (instanceDoc(row).hibernation) return
  throw new ApiError(
    'UnsupportedHibernationConfiguration',
    `The instance can't be hibernated because it was not configured at launch for hibernation: ${row.instance_id}`,
  )
}

/**
 * Checks that the guest of a running instance has come up, so that there is something to keep.
 *
 * @throws ApiError UnsupportedOperation.
 */
export function checkReadyToHibernate(row: InstanceTable): void {
  if (isReadyToHibernate(instanceDoc(row))) return
  throw new ApiError('UnsupportedOperation', `Instance ${row.instance_id} is not ready to hibernate yet, retry in a few minutes`)
}

/**
 * Refuses a change that the memory of a hibernated guest would not know of; `what` completes "its instance type".
 *
 * @throws ApiError UnsupportedOperation.
 */
export function refuseHibernated(row: InstanceTable, what: string): void {
  if (!keepsMemory(row)) return
  throw new ApiError(
    'UnsupportedOperation',
    `The instance '${row.instance_id}' is hibernated, and so ${what} cannot be changed. Start it, and stop it without ` +
      'hibernation first.',
  )
}
