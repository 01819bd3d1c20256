import type { DescribeInstancesRequest, DescribeInstancesResult, Filter, Instance } from '@aws-sdk/client-ec2'
import { instanceType } from '../catalogue/instance-types.ts'
import { imageDoc } from '../model/image.ts'
import { instanceToWire, toReservations } from '../model/instance-wire.ts'
import { interfaceToInstanceWire } from '../model/interface-wire.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { compileFilters, exactValues } from './filters.ts'
import { INSTANCE_FIELDS, type InstanceItem } from './instance-filters.ts'
import { loadGroups } from './network-interfaces.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { fromWireTags, tagsOf, toWireTags, type TagInput } from './tags.ts'

/** DescribeInstances, in the order of their launch, a reservation's instances together. */
export async function describeInstances(
  context: Context,
  input: DescribeInstancesRequest,
): Promise<DescribeInstancesResult> {
  const { db, region } = context
  refuseIdsWithMaxResults(input.InstanceIds, input.MaxResults, 'instancesSet')
  const matches = compileFilters(input.Filters, INSTANCE_FIELDS, ({ instance }) => fromWireTags(instance.Tags))
  const isFiltered = (input.Filters ?? []).length > 0
  const cut = (rows: InstanceTable[]) =>
    paginate(rows, {
      maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeInstances', keyOf: launchKey,
    })
  const rows = await selectRows(context, input)
  if (!isFiltered) {
    // Nothing beyond the page need be loaded.
    const { page, nextToken } = cut(rows)
    return { Reservations: toReservations(page, await loadInstances(db, region, page)), NextToken: nextToken }
  }
  const items = await loadItems(context, rows, input.Filters ?? [])
  const matching = new Map(items.filter(matches).map((item) => [item.row, item.instance]))
  const { page, nextToken } = cut([...matching.keys()])
  const instances = page.flatMap((row) => matching.get(row) ?? [])
  return { Reservations: toReservations(page, instances), NextToken: nextToken }
}

function launchKey(row: InstanceTable): string {
  return timeKey(row.launch_ms, row.reservation_id, row.launch_index, row.instance_id)
}

/**
 * The wire form of instances, in the order given; what belongs to them is read in batches, however
 * many there are.
 */
export async function loadInstances(db: Db, region: string, rows: readonly InstanceTable[]): Promise<Instance[]> {
  const ids = rows.map((row) => row.instance_id)
  const tags = await tagsOf(db, ids)
  const bootModes = await loadBootModes(db, rows)
  const types = new Map([...new Set(rows.map((row) => row.instance_type))].map((name) => [name, instanceType(name)]))
  const interfaces = await inBatches(ids, (batch) =>
    db.selectFrom('interfaces').selectAll().where('instance_id', 'in', batch).orderBy('device_index').execute())
  const volumes = await inBatches(ids, (batch) =>
    db.selectFrom('volumes').selectAll().where('instance_id', 'in', batch).orderBy('device').execute())
  const groups = await loadGroups(db, interfaces.map((each) => each.interface_id))
  const interfacesById = groupBy(interfaces, (each) => each.instance_id)
  const volumesById = groupBy(volumes, (each) => each.instance_id)
  return rows.map((row) =>
    instanceToWire(row, {
      interfaces: (interfacesById.get(row.instance_id) ?? []).map((each) =>
        interfaceToInstanceWire(each, { region, groups: groups.get(each.interface_id) ?? [] })),
      volumes: volumesById.get(row.instance_id) ?? [],
      tags: toWireTags(tags.get(row.instance_id)),
      bootMode: bootModes.get(row.image_id),
      type: types.get(row.instance_type),
    }),
  )
}

async function loadBootModes(db: Db, rows: readonly InstanceTable[]) {
  const images = await inBatches(rows.map((row) => row.image_id), (batch) =>
    db.selectFrom('images').select(['image_id', 'doc']).where('image_id', 'in', batch).execute())
  return new Map(images.map((image) => [image.image_id, imageDoc(image).bootMode]))
}

async function loadItems(
  { db, region }: Context,
  rows: readonly InstanceTable[],
  filters: readonly Filter[],
): Promise<InstanceItem[]> {
  const instances = await loadInstances(db, region, rows)
  const wantsInterfaceTags = filters.some((filter) => filter.Name?.startsWith('network-interface.tag-'))
  const tags = wantsInterfaceTags ? await tagsOf(db, instances.flatMap(interfaceIds)) : new Map<string, TagInput[]>()
  return rows.flatMap((row, index) => {
    const instance = instances[index]
    if (!instance) return []
    return [{ row, instance, interfaceTags: interfaceIds(instance).flatMap((id) => tags.get(id) ?? []) }]
  })
}

function interfaceIds(instance: Instance): string[] {
  return (instance.NetworkInterfaces ?? []).flatMap((each) => each.NetworkInterfaceId ?? [])
}

async function selectRows({ db, account }: Context, input: DescribeInstancesRequest): Promise<InstanceTable[]> {
  const query = db.selectFrom('instances').selectAll().where('account_id', '=', account)
  const ids = input.InstanceIds ?? []
  if (ids.length > 0) {
    checkIds(RESOURCE_KINDS.instance, ids)
    const rows = await inBatches(ids, (batch) => query.where('instance_id', 'in', batch).execute())
    requireAll(RESOURCE_KINDS.instance, ids, new Set(rows.map((row) => row.instance_id)))
    return rows
  }
  let narrowed = query
  for (const [name, column] of COLUMNS) {
    const values = exactValues(input.Filters, name)
    if (values) narrowed = narrowed.where(column, 'in', values)
  }
  const states = exactValues(input.Filters, 'instance-state-name')
  if (states) narrowed = narrowed.where('state', 'in', states as InstanceTable['state'][])
  for (const name of tagFilterNames(input.Filters)) {
    const values = exactValues(input.Filters, name)
    if (!values) continue
    narrowed = narrowed.where('instance_id', 'in', (eb) =>
      eb
        .selectFrom('tags').select('resource_id')
        .where('account_id', '=', account).where('resource_type', '=', 'instance')
        .where('key', '=', name.slice('tag:'.length)).where('value', 'in', values))
  }
  return narrowed.execute()
}

function tagFilterNames(filters: Filter[] | undefined): Set<string> {
  return new Set((filters ?? []).flatMap(({ Name: name }) => (name?.startsWith('tag:') ? [name] : [])))
}

/** Filters that are columns. The wire hides a terminated instance's subnet, which the filter then sees. */
const COLUMNS = [
  ['instance-id', 'instance_id'],
  ['instance-type', 'instance_type'],
  ['image-id', 'image_id'],
  ['key-name', 'key_name'],
  ['reservation-id', 'reservation_id'],
  ['availability-zone', 'zone'],
  ['vpc-id', 'vpc_id'],
  ['subnet-id', 'subnet_id'],
] as const
