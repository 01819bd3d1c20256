import { ApiError } from '../core/errors.ts'
import { interfaceDoc } from '../model/interface.ts'
import type { InterfaceTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'

/**
 * The row of an interface that has not been deleted.
 *
 * @throws ApiError MissingParameter, InvalidNetworkInterfaceId.Malformed, InvalidNetworkInterfaceID.NotFound.
 */
export async function requireInterface({ db, account }: Context, id: string | undefined): Promise<InterfaceTable> {
  if (!id) throw missingParameter('networkInterfaceId')
  checkIds(RESOURCE_KINDS.networkInterface, [id])
  const row = await db
    .selectFrom('interfaces').selectAll().where('account_id', '=', account).where('interface_id', '=', id).executeTakeFirst()
  if (!row || row.status === 'removing') throw notFoundError(RESOURCE_KINDS.networkInterface, [id])
  return row
}

/** The row of an interface that its owner may change; a NAT gateway's is not. Errors as of `requireInterface`. */
export async function requireOwnInterface(context: Context, id: string | undefined): Promise<InterfaceTable> {
  const row = await requireInterface(context, id)
  if (row.requester_id !== null) throw managedInterface()
  return row
}

/** EC2's error for changes of what belongs to a NAT gateway. */
export function managedInterface(): ApiError {
  return new ApiError('OperationNotPermitted', "You are not allowed to manage 'ela-attach' attachments.")
}

/**
 * The row of an interface for an instance that is to have it; with 'any' it may be in use.
 *
 * @throws ApiError InvalidNetworkInterface.InUse, and those of `requireOwnInterface`.
 */
export async function requireAvailableInterface(
  context: Context,
  id: string | undefined,
  use: 'available' | 'any' = 'available',
): Promise<InterfaceTable> {
  const row = await requireOwnInterface(context, id)
  if (use === 'any' || isAvailable(row)) return row
  throw new ApiError('InvalidNetworkInterface.InUse', `Interface: [${row.interface_id}] in use.`)
}

/** Whether nothing has the interface, and the port that it had is gone. */
export function isAvailable(row: InterfaceTable): boolean {
  return row.status === 'available' && row.host_id === null
}

/**
 * The attached interface that an attachment id means.
 *
 * @throws ApiError MissingParameter, InvalidAttachmentID.NotFound, OperationNotPermitted for a NAT gateway's.
 */
export async function requireAttached({ db, account }: Context, attachmentId: string | undefined): Promise<InterfaceTable> {
  if (!attachmentId) throw missingParameter('attachmentId')
  if (attachmentId.startsWith('ela-attach-')) throw managedInterface()
  const rows = await db
    .selectFrom('interfaces').select(['interface_id', 'doc'])
    .where('account_id', '=', account).where('instance_id', 'is not', null).execute()
  const found = rows.find((row) => interfaceDoc(row).attachmentId === attachmentId)
  if (!found) throw attachmentNotFound(attachmentId)
  return db.selectFrom('interfaces').selectAll().where('interface_id', '=', found.interface_id).executeTakeFirstOrThrow()
}

/** EC2's error for an attachment that is not there. */
export function attachmentNotFound(attachmentId: string): ApiError {
  return new ApiError('InvalidAttachmentID.NotFound', `The interface attachment '${attachmentId}' does not exist`)
}

/** EC2's error for an interface and an instance, or interfaces of one instance, in different zones. */
export function notInZone(): ApiError {
  return new ApiError(
    'InvalidParameterCombination',
    'You may not attach a network interface to an instance if they are not in the same availability zone',
  )
}

/** A machine runs in the network of one VPC. */
export function severalVpcs(): ApiError {
  return new ApiError(
    'UnsupportedOperation',
    'Network interfaces of several VPCs on one instance are not supported by Hearth yet; see docs/coverage.md.',
  )
}
