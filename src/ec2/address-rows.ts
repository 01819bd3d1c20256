import { ApiError } from '../core/errors.ts'
import { addressNotFound } from '../model/address.ts'
import type { AddressTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { notFoundError, RESOURCE_KINDS } from './resources.ts'

/**
 * The Elastic IP that a call names, by its allocation id or its address. EC2 checks the form of neither.
 *
 * @throws ApiError MissingParameter, InvalidParameterCombination for both, InvalidAllocationID.NotFound,
 *   InvalidAddress.NotFound.
 */
export async function requireAddress(
  { db, account }: Context,
  input: { AllocationId?: string | undefined; PublicIp?: string | undefined },
): Promise<AddressTable> {
  const { AllocationId: id, PublicIp: publicIp } = input
  if (id && publicIp) {
    throw new ApiError(
      'InvalidParameterCombination', 'You may specify public IP or allocation id, but not both in the same call',
    )
  }
  const own = db.selectFrom('addresses').selectAll().where('account_id', '=', account)
  if (id) {
    const row = await own.where('allocation_id', '=', id).executeTakeFirst()
    if (!row) throw notFoundError(RESOURCE_KINDS.elasticIp, [id])
    return row
  }
  if (!publicIp) throw missingParameter('allocationId')
  const row = await own.where('public_ip', '=', publicIp).executeTakeFirst()
  if (!row) throw addressNotFound(publicIp)
  return row
}
