import { beforeEach, describe, expect, test } from 'vitest'
import {
  fixedClock, HOST_ID, insertImage, insertInstance, insertLayerRow, insertSnapshot, insertVolume, NOW_MS, openTestStore, OTHER_ACCOUNT,
  type TestStore,
} from '../../test/support/rows.ts'
import { silentLogger } from '../core/logger.ts'
import type { Context } from '../ec2/context.ts'
import { restoreSnapshotFromRecycleBin } from '../ec2/restore-from-recycle-bin.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import type { HostDoc } from '../model/host.ts'
import { backUpInstance } from '../model/instance-backup.ts'
import { instanceDoc } from '../model/instance.ts'
import { binned, DAY_MS } from '../model/recycle-rules.ts'
import type { InstanceTable, VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { DiskUsage } from '../volumes/driver.ts'
import { createRecycleReconciler } from './recycle.ts'

const GIB = 2 ** 30
const inBin = (days = 1, afterMs = 0) => binned(NOW_MS + afterMs, days * DAY_MS)

let world: TestStore
let logged: string[]
let usage: DiskUsage
beforeEach(async () => {
  world = await openTestStore()
  logged = []
  usage = { bytesOf: new Map(), freeBytes: 0, totalBytes: 1000 * GIB }
})

const run = <T>(body: (context: Context) => Promise<T>) => world.run(body)
const rows = <T>(body: (db: Db) => Promise<T>) => world.store.read(body)
const ids = async (table: 'snapshots' | 'images' | 'volumes' | 'layers' | 'tags') =>
  (await rows((db) => db.selectFrom(table).selectAll().execute())).length

/** One run of the reconciler at that time; `meanwhile` happens between what it sees and what it writes. */
async function reconcile(
  { atMs = NOW_MS, budgetGib = null, meanwhile }: { atMs?: number; budgetGib?: number | null; meanwhile?: () => Promise<unknown> } = {},
) {
  const reconciler = createRecycleReconciler({
    store: world.store, clock: { ...fixedClock, now: () => atMs }, hostId: HOST_ID, budgetGib, volumes: { usage: async () => usage },
    log: { ...silentLogger, warn: (text) => void logged.push(text) },
  })
  const outcome = await reconciler.reconcile('bin')
  await meanwhile?.()
  await world.store.transaction('test', async (db) => outcome.observed?.write(db))
  return outcome.kind === 'again' ? outcome.afterMs : outcome.kind
}
const layerState = async (id: string | null) =>
  (await rows((db) => db.selectFrom('layers').select('state').where('layer_id', '=', id ?? '').executeTakeFirst()))?.state

describe('the recycle bin', () => {
  test('is looked at no more while it is empty', async () => {
    await run((context) => insertSnapshot(context))
    expect(await reconcile()).toBe('done')
    expect(await ids('snapshots')).toBe(1)
  })

  test('deletes a snapshot whose time is over, with its tags, its permissions and its data', async () => {
    const snapshot = await run((context) => insertSnapshot(context, inBin()))
    await run(async ({ db }) => {
      await db.insertInto('snapshot_permissions').values({ snapshot_id: snapshot.snapshot_id, account_id: OTHER_ACCOUNT }).execute()
      await db.insertInto('tags').values({
        account_id: DEFAULT_ACCOUNT, resource_type: 'snapshot', resource_id: snapshot.snapshot_id, key: 'a', value: 'b',
      }).execute()
    })
    expect(await reconcile({ atMs: NOW_MS + DAY_MS - 5 })).toBe(5)
    expect(await ids('snapshots')).toBe(1)
    expect(await reconcile({ atMs: NOW_MS + DAY_MS })).toBe('done')
    expect([await ids('snapshots'), await ids('tags'), await layerState(snapshot.layer_id)]).toEqual([0, 0, 'deleting'])
  })

  test('leaves data that another snapshot has', async () => {
    const first = await run((context) => insertSnapshot(context, inBin()))
    await run((context) => insertSnapshot(context, { layer_id: first.layer_id }))
    await reconcile({ atMs: NOW_MS + DAY_MS })
    expect([await ids('snapshots'), await layerState(first.layer_id)]).toEqual([1, 'sealed'])
  })

  test('deletes an image, and its snapshot no sooner', async () => {
    const image = await run((context) => insertImage(context, { account_id: DEFAULT_ACCOUNT, ...inBin(3) }))
    await run(({ db }) => db.updateTable('snapshots').set(inBin(1)).where('snapshot_id', '=', image.snapshot_id).execute())
    expect(await reconcile({ atMs: NOW_MS + 2 * DAY_MS })).toBe(DAY_MS)
    expect([await ids('images'), await ids('snapshots')]).toEqual([1, 1])
    expect(await reconcile({ atMs: NOW_MS + 3 * DAY_MS })).toBe('done')
    expect([await ids('images'), await ids('snapshots')]).toEqual([0, 0])
  })

  test('lets an image go and leaves its snapshot that was not binned', async () => {
    await run((context) => insertImage(context, { account_id: DEFAULT_ACCOUNT, ...inBin() }))
    await reconcile({ atMs: NOW_MS + DAY_MS })
    expect([await ids('images'), await ids('snapshots')]).toEqual([0, 1])
  })

  test('hands a volume to its own reconciler', async () => {
    const volume = await run((context) => insertVolume(context, undefined, inBin()))
    await reconcile({ atMs: NOW_MS + DAY_MS })
    expect(await rows((db) => db.selectFrom('volumes').select(['state', 'binned_ms']).execute())).toEqual([{ state: 'deleting', binned_ms: NOW_MS }])
    expect(await rows((db) => db.selectFrom('work').select(['kind', 'id']).execute())).toContainEqual({ kind: 'volume', id: volume.volume_id })
    expect(await reconcile({ atMs: NOW_MS + DAY_MS })).toBe('done')
  })

  test('does not delete what was restored meanwhile', async () => {
    const { snapshot_id: SnapshotId } = await run((context) => insertSnapshot(context, inBin()))
    const meanwhile = () => run((context) => restoreSnapshotFromRecycleBin(context, { SnapshotId }))
    await reconcile({ atMs: NOW_MS + DAY_MS, meanwhile })
    expect(await ids('snapshots')).toBe(1)
  })
})

describe('the budget of the recycle bin', () => {
  const told = async () => {
    const host = await rows((db) => db.selectFrom('hosts').select('doc').executeTakeFirstOrThrow())
    return (JSON.parse(host.doc) as HostDoc).recycleBin
  }
  /** Three binned snapshots of 1 GiB each, one over the other, in the order in which they were binned. */
  async function addChain(): Promise<string[]> {
    const added: string[] = []
    let parentId: string | null = null
    for (const days of [1, 2, 3]) {
      const layer = await run((context) => insertLayerRow(context, { parent_id: parentId }))
      usage.bytesOf.set(layer.layer_id, GIB)
      added.push((await run((context) => insertSnapshot(context, { layer_id: layer.layer_id, ...inBin(30, days) }))).snapshot_id)
      parentId = layer.layer_id
    }
    return added
  }

  test('is a tenth of the disk, and 50 GiB at most', async () => {
    await addChain()
    await reconcile()
    expect(await told()).toEqual({ heldMib: 3072, budgetMib: 51_200 })
    usage.totalBytes = 100 * GIB
    await reconcile()
    expect(await told()).toEqual({ heldMib: 3072, budgetMib: 10_240 })
    expect(logged).toEqual([])
  })

  test('is warned of when it is nearly used up, and kept by deleting the oldest', async () => {
    await addChain()
    await reconcile({ budgetGib: 3.5 })
    expect(logged).toEqual(['the recycle bin is nearly full: soon the oldest in it will be deleted'])
    logged = []
    await reconcile({ budgetGib: 0.5 })
    expect(logged).toEqual(['the recycle bin is beyond its budget: the oldest in it is deleted'])
    expect(await ids('snapshots')).toBe(0)
    expect(await told()).toEqual({ heldMib: 0, budgetMib: 512 })
    await reconcile({ budgetGib: 0.5 })
    expect(await told()).toBeUndefined()
  })

  test('does not count what a volume is made of', async () => {
    const [, , newest = ''] = await addChain()
    const { layer_id: layerId } = await rows((db) =>
      db.selectFrom('snapshots').select('layer_id').where('snapshot_id', '=', newest).executeTakeFirstOrThrow())
    const layer = await run((context) => insertLayerRow(context, { parent_id: layerId, state: 'open' }))
    await run((context) => insertVolume(context, undefined, { layer_id: layer.layer_id }))
    await reconcile({ budgetGib: 0 })
    expect(await ids('snapshots')).toBe(3)
    expect(await told()).toEqual({ heldMib: 0, budgetMib: 0 })
  })
})

describe('what is kept of a terminated instance', () => {
  /** As its termination leaves it: a backup for a day, and its root, in the bin unless `change` says otherwise. */
  async function addBackup(change: Partial<Pick<VolumeTable, 'binned_ms' | 'bin_exit_ms'>> = inBin()) {
    return run(async (context) => {
      const instance = await insertInstance(context)
      const root = await insertVolume(context, instance)
      const terminated: InstanceTable = { ...instance, doc: JSON.stringify({ ...instanceDoc(instance), wasProtected: true }) }
      await backUpInstance({ db: context.db, nowMs: NOW_MS }, terminated)
      await context.db.updateTable('instance_backups').set({ exit_ms: NOW_MS + DAY_MS }).execute()
      await context.db.updateTable('volumes').set({ instance_id: null, state: 'available', ...change })
        .where('volume_id', '=', root.volume_id).execute()
      return { id: instance.instance_id, root }
    })
  }
  const backups = async () => (await rows((db) => db.selectFrom('instance_backups').select('instance_id').execute())).length

  test('is forgotten when its time is over, and its disks with it', async () => {
    await addBackup()
    expect(await reconcile({ atMs: NOW_MS + DAY_MS - 1 })).toBe(1)
    expect(await backups()).toBe(1)
    await reconcile({ atMs: NOW_MS + DAY_MS })
    expect(await backups()).toBe(0)
    expect(await rows((db) => db.selectFrom('volumes').select('state').execute())).toEqual([{ state: 'deleting' }])
  })

  test('has a time of its own, where its disks are not in the bin', async () => {
    await addBackup({})
    expect(await reconcile({ atMs: NOW_MS })).toBe(DAY_MS)
    expect(await reconcile({ atMs: NOW_MS + DAY_MS })).toBe('done')
    expect(await backups()).toBe(0)
    expect(await rows((db) => db.selectFrom('volumes').select('state').execute())).toEqual([{ state: 'available' }])
  })

  test('is of no use without its root, and forgotten when the budget is for others', async () => {
    const { root } = await addBackup()
    usage.bytesOf.set(root.layer_id, GIB)
    await reconcile({ budgetGib: 0.5 })
    expect(await backups()).toBe(0)
  })

  test('stays where it is by then that of another termination', async () => {
    const { id } = await addBackup()
    const meanwhile = () => run(({ db }) =>
      db.updateTable('instance_backups').set({ exit_ms: NOW_MS + 9 * DAY_MS }).where('instance_id', '=', id).execute())
    await run(({ db }) => db.updateTable('volumes').set(inBin(9)).execute())
    await reconcile({ atMs: NOW_MS + DAY_MS, meanwhile })
    expect(await backups()).toBe(1)
  })
})
