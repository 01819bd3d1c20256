import type { DeleteTagsRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  insertImage, insertInstance, insertVolume, openTestStore, OTHER_ACCOUNT, type TestStore,
} from '../../test/support/rows.ts'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { instanceDoc } from '../model/instance.ts'
import type { Context } from './context.ts'
import { createTags, deleteTags, deleteTagsOf, describeTags, insertTags, parseTagSpecifications, tagsOf } from './tags.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const manyTags = (count: number, prefix = 'k') =>
  Array.from({ length: count }, (_, index) => ({ Key: `${prefix}${index}`, Value: 'v' }))

const parse = (tags: { Key?: string; Value?: string }[]) =>
  parseTagSpecifications([{ ResourceType: 'instance', Tags: tags }], ['instance', 'volume']).get('instance')

describe('parseTagSpecifications', () => {
  it('reads tags by resource type', () => {
    const tags = parseTagSpecifications(
      [
        { ResourceType: 'instance', Tags: [{ Key: 'Name', Value: 'web' }, { Key: 'Empty' }] },
        { ResourceType: 'volume', Tags: [{ Key: 'hearth:x', Value: '1' }] },
      ],
      ['instance', 'volume'],
    )
    expect([...tags]).toEqual([
      ['instance', [{ key: 'Name', value: 'web' }, { key: 'Empty', value: '' }]],
      ['volume', [{ key: 'hearth:x', value: '1' }]],
    ])
    expect(parseTagSpecifications(undefined, []).size).toBe(0)
  })

  it.each([
    [[{ Tags: [{ Key: 'a' }] }], 'Tag specification resource type must have a value'],
    [
      [{ ResourceType: 'vpc' as const, Tags: [{ Key: 'a' }] }],
      "'vpc' is not a valid taggable resource type for this operation.",
    ],
    [
      ['a', 'b'].map((Key) => ({ ResourceType: 'instance' as const, Tags: [{ Key }] })),
      'The same resource type may not be specified more than once in tag specifications',
    ],
    [[{ ResourceType: 'instance' as const }], 'Tag specification must have at least one tag'],
  ])('refuses %j', (specifications, message) => {
    expect(() => parseTagSpecifications(specifications, ['instance'])).toThrow(
      expect.objectContaining({ code: 'InvalidParameterValue', message }),
    )
  })

  it('limits keys, values and their number', () => {
    expect(parse([{ Key: '🔥'.repeat(128), Value: 'x'.repeat(256) }])).toHaveLength(1)
    expect(() => parse([{ Key: 'k'.repeat(129) }])).toThrow('Tag key exceeds the maximum length of 128 characters')
    expect(() => parse([{ Key: 'k', Value: 'x'.repeat(257) }])).toThrow(
      'Tag value exceeds the maximum length of 256 characters',
    )
    expect(() => parse([{ Key: '' }])).toThrow('Tag key cannot be null or empty')
    expect(() => parse([{ Value: 'x' }])).toThrow('Tag key cannot be null or empty')
    expect(parse(manyTags(50))).toHaveLength(50)
    expect(() => parse(manyTags(51))).toThrow(expect.objectContaining({ code: 'TagLimitExceeded' }))
  })

  it('refuses reserved and duplicate keys', () => {
    expect(() => parse([{ Key: 'aws:x' }])).toThrow(
      "Value ( aws:x ) for parameter key is invalid. Tag keys starting with 'aws:' are reserved for internal use",
    )
    expect(() => parse([{ Key: 'a' }, { Key: 'a' }])).toThrow("Duplicate tag key 'a' specified.")
    expect(parse([{ Key: 'a' }, { Key: 'A' }])).toHaveLength(2)
  })
})

describe('tagsOf', () => {
  it('reads more ids than one statement can bind, and only theirs', async () => {
    await test.run(async ({ db, account }) => {
      const ids = Array.from({ length: 1_201 }, (_, index) => `i-${index}`)
      for (const id of ids) await insertTags(db, account, 'instance', id, [{ key: 'n', value: id }])
      const tags = await tagsOf(db, ids.slice(1))
      expect(tags.size).toBe(1_200)
      expect(tags.get('i-1200')).toEqual([{ key: 'n', value: 'i-1200' }])
      expect(tags.has('i-0')).toBe(false)
      await deleteTagsOf(db, ids)
      expect((await tagsOf(db, ids)).size).toBe(0)
    })
  })
})

describe('createTags', () => {
  it('writes every tag on every resource, and overwrites', async () => {
    await test.run(async (context) => {
      const instance = await insertInstance(context)
      const volume = await insertVolume(context, instance)
      const Resources = [instance.instance_id, volume.volume_id]
      await createTags(context, { Resources, Tags: [{ Key: 'a', Value: '1' }, { Key: 'b', Value: '2' }] })
      await createTags(context, { Resources: [instance.instance_id], Tags: [{ Key: 'a', Value: '3' }] })
      const tags = await tagsOf(context.db, Resources)
      expect(tags.get(instance.instance_id)).toEqual([{ key: 'a', value: '3' }, { key: 'b', value: '2' }])
      expect(tags.get(volume.volume_id)).toEqual([{ key: 'a', value: '1' }, { key: 'b', value: '2' }])
    })
  })

  it.each([
    ['i-0123456789abcdef0', 'InvalidInstanceID.NotFound', "The instance ID 'i-0123456789abcdef0' does not exist"],
    ['vol-0123456789abcdef0', 'InvalidVolume.NotFound', "The volume 'vol-0123456789abcdef0' does not exist."],
    [
      'eni-0123456789abcdef0', 'InvalidNetworkInterfaceID.NotFound',
      "The networkInterface ID 'eni-0123456789abcdef0' does not exist",
    ],
    ['ami-0123456789abcdef0', 'InvalidAMIID.NotFound', "The image id '[ami-0123456789abcdef0]' does not exist"],
    ['snap-0123456789abcdef0', 'InvalidSnapshot.NotFound', "The snapshot 'snap-0123456789abcdef0' does not exist."],
    ['sg-0123456789abcdef0', 'InvalidGroup.NotFound', "The security group 'sg-0123456789abcdef0' does not exist"],
    ['subnet-0123456789abcdef0', 'InvalidSubnetID.NotFound', "The subnet ID 'subnet-0123456789abcdef0' does not exist"],
    ['vpc-0123456789abcdef0', 'InvalidVpcID.NotFound', "The vpc ID 'vpc-0123456789abcdef0' does not exist"],
    ['nonsense', 'InvalidID', "The ID 'nonsense' is not valid"],
    ['i-xyz', 'InvalidID', "The ID 'i-xyz' is not valid"],
  ])('refuses %s and changes nothing', async (id, code, message) => {
    await test.run(async (context) => {
      const { instance_id: there } = await insertInstance(context)
      const call = createTags(context, { Resources: [there, id], Tags: [{ Key: 'a' }] })
      await expect(call).rejects.toMatchObject({ code, message })
      expect((await tagsOf(context.db, [there])).size).toBe(0)
    })
  })

  it('knows every noun that can be tagged', async () => {
    await test.run(async (context) => {
      const { db, account } = context
      await insertImage(context, { account_id: account })
      await db.insertInto('key_pairs').values({
        key_pair_id: 'key-0123456789abcdef0', account_id: account, name: 'k', key_type: 'rsa', fingerprint: '',
        public_key: '', created_ms: 0,
      }).execute()
      const tables = ['vpcs', 'subnets', 'security_groups', 'security_group_rules', 'images', 'snapshots'] as const
      const Resources = ['key-0123456789abcdef0']
      for (const table of tables) {
        const row = await db.selectFrom(table).selectAll().where('account_id', '=', account).executeTakeFirstOrThrow()
        Resources.push(String(Object.values(row)[0]))
      }
      await createTags(context, { Resources, Tags: [{ Key: 'a' }] })
      const { Tags } = await describeTags(context, {})
      expect(Tags?.map((tag) => tag.ResourceType).toSorted()).toEqual(
        ['image', 'key-pair', 'security-group', 'security-group-rule', 'snapshot', 'subnet', 'vpc'],
      )
    })
  })

  it("refuses another account's resource", async () => {
    const { instance_id: id } = await test.run((context) => insertInstance(context))
    const call = test.run((context) => createTags(context, { Resources: [id], Tags: [{ Key: 'a' }] }), OTHER_ACCOUNT)
    await expect(call).rejects.toMatchObject({ code: 'InvalidInstanceID.NotFound' })
  })

  it('keeps tags on public images apart, account by account', async () => {
    const { image_id: id } = await test.run((context) => insertImage(context))
    const tag = (value: string, account?: string) =>
      test.run((context) => createTags(context, { Resources: [id], Tags: [{ Key: 'a', Value: value }] }), account)
    await tag('mine')
    await tag('theirs', OTHER_ACCOUNT)
    const mine = await test.run((context) => describeTags(context, {}))
    const theirs = await test.run((context) => describeTags(context, {}), OTHER_ACCOUNT)
    expect(mine.Tags).toEqual([{ Key: 'a', Value: 'mine', ResourceId: id, ResourceType: 'image' }])
    expect(theirs.Tags).toEqual([{ Key: 'a', Value: 'theirs', ResourceId: id, ResourceType: 'image' }])
  })

  it('counts the tags a resource has, but not those it overwrites', async () => {
    await test.run(async (context) => {
      const Resources = [(await insertInstance(context)).instance_id]
      await createTags(context, { Resources, Tags: manyTags(50) })
      await createTags(context, { Resources, Tags: [{ Key: 'k0', Value: 'new' }] })
      await expect(createTags(context, { Resources, Tags: [{ Key: 'one more' }] })).rejects.toMatchObject({
        code: 'TagLimitExceeded', message: 'The maximum number of Tags for a resource has been reached.',
      })
    })
  })

  it('tags as many resources as one call may name, and not one more', async () => {
    await test.run(async (context) => {
      const { db, account } = context
      const key = (index: number) => ({
        key_pair_id: `key-${String(index).padStart(17, '0')}`, account_id: account, name: `k${index}`,
        key_type: 'rsa' as const, fingerprint: '', public_key: '', created_ms: 0,
      })
      const rows = Array.from({ length: 1001 }, (_, index) => key(index))
      for (const row of rows) await db.insertInto('key_pairs').values(row).execute()
      const Resources = rows.map((row) => row.key_pair_id)
      await createTags(context, { Resources: Resources.slice(1), Tags: [{ Key: 'a' }] })
      expect((await tagsOf(db, Resources)).size).toBe(1000)
      await expect(createTags(context, { Resources, Tags: [{ Key: 'a' }] })).rejects.toMatchObject({
        code: 'InvalidParameterValue', message: 'At most 1000 resources can be tagged in one call.',
      })
    })
  })

  it('wants resources and tags', async () => {
    await test.run(async (context) => {
      await expect(createTags(context, { Resources: [], Tags: [{ Key: 'a' }] })).rejects.toMatchObject({
        code: 'MissingParameter', message: 'The request must contain the parameter resourceIdSet',
      })
      await expect(createTags(context, { Resources: ['i-0123456789abcdef0'], Tags: undefined })).rejects.toMatchObject({
        code: 'MissingParameter', message: 'The request must contain the parameter tagSet',
      })
    })
  })
})

describe('createTags on what metadata shows', () => {
  it.each(['a b', 'a/b', '.', '..', '_index', 'ü'])('refuses the key %j', async (Key) => {
    await test.run(async (context) => {
      const hidden = await insertInstance(context)
      const shown = await insertInstance(context)
      const doc = instanceDoc(shown)
      const metadataOptions = { ...doc.metadataOptions, instanceMetadataTags: 'enabled' }
      await context.db.updateTable('instances').set({ doc: JSON.stringify({ ...doc, metadataOptions }) })
        .where('instance_id', '=', shown.instance_id).execute()
      await createTags(context, { Resources: [hidden.instance_id], Tags: [{ Key }] })
      const Resources = [hidden.instance_id, shown.instance_id]
      await createTags(context, { Resources, Tags: [{ Key: 'a-b_c+=,.@:', Value: 'any thing/at all' }] })
      await expect(createTags(context, { Resources, Tags: [{ Key }] })).rejects.toMatchObject({
        code: 'InvalidParameterValue', message: expect.stringContaining(`'${Key}' is not a valid tag key.`),
      })
    })
  })
})

describe('deleteTags', () => {
  /** An instance and its volume, tagged alike, and what is left of their tags. */
  const tagged = async (context: Context, tags: { key: string; value: string }[]) => {
    const { db, account } = context
    const instance = await insertInstance(context)
    const ids = [instance.instance_id, (await insertVolume(context, instance)).volume_id]
    await insertTags(db, account, 'instance', ids[0] ?? '', tags)
    await insertTags(db, account, 'volume', ids[1] ?? '', tags)
    const left = async () => {
      const byId = await tagsOf(db, ids)
      return ids.map((id) => (byId.get(id) ?? []).map((tag) => `${tag.key}=${tag.value}`).join(' '))
    }
    return { ids, left }
  }
  const abc = [{ key: 'a', value: '1' }, { key: 'b', value: '' }, { key: 'c', value: '3' }]

  it.each<[string, { Key: string; Value?: string }[] | undefined, string]>([
    ['any value of a key', [{ Key: 'a' }, { Key: 'c' }], 'b='],
    ['an equal value', [{ Key: 'a', Value: '1' }], 'b= c=3'],
    ['no other value', [{ Key: 'a', Value: '2' }, { Key: 'A' }], 'a=1 b= c=3'],
    ['the empty value only', [{ Key: 'a', Value: '' }, { Key: 'b', Value: '' }], 'a=1 c=3'],
    ['one of several values', [{ Key: 'a', Value: '2' }, { Key: 'a', Value: '1' }], 'b= c=3'],
    ['what is not there', [{ Key: 'x' }], 'a=1 b= c=3'],
    ['everything, without keys', undefined, ''],
    ['everything, with an empty list of keys', [], ''],
  ])('deletes %s, of every resource', async (_what, Tags, expected) => {
    await test.run(async (context) => {
      const { ids, left } = await tagged(context, abc)
      await deleteTags(context, { Resources: ids, Tags })
      expect(await left()).toEqual([expected, expected])
      await deleteTags(context, { Resources: ids, Tags })
      expect(await left()).toEqual([expected, expected])
    })
  })

  it('keeps the tags that are EC2\'s own', async () => {
    await test.run(async (context) => {
      const { ids, left } = await tagged(context, [...abc, { key: 'aws:x', value: 'y' }])
      await deleteTags(context, { Resources: ids })
      expect(await left()).toEqual(['aws:x=y', 'aws:x=y'])
      await expect(deleteTags(context, { Resources: ids, Tags: [{ Key: 'aws:x' }] })).rejects.toMatchObject({
        code: 'InvalidParameterValue', message: expect.stringContaining("Tag keys starting with 'aws:' are reserved"),
      })
    })
  })

  it.each<[string, (ids: string[]) => DeleteTagsRequest, string]>([
    ['no resource', () => ({ Resources: [] }), 'MissingParameter'],
    ['what is no id', (ids) => ({ Resources: [...ids, 'nonsense'] }), 'InvalidID'],
    ['a resource that does not exist', (ids) => ({ Resources: [...ids, 'vpc-0123456789abcdef0'] }), 'InvalidVpcID.NotFound'],
    ['a tag without a key', (ids) => ({ Resources: ids, Tags: [{ Key: 'a' }, { Value: '1' }] }), 'InvalidParameterValue'],
    ['a key that is too long', (ids) => ({ Resources: ids, Tags: [{ Key: 'k'.repeat(129) }] }), 'InvalidParameterValue'],
    ['too many resources', () => ({ Resources: Array.from({ length: 1001 }, (_, n) => `i-${n}`) }), 'InvalidParameterValue'],
    ['too many tags', (ids) => ({ Resources: ids, Tags: manyTags(1001) }), 'InvalidParameterValue'],
  ])('refuses %s and deletes nothing', async (_what, input, code) => {
    await test.run(async (context) => {
      const { ids, left } = await tagged(context, abc)
      await expect(deleteTags(context, input(ids))).rejects.toMatchObject({ code })
      expect(await left()).toEqual(['a=1 b= c=3', 'a=1 b= c=3'])
    })
  })

  it("leaves another account's tags of a public image alone", async () => {
    const { image_id: id } = await test.run((context) => insertImage(context))
    for (const account of [undefined, OTHER_ACCOUNT]) {
      await test.run((context) => createTags(context, { Resources: [id], Tags: [{ Key: 'a', Value: 'b' }] }), account)
    }
    await test.run((context) => deleteTags(context, { Resources: [id] }))
    expect((await test.run((context) => describeTags(context, {}))).Tags).toEqual([])
    expect((await test.run((context) => describeTags(context, {}), OTHER_ACCOUNT)).Tags).toHaveLength(1)
  })
})

describe('describeTags', () => {
  it.each([
    ['key', ['a'], ['i-1/a', 'vol-1/a']], ['value', ['x*'], ['i-1/a', 'vol-1/a']],
    ['resource-id', ['i-1'], ['i-1/a', 'i-1/b']],
    ['resource-type', ['volume'], ['vol-1/a']], ['tag:b', ['y'], ['i-1/b']], ['key', ['z'], []],
  ])('filters by %s = %s', async (name, values, expected) => {
    await test.run(async (context) => {
      const { db, account } = context
      await insertTags(db, account, 'instance', 'i-1', [{ key: 'a', value: 'x1' }, { key: 'b', value: 'y' }])
      await insertTags(db, account, 'volume', 'vol-1', [{ key: 'a', value: 'x2' }])
      const { Tags } = await describeTags(context, { Filters: [{ Name: name, Values: values }] })
      expect(Tags?.map((tag) => `${tag.ResourceId}/${tag.Key}`)).toEqual(expected)
    })
  })

  it('knows every documented filter', async () => {
    await test.run(async (context) => {
      await insertTags(context.db, context.account, 'instance', 'i-1', [{ key: 'a', value: '' }])
      for (const Name of DOCUMENTED_FILTERS.DescribeTags) {
        expect((await describeTags(context, { Filters: [{ Name, Values: ['nothing'] }] })).Tags).toEqual([])
      }
      expect((await describeTags(context, { Filters: [{ Name: 'value', Values: [''] }] })).Tags).toHaveLength(1)
      expect((await describeTags(context, { Filters: [{ Name: 'tag:a', Values: [''] }] })).Tags).toHaveLength(1)
      const call = describeTags(context, { Filters: [{ Name: 'owner', Values: ['x'] }] })
      await expect(call).rejects.toMatchObject({ message: "The filter 'owner' is invalid" })
    })
  })

  it('pages', async () => {
    await test.run(async (context) => {
      const tags = manyTags(12).map((tag) => ({ key: tag.Key, value: '' }))
      await insertTags(context.db, context.account, 'instance', 'i-1', tags)
      const first = await describeTags(context, { MaxResults: 10 })
      const second = await describeTags(context, { MaxResults: 10, NextToken: first.NextToken })
      expect(first.Tags).toHaveLength(10)
      expect(second).toMatchObject({ Tags: expect.any(Array), NextToken: undefined })
      expect(new Set([...(first.Tags ?? []), ...(second.Tags ?? [])].map((tag) => tag.Key)).size).toBe(12)
    })
  })
})
