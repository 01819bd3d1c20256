import type { DeleteVpcRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { peeringEndMs } from '../model/vpc-peering.ts'
import type { VpcTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { deleteGroup } from './delete-security-group.ts'
import { deleteTagsOf } from './tags.ts'
import { requireVpc, wakeVpcEverywhere } from './vpc-lookup.ts'
import { endPeering, peeringsOfVpc } from './vpc-peering-lookup.ts'

/**
 * DeleteVpc: with what it came with (default security group and network ACL, main route table) and its
 * peerings, unless anything else is in it.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpc.html
 */
export async function deleteVpc(context: Context, input: DeleteVpcRequest): Promise<Record<string, never>> {
  const { db, nowMs } = context
  const vpc = await requireVpc(context, input.VpcId)
  const vpcId = vpc.vpc_id
  await checkDependencies(context, vpc)
  for (const peering of await peeringsOfVpc(db, vpcId)) {
    if (peeringEndMs(peering, nowMs) === undefined) await endPeering(context, peering, 'deleted')
  }
  for (const group of await db.selectFrom('security_groups').selectAll().where('vpc_id', '=', vpcId).execute()) {
    await deleteGroup(context, group)
  }
  await deleteRouteTables(context, vpcId)
  await deleteAcls(context, vpcId)
  await deleteTagsOf(db, [vpcId])
  await db.deleteFrom('vpc_cidrs').where('vpc_id', '=', vpcId).execute()
  await db.deleteFrom('vpcs').where('vpc_id', '=', vpcId).execute()
  await wakeVpcEverywhere(db, vpcId, nowMs)
  return {}
}

async function checkDependencies({ db, account, nowMs }: Context, { vpc_id: vpcId }: VpcTable): Promise<void> {
  const has = [
    await db.selectFrom('subnets').select('subnet_id').where('vpc_id', '=', vpcId).executeTakeFirst(),
    await db.selectFrom('interfaces').select('interface_id').where('vpc_id', '=', vpcId).executeTakeFirst(),
    await db.selectFrom('internet_gateways').select('internet_gateway_id').where('vpc_id', '=', vpcId).executeTakeFirst(),
    await db.selectFrom('route_tables').select('route_table_id')
      .where('vpc_id', '=', vpcId).where('is_main', '=', 0).executeTakeFirst(),
    await db.selectFrom('network_acls').select('network_acl_id')
      .where('vpc_id', '=', vpcId).where('is_default', '=', 0).executeTakeFirst(),
    await db.selectFrom('security_groups').select('group_id')
      .where('vpc_id', '=', vpcId).where('name_key', '!=', 'default').executeTakeFirst(),
    // EC2 wants a request of another account answered first.
    (await peeringsOfVpc(db, vpcId)).find((row) =>
      row.status === 'pending-acceptance' && peeringEndMs(row, nowMs) === undefined && row.account_id !== account),
  ]
  if (has.some((each) => each !== undefined)) {
    throw new ApiError('DependencyViolation', `The vpc '${vpcId}' has dependencies and cannot be deleted.`)
  }
}

async function deleteRouteTables({ db }: Context, vpcId: string): Promise<void> {
  const tables = await db.selectFrom('route_tables').select('route_table_id').where('vpc_id', '=', vpcId).execute()
  for (const { route_table_id: id } of tables) {
    await db.deleteFrom('routes').where('route_table_id', '=', id).execute()
    await db.deleteFrom('route_table_associations').where('route_table_id', '=', id).execute()
    await db.deleteFrom('route_tables').where('route_table_id', '=', id).execute()
    await deleteTagsOf(db, [id])
  }
}

async function deleteAcls({ db }: Context, vpcId: string): Promise<void> {
  const acls = await db.selectFrom('network_acls').select('network_acl_id').where('vpc_id', '=', vpcId).execute()
  for (const { network_acl_id: id } of acls) {
    await db.deleteFrom('network_acl_entries').where('network_acl_id', '=', id).execute()
    await db.deleteFrom('network_acls').where('network_acl_id', '=', id).execute()
    await deleteTagsOf(db, [id])
  }
}
