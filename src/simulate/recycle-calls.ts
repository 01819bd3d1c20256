import { ApiError } from '../core/errors.ts'
import { pick } from '../core/random.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { backupDoc } from '../model/instance-backup.ts'
import { RECYCLED_TYPES } from '../model/recycle-rules.ts'
import { RestoreError } from '../model/restore-error.ts'
import { restoreInstance } from '../model/restore-instance.ts'
import { deleteRetention, retentionRules, setRetention } from '../model/retention.ts'
import { enqueue } from '../store/work.ts'
import type { DrawnCall } from './interface-calls.ts'
import type { SimulatedCloud } from './simulator.ts'

/** A random call about the recycle bin: its rules, and what is in it. What deletes finds the rules. */
export async function drawRecycleCall({ store, random }: Pick<SimulatedCloud, 'store' | 'random'>): Promise<DrawnCall | undefined> {
  const { rules, binned } = await store.read(async (db) => ({
    rules: await db
      .selectFrom('recycle_rules').select('rule_id').where('resource_type', 'in', RECYCLED_TYPES).orderBy('rule_id').execute(),
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
  const ResourceType = pick(random, [...RECYCLED_TYPES])
  const RetentionPeriod = { RetentionPeriodValue: 1 + random.int(7), RetentionPeriodUnit: 'DAYS' }
  return { service: 'rbin', action: 'CreateRule', input: { ResourceType, RetentionPeriod } }
}

function restoring(id: string): DrawnCall {
  if (id.startsWith('vol-')) return { action: 'RestoreVolumeFromRecycleBin', input: { VolumeId: id } }
  if (id.startsWith('snap-')) return { action: 'RestoreSnapshotFromRecycleBin', input: { SnapshotId: id } }
  return { action: 'RestoreImageFromRecycleBin', input: { ImageId: id } }
}

/**
 * Somebody undoes a termination, where there is one to undo, or changes which instances are kept.
 *
 * @returns the instance that is back, and stopped; with the token of its launch.
 */
export async function undoSomething({ store, random, clock }: SimulatedCloud): Promise<{ id: string; token: string | null } | undefined> {
  const { backups, rules, subnets } = await store.read(async (db) => ({
    backups: await db.selectFrom('instance_backups').selectAll().orderBy('instance_id').execute(),
    rules: await retentionRules(db, DEFAULT_ACCOUNT),
    subnets: await db
      .selectFrom('subnets').select(['subnet_id', 'zone']).where('account_id', '=', DEFAULT_ACCOUNT).orderBy('subnet_id').execute(),
  }))
  const ambient = { random, nowMs: clock.now() }
  if (backups.length === 0 || random.int(8) === 0) {
    const tag = random.int(3) === 0 ? null : { key: 'Name', value: `n${random.int(5)}` }
    const [days, isDeleted] = [1 + random.int(7), rules.length > 2 && random.int(2) === 0]
    await store.transaction('simulated.retention', async (db) => {
      if (isDeleted) await deleteRetention(db, DEFAULT_ACCOUNT, pick(random, rules).ruleId)
      else await setRetention({ ...ambient, db }, DEFAULT_ACCOUNT, { tag, days })
    })
    return undefined
  }
  const backup = pick(random, backups)
  const { instance_id: id, client_token: token, zone } = backupDoc(backup).instance
  const inZone = subnets.filter((each) => each.zone === zone)
  const subnetId = inZone.length > 0 && random.int(3) === 0 ? pick(random, inZone).subnet_id : undefined
  try {
    await store.transaction('instance.restore', (db) => restoreInstance({ ...ambient, db }, id, { subnetId }))
    return { id, token }
  } catch (error) {
    if (error instanceof RestoreError || error instanceof ApiError) return undefined
    throw error
  }
}

/** What is in the bin has been there for long enough: days, of which a simulation has none to lose. */
export async function expireBin({ store, clock }: SimulatedCloud): Promise<void> {
  await store.transaction('simulated.days', async (db) => {
    for (const table of ['volumes', 'snapshots', 'images'] as const) {
      await db.updateTable(table).set({ bin_exit_ms: clock.now() }).where('binned_ms', 'is not', null).execute()
    }
    await db.updateTable('instance_backups').set({ exit_ms: clock.now() }).execute()
    for (const host of await db.selectFrom('hosts').select('host_id').where('zone', 'is', null).execute()) {
      await enqueue(db, { kind: 'recycle', id: 'bin', hostId: host.host_id }, clock.now())
    }
  })
}

/**
 * Once everything has settled: nothing is in the bin for longer than it should, all data on disk is somebody's, and only
 * what is terminated is kept to be restored.
 */
export async function checkBin({ store, clock }: SimulatedCloud): Promise<string[]> {
  const { overdue, layers, used, alive } = await store.read(async (db) => ({
    overdue: await db
      .selectFrom('volumes').select('volume_id as id').where('bin_exit_ms', '<', clock.now() - OVERDUE_MS)
      .unionAll(db.selectFrom('snapshots').select('snapshot_id as id').where('bin_exit_ms', '<', clock.now() - OVERDUE_MS))
      .unionAll(db.selectFrom('images').select('image_id as id').where('bin_exit_ms', '<', clock.now() - OVERDUE_MS))
      .unionAll(db.selectFrom('instance_backups').select('instance_id as id').where('exit_ms', '<', clock.now() - OVERDUE_MS))
      .execute(),
    alive: await db
      .selectFrom('instance_backups').innerJoin('instances', 'instances.instance_id', 'instance_backups.instance_id')
      .select('instance_backups.instance_id as id').where('state', '<>', 'terminated').execute(),
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
    ...alive.map((row) => `${row.id} lives and is kept to be restored`),
    ...layers.filter((row) => !owned.has(row.layer_id)).map((row) => `${row.layer_id} (${row.state}) is nobody's`),
  ]
}

const OVERDUE_MS = 60_000
