import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import type { Context } from './context.ts'

/**
 * Starts the instance again that a disabled request has, where it was before its interruption: same id, disks, memory, addresses.
 *
 * @throws ApiError InsufficientInstanceCapacity and the like; the caller rolls back.
 */
export async function returnSpotInstance(_context: Context, _row: SpotRequestTable, _instance: InstanceTable): Promise<void> {
  throw new Error('not there yet')
}
