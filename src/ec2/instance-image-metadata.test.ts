import type { Filter } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { insertImage, insertInstance, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore } from '../../test/support/rows.ts'
import { PROVIDER_ACCOUNT } from '../model/account.ts'
import type { Context } from './context.ts'
import { describeInstanceImageMetadata } from './instance-image-metadata.ts'
import { insertTags } from './tags.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

/** An instance of a public image, and a younger one of an image that is gone. */
async function twoInstances(context: Context) {
  const image = await insertImage(context)
  const first = await insertInstance(context, { image_id: image.image_id })
  await insertTags(context.db, context.account, 'instance', first.instance_id, [{ key: 'Name', value: 'first' }])
  const second = await insertInstance(context, { created_ms: NOW_MS + 1, state: 'stopped' })
  await insertInstance({ ...context, account: OTHER_ACCOUNT }, { image_id: image.image_id })
  return { image, first, second }
}

const ids = async (context: Context, filter: Filter) =>
  (await describeInstanceImageMetadata(context, { Filters: [filter] })).InstanceImageMetadata?.map((each) => each.InstanceId)

describe('describeInstanceImageMetadata', () => {
  it('tells of which image each instance is', async () => {
    await test.run(async (context) => {
      const { image, first, second } = await twoInstances(context)
      expect(await describeInstanceImageMetadata(context, {})).toMatchObject({
        InstanceImageMetadata: [
          {
            InstanceId: first.instance_id, InstanceType: 't3.micro', State: { Code: 16, Name: 'running' }, ZoneId: 'use1-az1',
            Tags: [{ Key: 'Name', Value: 'first' }], ImageMetadata: {
              ImageId: image.image_id, Name: 'hearth-tiny-1', OwnerId: PROVIDER_ACCOUNT, ImageOwnerAlias: 'amazon', State: 'available',
              IsPublic: true, CreationDate: '2026-01-01T00:00:00.000Z',
            },
          },
          { InstanceId: second.instance_id, ImageMetadata: { ImageId: second.image_id } },
        ],
      })
      const page = await describeInstanceImageMetadata(context, { MaxResults: 1 })
      expect(page.InstanceImageMetadata).toMatchObject([{ InstanceId: first.instance_id }])
      expect((await describeInstanceImageMetadata(context, { NextToken: page.NextToken })).InstanceImageMetadata).toHaveLength(1)
      expect(await ids(context, { Name: 'owner-alias', Values: ['amazon'] })).toEqual([first.instance_id])
      expect(await ids(context, { Name: 'instance-state-name', Values: ['stopped'] })).toEqual([second.instance_id])
      expect(await ids(context, { Name: 'tag:Name', Values: ['first'] })).toEqual([first.instance_id])
    })
  })

  it.each(DOCUMENTED_FILTERS.DescribeInstanceImageMetadata)('knows the filter %s', async (Name) => {
    await test.run(async (context) => {
      await twoInstances(context)
      expect(await ids(context, { Name, Values: ['no such value'] })).toEqual([])
    })
  })
})
