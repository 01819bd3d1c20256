import { beforeEach, describe, expect, it } from 'vitest'
import { insertInstance, insertVolume, NOW_MS, OTHER_ACCOUNT, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { recordFrozen } from '../model/freeze.ts'
import { changeLayerDoc } from '../model/layer.ts'
import { settleSnapshotsOf } from '../model/snapshot.ts'
import type { VolumeTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { createSnapshot, createSnapshots, finishCreateSnapshot } from './create-snapshot.ts'
import { describeSnapshots } from './snapshots.ts'
import { insertTags } from './tags.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: { code: string; message: string }) => `${error.code}: ${error.message}`)

const rowOf = ({ db }: Context, id: string): Promise<VolumeTable> =>
  db.selectFrom('volumes').selectAll().where('volume_id', '=', id).executeTakeFirstOrThrow()

/** What the agent does about a volume's snapshots. */
async function seal(context: Context, volume: VolumeTable): Promise<void> {
  await recordFrozen(context, [await rowOf(context, volume.volume_id)])
  await settleSnapshotsOf(context.db, volume.layer_id, { state: 'completed' }, NOW_MS + 7)
}

/** A root and two data volumes. */
async function insertMachine(context: Context) {
  const instance = await insertInstance(context)
  return {
    instance,
    root: await insertVolume(context, instance),
    data: await insertVolume(context, instance, { device: '/dev/sdf', encrypted: 1 }),
    more: await insertVolume(context, instance, { device: '/dev/sdg' }),
  }
}

describe('createSnapshot', () => {
  it('answers pending, and is complete when the file is immutable that the volume wrote into', async () => {
    await test.run(async (context) => {
      const volume = await insertVolume(context, undefined)
      const created = await createSnapshot(context, {
        VolumeId: volume.volume_id, Description: 'before the upgrade', Location: 'regional',
        TagSpecifications: [{ ResourceType: 'snapshot', Tags: [{ Key: 'a', Value: 'b' }] }],
      })
      expect(created).toEqual({
        SnapshotId: expect.stringMatching(/^snap-[0-9a-f]{17}$/) as string, VolumeId: volume.volume_id, VolumeSize: 8,
        Description: 'before the upgrade', Encrypted: false, OwnerId: DEFAULT_ACCOUNT, Progress: '', State: 'pending',
        StartTime: new Date(NOW_MS), Tags: [{ Key: 'a', Value: 'b' }],
      })
      expect((await describeSnapshots(context, {})).Snapshots).toMatchObject([
        { SnapshotId: created.SnapshotId, State: 'pending', Progress: '0%', Tags: [{ Key: 'a', Value: 'b' }] },
      ])
      await seal(context, volume)
      expect((await describeSnapshots(context, {})).Snapshots).toMatchObject([
        { State: 'completed', Progress: '100%', CompletionTime: new Date(NOW_MS + 7) },
      ])
      expect((await rowOf(context, volume.volume_id)).layer_id).not.toBe(volume.layer_id)
    })
  })

  it('is encrypted under the key of its volume', async () => {
    await test.run(async (context) => {
      const volume = await insertVolume(context, undefined, { encrypted: 1 })
      await changeLayerDoc(context.db, volume.layer_id, { kmsKeyId: 'key-1' })
      expect(await createSnapshot(context, { VolumeId: volume.volume_id })).toMatchObject({ Encrypted: true })
      expect((await describeSnapshots(context, {})).Snapshots).toMatchObject([
        { Encrypted: true, KmsKeyId: `arn:aws:kms:us-east-1:${DEFAULT_ACCOUNT}:key/key-1` },
      ])
    })
  })

  it('is of no volume that is being made, deleted or somebody else\'s', async () => {
    await test.run(async (context) => {
      const creating = await insertVolume(context, undefined, { state: 'creating', ready: 0 })
      const deleting = await insertVolume(context, undefined, { state: 'deleting' })
      const binned = await insertVolume(context, undefined, { binned_ms: NOW_MS })
      const foreign = await insertVolume({ ...context, account: OTHER_ACCOUNT }, undefined)
      const of = (VolumeId: string | undefined) => failure(createSnapshot(context, { VolumeId }))
      expect(await of(creating.volume_id)).toMatch(/^IncorrectState: /)
      expect(await of(deleting.volume_id)).toMatch(/^IncorrectState: /)
      expect(await of(binned.volume_id)).toMatch(/^InvalidVolume.NotFound: /)
      expect(await of(foreign.volume_id)).toMatch(/^InvalidVolume.NotFound: /)
      expect(await of('vol-x')).toMatch(/^InvalidVolumeID.Malformed: /)
      expect(await of(undefined)).toMatch(/^MissingParameter: /)
    })
  })

  it('refuses what there is nothing for here', async () => {
    await test.run(async (context) => {
      const { volume_id: VolumeId } = await insertVolume(context, undefined)
      expect(await failure(createSnapshot(context, { VolumeId, Location: 'local' }))).toMatch(/^UnsupportedOperation: /)
      expect(await failure(createSnapshot(context, { VolumeId, OutpostArn: 'arn:x' }))).toMatch(/^UnsupportedOperation: /)
      const Description = 'x'.repeat(256)
      expect(await failure(createSnapshot(context, { VolumeId, Description }))).toMatch(/^InvalidParameterValue: /)
      expect(await failure(createSnapshot(context, {
        VolumeId, TagSpecifications: [{ ResourceType: 'volume', Tags: [{ Key: 'a' }] }],
      }))).toMatch(/^InvalidParameterValue: /)
      expect((await describeSnapshots(context, {})).Snapshots).toEqual([])
    })
  })

  it('wants 15 seconds between two of a volume that are under way, and five at once at most', async () => {
    await test.run(async (context) => {
      const volume = await insertVolume(context, undefined)
      const next = (seconds: number) =>
        failure(createSnapshot({ ...context, nowMs: NOW_MS + seconds * 1000 }, { VolumeId: volume.volume_id }))
      expect(await next(0)).toBe('no failure')
      expect(await next(14)).toBe(
        'SnapshotCreationPerVolumeRateExceeded: The maximum per volume CreateSnapshot request rate has been exceeded. ' +
          'Use an increasing or variable sleep interval between requests.',
      )
      for (const seconds of [15, 30, 45, 60]) expect(await next(seconds)).toBe('no failure')
      expect(await next(75)).toBe(
        'ConcurrentSnapshotLimitExceeded: Maximum allowed in-progress snapshots for a single volume exceeded.',
      )
      await seal(context, volume)
      expect(await next(75)).toBe('no failure')
    })
  })

  it('has one under way of a volume on a slow disk', async () => {
    await test.run(async (context) => {
      const { volume_id: VolumeId } = await insertVolume(context, undefined, { volume_type: 'st1', size_gib: 125 })
      await createSnapshot(context, { VolumeId })
      const later = { ...context, nowMs: NOW_MS + 60_000 }
      expect(await failure(createSnapshot(later, { VolumeId }))).toMatch(/^ConcurrentSnapshotLimitExceeded: /)
    })
  })
})

describe('createSnapshots', () => {
  it('makes one of each volume of the instance, the root first, with the tags of call and volume', async () => {
    await test.run(async (context) => {
      const { instance, root, data, more } = await insertMachine(context)
      await insertTags(context.db, context.account, 'volume', root.volume_id, [
        { key: 'role', value: 'root' }, { key: 'env', value: 'old' }, { key: 'aws:x', value: 'y' },
      ])
      const { Snapshots } = await createSnapshots(context, {
        InstanceSpecification: { InstanceId: instance.instance_id }, Description: 'all', CopyTagsFromSource: 'volume',
        TagSpecifications: [{ ResourceType: 'snapshot', Tags: [{ Key: 'env', Value: 'new' }] }],
      })
      expect(Snapshots).toMatchObject([
        { VolumeId: root.volume_id, State: 'pending', Tags: [{ Key: 'role', Value: 'root' }, { Key: 'env', Value: 'new' }] },
        { VolumeId: data.volume_id, Encrypted: true, Description: 'all', Tags: [{ Key: 'env', Value: 'new' }] },
        { VolumeId: more.volume_id, StartTime: new Date(NOW_MS) },
      ])
      for (const { volume_id: id } of [root, data, more]) {
        expect(await rowOf(context, id)).toMatchObject({ freeze: 'crash', next_layer_id: expect.any(String) as string })
      }
    })
  })

  it('leaves out the root, or data volumes that are named', async () => {
    await test.run(async (context) => {
      const { instance: { instance_id: InstanceId }, root, data, more } = await insertMachine(context)
      const rest = await createSnapshots(context, { InstanceSpecification: { InstanceId, ExcludeBootVolume: true } })
      expect(rest.Snapshots?.map((each) => each.VolumeId)).toEqual([data.volume_id, more.volume_id])
      const one = await createSnapshots(context, {
        InstanceSpecification: { InstanceId, ExcludeDataVolumeIds: [data.volume_id, more.volume_id] },
      })
      expect(one.Snapshots?.map((each) => each.VolumeId)).toEqual([root.volume_id])
    })
  })

  it('refuses wrong exclusions, and leaves nothing behind where one volume cannot be taken', async () => {
    const { instance, root, data } = await test.run(insertMachine)
    const of = (specification: object) => failure(test.run((context) => createSnapshots(context, {
      InstanceSpecification: { InstanceId: instance.instance_id, ...specification },
    })))
    expect(await of({ ExcludeDataVolumeIds: [root.volume_id] })).toMatch(/^InvalidParameterValue: .*use ExcludeBootVolume/)
    expect(await of({ ExcludeDataVolumeIds: ['vol-00000000000000000'] })).toMatch(/^InvalidParameterValue: .*not attached/)
    expect(await of({ ExcludeDataVolumeIds: Array(41).fill(data.volume_id) })).toMatch(/^InvalidParameterValue: At most 40/)
    expect(await of({ InstanceId: 'i-00000000000000000' })).toMatch(/^InvalidInstanceID.NotFound: /)
    await test.run(async ({ db }) => {
      await db.updateTable('volumes').set({ state: 'creating' }).where('volume_id', '=', data.volume_id).execute()
    })
    expect(await of({})).toMatch(/^IncorrectState: /)
    expect((await test.run((context) => describeSnapshots(context, {}))).Snapshots).toEqual([])
  })
})

describe('the answer of createSnapshot', () => {
  /** A clock whose sleeps take no time; `onSleep` is what happens meanwhile. */
  function clockOf(onSleep: () => Promise<void>) {
    let nowMs = NOW_MS
    return {
      now: () => nowMs, after: () => ({ cancel() {} }), soon: () => {},
      sleep: async (ms: number) => {
        nowMs += ms
        await onSleep()
      },
    }
  }

  it('comes after the moment that the snapshot is of', async () => {
    const { volume, created } = await test.run(async (context) => {
      const { root } = await insertMachine(context)
      return { volume: root, created: await createSnapshot(context, { VolumeId: root.volume_id }) }
    })
    let sleeps = 0
    const clock = clockOf(async () => {
      if (++sleeps === 3) await test.run(async (context) => recordFrozen(context, [await rowOf(context, volume.volume_id)]))
    })
    await finishCreateSnapshot({ store: test.store, clock }, NOW_MS, { VolumeId: volume.volume_id }, created)
    expect(sleeps).toBe(3)
  })

  it('comes within seconds where no agent does anything, and at once for what no instance has', async () => {
    const { attached, free } = await test.run(async (context) => ({
      attached: await createSnapshot(context, { VolumeId: (await insertMachine(context)).root.volume_id }),
      free: await createSnapshot(context, { VolumeId: (await insertVolume(context, undefined)).volume_id }),
    }))
    let sleeps = 0
    const clock = clockOf(async () => void sleeps++)
    await finishCreateSnapshot({ store: test.store, clock }, NOW_MS, { VolumeId: '' }, free)
    expect(sleeps).toBe(0)
    await finishCreateSnapshot({ store: test.store, clock }, NOW_MS, { VolumeId: '' }, attached)
    expect(sleeps).toBe(250)
  })
})
