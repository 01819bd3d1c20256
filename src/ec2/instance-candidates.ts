import type { Filter } from '@aws-sdk/client-ec2'
import type { Expression, ExpressionBuilder, SqlBool } from 'kysely'
import { preparedIn } from '../store/prepared.ts'
import type { Database, InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { exactValues } from './filters.ts'

// What the database can do about the filters of DescribeInstances. Everything here lets through at
// least what the filters match; they themselves are applied afterwards, to what is left.

/** More than this many instances are not looked up one by one, but found by walking over all. */
export const MOST_CANDIDATES = 1000

type Condition = (eb: ExpressionBuilder<Database, 'instances'>) => Expression<SqlBool>

/** Filters that are columns. The wire hides a terminated instance's subnet, which the filter then sees. */
const COLUMNS: Record<string, keyof InstanceTable> = {
  'availability-zone': 'zone',
  'client-token': 'client_token',
  'image-id': 'image_id',
  'instance-id': 'instance_id',
  'instance-state-name': 'state',
  'instance-type': 'instance_type',
  'key-name': 'key_name',
  'reservation-id': 'reservation_id',
  'spot-instance-request-id': 'spot_request_id',
  'subnet-id': 'subnet_id',
  'vpc-id': 'vpc_id',
}

/** Conditions on rows of `instances` that the filters imply, for a walk over them. */
export function conditionsOf(account: string, filters: readonly Filter[]): Condition[] {
  return filters.flatMap((filter) => {
    const name = filter.Name ?? ''
    const column = COLUMNS[name]
    const values = exactValues([filter], name)
    if (column && values) return [(eb) => eb(column, 'in', values)]
    const tag = tagCondition(name, values)
    return tag ? [(eb) => eb.exists(tag(tagsOfInstance(eb, account)))] : []
  })
}

function tagsOfInstance(eb: ExpressionBuilder<Database, 'instances'>, account: string) {
  return eb
    .selectFrom('tags').select('tags.key')
    .whereRef('tags.resource_id', '=', 'instances.instance_id').where('tags.account_id', '=', account)
}

/** What a filter wants of some tag; of a value with wildcards only the key is looked at. */
function tagCondition(name: string, values: string[] | undefined) {
  type Tags = ReturnType<typeof tagsOfInstance>
  if (name.startsWith('tag:')) {
    const key = name.slice('tag:'.length)
    return (tags: Tags) => {
      const withKey = tags.where('tags.key', '=', key)
      return values ? withKey.where('tags.value', 'in', values) : withKey
    }
  }
  if (values && name === 'tag-key') return (tags: Tags) => tags.where('tags.key', 'in', values)
  if (values && name === 'tag-value') return (tags: Tags) => tags.where('tags.value', 'in', values)
  return undefined
}

/**
 * Ids of the only instances that can match, where a filter names them so that an index finds them,
 * and they are not too many; undefined where all have to be looked at.
 */
export async function findCandidates(
  db: Db,
  account: string,
  filters: readonly Filter[],
): Promise<string[] | undefined> {
  const lookups = filters.flatMap((filter) => {
    const name = filter.Name ?? ''
    const values = exactValues([filter], name)
    const rank = name.startsWith('tag:') ? LOOKUPS.length : LOOKUPS.findIndex(([known]) => known === name)
    const lookup = name.startsWith('tag:') ? byTag(name.slice('tag:'.length)) : LOOKUPS[rank]?.[1]
    return values && lookup ? [{ rank, values, lookup }] : []
  })
  for (const { values, lookup } of lookups.toSorted((a, b) => a.rank - b.rank)) {
    const found = await lookup(db, account, values)
    if (found.length <= MOST_CANDIDATES) return [...new Set(found)]
  }
  return undefined
}

/** Ids of instances, at most one more than MOST_CANDIDATES; some may be of other accounts, and are left out later. */
type Lookup = (db: Db, account: string, values: string[]) => Promise<string[]>

/** The most telling first; tags come after all of these. */
const LOOKUPS: readonly [filter: string, lookup: Lookup][] = [
  ['instance-id', async (_db, _account, values) => values],
  ['block-device-mapping.volume-id', async (db, _account, values) => instanceIds(await db
    .selectFrom('volumes').select('instance_id').where('volume_id', 'in', values)
    .execute())],
  ['network-interface.network-interface-id', async (db, _account, values) => instanceIds(await db
    .selectFrom('interfaces').select('instance_id').where('interface_id', 'in', values)
    .execute())],
  ['network-interface.mac-address', async (db, _account, values) => instanceIds(await db
    .selectFrom('interfaces').select('instance_id').where('mac', 'in', values)
    .execute())],
  ['ip-address', async (db, _account, values) => instanceIds(await db
    .selectFrom('interfaces').select('instance_id').where('public_ip', 'in', values)
    .execute())],
  // The index is of VPC and address: an account has few VPCs.
  ['private-ip-address', async (db, account, values) => instanceIds(await db
    .selectFrom('interfaces').select('instance_id')
    .where('vpc_id', 'in', (eb) => eb.selectFrom('vpcs').select('vpcs.vpc_id').where('vpcs.account_id', '=', account))
    .where('private_ip', 'in', values)
    .execute())],
  ['reservation-id', async (db, _account, values) => instanceIds(await db
    .selectFrom('instances').select('instance_id').where('reservation_id', 'in', values)
    .limit(MOST_CANDIDATES + 1).execute())],
  ['key-name', byColumn('key_name')],
  ['image-id', byColumn('image_id')],
  ['instance-type', byColumn('instance_type')],
]

/** By a column that has an index of its own after the account. */
function byColumn(column: 'key_name' | 'image_id' | 'instance_type'): Lookup {
  const find = preparedIn((db, values, account: string) => db
    .selectFrom('instances').select('instance_id').where('account_id', '=', account).where(column, 'in', values)
    .limit(MOST_CANDIDATES + 1))
  return async (db, account, values) => instanceIds(await find(db, values, account))
}

function byTag(key: string): Lookup {
  return async (db, account, values) => (await taggedWith(db, values, account, key)).map((row) => row.resource_id)
}

const taggedWith = preparedIn((db, values, account: string, key: string) =>
  db
    .selectFrom('tags').select('resource_id')
    .where('account_id', '=', account).where('resource_type', '=', 'instance')
    .where('key', '=', key).where('value', 'in', values)
    .limit(MOST_CANDIDATES + 1))

function instanceIds(rows: { instance_id: string | null }[]): string[] {
  return rows.flatMap((row) => row.instance_id ?? [])
}
