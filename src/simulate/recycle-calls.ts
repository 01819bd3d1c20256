import { pick } from '../core/random.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { enqueue } from '../store/work.ts'
import type { DrawnCall } from './interface-calls.ts'
import type { SimulatedCloud } from './simulator.ts'

/** A random call about the recycle bin: its rules, and what is in it. What deletes finds the rules. */
export async function drawRecycleCall({ store, random }: Pick<SimulatedCloud, 'store' | 'random'>): Promise<DrawnCall | undefined> {
  const { rules, binned } = await store.read(async (db) => ({
    rules: await db.selectFrom('recycle_rules').select('rule_id').orderBy('rule_id').execute(),
    binned: await db
      .selectFrom('volumes').select('volume_id as id').where('account_id', '=', DEFAULT_ACCOUNT).where('binned_ms', 'is not', null)
      .unionAll(db.selectFrom('snapshots').select('snapshot_id as id')
        .where('account_id', '=', DEFAULT_ACCOUNT).where('binned_ms', 'is not', null))
      .unionAll(db.selectFrom('images').select('image_id as id')
        .where('account_id', '=', DEFAULT_ACCOUNT).where('binned_ms', 'is not', null))
      .orderBy('id').execute(),
  }))
  if (binned.length > 0 && random.int(3) > 0) return restoring(pick(random, binned).id)
  if (rules.length > 3) return { service: 'rbin', action: 'DeleteRule', input: { Identifier: pick(random, rules).rule_id } }
  const ResourceType = pick(random, ['EBS_VOLUME', 'EBS_SNAPSHOT', 'EC2_IMAGE'])
  const RetentionPeriod = { RetentionPeriodValue: 1 + random.int(7), RetentionPeriodUnit: 'DAYS' }
  return { service: 'rbin', action: 'CreateRule', input: { ResourceType, RetentionPeriod } }
}

function restoring(id: string): DrawnCall {
  if (id.startsWith('vol-')) return { action: 'RestoreVolumeFromRecycleBin', input: { VolumeId: id } }
  if (id.startsWith('snap-')) return { action: 'RestoreSnapshotFromRecycleBin', input: { SnapshotId: id } }
  return { action: 'RestoreImageFromRecycleBin', input: { ImageId: id } }
}

/** What is in the bin has been there for long enough: days, of which a simulation has none to lose. */
export async function expireBin({ store, clock }: SimulatedCloud): Promise<void> {
  await store.transaction('simulated.days', async (db) => {
    for (const table of ['volumes', 'snapshots', 'images'] as const) {
      await db.updateTable(table).set({ bin_exit_ms: clock.now() }).where('binned_ms', 'is not', null).execute()
    }
    for (const host of await db.selectFrom('hosts').select('host_id').execute()) {
      await enqueue(db, { kind: 'recycle', id: 'bin', hostId: host.host_id }, clock.now())
    }
  })
}

/** Once everything has settled: nothing is in the bin for longer than it should, and all data on disk is somebody's. */
export async function checkBin({ store, clock }: SimulatedCloud): Promise<string[]> {
  const { overdue, layers, used } = await store.read(async (db) => ({
    overdue: await db
      .selectFrom('volumes').select('volume_id as id').where('bin_exit_ms', '<', clock.now() - OVERDUE_MS)
      .unionAll(db.selectFrom('snapshots').select('snapshot_id as id').where('bin_exit_ms', '<', clock.now() - OVERDUE_MS))
      .unionAll(db.selectFrom('images').select('image_id as id').where('bin_exit_ms', '<', clock.now() - OVERDUE_MS))
      .execute(),
    layers: await db.selectFrom('layers').select(['layer_id', 'state', 'parent_id', 'replaces_id']).execute(),
    used: await db
      .selectFrom('volumes').select('next_layer_id as id')
      .unionAll(db.selectFrom('volumes').select('layer_id as id'))
      .unionAll(db.selectFrom('snapshots').select('layer_id as id'))
      .execute(),
  }))
  const owned = new Set([...used.map((row) => row.id), ...layers.flatMap((row) => [row.parent_id, row.replaces_id])])
  return [
    ...overdue.map((row) => `${row.id} stays in the bin`),
    ...layers.filter((row) => !owned.has(row.layer_id)).map((row) => `${row.layer_id} (${row.state}) is nobody's`),
  ]
}

const OVERDUE_MS = 60_000
