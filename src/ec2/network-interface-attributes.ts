import type {
  DescribeNetworkInterfaceAttributeRequest, DescribeNetworkInterfaceAttributeResult,
  ModifyNetworkInterfaceAttributeRequest, NetworkInterfaceAttachmentChanges, ResetNetworkInterfaceAttributeRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { instanceAttachmentToWire } from '../model/interface-wire.ts'
import { changeInterfaceDoc, interfaceDoc } from '../model/interface.ts'
import type { InterfaceTable } from '../store/schema.ts'
import { enqueueChangedPort } from './changed-ports.ts'
import type { Context } from './context.ts'
import { replaceGroups } from './instance-groups.ts'
import { attachmentNotFound, requireInterface, requireOwnInterface } from './interface-rows.ts'
import { loadGroups } from './network-interfaces.ts'
import { checkEnum, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'

const ATTRIBUTES = ['description', 'groupSet', 'sourceDestCheck', 'attachment', 'associatePublicIpAddress'] as const

/** DescribeNetworkInterfaceAttribute: the interface's id and the one attribute. */
export async function describeNetworkInterfaceAttribute(
  context: Context,
  input: DescribeNetworkInterfaceAttributeRequest,
): Promise<DescribeNetworkInterfaceAttributeResult> {
  const attribute = checkEnum('attribute', input.Attribute, ATTRIBUTES)
  if (attribute === undefined) throw missingParameter('attribute')
  const row = await requireInterface(context, input.NetworkInterfaceId)
  return { NetworkInterfaceId: row.interface_id, ...(await attributeOf(context, row, attribute)) }
}

async function attributeOf(
  { db }: Context,
  row: InterfaceTable,
  attribute: (typeof ATTRIBUTES)[number],
): Promise<DescribeNetworkInterfaceAttributeResult> {
  const { description, assignPublicIp } = interfaceDoc(row)
  switch (attribute) {
    case 'description':
      return { Description: { Value: description } }
    case 'groupSet':
      return { Groups: (await loadGroups(db, [row.interface_id])).get(row.interface_id) ?? [] }
    case 'sourceDestCheck':
      return { SourceDestCheck: { Value: row.source_dest_check === 1 } }
    case 'attachment':
      return { Attachment: instanceAttachmentToWire(row) }
    case 'associatePublicIpAddress':
      return { AssociatePublicIpAddress: assignPublicIp }
  }
}

/** What a call may change, one at a time. */
const CHANGES = ['Description', 'Groups', 'SourceDestCheck', 'Attachment'] as const

/**
 * ModifyNetworkInterfaceAttribute: exactly one attribute.
 *
 * @throws ApiError InvalidParameterCombination for none or several, those of security groups,
 *   InvalidAttachmentID.NotFound.
 */
export async function modifyNetworkInterfaceAttribute(
  context: Context,
  input: ModifyNetworkInterfaceAttributeRequest,
): Promise<void> {
  refuseParameters(input, ['EnaSrdSpecification', 'EnablePrimaryIpv6', 'ConnectionTrackingSpecification', 'AssociatedSubnetIds'])
  if (input.AssociatePublicIpAddress !== undefined) throw unsupportedParameter('AssociatePublicIpAddress')
  const asked = CHANGES.filter((name) => {
    const value = input[name]
    return value !== undefined && !(Array.isArray(value) && value.length === 0)
  })
  const [change, ...others] = asked
  if (change === undefined) throw new ApiError('InvalidParameterCombination', 'No attributes specified.')
  if (others.length > 0) {
    throw new ApiError('InvalidParameterCombination', `Fields for multiple attribute types specified: ${asked.join(', ')}`)
  }
  const row = await requireOwnInterface(context, input.NetworkInterfaceId)
  if (change === 'Description') await changeInterfaceDoc(context.db, row, { description: input.Description?.Value ?? '' })
  else if (change === 'Groups') await replaceGroups(context, row, input.Groups ?? [])
  else if (change === 'SourceDestCheck') await setSourceDestCheck(context, row, input.SourceDestCheck?.Value ?? true)
  else await changeAttachment(context, row, input.Attachment ?? {})
}

/** ResetNetworkInterfaceAttribute: the source/destination check is on again, as it was when the interface was made. */
export async function resetNetworkInterfaceAttribute(
  context: Context,
  input: ResetNetworkInterfaceAttributeRequest,
): Promise<void> {
  if (!input.SourceDestCheck) throw missingParameter('sourceDestCheck')
  await setSourceDestCheck(context, await requireOwnInterface(context, input.NetworkInterfaceId), true)
}

/** Without the check the port may send from, and gets packets for, addresses that are not its own. */
export async function setSourceDestCheck(context: Context, row: InterfaceTable, isOn: boolean): Promise<void> {
  await context.db
    .updateTable('interfaces').set({ source_dest_check: isOn ? 1 : 0 }).where('interface_id', '=', row.interface_id).execute()
  await enqueueChangedPort(context, row)
}

/** DeleteOnTermination of the present attachment. */
async function changeAttachment(
  { db }: Context,
  row: InterfaceTable,
  change: NetworkInterfaceAttachmentChanges,
): Promise<void> {
  if (change.DefaultEnaQueueCount !== undefined) throw unsupportedParameter('Attachment.DefaultEnaQueueCount')
  if (change.EnaQueueCount !== undefined) throw unsupportedParameter('Attachment.EnaQueueCount')
  const { AttachmentId: attachmentId, DeleteOnTermination: isDeleted } = change
  if (!attachmentId) throw missingParameter('attachment.attachmentId')
  if (isDeleted === undefined) throw missingParameter('attachment.deleteOnTermination')
  if (row.instance_id === null || interfaceDoc(row).attachmentId !== attachmentId) throw attachmentNotFound(attachmentId)
  await db
    .updateTable('interfaces').set({ delete_on_termination: isDeleted ? 1 : 0 })
    .where('interface_id', '=', row.interface_id).execute()
}
