import { moveSpotRequest } from '../model/spot-request.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { startAgain } from './start-again.ts'
import { FULFILLED } from './spot-status.ts'

/**
 * Starts the instance again that a disabled request has, in the zone that it was in before its interruption: same id, disks,
 * addresses as after any start; what was kept of its memory is loaded. Its request is fulfilled again. Whether the market lets it
 * come back is the caller's to know.
 *
 * @throws ApiError InsufficientInstanceCapacity and the like; the caller rolls back.
 */
export async function returnSpotInstance(context: Context, row: SpotRequestTable, instance: InstanceTable): Promise<void> {
  const { db, nowMs } = context
  const started = await startAgain(context, instance)
  await enqueue(db, { kind: 'instance', id: started.instance_id, hostId: started.host_id }, nowMs)
  await moveSpotRequest(db, row, { state: 'active', ...FULFILLED }, nowMs)
}
