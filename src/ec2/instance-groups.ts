import { ApiError } from '../core/errors.ts'
import type { InterfaceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueueChangedPort } from './changed-ports.ts'
import type { Context } from './context.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'

/** EC2's limit of groups on an interface. */
const GROUP_LIMIT = 5

/**
 * Replaces the security groups of an interface; the rules follow as soon as the agent sees it.
 *
 * @throws ApiError InvalidGroup.NotFound, InvalidParameter for a group of another VPC,
 *   SecurityGroupsPerInterfaceLimitExceeded.
 */
export async function replaceGroups(context: Context, row: InterfaceTable, ids: readonly string[]): Promise<void> {
  const { db, account } = context
  const groupIds = [...new Set(ids)]
  checkIds(RESOURCE_KINDS.securityGroup, groupIds)
  const interfaceId = row.interface_id
  const groups = await db
    .selectFrom('security_groups').select(['group_id', 'vpc_id'])
    .where('account_id', '=', account).where('group_id', 'in', groupIds.slice(0, GROUP_LIMIT + 1)).execute()
  requireAll(RESOURCE_KINDS.securityGroup, groupIds.slice(0, GROUP_LIMIT + 1), new Set(groups.map((each) => each.group_id)))
  const stranger = groups.find((each) => each.vpc_id !== row.vpc_id)
  if (stranger) {
    throw new ApiError(
      'InvalidParameter',
      `Security group ${stranger.group_id} and interface ${interfaceId} belong to different networks.`,
    )
  }
  if (groupIds.length > GROUP_LIMIT) {
    throw new ApiError(
      'SecurityGroupsPerInterfaceLimitExceeded',
      `You have exceeded the maximum number of ${GROUP_LIMIT} security groups allowed per interface`,
    )
  }
  await db.deleteFrom('interface_groups').where('interface_id', '=', interfaceId).execute()
  for (const [position, groupId] of groupIds.entries()) {
    await db.insertInto('interface_groups').values({ interface_id: interfaceId, group_id: groupId, position }).execute()
  }
  await enqueueChangedPort(context, row)
}

/**
 * The only interface of an instance; with several, EC2 wants the interface named, not the instance.
 *
 * @throws ApiError InvalidInstanceID.
 */
export async function requireOneInterface(db: Db, instanceId: string): Promise<InterfaceTable> {
  const [own, ...others] = await db
    .selectFrom('interfaces').selectAll().where('instance_id', '=', instanceId).orderBy('device_index').execute()
  if (!own) throw new Error(`${instanceId} has no interface`)
  if (others.length > 0) {
    throw new ApiError(
      'InvalidInstanceID',
      `There are multiple interfaces attached to instance '${instanceId}'. Please specify an interface ID for the operation instead.`,
    )
  }
  return own
}
