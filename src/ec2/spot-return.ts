import { moveInstance, serviceInitiated, STATE_REASONS } from '../model/instance.ts'
import { moveSpotRequest } from '../model/spot-request.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { FULFILLED } from './spot-status.ts'
import { hasRoot, startAgain } from './start-again.ts'

/**
 * Starts the instance again that a disabled request has, in the zone that it was in before its interruption: same id, disks,
 * addresses as after any start; what was kept of its memory is loaded. Its request is fulfilled again. Whether the market lets it
 * come back is the caller's to know, but for the room that its zone has for spot. One without its root volume cannot come back,
 * and is terminated (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html).
 *
 * @throws ApiError InsufficientInstanceCapacity and the like; the caller rolls back.
 */
export async function returnSpotInstance(context: Context, row: SpotRequestTable, instance: InstanceTable): Promise<void> {
  const { db, nowMs } = context
  if (!(await hasRoot(context, instance))) return terminate(context, instance)
  const started = await startAgain(context, instance)
  await enqueue(db, { kind: 'instance', id: started.instance_id, hostId: started.host_id }, nowMs)
  await moveSpotRequest(db, row, { state: 'active', ...FULFILLED }, nowMs)
}

async function terminate({ db, nowMs }: Context, instance: InstanceTable): Promise<void> {
  await moveInstance(db, instance, 'shutting-down', nowMs, {
    stateReason: STATE_REASONS.spotTermination, stateTransitionReason: serviceInitiated(nowMs),
  })
  await enqueue(db, { kind: 'instance', id: instance.instance_id, hostId: instance.host_id }, nowMs)
}
