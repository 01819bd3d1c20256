import type { LockSnapshotRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { insertSnapshot, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { settleSnapshotsOf } from '../model/snapshot.ts'
import type { Context } from './context.ts'
import { deleteSnapshot } from './delete-snapshot.ts'
import { describeLockedSnapshots, lockSnapshot, unlockSnapshot } from './snapshot-locks.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const after = (context: Context, ms: number): Context => ({ ...context, nowMs: NOW_MS + ms })

const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: { code: string; message: string }) => `${error.code}: ${error.message}`)

const states = async (context: Context, input = {}) =>
  (await describeLockedSnapshots(context, input)).Snapshots?.map((each) => each.LockState)

describe('a snapshot locked in governance mode', () => {
  it('is not deleted until it is unlocked', async () => {
    await test.run(async (context) => {
      const { snapshot_id: SnapshotId } = await insertSnapshot(context)
      expect(await lockSnapshot(context, { SnapshotId, LockMode: 'governance', LockDuration: 2 })).toEqual({
        SnapshotId, LockState: 'governance', LockDuration: 2, LockCreatedOn: new Date(NOW_MS),
        LockDurationStartTime: new Date(NOW_MS), LockExpiresOn: new Date(NOW_MS + 2 * DAY_MS),
      })
      expect(await failure(deleteSnapshot(context, { SnapshotId })))
        .toBe(`OperationNotPermitted: The snapshot '${SnapshotId}' is locked in governance mode and can't be deleted.`)
      expect(await unlockSnapshot(context, { SnapshotId })).toEqual({ SnapshotId })
      expect(await states(context)).toEqual([])
      expect(await failure(unlockSnapshot(context, { SnapshotId }))).toMatch(/^InvalidParameterValue: .*not locked/)
      expect(await failure(deleteSnapshot(context, { SnapshotId }))).toBe('no failure')
    })
  })

  it('may be deleted when the lock has expired, which may come sooner than was said first', async () => {
    await test.run(async (context) => {
      const { snapshot_id: SnapshotId } = await insertSnapshot(context)
      await lockSnapshot(context, { SnapshotId, LockMode: 'governance', ExpirationDate: new Date(NOW_MS + 9 * DAY_MS) })
      await lockSnapshot(context, { SnapshotId, LockMode: 'governance', LockDuration: 1 })
      expect(await failure(deleteSnapshot(after(context, DAY_MS - 1), { SnapshotId }))).toMatch(/^OperationNotPermitted/)
      expect(await states(after(context, DAY_MS))).toEqual(['expired'])
      expect(await failure(deleteSnapshot(after(context, DAY_MS), { SnapshotId }))).toBe('no failure')
    })
  })

  it('counts from when it was complete', async () => {
    await test.run(async (context) => {
      const row = await insertSnapshot(context, { state: 'pending' })
      const SnapshotId = row.snapshot_id
      expect(await lockSnapshot(context, { SnapshotId, LockMode: 'governance', LockDuration: 1 })).toEqual({
        SnapshotId, LockState: 'governance', LockDuration: 1, LockCreatedOn: new Date(NOW_MS),
      })
      await settleSnapshotsOf(context.db, row.layer_id ?? '', { state: 'completed' }, NOW_MS + HOUR_MS)
      expect((await describeLockedSnapshots(after(context, 2 * HOUR_MS), {})).Snapshots).toMatchObject([
        { LockDurationStartTime: new Date(NOW_MS + HOUR_MS), LockExpiresOn: new Date(NOW_MS + HOUR_MS + DAY_MS) },
      ])
    })
  })
})

describe('a snapshot locked in compliance mode', () => {
  it('can be unlocked in its cooling-off period, and not after it', async () => {
    await test.run(async (context) => {
      const { snapshot_id: SnapshotId } = await insertSnapshot(context)
      const lock = { LockMode: 'compliance', LockDuration: 5, CoolOffPeriod: 3 } as const
      expect(await lockSnapshot(context, { SnapshotId, ...lock })).toMatchObject({
        LockState: 'compliance-cooloff', CoolOffPeriod: 3, CoolOffPeriodExpiresOn: new Date(NOW_MS + 3 * HOUR_MS),
      })
      expect(await states(after(context, 3 * HOUR_MS))).toEqual(['compliance'])
      expect(await failure(deleteSnapshot(context, { SnapshotId }))).toMatch(/^OperationNotPermitted: /)
      expect(await failure(unlockSnapshot(after(context, 3 * HOUR_MS), { SnapshotId }))).toMatch(/^OperationNotPermitted: /)
      expect(await failure(unlockSnapshot(after(context, 3 * HOUR_MS - 1), { SnapshotId }))).toBe('no failure')
    })
  })

  it('can only be locked for longer', async () => {
    await test.run(async (context) => {
      const { snapshot_id: SnapshotId } = await insertSnapshot(context)
      const lock = (input: Omit<LockSnapshotRequest, 'SnapshotId'>) => failure(lockSnapshot(context, { SnapshotId, ...input }))
      expect(await lock({ LockMode: 'compliance', LockDuration: 5 })).toBe('no failure')
      expect(await lock({ LockMode: 'compliance', LockDuration: 4 })).toMatch(/^OperationNotPermitted: .*longer/)
      expect(await lock({ LockMode: 'governance', LockDuration: 9 })).toMatch(/^OperationNotPermitted: .*mode/)
      expect(await lock({ LockMode: 'compliance', LockDuration: 9, CoolOffPeriod: 1 })).toMatch(/^OperationNotPermitted: /)
      expect(await lock({ LockMode: 'compliance', ExpirationDate: new Date(NOW_MS + 6 * DAY_MS) })).toBe('no failure')
      expect((await describeLockedSnapshots(context, {})).Snapshots).toMatchObject([
        { OwnerId: DEFAULT_ACCOUNT, LockState: 'compliance', LockDuration: 6, LockExpiresOn: new Date(NOW_MS + 6 * DAY_MS) },
      ])
    })
  })
})

describe('locks', () => {
  it.each([
    [{ LockMode: 'governance' }, 'InvalidParameterCombination'],
    [{ LockMode: 'governance', LockDuration: 1, ExpirationDate: new Date(NOW_MS + 2 * DAY_MS) }, 'InvalidParameterCombination'],
    [{ LockMode: 'governance', LockDuration: 1, CoolOffPeriod: 1 }, 'InvalidParameterCombination'],
    [{ LockMode: 'governance', LockDuration: 0 }, 'InvalidParameterValue'],
    [{ LockMode: 'governance', LockDuration: 36_501 }, 'InvalidParameterValue'],
    [{ LockMode: 'compliance', LockDuration: 1, CoolOffPeriod: 73 }, 'InvalidParameterValue'],
    [{ LockMode: 'compliance', ExpirationDate: new Date(NOW_MS) }, 'InvalidParameterValue'],
    [{ LockMode: 'lax', LockDuration: 1 }, 'InvalidParameterValue'],
    [{ LockDuration: 1 }, 'MissingParameter'],
  ])('are not made by %j', async (input, code) => {
    const { snapshot_id: SnapshotId } = await test.run((context) => insertSnapshot(context))
    const lock = (context: Context) => lockSnapshot(context, { SnapshotId, LockMode: undefined, ...(input as object) })
    expect((await failure(test.run(lock))).split(':')[0]).toBe(code)
    expect(await test.run((context) => states(context))).toEqual([])
  })

  it('are described by state, each account its own', async () => {
    const [first] = await test.run(async (context) => {
      const rows = [await insertSnapshot(context), await insertSnapshot(context), await insertSnapshot(context)] as const
      await lockSnapshot(context, { SnapshotId: rows[0].snapshot_id, LockMode: 'governance', LockDuration: 1 })
      await lockSnapshot(context, { SnapshotId: rows[1].snapshot_id, LockMode: 'compliance', LockDuration: 1 })
      expect(await states(context, { Filters: [{ Name: 'lock-state', Values: ['compliance'] }] })).toEqual(['compliance'])
      expect(await states(context, { SnapshotIds: [rows[0].snapshot_id, rows[2].snapshot_id] })).toEqual(['governance'])
      for (const Name of DOCUMENTED_FILTERS.DescribeLockedSnapshots) {
        expect(await states(context, { Filters: [{ Name, Values: ['no such value'] }] })).toEqual([])
      }
      return rows
    })
    await test.run(async (context) => {
      expect(await states(context)).toEqual([])
      expect(await failure(states(context, { SnapshotIds: [first.snapshot_id] }))).toMatch(/^InvalidSnapshot.NotFound: /)
    }, OTHER_ACCOUNT)
  })
})
