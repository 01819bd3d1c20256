import { beforeEach, describe, expect, it } from 'vitest'
import {
  insertImage, insertLayerRow, insertSnapshot, insertVolume, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore,
} from '../../test/support/rows.ts'
import { layerOf } from '../model/layer.ts'
import type { RecycleRuleDoc } from '../model/recycle-rules.ts'
import type { Context } from './context.ts'
import { createSnapshot } from './create-snapshot.ts'
import { deleteSnapshot } from './delete-snapshot.ts'
import { describeSnapshots } from './snapshots.ts'
import { insertTags, tagsOf } from './tags.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: { code: string; message: string }) => `${error.code}: ${error.message}`)

const stateOf = async ({ db }: Context, layerId: string | null) => (await layerOf(db, layerId ?? ''))?.state

const left = async (context: Context) => (await describeSnapshots(context, {})).Snapshots?.map((each) => each.SnapshotId)

describe('deleteSnapshot', () => {
  it('leaves nothing of it: tags, permissions, data', async () => {
    await test.run(async (context) => {
      const row = await insertSnapshot(context)
      await insertTags(context.db, context.account, 'snapshot', row.snapshot_id, [{ key: 'a', value: 'b' }])
      const permission = { snapshot_id: row.snapshot_id, account_id: OTHER_ACCOUNT }
      await context.db.insertInto('snapshot_permissions').values(permission).execute()
      expect(await deleteSnapshot(context, { SnapshotId: row.snapshot_id })).toEqual({})
      expect(await left(context)).toEqual([])
      expect((await tagsOf(context.db, [row.snapshot_id])).size).toBe(0)
      expect(await stateOf(context, row.layer_id)).toBe('deleting')
      const due = await context.db.selectFrom('work').select('id').where('kind', '=', 'layer').execute()
      expect(due).toEqual([{ id: row.layer_id }])
    })
  })

  it('keeps the data that later snapshots, copies and volumes stand on', async () => {
    await test.run(async (context) => {
      const first = await insertSnapshot(context)
      const second = await insertSnapshot(context, {
        layer_id: (await insertLayerRow(context, { parent_id: first.layer_id, depth: 1 })).layer_id,
      })
      const copy = await insertSnapshot(context, { layer_id: second.layer_id })
      await deleteSnapshot(context, { SnapshotId: first.snapshot_id })
      await deleteSnapshot(context, { SnapshotId: second.snapshot_id })
      expect([await stateOf(context, first.layer_id), await stateOf(context, second.layer_id)]).toEqual(['sealed', 'sealed'])
      await deleteSnapshot(context, { SnapshotId: copy.snapshot_id })
      expect([await stateOf(context, first.layer_id), await stateOf(context, second.layer_id)]).toEqual(['sealed', 'deleting'])
    })
  })

  it('takes a pending one, whose volume goes on', async () => {
    await test.run(async (context) => {
      const volume = await insertVolume(context, undefined)
      const { SnapshotId } = await createSnapshot(context, { VolumeId: volume.volume_id })
      await deleteSnapshot(context, { SnapshotId })
      expect(await left(context)).toEqual([])
      expect(await stateOf(context, volume.layer_id)).toBe('open')
    })
  })

  it('refuses one that an image is made of, by name', async () => {
    await test.run(async (context) => {
      const image = await insertImage(context, { account_id: context.account })
      expect(await failure(deleteSnapshot(context, { SnapshotId: image.snapshot_id })))
        .toBe(`InvalidSnapshot.InUse: The snapshot ${image.snapshot_id} is currently in use by ${image.image_id}`)
    })
  })

  it('refuses what is not there, and what is only shared', async () => {
    const open = await test.run((context) => insertSnapshot(context, { is_public: 1 }))
    const secret = await test.run((context) => insertSnapshot(context))
    const of = (SnapshotId: string | undefined) =>
      failure(test.run((context) => deleteSnapshot(context, { SnapshotId }), OTHER_ACCOUNT))
    expect(await of(open.snapshot_id)).toBe(`AuthFailure: Not authorized for snapshot:${open.snapshot_id}`)
    expect(await of(secret.snapshot_id)).toBe(`InvalidSnapshot.NotFound: The snapshot '${secret.snapshot_id}' does not exist.`)
    expect(await of('snap-x')).toMatch(/^InvalidSnapshotID.Malformed: /)
    expect(await of(undefined)).toMatch(/^MissingParameter: /)
  })
})

describe('deleteSnapshot under a retention rule', () => {
  const insertRule = ({ db, account }: Context) => db
    .insertInto('recycle_rules')
    .values({
      rule_id: 'rule', account_id: account, resource_type: 'EBS_SNAPSHOT', created_ms: NOW_MS,
      doc: JSON.stringify({
        description: '', retention: { value: 7, unit: 'DAYS' }, resourceTags: [{ key: 'keep', value: 'yes' }],
        excludeResourceTags: [], status: 'available', lock: null, tags: [],
      } satisfies RecycleRuleDoc),
    })
    .execute()

  it('keeps what matches, with its tags and data, where nobody sees it', async () => {
    await test.run(async (context) => {
      await insertRule(context)
      const [kept, gone] = [await insertSnapshot(context), await insertSnapshot(context)]
      await insertTags(context.db, context.account, 'snapshot', kept.snapshot_id, [{ key: 'keep', value: 'yes' }])
      await deleteSnapshot(context, { SnapshotId: kept.snapshot_id })
      await deleteSnapshot(context, { SnapshotId: gone.snapshot_id })
      expect(await left(context)).toEqual([])
      expect(await context.db.selectFrom('snapshots').select(['snapshot_id', 'binned_ms', 'bin_exit_ms']).execute())
        .toEqual([{ snapshot_id: kept.snapshot_id, binned_ms: NOW_MS, bin_exit_ms: NOW_MS + 7 * 86_400_000 }])
      expect([await stateOf(context, kept.layer_id), await stateOf(context, gone.layer_id)]).toEqual(['sealed', 'deleting'])
      expect(await failure(deleteSnapshot(context, { SnapshotId: kept.snapshot_id }))).toMatch(/^InvalidSnapshot.NotFound: /)
    })
  })

  it('lets an image that is in the bin itself hold only what would be gone for good', async () => {
    await test.run(async (context) => {
      await insertRule(context)
      const image = await insertImage(context, { account_id: context.account, binned_ms: NOW_MS, bin_exit_ms: NOW_MS + 1 })
      expect(await failure(deleteSnapshot(context, { SnapshotId: image.snapshot_id }))).toMatch(/^InvalidSnapshot.InUse: /)
      await insertTags(context.db, context.account, 'snapshot', image.snapshot_id, [{ key: 'keep', value: 'yes' }])
      expect(await failure(deleteSnapshot(context, { SnapshotId: image.snapshot_id }))).toBe('no failure')
    })
  })
})
