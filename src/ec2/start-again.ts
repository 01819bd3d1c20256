import { ApiError } from '../core/errors.ts'
import { instanceDoc, moveInstance } from '../model/instance.ts'
import { withoutNotice } from '../model/spot-interruption.ts'
import { isSameDevice } from '../model/volume-device.ts'
import type { InstanceTable } from '../store/schema.ts'
import { enqueue } from '../store/work.ts'
import { giveAutomaticAddress } from './automatic-address.ts'
import type { Context } from './context.ts'
import { takePlaceAgain } from './launch-placement.ts'
import { canBeEbsOptimized } from './run-instances-options.ts'
import { requireSpotSupply } from './spot-instance-rules.ts'
import { promiseRoom } from './take-over-room.ts'

/**
 * Makes a stopped instance pending, with a new public address where it has one: what StartInstances does, and what the market
 * does for a spot instance that comes back. What was kept of a hibernated one's memory is the reconciler's to load. The caller
 * marks it due on the host that it was on.
 *
 * @throws ApiError where there is no room, or nothing to boot from.
 */
export async function startAgain(context: Context, row: InstanceTable): Promise<InstanceTable> {
  const doc = instanceDoc(row)
  if (doc.options.ebsOptimized && !canBeEbsOptimized(row.instance_type)) {
    throw new ApiError(
      'Unsupported',
      'The requested configuration is currently not supported. Please check the documentation for supported configurations.',
    )
  }
  if (!(await hasRoot(context, row))) throw noRoot(row)
  if (row.lifecycle === 'spot') await requireSpotSupply(context, row)
  const { place, waitsFor } = await takePlaceAgain(context, row)
  await promiseRoom(context.db, waitsFor, row.instance_id)
  await wantInterfaces(context, row)
  await context.db
    .updateTable('instances').set({ launch_ms: context.nowMs, holds_capacity: 1, ...place }).where('instance_id', '=', row.instance_id).execute()
  const moved = await moveInstance(context.db, row, 'pending', context.nowMs, {
    // The host that it was on is told, and hands it over.
    ...(place.host_id === row.host_id ? {} : { movedFrom: row.host_id }),
    ...withoutNotice(doc),
    ...(waitsFor.length === 0 ? {} : { waitsFor: [...waitsFor] }),
    stoppedByDown: undefined, stateReason: null, stateTransitionReason: '', startFailures: 0, force: false, hibernate: false, skipOsShutdown: false,
  })
  if (!moved) throw new Error(`${row.instance_id} left ${row.state} inside a transaction`)
  return moved
}

/** Whether there is something to boot from: a stopped instance may have given its root away. */
export async function hasRoot({ db }: Pick<Context, 'db'>, row: InstanceTable): Promise<boolean> {
  const { rootDeviceName } = instanceDoc(row)
  const volumes = await db.selectFrom('volumes').select('device').where('instance_id', '=', row.instance_id).execute()
  return volumes.some((volume) => isSameDevice(volume.device, rootDeviceName))
}

function noRoot(row: InstanceTable): ApiError {
  const { rootDeviceName } = instanceDoc(row)
  return new ApiError(
    'InvalidParameterValue',
    `Invalid value '${row.instance_id}' for instanceId. Instance does not have a volume attached at root (${rootDeviceName})`,
  )
}

/** Asks for the ports of an instance that starts; Elastic IPs stay, automatic public addresses are drawn anew. */
async function wantInterfaces(context: Context, row: InstanceTable): Promise<void> {
  const { db, nowMs } = context
  if (row.vpc_id === null) throw new Error(`${row.instance_id} starts and is in no VPC`)
  await db
    .updateTable('interfaces').set((eb) => ({ wanted: 1, ready: 0, revision: eb('revision', '+', 1) }))
    .where('instance_id', '=', row.instance_id).execute()
  await giveAutomaticAddress(context, row.instance_id)
  await enqueue(db, { kind: 'ports', id: row.vpc_id, hostId: row.node_id }, nowMs)
}
