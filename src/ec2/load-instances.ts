import type { Instance } from '@aws-sdk/client-ec2'
import { instanceType } from '../catalogue/instance-types.ts'
import { instanceToWire } from '../model/instance-wire.ts'
import { interfaceToInstanceWire } from '../model/interface-wire.ts'
import { groupBy } from '../store/batch.ts'
import { preparedIn } from '../store/prepared.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { loadRelated } from './network-interfaces.ts'
import { toWireTags } from './tags.ts'

/**
 * The wire form of instances, in the order given; what belongs to them is read in batches, however
 * many there are.
 */
export async function loadInstances(db: Db, region: string, rows: readonly InstanceTable[]): Promise<Instance[]> {
  if (rows.length === 0) return []
  const ids = rows.map((row) => row.instance_id)
  const tags = groupBy(await tagsOf(db, ids), (tag) => tag.resource_id)
  const interfaces = await interfacesOf(db, ids)
  const volumes = await volumesOf(db, ids)
  const related = await loadRelated(db, region, interfaces)
  const groupNames = await groupNamesOf(db, rows)
  const interfacesById = groupBy(interfaces, (each) => each.instance_id)
  const volumesById = groupBy(volumes, (each) => each.instance_id)
  return rows.map((row) =>
    instanceToWire(row, {
      interfaces: (interfacesById.get(row.instance_id) ?? []).map((each) => interfaceToInstanceWire(each, related(each))),
      volumes: volumesById.get(row.instance_id) ?? [],
      tags: toWireTags(tags.get(row.instance_id)),
      groupName: row.placement_group_id === null ? undefined : groupNames.get(row.placement_group_id),
      type: instanceType(row.instance_type),
    }),
  )
}

/** Names of placement groups, by id. */
async function groupNamesOf(db: Db, rows: readonly InstanceTable[]): Promise<Map<string, string>> {
  const ids = rows.flatMap((row) => row.placement_group_id ?? [])
  if (ids.length === 0) return new Map()
  return new Map((await groupsOf(db, ids)).map((each) => [each.group_id, each.name]))
}

const groupsOf = preparedIn((db, ids) => db.selectFrom('placement_groups').select(['group_id', 'name']).where('group_id', 'in', ids))

const tagsOf = preparedIn((db, ids) =>
  db
    .selectFrom('tags').select(['resource_id', 'key', 'value'])
    .where('resource_id', 'in', ids).orderBy('resource_id').orderBy('key'))

const interfacesOf = preparedIn((db, ids) =>
  db.selectFrom('interfaces').selectAll().where('instance_id', 'in', ids).orderBy('device_index'))

const volumesOf = preparedIn((db, ids) =>
  db.selectFrom('volumes').selectAll().where('instance_id', 'in', ids).orderBy('device'))
