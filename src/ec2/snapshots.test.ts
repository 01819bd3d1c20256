import type { DescribeSnapshotsRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import {
  insertLayerRow, insertSnapshot, insertVolume, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore,
} from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT, PROVIDER_ACCOUNT } from '../model/account.ts'
import type { Context } from './context.ts'
import { describeSnapshots } from './snapshots.ts'
import { createTags, insertTags } from './tags.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const ids = async (context: Context, input: DescribeSnapshotsRequest = {}) =>
  (await describeSnapshots(context, input)).Snapshots?.map((snapshot) => snapshot.SnapshotId)

const share = (context: Context, snapshotId: string, account: string) =>
  context.db.insertInto('snapshot_permissions').values({ snapshot_id: snapshotId, account_id: account }).execute()

describe('describeSnapshots', () => {
  it('shows one of a volume and an encrypted copy as EC2 does', async () => {
    await test.run(async (context) => {
      const volume = await insertVolume(context, undefined)
      const plain = await insertSnapshot(
        context, { volume_id: volume.volume_id, size_gib: 8 }, { description: 'nightly', completedMs: NOW_MS + 5 },
      )
      await insertTags(context.db, context.account, 'snapshot', plain.snapshot_id, [{ key: 'a', value: 'b' }])
      const copy = await insertSnapshot(context, { encrypted: 1, created_ms: NOW_MS + 1 }, { kmsKeyId: 'key-1', isCopy: true })
      const common = { OwnerId: DEFAULT_ACCOUNT, Progress: '100%', State: 'completed', StorageTier: 'standard' }
      expect((await describeSnapshots(context, {})).Snapshots).toEqual([
        {
          ...common, SnapshotId: plain.snapshot_id, VolumeId: volume.volume_id, VolumeSize: 8, Description: 'nightly',
          Encrypted: false, StartTime: new Date(NOW_MS), CompletionTime: new Date(NOW_MS + 5), Tags: [{ Key: 'a', Value: 'b' }],
        },
        {
          ...common, SnapshotId: copy.snapshot_id, VolumeId: 'vol-ffffffff', VolumeSize: 1, Description: '', Encrypted: true,
          KmsKeyId: `arn:aws:kms:us-east-1:${DEFAULT_ACCOUNT}:key/key-1`, StartTime: new Date(NOW_MS + 1),
          TransferType: 'standard',
        },
      ])
    })
  })

  it('tells how much of a copy is done, and why one failed', async () => {
    await test.run(async (context) => {
      const filling = await insertLayerRow(context, { state: 'filling', doc: JSON.stringify({ progress: 41.7 }) })
      await insertSnapshot(context, { state: 'pending', layer_id: filling.layer_id })
      await insertSnapshot(context, { state: 'error', created_ms: NOW_MS + 1 }, { stateMessage: 'its source is gone' })
      expect((await describeSnapshots(context, {})).Snapshots).toMatchObject([
        { State: 'pending', Progress: '41%' }, { State: 'error', Progress: '0%', StateMessage: 'its source is gone' },
      ])
    })
  })

  it('shows others only what is public or shared with them', async () => {
    const made = await test.run(async (context) => {
      const [own, shared, open] = [
        await insertSnapshot(context), await insertSnapshot(context, { created_ms: NOW_MS + 1 }),
        await insertSnapshot(context, { created_ms: NOW_MS + 2, is_public: 1 }),
      ]
      await insertSnapshot(context, { binned_ms: NOW_MS, bin_exit_ms: NOW_MS + 1 })
      await share(context, shared.snapshot_id, OTHER_ACCOUNT)
      expect(await ids(context)).toEqual([own.snapshot_id, shared.snapshot_id, open.snapshot_id])
      expect(await ids(context, { RestorableByUserIds: [OTHER_ACCOUNT] })).toEqual([shared.snapshot_id])
      return { own: own.snapshot_id, shared: shared.snapshot_id, open: open.snapshot_id }
    })
    await test.run(async (context) => {
      expect(await ids(context)).toEqual([made.shared, made.open])
      expect(await ids(context, { OwnerIds: ['self'] })).toEqual([])
      expect(await ids(context, { OwnerIds: [DEFAULT_ACCOUNT, 'amazon'] })).toEqual([made.shared, made.open])
      expect(await ids(context, { RestorableByUserIds: ['self'] })).toEqual([made.shared])
      expect(await ids(context, { RestorableByUserIds: ['all'] })).toEqual([made.open])
      expect(await ids(context, { SnapshotIds: [made.open], OwnerIds: ['self'] })).toEqual([])
      await expect(ids(context, { SnapshotIds: [made.own] })).rejects.toMatchObject({
        code: 'InvalidSnapshot.NotFound', message: `The snapshot '${made.own}' does not exist.`,
      })
      await expect(ids(context, { OwnerIds: ['me'] })).rejects.toMatchObject({ code: 'InvalidUserID.Malformed' })
      await expect(ids(context, { SnapshotIds: [made.open], MaxResults: 5 })).rejects.toMatchObject({
        message: 'The parameter snapshotSet cannot be used with the parameter maxResults',
      })
    }, OTHER_ACCOUNT)
  })

  it('lets whoever a snapshot is shared with give it tags of their own', async () => {
    const [shared, secret] = await test.run(async (context) => {
      const rows = [await insertSnapshot(context), await insertSnapshot(context)] as const
      await share(context, rows[0].snapshot_id, OTHER_ACCOUNT)
      return rows
    })
    await test.run(async (context) => {
      const Tags = [{ Key: 'from', Value: 'them' }]
      await createTags(context, { Resources: [shared.snapshot_id], Tags })
      expect((await describeSnapshots(context, {})).Snapshots).toMatchObject([{ Tags }])
      await expect(createTags(context, { Resources: [secret.snapshot_id], Tags }))
        .rejects.toMatchObject({ code: 'InvalidSnapshot.NotFound' })
    }, OTHER_ACCOUNT)
    expect((await test.run((context) => describeSnapshots(context, {}))).Snapshots?.[0]?.Tags).toBeUndefined()
  })

  it.each([
    ['description', 'night*', 1], ['encrypted', 'true', 1], ['owner-alias', 'amazon', 1], ['owner-id', DEFAULT_ACCOUNT, 2],
    ['progress', '100%', 3], ['start-time', '2026-01-01T*', 3], ['status', 'completed', 3], ['storage-tier', 'standard', 3],
    ['transfer-type', 'standard', 1], ['volume-id', 'vol-0123456789abcdef0', 1], ['volume-id', 'vol-ffffffff', 2],
    ['volume-size', '8', 1], ['tag:a', 'b', 1], ['tag-key', 'a', 1], ['tag', 'a=b', 1],
  ])('filters by %s = %s', async (Name, value, expected) => {
    await test.run(async (context) => {
      const of = await insertSnapshot(
        context, { volume_id: 'vol-0123456789abcdef0', size_gib: 8 }, { description: 'nightly' },
      )
      await insertTags(context.db, context.account, 'snapshot', of.snapshot_id, [{ key: 'a', value: 'b' }])
      await insertSnapshot(context, { encrypted: 1 }, { isCopy: true })
      await insertSnapshot(context, { account_id: PROVIDER_ACCOUNT, is_public: 1 })
      expect(await ids(context, { Filters: [{ Name, Values: [value] }] })).toHaveLength(expected)
    })
  })

  it.each(DOCUMENTED_FILTERS.DescribeSnapshots)('knows the filter %s', async (Name) => {
    await test.run(async (context) => {
      await insertSnapshot(context)
      expect(await ids(context, { Filters: [{ Name, Values: ['no such value'] }] })).toEqual([])
    })
  })

  it('pages', async () => {
    await test.run(async (context) => {
      for (let index = 0; index < 7; index++) await insertSnapshot(context)
      const first = await describeSnapshots(context, { MaxResults: 5 })
      const second = await describeSnapshots(context, { MaxResults: 5, NextToken: first.NextToken })
      const seen = [...(first.Snapshots ?? []), ...(second.Snapshots ?? [])].map((each) => each.SnapshotId)
      expect([first.Snapshots?.length, new Set(seen).size, second.NextToken]).toEqual([5, 7, undefined])
    })
  })
})
