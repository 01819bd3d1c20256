import type { SubnetTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'

/** @throws ApiError MissingParameter, InvalidSubnetID.Malformed, InvalidSubnetID.NotFound. */
export async function requireSubnet({ db, account }: Context, subnetId: string | undefined): Promise<SubnetTable> {
  if (!subnetId) throw missingParameter('subnetId')
  checkIds(RESOURCE_KINDS.subnet, [subnetId])
  const subnet = await db
    .selectFrom('subnets').selectAll().where('account_id', '=', account).where('subnet_id', '=', subnetId).executeTakeFirst()
  if (!subnet) throw notFoundError(RESOURCE_KINDS.subnet, [subnetId])
  return subnet
}
