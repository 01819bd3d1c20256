import type {
  AttachNetworkInterfaceRequest, AttachNetworkInterfaceResult, DetachNetworkInterfaceRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { changeInterfaceDoc, interfaceDoc } from '../model/interface.ts'
import { freeInterface } from '../model/free-interface.ts'
import type { InstanceTable, InterfaceTable } from '../store/schema.ts'
import { enqueue } from '../store/work.ts'
import { enqueueChangedPort } from './changed-ports.ts'
import type { Context } from './context.ts'
import { refuseHibernated } from './hibernation.ts'
import { incorrectState, requireInstance } from './instance-rows.ts'
import { checkAddressCount, checkDeviceIndex, checkInterfaceCount } from './interface-limits.ts'
import { notInZone, requireAttached, requireAvailableInterface, severalVpcs } from './interface-rows.ts'
import { attachedColumns, type Attachment } from './new-interface.ts'
import { missingParameter, refuseParameters } from './parameters.ts'
import { requireZone } from './zone-available.ts'

/**
 * AttachNetworkInterface: of an available interface to an instance of its zone that is stopped, or up
 * or coming up, whose guest then gets it.
 *
 * @throws ApiError InvalidNetworkInterface.InUse, IncorrectInstanceState, AttachmentLimitExceeded,
 *   PrivateIpAddressLimitExceeded, InvalidParameterValue for a device index that is taken, UnsupportedOperation for an
 *   instance that is hibernated, Unavailable while its zone has failed.
 */
export async function attachNetworkInterface(
  context: Context,
  input: AttachNetworkInterfaceRequest,
): Promise<AttachNetworkInterfaceResult> {
  refuseParameters(input, ['EnaSrdSpecification'])
  if (input.NetworkCardIndex) refuseParameters(input, ['NetworkCardIndex'])
  if (input.EnaQueueCount) refuseParameters(input, ['EnaQueueCount'])
  if (input.DeviceIndex === undefined) throw missingParameter('deviceIndex')
  const deviceIndex = checkDeviceIndex(input.DeviceIndex)
  const row = await requireAvailableInterface(context, input.NetworkInterfaceId)
  const instance = await requireInstance(context, input.InstanceId)
  if (!['pending', 'running', 'stopped'].includes(instance.state)) {
    throw incorrectState(`The instance '${instance.instance_id}' is not in the 'running' or 'stopped' states.`)
  }
  refuseHibernated(instance, 'what is attached to it')
  if (row.zone !== instance.zone) throw notInZone()
  if (row.vpc_id !== instance.vpc_id) throw severalVpcs()
  await checkRoom(context, instance, deviceIndex)
  checkAddressCount(instance.instance_type, await countAddresses(context, row))
  await requireZone(context, row.zone)
  await attach(context, row, { instance, deviceIndex, deleteOnTermination: false, assignPublicIp: false })
  const after = await context.db
    .selectFrom('interfaces').selectAll().where('interface_id', '=', row.interface_id).executeTakeFirstOrThrow()
  return { AttachmentId: interfaceDoc(after).attachmentId, NetworkCardIndex: 0 }
}

/** Attaches an interface that nothing has, and marks its port due. */
export async function attach(context: Context, row: InterfaceTable, attachment: Attachment): Promise<void> {
  const { description } = interfaceDoc(row)
  const columns = await attachedColumns(context, { interfaceId: row.interface_id, description }, attachment)
  await context.db
    .updateTable('interfaces').set({ ...columns, ready: 0 }).where('interface_id', '=', row.interface_id).execute()
  await enqueueChangedPort(context, { ...row, host_id: columns.host_id })
}

async function checkRoom({ db }: Context, instance: InstanceTable, deviceIndex: number): Promise<void> {
  const attached = await db
    .selectFrom('interfaces').select('device_index').where('instance_id', '=', instance.instance_id).execute()
  if (attached.some((each) => each.device_index === deviceIndex)) {
    throw new ApiError(
      'InvalidParameterValue',
      `Instance '${instance.instance_id}' already has an interface attached at device index '${deviceIndex}'.`,
    )
  }
  checkInterfaceCount(instance.instance_type, attached.length + 1)
}

/** How many private addresses the interface has, the primary one included. */
export async function countAddresses({ db }: Pick<Context, 'db'>, row: InterfaceTable): Promise<number> {
  const secondary = await db
    .selectFrom('interface_addresses').select('private_ip').where('interface_id', '=', row.interface_id).execute()
  return 1 + secondary.length
}

/**
 * DetachNetworkInterface: a guest that is up is asked to give it up; with Force it is taken away. Again
 * for one that is being detached is the same.
 *
 * @throws ApiError InvalidAttachmentID.NotFound, OperationNotPermitted for the primary interface, UnsupportedOperation for
 *   one of a hibernated instance.
 */
export async function detachNetworkInterface(context: Context, input: DetachNetworkInterfaceRequest): Promise<void> {
  const { db, nowMs } = context
  const row = await requireAttached(context, input.AttachmentId)
  if (row.device_index === 0) {
    throw new ApiError('OperationNotPermitted', 'The network interface at device index 0 cannot be detached.')
  }
  const instance = await requireInstance(context, row.instance_id ?? undefined)
  refuseHibernated(instance, 'what is attached to it')
  if (instance.state === 'stopped') {
    await freeInterface(context, row)
    return
  }
  await db
    .updateTable('interfaces').set({ status: 'detaching' }).where('interface_id', '=', row.interface_id).execute()
  if (input.Force) await changeInterfaceDoc(db, row, { forceDetach: true })
  await enqueue(db, { kind: 'instance', id: instance.instance_id, hostId: instance.host_id }, nowMs)
}
