import type { DeleteSubnetRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { Context } from './context.ts'
import { wakeVpc } from './security-group-lookup.ts'
import { requireSubnet } from './subnet-lookup.ts'
import { deleteTagsOf } from './tags.ts'

/**
 * DeleteSubnet: unless an interface is in it, be it that of a stopped instance, of a NAT gateway, or
 * one that is about to go. Its associations with a route table and a network ACL go with it.
 */
export async function deleteSubnet(context: Context, input: DeleteSubnetRequest): Promise<Record<string, never>> {
  const { db, nowMs } = context
  const { subnet_id: subnetId, vpc_id: vpcId } = await requireSubnet(context, input.SubnetId)
  const user = await db.selectFrom('interfaces').select('interface_id').where('subnet_id', '=', subnetId).executeTakeFirst()
  const gateway = await db
    .selectFrom('nat_gateways').select('nat_gateway_id')
    .where('subnet_id', '=', subnetId).where('state', 'not in', ['deleted', 'failed']).executeTakeFirst()
  if (user || gateway) {
    throw new ApiError('DependencyViolation', `The subnet '${subnetId}' has dependencies and cannot be deleted.`)
  }
  await deleteTagsOf(db, [subnetId])
  await db.deleteFrom('route_table_associations').where('subnet_id', '=', subnetId).execute()
  await db.deleteFrom('network_acl_associations').where('subnet_id', '=', subnetId).execute()
  await db.deleteFrom('subnets').where('subnet_id', '=', subnetId).execute()
  await wakeVpc(db, vpcId, nowMs)
  return {}
}
