import { pick } from '../core/random.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import type { PlacementGroupTable } from '../store/schema.ts'
import type { DrawnCall } from './interface-calls.ts'
import type { SimulatedCloud } from './simulator.ts'

type Cloud = Pick<SimulatedCloud, 'store' | 'random'>

const MOST_GROUPS = 4

function groupsOf({ store }: Cloud): Promise<PlacementGroupTable[]> {
  return store.read((db) => db.selectFrom('placement_groups').selectAll().where('account_id', '=', DEFAULT_ACCOUNT).orderBy('name').execute())
}

/** What a launch says of its place, where there is a group that it may be in. */
export async function drawPlacement(cloud: Cloud): Promise<object> {
  const groups = await groupsOf(cloud)
  return groups.length === 0 ? {} : { Placement: { GroupName: pick(cloud.random, groups).name } }
}

/** A random call about placement groups: one more, one less, or an instance into one or out of it. */
export async function drawPlacementCall(cloud: Cloud): Promise<DrawnCall> {
  const { store, random } = cloud
  const groups = await groupsOf(cloud)
  const stopped = await store.read((db) =>
    db.selectFrom('instances').select('instance_id').where('account_id', '=', DEFAULT_ACCOUNT).where('state', '=', 'stopped').orderBy('instance_id').execute())
  if (groups.length > 0 && stopped.length > 0 && random.int(2) === 0) {
    const GroupName = random.int(3) === 0 ? '' : pick(random, groups).name
    return { action: 'ModifyInstancePlacement', input: { InstanceId: pick(random, stopped).instance_id, GroupName } }
  }
  if (groups.length >= MOST_GROUPS || (groups.length > 0 && random.int(3) === 0)) {
    return { action: 'DeletePlacementGroup', input: { GroupName: pick(random, groups).name } }
  }
  return { action: 'CreatePlacementGroup', input: { GroupName: `group-${random.int(8)}`, Strategy: pick(random, ['cluster', 'spread', 'partition']) } }
}

/** What groups must be at every moment, whatever starts, stops and crashes: apart, or together. */
export async function checkGroups({ store }: Pick<SimulatedCloud, 'store'>): Promise<string[]> {
  const { groups, members } = await store.read(async (db) => ({
    groups: await db.selectFrom('placement_groups').selectAll().execute(),
    members: await db.selectFrom('instances').selectAll().where('placement_group_id', 'is not', null).where('holds_capacity', '=', 1).execute(),
  }))
  return groups.flatMap((group) => {
    const of = members.filter((each) => each.placement_group_id === group.group_id)
    const hosts = new Set(of.map((each) => each.host_id)).size
    const isBroken = {
      cluster: new Set(of.map((each) => each.zone)).size > 1,
      spread: hosts < of.length,
      partition: hosts < new Set(of.map((each) => `${each.host_id} ${each.partition_number}`)).size,
    }[group.strategy]
    return isBroken ? [`the ${group.strategy} group ${group.name} is broken: ${of.map((each) => `${each.instance_id} on ${each.host_id}`).join(', ')}`] : []
  })
}
