import type { DeleteSecurityGroupRequest, DeleteSecurityGroupResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { SecurityGroupTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { findGroup, wakeGroup, wakeVpc } from './security-group-lookup.ts'
import { deleteTagsOf } from './tags.ts'

/**
 * DeleteSecurityGroup: with its rules and their tags, unless an interface is in it or a rule of
 * another group of its VPC names it. The default group goes with its VPC only.
 */
export async function deleteSecurityGroup(
  context: Context,
  input: DeleteSecurityGroupRequest,
): Promise<DeleteSecurityGroupResult> {
  const { db, nowMs } = context
  const group = await findGroup(context, input)
  const { group_id: groupId, vpc_id: vpcId, name } = group
  if (name === 'default') {
    throw new ApiError('CannotDelete', `the specified group: "${groupId}" name: "${name}" cannot be deleted by a user`)
  }
  const member = await db
    .selectFrom('interface_groups').select('interface_id').where('group_id', '=', groupId).executeTakeFirst()
  const reference = (await referencesTo(context, group)).find((own) => own.group_id !== groupId && own.vpc_id === vpcId)
  if (member || reference) throw new ApiError('DependencyViolation', `resource ${groupId} has a dependent object`)
  await deleteGroup(context, group)
  await wakeVpc(db, vpcId, nowMs)
  return { Return: true, GroupId: groupId }
}

/** Groups with rules that name the group. */
function referencesTo({ db }: Context, group: SecurityGroupTable): Promise<{ group_id: string; vpc_id: string }[]> {
  return db
    .selectFrom('security_group_rules').innerJoin('security_groups', 'security_groups.group_id', 'security_group_rules.group_id')
    .select(['security_groups.group_id', 'vpc_id']).distinct()
    .where('peer_group_id', '=', group.group_id).execute()
}

/**
 * Removes a group that nothing in its VPC refers to. Rules of peered VPCs that name it stay, as in EC2,
 * and are stale: they let nothing through, and keep the id that they named in `peer_key` alone.
 */
export async function deleteGroup(context: Context, group: SecurityGroupTable): Promise<void> {
  const { db, nowMs } = context
  const groupId = group.group_id
  const rules = await db
    .selectFrom('security_group_rules').select('rule_id').where('group_id', '=', groupId).execute()
  await deleteTagsOf(db, [groupId, ...rules.map((rule) => rule.rule_id)])
  await db.deleteFrom('security_group_rules').where('group_id', '=', groupId).execute()
  const stale = await referencesTo(context, group)
  await db.updateTable('security_group_rules').set({ peer_group_id: null }).where('peer_group_id', '=', groupId).execute()
  for (const own of stale) await wakeGroup(db, own, nowMs)
  await db.deleteFrom('security_groups').where('group_id', '=', groupId).execute()
}
