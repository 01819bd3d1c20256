import type { AttachVolumeRequest, DetachVolumeRequest, VolumeAttachment } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { MAX_DISKS } from '../hypervisor/driver.ts'
import { emitVolumeEvent } from '../model/ebs-events.ts'
import { freeVolume } from '../model/free-volume.ts'
import { instanceDoc } from '../model/instance.ts'
import { nodeOf } from '../model/layer.ts'
import { changeVolumeDoc, volumeDoc } from '../model/volume.ts'
import { isDataDevice, isSameDevice } from '../model/volume-device.ts'
import { attachmentToWire } from '../model/volume-wire.ts'
import type { InstanceTable, VolumeTable } from '../store/schema.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { refuseHibernated } from './hibernation.ts'
import { requireInstance } from './instance-rows.ts'
import { missingParameter, refuseParameters } from './parameters.ts'
import { incorrectVolumeState, requireVolume } from './volume-rows.ts'
import { requireZone } from './zone-available.ts'

/**
 * AttachVolume: of an available volume to an instance of its zone. A running guest gets the device
 * soon after; a stopped one has it from its next start on, also as its root where it has none.
 *
 * @throws ApiError VolumeInUse, IncorrectState of the volume or the instance, InvalidVolume.ZoneMismatch,
 *   InvalidParameterValue for a device name that is none or taken, AttachmentLimitExceeded, UnsupportedOperation for an
 *   instance that is hibernated, Unavailable while its zone has failed.
 */
export async function attachVolume(context: Context, input: AttachVolumeRequest): Promise<VolumeAttachment> {
  if (input.EbsCardIndex) refuseParameters(input, ['EbsCardIndex'])
  const device = input.Device
  if (!device) throw missingParameter('device')
  const row = await requireVolume(context, input.VolumeId)
  const instance = await requireInstance(context, input.InstanceId)
  if (row.instance_id !== null) throw new ApiError('VolumeInUse', `${row.volume_id} is already attached to an instance`)
  if (row.state !== 'available') throw incorrectVolumeState(`${row.volume_id} is not 'available'.`)
  if (instance.state !== 'running' && instance.state !== 'stopped') {
    throw incorrectVolumeState(`Instance '${instance.instance_id}' is not 'running'.`)
  }
  refuseHibernated(instance, 'what is attached to it')
  await checkPlace(context, row, instance)
  await checkRoom(context, instance, device)
  await requireZone(context, row.zone)
  const isAtOnce = instance.state === 'stopped'
  const change = {
    state: 'in-use', instance_id: instance.instance_id, device, attach_state: isAtOnce ? 'attached' : 'attaching',
    attached_ms: context.nowMs, delete_on_termination: 0, revision: row.revision + 1,
  } as const
  await context.db.updateTable('volumes').set(change).where('volume_id', '=', row.volume_id).execute()
  const { requestId } = context
  await changeVolumeDoc(context.db, row, { requestIds: { ...volumeDoc(row).requestIds, attach: requestId } })
  if (isAtOnce) await emitVolumeEvent(context.db, row, { event: 'attachVolume', result: 'attached', requestId }, context.nowMs)
  await enqueue(context.db, { kind: 'instance', id: instance.instance_id, hostId: instance.host_id }, context.nowMs)
  return attachmentToWire({ ...row, ...change, attach_state: 'attaching' })
}

/** Whichever host of the zone has made its files, every host of that node can use them. */
async function checkPlace({ db }: Context, row: VolumeTable, instance: InstanceTable): Promise<void> {
  if (row.zone !== instance.zone) {
    throw new ApiError(
      'InvalidVolume.ZoneMismatch',
      `The volume '${row.volume_id}' is not in the same availability zone as instance '${instance.instance_id}'`,
    )
  }
  const nodeId = await nodeOf(db, row.host_id)
  if (nodeId === instance.node_id) return
  throw new ApiError(
    'UnsupportedOperation',
    `The volume '${row.volume_id}' is on the node ${nodeId} and the instance '${instance.instance_id}' on ${instance.node_id}; ` +
      'make a snapshot of it, and a volume of that.',
  )
}

/** Checks the device name, and that the machine has a place for one more disk: one is the root's, whether it is there or not. */
async function checkRoom({ db }: Context, instance: InstanceTable, device: string): Promise<void> {
  const attached = await db.selectFrom('volumes').select('device').where('instance_id', '=', instance.instance_id).execute()
  if (attached.some((each) => isSameDevice(each.device, device))) {
    throw new ApiError(
      'InvalidParameterValue', `Invalid value '${device}' for unixDevice. Attachment point ${device} is already in use`,
    )
  }
  const { rootDeviceName } = instanceDoc(instance)
  if (isSameDevice(device, rootDeviceName)) return
  if (!isDataDevice(device)) {
    throw new ApiError('InvalidParameterValue', `Value (${device}) for parameter device is invalid. ${device} is not a valid EBS device name.`)
  }
  const others = attached.filter((each) => !isSameDevice(each.device, rootDeviceName)).length
  if (others + 2 <= MAX_DISKS) return
  throw new ApiError(
    'AttachmentLimitExceeded',
    `The instance '${instance.instance_id}' has ${others} volumes beside its root, and no instance may have more than ${MAX_DISKS - 1}.`,
  )
}

/**
 * DetachVolume: a guest that is up is asked to give it up; with Force it is taken away, whatever the guest has not
 * written yet. Again for one that is being detached is the same, or adds the force. A root can be detached
 * while its instance is stopped.
 *
 * @throws ApiError IncorrectState for one that is not attached, InvalidAttachment.NotFound for another
 *   instance or device than its own, OperationNotPermitted for the root of an instance that is not stopped,
 *   UnsupportedOperation for one of a hibernated instance.
 */
export async function detachVolume(context: Context, input: DetachVolumeRequest): Promise<VolumeAttachment> {
  const { db, nowMs } = context
  const row = await requireVolume(context, input.VolumeId)
  if (input.InstanceId) await requireInstance(context, input.InstanceId)
  if (row.instance_id === null) throw incorrectVolumeState(`Volume '${row.volume_id}' is in the '${row.state}' state.`)
  checkAttachment(row, input)
  const instance = await requireInstance(context, row.instance_id)
  refuseHibernated(instance, 'what is attached to it')
  if (instance.state === 'stopped') {
    await freeVolume(db, row, nowMs)
    return attachmentToWire({ ...row, attach_state: 'detaching' })
  }
  if (isSameDevice(row.device, instanceDoc(instance).rootDeviceName)) {
    throw new ApiError(
      'OperationNotPermitted', `Unable to detach root volume '${row.volume_id}' from instance '${instance.instance_id}'`,
    )
  }
  await db
    .updateTable('volumes').set({ attach_state: 'detaching', revision: row.revision + 1 })
    .where('volume_id', '=', row.volume_id).execute()
  if (input.Force) await changeVolumeDoc(db, row, { forceDetach: true })
  await enqueue(db, { kind: 'instance', id: instance.instance_id, hostId: instance.host_id }, nowMs)
  return attachmentToWire({ ...row, attach_state: 'detaching' })
}

function checkAttachment(row: VolumeTable, input: DetachVolumeRequest): void {
  const isOther = (input.InstanceId && input.InstanceId !== row.instance_id) || (input.Device && !isSameDevice(input.Device, row.device))
  if (!isOther) return
  throw new ApiError(
    'InvalidAttachment.NotFound',
    `Volume '${row.volume_id}' can not be detached from '${input.InstanceId || row.instance_id}'` +
      `${input.Device ? ` as ${input.Device}` : ''} because it is not attached`,
  )
}
