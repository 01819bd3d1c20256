import { ApiError } from '../core/errors.ts'
import type { GroupPlacement } from '../scheduler/place.ts'
import { prepared } from '../store/prepared.ts'
import type { PlacementGroupTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { checkIds, RESOURCE_KINDS } from './resources.ts'

const groupOf = prepared((db, groupId: string) => db.selectFrom('placement_groups').selectAll().where('group_id', '=', groupId))

const membersOf = prepared((db, groupId: string) =>
  db
    .selectFrom('instances').select(['host_id', 'zone', 'partition_number'])
    .where('placement_group_id', '=', groupId).where('state', 'not in', ['stopped', 'terminated']).orderBy('launch_ms').orderBy('instance_id'))

/** A group with the members that have a machine, or may: interrupted ones are there until they have left. */
export async function loadGroupPlacement(db: Db, groupId: string): Promise<GroupPlacement> {
  const [group] = await groupOf(db, groupId)
  // A group with instances that are not terminated cannot be deleted.
  if (!group) throw unknownGroup(groupId)
  const members = await membersOf(db, groupId)
  return {
    groupId, name: group.name, strategy: group.strategy, partitionCount: group.partition_count,
    members: members.map((each) => ({ hostId: each.host_id, zone: each.zone, partitionNumber: each.partition_number })),
  }
}

/**
 * The account's group that a call names, by its name or its id; null where it names none.
 *
 * @throws ApiError InvalidParameterCombination for both, InvalidPlacementGroup.Unknown, InvalidPlacementGroupId.Malformed.
 */
export async function findPlacementGroup(
  { db, account }: Context,
  { GroupName: name, GroupId: id }: { GroupName?: string | undefined; GroupId?: string | undefined },
): Promise<PlacementGroupTable | null> {
  if (!name && !id) return null
  if (name && id) {
    throw new ApiError('InvalidParameterCombination', 'You can specify either a placement group ID or a placement group name, not both.')
  }
  if (id) checkIds(RESOURCE_KINDS.placementGroup, [id])
  const ofAccount = db.selectFrom('placement_groups').selectAll().where('account_id', '=', account)
  const found = await (id ? ofAccount.where('group_id', '=', id) : ofAccount.where('name', '=', name ?? '')).executeTakeFirst()
  if (!found) throw unknownGroup(id || name || '')
  return found
}

/** EC2's error for a group that is not there. */
export function unknownGroup(nameOrId: string): ApiError {
  return new ApiError('InvalidPlacementGroup.Unknown', `The Placement Group '${nameOrId}' is unknown.`)
}
