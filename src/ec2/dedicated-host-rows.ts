import type { Host, HostInstance } from '@aws-sdk/client-ec2'
import { dedicatedHostDoc, isDedicatedHostShown } from '../model/dedicated-host.ts'
import { dedicatedHostToWire } from '../model/dedicated-host-wire.ts'
import type { DedicatedHostCapacity } from '../scheduler/place.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { DedicatedHostTable } from '../store/schema.ts'
import { forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { deleteTagsOf, tagsOf, toWireTags } from './tags.ts'

/** The account's dedicated hosts, by the hosts that they are parts of, oldest first: for the scheduler. */
export async function loadDedicatedHosts({ db, account }: Pick<Context, 'db' | 'account'>): Promise<Map<string, DedicatedHostCapacity[]>> {
  const rows = await db
    .selectFrom('dedicated_hosts').selectAll().where('account_id', '=', account).where('state', '=', 'available')
    .orderBy('created_ms').orderBy('dedicated_host_id').execute()
  return new Map([...groupBy(rows, (row) => row.host_id)].map(([hostId, parts]) => [hostId, parts.map(toCapacity)]))
}

function toCapacity(row: DedicatedHostTable): DedicatedHostCapacity {
  const { instanceType, instanceFamily, autoPlacement } = dedicatedHostDoc(row)
  return {
    dedicatedHostId: row.dedicated_host_id, vcpus: row.vcpus, memoryMib: row.memory_mib, vcpusUsed: row.vcpus_used,
    memoryMibUsed: row.memory_mib_used, instanceTypes: instanceType === null ? [] : [instanceType],
    instanceFamily: instanceType === null ? instanceFamily : null, autoPlacement: autoPlacement === 'on',
  }
}

/** The account's dedicated hosts that are shown, or those of the ids. */
export async function shownDedicatedHosts(
  { db, account, nowMs }: Context,
  ids: readonly string[] = [],
): Promise<DedicatedHostTable[]> {
  const query = db.selectFrom('dedicated_hosts').selectAll().where('account_id', '=', account)
  const rows = ids.length === 0
    ? await query.execute()
    : await inBatches(ids, (batch) => query.where('dedicated_host_id', 'in', batch).execute())
  return rows.filter((row) => isDedicatedHostShown(row, nowMs))
}

/** The wire forms of dedicated hosts, in their order. */
export async function loadDedicatedHostsToWire({ db }: Pick<Context, 'db'>, rows: readonly DedicatedHostTable[]): Promise<Host[]> {
  const ids = rows.map((row) => row.dedicated_host_id)
  const tags = await tagsOf(db, ids)
  const zones = new Map((await db.selectFrom('zones').select(['zone', 'state']).execute()).map((row) => [row.zone, row.state]))
  const instances = groupBy(
    await inBatches(ids, (batch) => db
      .selectFrom('instances').select(['dedicated_host_id', 'instance_id', 'instance_type', 'account_id'])
      .where('dedicated_host_id', 'in', batch).where('holds_capacity', '=', 1).orderBy('instance_id').execute()),
    (row) => row.dedicated_host_id,
  )
  return rows.map((row) => dedicatedHostToWire(row, {
    zoneState: zones.get(row.zone) ?? 'available', tags: toWireTags(tags.get(row.dedicated_host_id)),
    instances: (instances.get(row.dedicated_host_id) ?? []).map((each): HostInstance =>
      ({ InstanceId: each.instance_id, InstanceType: each.instance_type, OwnerId: each.account_id })),
  }))
}

/** Forgets the account's dedicated hosts that were released too long ago to be shown. */
export async function forgetReleasedHosts(context: Context): Promise<void> {
  const { db, account, nowMs } = context
  const rows = await db
    .selectFrom('dedicated_hosts').select(['dedicated_host_id', 'released_ms'])
    .where('account_id', '=', account).where('state', '=', 'released').execute()
  const ids = rows.filter((row) => !isDedicatedHostShown(row, nowMs)).map((row) => row.dedicated_host_id)
  await deleteTagsOf(db, ids)
  for (const id of ids) await forgetTokensOf(context, id)
  await inBatches(ids, (batch) => db.deleteFrom('dedicated_hosts').where('dedicated_host_id', 'in', batch).execute())
}
