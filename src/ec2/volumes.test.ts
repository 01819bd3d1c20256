import type { DescribeVolumesRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import {
  insertInstance, insertVolume, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore,
} from '../../test/support/rows.ts'
import type { RecycleRuleDoc } from '../model/recycle-rules.ts'
import type { Context } from './context.ts'
import { insertTags } from './tags.ts'
import { deleteVolume, describeVolumes } from './volumes.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const ids = async (context: Context, input: DescribeVolumesRequest = {}) =>
  (await describeVolumes(context, input)).Volumes?.map((volume) => volume.VolumeId)

describe('describeVolumes', () => {
  it('shows an attached volume and a free one as EC2 does', async () => {
    await test.run(async (context) => {
      const instance = await insertInstance(context)
      const root = await insertVolume(context, instance)
      const free = await insertVolume(context, undefined, { created_ms: NOW_MS + 1 }, { throughputMibps: null })
      await insertTags(context.db, context.account, 'volume', root.volume_id, [{ key: 'a', value: 'b' }])
      const common = {
        AvailabilityZone: 'us-east-1a', AvailabilityZoneId: 'use1-az1', Encrypted: false, Iops: 3000,
        MultiAttachEnabled: false, Operator: { Managed: false }, Size: 8, SnapshotId: '', VolumeType: 'gp3',
      }
      expect((await describeVolumes(context, {})).Volumes).toEqual([
        {
          ...common, VolumeId: root.volume_id, State: 'in-use', CreateTime: new Date(NOW_MS), Throughput: 125,
          Tags: [{ Key: 'a', Value: 'b' }],
          Attachments: [{
            AttachTime: new Date(NOW_MS), DeleteOnTermination: true, Device: '/dev/vda',
            InstanceId: instance.instance_id, State: 'attached', VolumeId: root.volume_id,
          }],
        },
        {
          ...common, VolumeId: free.volume_id, State: 'available', CreateTime: new Date(NOW_MS + 1), Attachments: [],
        },
      ])
    })
  })

  it.each([
    ['attachment.device', '/dev/vda', 1], ['attachment.status', 'attached', 1],
    ['attachment.delete-on-termination', 'true', 1],
    ['attachment.attach-time', '2026-01-01T*', 1], ['status', 'available', 1], ['size', '8', 2],
    ['volume-type', 'gp3', 2],
    ['encrypted', 'false', 2], ['multi-attach-enabled', 'false', 2], ['availability-zone', 'us-east-1a', 2],
    ['availability-zone-id', 'use1-az1', 2], ['create-time', '2026-*', 2], ['operator.managed', 'false', 2],
    ['snapshot-id', '*', 0], ['tag:a', 'b', 1], ['tag-key', 'a', 1],
  ])('filters by %s = %s', async (Name, value, expected) => {
    await test.run(async (context) => {
      const root = await insertVolume(context, await insertInstance(context))
      await insertVolume(context, undefined)
      await insertTags(context.db, context.account, 'volume', root.volume_id, [{ key: 'a', value: 'b' }])
      expect(await ids(context, { Filters: [{ Name, Values: [value] }] })).toHaveLength(expected)
    })
  })

  it('finds by instance and device together with the id, as Terraform asks', async () => {
    await test.run(async (context) => {
      const instance = await insertInstance(context)
      const root = await insertVolume(context, instance)
      const Filters = [
        { Name: 'attachment.device', Values: ['/dev/vda'] },
        { Name: 'attachment.instance-id', Values: [instance.instance_id] },
      ]
      expect(await ids(context, { Filters })).toEqual([root.volume_id])
      expect(await ids(context, { Filters, VolumeIds: [root.volume_id] })).toEqual([root.volume_id])
    })
  })

  it.each(DOCUMENTED_FILTERS.DescribeVolumes)('knows the filter %s', async (Name) => {
    await test.run(async (context) => {
      await insertVolume(context, undefined)
      expect(await ids(context, { Filters: [{ Name, Values: ['no such value'] }] })).toEqual([])
    })
  })

  it('refuses ids that do not exist here', async () => {
    const { volume_id: id } = await test.run((context) => insertVolume(context, undefined))
    await test.run(async (context) => {
      expect(await ids(context)).toEqual([])
      await expect(ids(context, { VolumeIds: [id] })).rejects.toMatchObject({
        code: 'InvalidVolume.NotFound', message: `The volume '${id}' does not exist.`,
      })
      await expect(ids(context, { VolumeIds: ['vol-x'] })).rejects.toMatchObject({ code: 'InvalidVolumeID.Malformed' })
      await expect(ids(context, { VolumeIds: [id], MaxResults: 5 })).rejects.toMatchObject({
        message: 'The parameter volumeSet cannot be used with the parameter maxResults',
      })
    }, OTHER_ACCOUNT)
  })

  it('pages', async () => {
    await test.run(async (context) => {
      for (let index = 0; index < 7; index++) await insertVolume(context, undefined)
      const first = await describeVolumes(context, { MaxResults: 5 })
      const second = await describeVolumes(context, { MaxResults: 5, NextToken: first.NextToken })
      const seen = [...(first.Volumes ?? []), ...(second.Volumes ?? [])].map((volume) => volume.VolumeId)
      expect([first.Volumes?.length, second.Volumes?.length, new Set(seen).size]).toEqual([5, 2, 7])
      expect(second.NextToken).toBeUndefined()
    })
  })
})

describe('deleteVolume', () => {
  const failure = (promise: Promise<unknown>) =>
    promise.then(() => 'no failure', (error: unknown) => (error as { code?: string }).code)

  it('marks a free volume for the agent, twice as once', async () => {
    await test.run(async (context) => {
      const free = await insertVolume(context, undefined)
      await deleteVolume(context, { VolumeId: free.volume_id })
      await deleteVolume(context, { VolumeId: free.volume_id })
      expect((await describeVolumes(context, {})).Volumes?.[0]?.State).toBe('deleting')
      expect(await context.db.selectFrom('work').select(['kind', 'id']).execute()).toEqual([{ kind: 'volume', id: free.volume_id }])
    })
  })

  it('puts it into the recycle bin where a rule says so: nobody sees it, its data stays', async () => {
    await test.run(async (context) => {
      const { db } = context
      const doc: RecycleRuleDoc = {
        description: '', retention: { value: 7, unit: 'DAYS' }, resourceTags: [], excludeResourceTags: [{ key: 'Temporary', value: '' }],
        status: 'available', lock: null, tags: [],
      }
      await db.insertInto('recycle_rules').values({
        rule_id: 'rule', account_id: context.account, resource_type: 'EBS_VOLUME', created_ms: NOW_MS, doc: JSON.stringify(doc),
      }).execute()
      const kept = await insertVolume(context, undefined)
      const temporary = await insertVolume(context, undefined)
      await insertTags(db, context.account, 'volume', temporary.volume_id, [{ key: 'Temporary', value: '' }])
      await deleteVolume(context, { VolumeId: kept.volume_id })
      await deleteVolume(context, { VolumeId: temporary.volume_id })
      expect((await describeVolumes(context, {})).Volumes).toMatchObject([{ VolumeId: temporary.volume_id, State: 'deleting' }])
      const row = await db.selectFrom('volumes').selectAll().where('volume_id', '=', kept.volume_id).executeTakeFirst()
      expect(row).toMatchObject({ state: 'available', binned_ms: NOW_MS, bin_exit_ms: NOW_MS + 7 * 24 * 60 * 60 * 1000 })
      expect(await failure(deleteVolume(context, { VolumeId: kept.volume_id }))).toBe('InvalidVolume.NotFound')
    })
  })

  it('refuses a volume in use, one that is being made, and what is not there', async () => {
    await test.run(async (context) => {
      const attached = await insertVolume(context, await insertInstance(context))
      const unmade = await insertVolume(context, undefined, { state: 'creating', ready: 0 })
      const foreign = await insertVolume({ ...context, account: OTHER_ACCOUNT }, undefined)
      expect(await failure(deleteVolume(context, { VolumeId: attached.volume_id }))).toBe('VolumeInUse')
      expect(await failure(deleteVolume(context, { VolumeId: unmade.volume_id }))).toBe('IncorrectState')
      expect(await failure(deleteVolume(context, { VolumeId: foreign.volume_id }))).toBe('InvalidVolume.NotFound')
      expect(await failure(deleteVolume(context, { VolumeId: 'vol-x' }))).toBe('InvalidVolumeID.Malformed')
    })
  })
})
