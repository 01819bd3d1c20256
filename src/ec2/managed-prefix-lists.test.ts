import type { CreateManagedPrefixListRequest, ManagedPrefixList, ModifyManagedPrefixListRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { HOST_ID, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { authorizeSecurityGroupIngress } from './authorize-security-group-rules.ts'
import { createManagedPrefixList, deleteManagedPrefixList, describeManagedPrefixLists } from './managed-prefix-lists.ts'
import { modifyManagedPrefixList, restoreManagedPrefixListVersion } from './modify-managed-prefix-list.ts'
import { describePrefixLists, getManagedPrefixListAssociations, getManagedPrefixListEntries } from './prefix-list-contents.ts'
import { createSecurityGroup } from './security-groups.ts'
import { describeTags } from './tags.ts'

let account: MemoryAccount
beforeEach(async () => {
  account = await openMemoryAccount()
})
afterEach(() => account.store.close())

const office: CreateManagedPrefixListRequest = {
  PrefixListName: 'office', AddressFamily: 'IPv4', MaxEntries: 3,
  Entries: [{ Cidr: '10.1.0.7/16', Description: 'west' }, { Cidr: '10.2.0.0/16' }],
}
const create = async (change: Partial<CreateManagedPrefixListRequest> = {}): Promise<ManagedPrefixList & { PrefixListId: string }> => {
  account.pass(1)
  const { PrefixList = {} } = await account.call(createManagedPrefixList, { ...office, ...change })
  return { ...PrefixList, PrefixListId: PrefixList.PrefixListId ?? '' }
}
const modify = async (input: ModifyManagedPrefixListRequest) => (await account.call(modifyManagedPrefixList, input)).PrefixList
const describeOne = async (id: string) =>
  (await account.call(describeManagedPrefixLists, { PrefixListIds: [id] })).PrefixLists?.[0]
const entriesOf = async (PrefixListId: string, TargetVersion?: number) =>
  ((await account.call(getManagedPrefixListEntries, { PrefixListId, TargetVersion })).Entries ?? []).map((entry) => entry.Cidr)
const blocks = (count: number) => Array.from({ length: count }, (_, index) => ({ Cidr: `10.0.${index}.0/24` }))

describe('createManagedPrefixList', () => {
  it('makes a list at version 1, its blocks in canonical form', async () => {
    const tags = [{ Key: 'Env', Value: 'test' }]
    const list = await create({ TagSpecifications: [{ ResourceType: 'prefix-list', Tags: tags }] })
    const id = list.PrefixListId
    expect(list).toEqual({
      PrefixListId: expect.stringMatching(/^pl-[0-9a-f]{17}$/), PrefixListName: 'office', AddressFamily: 'IPv4', MaxEntries: 3,
      PrefixListArn: `arn:aws:ec2:us-east-1:${DEFAULT_ACCOUNT}:prefix-list/${id}`, Version: 1, State: 'create-complete',
      OwnerId: DEFAULT_ACCOUNT, Tags: tags,
    })
    expect(await describeOne(id)).toEqual(list)
    expect((await account.call(getManagedPrefixListEntries, { PrefixListId: id })).Entries)
      .toEqual([{ Cidr: '10.1.0.0/16', Description: 'west' }, { Cidr: '10.2.0.0/16' }])
  })

  it('takes IPv6 blocks', async () => {
    const list = await create({ AddressFamily: 'IPv6', Entries: [{ Cidr: '2001:DB8::1/32' }] })
    expect(await entriesOf(list.PrefixListId)).toEqual(['2001:db8::/32'])
  })

  it('answers a repeated call with the list that the first made', async () => {
    const first = await create({ ClientToken: 'once' })
    expect((await create({ ClientToken: 'once' })).PrefixListId).toBe(first.PrefixListId)
    expect(await account.failure(createManagedPrefixList, { ...office, MaxEntries: 4, ClientToken: 'once' }))
      .toMatch(/^IdempotentParameterMismatch/)
  })

  it.each<[string, Partial<CreateManagedPrefixListRequest>, string]>([
    ['no name', { PrefixListName: '' }, 'MissingParameter: The request must contain the parameter PrefixListName'],
    ['a name of EC2', { PrefixListName: 'com.amazonaws.us-east-1.s3' },
      'InvalidParameterValue: The prefix list name cannot begin with (com.amazonaws., com.amazon., com.aws.).'],
    ['a long name', { PrefixListName: 'a'.repeat(256) }, 'InvalidParameterValue: The prefix list name may have at most 255 characters.'],
    ['another family', { AddressFamily: 'IPX' }, 'InvalidParameterValue: Value (IPX) for parameter AddressFamily is invalid.'],
    ['no family', { AddressFamily: '' }, 'MissingParameter: The request must contain the parameter AddressFamily'],
    ['no size', { MaxEntries: undefined }, 'MissingParameter: The request must contain the parameter MaxEntries'],
    ['size 0', { MaxEntries: 0 }, 'InvalidParameterValue: Must specify a max size between 1 and 1000'],
    ['size 1001', { MaxEntries: 1001 }, 'InvalidParameterValue: Must specify a max size between 1 and 1000'],
    ['more entries than its size', { MaxEntries: 1 }, 'PrefixListMaxEntriesExceeded: '],
    ['101 entries', { MaxEntries: 200, Entries: blocks(101) },
      'InvalidParameterValue: The number of entries per request cannot exceeds limit (100).'],
    ['a block twice', { Entries: [{ Cidr: '10.0.0.0/8' }, { Cidr: '10.1.0.0/8' }] },
      'InvalidParameterValue: The request contains the CIDR 10.0.0.0/8 more than once.'],
    ['a bad block', { Entries: [{ Cidr: '10.0.0.0' }] }, 'InvalidParameterValue: The CIDR 10.0.0.0 is not a valid IPv4 CIDR block.'],
    ['a block of the other family', { Entries: [{ Cidr: '::/0' }] }, 'InvalidParameterValue: The CIDR ::/0 is not a valid IPv4 CIDR block.'],
    ['no block', { Entries: [{ Cidr: '' }] }, 'MissingParameter: The request must contain the parameter Cidr'],
    ['a long description', { Entries: [{ Cidr: '10.0.0.0/8', Description: 'a'.repeat(256) }] }, 'may have at most 255 characters'],
    ['tags for something else', { TagSpecifications: [{ ResourceType: 'vpc', Tags: [{ Key: 'a' }] }] }, 'InvalidParameterValue: \'vpc\''],
  ])('refuses %s', async (_what, change, expected) => {
    expect(await account.failure(createManagedPrefixList, { ...office, ...change })).toContain(expected)
    expect((await account.call(describeManagedPrefixLists, {})).PrefixLists).toEqual([])
  })

  it('makes as many lists as an account may have, and not one more', async () => {
    for (let index = 0; index < 100; index++) await create({ Entries: [] })
    expect(await account.failure(createManagedPrefixList, office)).toMatch(/^PrefixListLimitExceeded/)
  })
})

describe('modifyManagedPrefixList', () => {
  it('makes a new version of changed entries, and keeps the old one', async () => {
    const { PrefixListId } = await create()
    const changed = await modify({
      PrefixListId, CurrentVersion: 1, AddEntries: [{ Cidr: '10.3.0.0/16' }], RemoveEntries: [{ Cidr: '10.2.0.0/16' }],
    })
    expect(changed).toMatchObject({ Version: 2, State: 'modify-complete' })
    expect(await describeOne(PrefixListId)).toEqual(changed)
    expect(await entriesOf(PrefixListId)).toEqual(['10.1.0.0/16', '10.3.0.0/16'])
    expect(await entriesOf(PrefixListId, 1)).toEqual(['10.1.0.0/16', '10.2.0.0/16'])
    expect(await account.failure(getManagedPrefixListEntries, { PrefixListId, TargetVersion: 3 }))
      .toBe(`InvalidParameterValue: The version 3 of the prefix list ${PrefixListId} does not exist.`)
  })

  it('changes name and size without a new version, and an entry\'s description with one', async () => {
    const { PrefixListId } = await create()
    expect(await modify({ PrefixListId, PrefixListName: 'home', MaxEntries: 10 }))
      .toMatchObject({ PrefixListName: 'home', MaxEntries: 10, Version: 1 })
    expect(await modify({ PrefixListId, AddEntries: [{ Cidr: '10.1.0.0/16', Description: 'east' }] })).toMatchObject({ Version: 2 })
    expect((await account.call(getManagedPrefixListEntries, { PrefixListId })).Entries?.[0])
      .toEqual({ Cidr: '10.1.0.0/16', Description: 'east' })
  })

  it.each<[string, Omit<ModifyManagedPrefixListRequest, 'PrefixListId'>, string]>([
    ['a version that is not the newest', { CurrentVersion: 2, AddEntries: [{ Cidr: '10.3.0.0/16' }] },
      'PrefixListVersionMismatch: The prefix list has the incorrect version number.'],
    ['entries together with the size', { AddEntries: [{ Cidr: '10.3.0.0/16' }], MaxEntries: 4 },
      'InvalidParameterCombination: You cannot modify the entries and the maximum entries for the prefix list in the same request.'],
    ['an entry that is there', { AddEntries: [{ Cidr: '10.1.0.0/16', Description: 'west' }] },
      'InvalidPrefixListModification: An entry with the CIDR (10.1.0.0/16) and description (west) already exists.'],
    ['to remove one that is not there', { RemoveEntries: [{ Cidr: '10.9.0.0/16' }] },
      'InvalidPrefixListModification: An entry with the CIDR (10.9.0.0/16) does not exist.'],
    ['to add and remove the same', { AddEntries: [{ Cidr: '10.1.0.0/16' }], RemoveEntries: [{ Cidr: '10.1.0.0/16' }] },
      'InvalidParameterValue: Request cannot contain Cidr 10.1.0.0/16 in both AddPrefixListEntries and RemovePrefixListEntries'],
    ['more entries than its size', { AddEntries: blocks(2) }, 'PrefixListMaxEntriesExceeded'],
    ['a size below its entries', { MaxEntries: 1 }, 'PrefixListMaxEntriesExceeded'],
    ['size 0', { MaxEntries: 0 }, 'Must specify a max size between 1 and 1000'],
    ['a name of EC2', { PrefixListName: 'com.aws.x' }, 'The prefix list name cannot begin with'],
    ['IPAM', { IpamPrefixListResolverSyncEnabled: true }, 'UnsupportedOperation'],
  ])('refuses %s', async (_what, change, expected) => {
    const list = await create()
    expect(await account.failure(modifyManagedPrefixList, { PrefixListId: list.PrefixListId, ...change })).toContain(expected)
    expect(await describeOne(list.PrefixListId)).toEqual(list)
    expect(await entriesOf(list.PrefixListId)).toEqual(['10.1.0.0/16', '10.2.0.0/16'])
  })

  it('refuses a list of another account', async () => {
    const { PrefixListId } = await create()
    await account.query((db) => db.updateTable('prefix_lists').set({ account_id: OTHER_ACCOUNT }).execute())
    expect(await account.failure(modifyManagedPrefixList, { PrefixListId, PrefixListName: 'mine' }))
      .toBe(`InvalidPrefixListID.NotFound: The prefix list ID '${PrefixListId}' does not exist`)
  })
})

describe('restoreManagedPrefixListVersion', () => {
  it('makes a new version of what an earlier one had', async () => {
    const { PrefixListId } = await create()
    await modify({ PrefixListId, RemoveEntries: [{ Cidr: '10.1.0.0/16' }, { Cidr: '10.2.0.0/16' }] })
    expect(await entriesOf(PrefixListId)).toEqual([])
    const { PrefixList } = await account.call(restoreManagedPrefixListVersion, { PrefixListId, PreviousVersion: 1, CurrentVersion: 2 })
    expect(PrefixList).toMatchObject({ Version: 3, State: 'restore-complete' })
    expect(await entriesOf(PrefixListId)).toEqual(['10.1.0.0/16', '10.2.0.0/16'])
  })

  it('refuses versions that are not there or not the newest', async () => {
    const { PrefixListId } = await create()
    expect(await account.failure(restoreManagedPrefixListVersion, { PrefixListId, PreviousVersion: 1, CurrentVersion: 2 }))
      .toMatch(/^PrefixListVersionMismatch/)
    expect(await account.failure(restoreManagedPrefixListVersion, { PrefixListId, PreviousVersion: 2, CurrentVersion: 1 }))
      .toMatch(/^InvalidParameterValue: The version 2/)
  })

  it('keeps the newest thousand versions', async () => {
    const { PrefixListId } = await create()
    await account.query((db) => db.updateTable('prefix_lists').set({ version: 1000 }).execute())
    await account.query((db) => db.insertInto('prefix_list_entries')
      .values({ prefix_list_id: PrefixListId, version: 1000, cidr: '10.9.0.0/16', description: null }).execute())
    await modify({ PrefixListId, AddEntries: [{ Cidr: '10.8.0.0/16' }] })
    expect(await account.failure(getManagedPrefixListEntries, { PrefixListId, TargetVersion: 1 })).toMatch(/^InvalidParameterValue/)
    const versions = await account.query((db) => db.selectFrom('prefix_list_entries').select('version').distinct().orderBy('version').execute())
    expect(versions).toEqual([{ version: 1000 }, { version: 1001 }])
  })
})

describe('a list that is named', () => {
  let listId: string
  let other: string
  let groupId: string
  const allow = (PrefixListId: string) => account.call(authorizeSecurityGroupIngress, {
    GroupId: groupId, IpPermissions: [{ IpProtocol: 'tcp', FromPort: 22, ToPort: 22, PrefixListIds: [{ PrefixListId }] }],
  })
  beforeEach(async () => {
    listId = (await create({ MaxEntries: 40 })).PrefixListId
    other = (await create()).PrefixListId
    groupId = (await account.call(createSecurityGroup, { GroupName: 'web', Description: 'x' })).GroupId ?? ''
    await allow(listId)
  })

  it('is not deleted, and says in its state why', async () => {
    const { PrefixList } = await account.call(deleteManagedPrefixList, { PrefixListId: listId })
    expect(PrefixList).toMatchObject({ State: 'delete-failed', StateMessage: `The prefix list is in use by: ${groupId}` })
    expect(await describeOne(listId)).toEqual(PrefixList)
    expect((await account.call(getManagedPrefixListAssociations, { PrefixListId: listId })).PrefixListAssociations)
      .toEqual([{ ResourceId: groupId, ResourceOwner: DEFAULT_ACCOUNT }])
  })

  it('does not grow beyond what the group may have of rules', async () => {
    const failed = await modify({ PrefixListId: listId, MaxEntries: 61 })
    expect(failed).toMatchObject({
      State: 'modify-failed', MaxEntries: 40, StateMessage: `The following resources do not support the new maximum size: ${groupId}`,
    })
    expect(await modify({ PrefixListId: listId, MaxEntries: 60 })).toMatchObject({ State: 'modify-complete', MaxEntries: 60 })
  })

  it('does not grow beyond what a route table may have of routes', async () => {
    const id = await account.query(async (db) => {
      const table = await db.selectFrom('route_tables').select('route_table_id').where('vpc_id', '=', account.defaultVpcId).executeTakeFirstOrThrow()
      const route = { route_table_id: table.route_table_id, account_id: DEFAULT_ACCOUNT, target_id: 'igw-1', created_ms: 0 }
      for (const destination of [other, '192.0.2.0/24']) {
        await db.insertInto('routes').values({ ...route, destination, target_kind: 'internet-gateway' }).execute()
      }
      return table.route_table_id
    })
    const grow = (MaxEntries: number) => modify({ PrefixListId: other, MaxEntries })
    // With the default route and the other one.
    expect(await grow(499)).toMatchObject({ State: 'modify-failed', StateMessage: expect.stringContaining(id) })
    expect(await grow(498)).toMatchObject({ State: 'modify-complete' })
  })

  it('wakes the ports of the group when its entries change, and those of route tables that name it', async () => {
    const subnet = await account.query((db) =>
      db.selectFrom('subnets').select('subnet_id').where('vpc_id', '=', account.defaultVpcId).executeTakeFirstOrThrow())
    await account.addInterface(subnet.subnet_id, '172.31.0.9', HOST_ID)
    const dues = () => account.query((db) => db.selectFrom('work').select(['kind', 'id']).execute())
    const revision = () => account.query(async (db) =>
      (await db.selectFrom('security_groups').select('revision').where('group_id', '=', groupId).executeTakeFirstOrThrow()).revision)
    const before = await revision()
    await modify({ PrefixListId: listId, PrefixListName: 'renamed' })
    expect(await dues()).toEqual([])
    await modify({ PrefixListId: listId, AddEntries: [{ Cidr: '10.3.0.0/16' }] })
    expect(await dues()).toEqual([{ kind: 'ports', id: account.defaultVpcId }])
    expect(await revision()).toBe(before + 1)
    await account.query(async (db) => {
      const table = await db.selectFrom('route_tables').select('route_table_id').where('vpc_id', '=', account.defaultVpcId).executeTakeFirstOrThrow()
      await db.insertInto('routes').values({
        route_table_id: table.route_table_id, account_id: DEFAULT_ACCOUNT, destination: listId, target_kind: 'internet-gateway',
        target_id: 'igw-1', created_ms: 0,
      }).execute()
    })
    await modify({ PrefixListId: listId, AddEntries: [{ Cidr: '10.4.0.0/16' }] })
    expect((await dues()).map((due) => due.kind).toSorted()).toEqual(['ports', 'vpc'])
    const { PrefixListAssociations } = await account.call(getManagedPrefixListAssociations, { PrefixListId: listId })
    expect(PrefixListAssociations).toMatchObject([{ ResourceId: expect.stringMatching(/^rtb-/) }, { ResourceId: groupId }])
  })
})

describe('deleteManagedPrefixList', () => {
  it('takes entries, tags and tokens along', async () => {
    const { PrefixListId } = await create({ ClientToken: 'once', TagSpecifications: [{ ResourceType: 'prefix-list', Tags: [{ Key: 'a' }] }] })
    const { PrefixList } = await account.call(deleteManagedPrefixList, { PrefixListId })
    expect(PrefixList).toMatchObject({ PrefixListId, State: 'delete-complete' })
    expect(await account.failure(deleteManagedPrefixList, { PrefixListId })).toMatch(/^InvalidPrefixListID.NotFound/)
    expect((await account.call(describeTags, {})).Tags).toEqual([])
    expect((await create({ ClientToken: 'once' })).PrefixListId).not.toBe(PrefixListId)
  })
})

describe('describing lists', () => {
  it('knows every documented filter, and tags', async () => {
    const list = await create({ TagSpecifications: [{ ResourceType: 'prefix-list', Tags: [{ Key: 'a', Value: 'b' }] }] })
    await create({ PrefixListName: 'home' })
    const by = async (Name: string, value: string) =>
      (await account.call(describeManagedPrefixLists, { Filters: [{ Name, Values: [value] }] })).PrefixLists?.map((each) => each.PrefixListName)
    for (const name of DOCUMENTED_FILTERS.DescribeManagedPrefixLists) expect(await by(name, 'nothing-has-this'), name).toEqual([])
    expect(await by('prefix-list-name', 'off*')).toEqual(['office'])
    expect(await by('prefix-list-id', list.PrefixListId)).toEqual(['office'])
    expect(await by('owner-id', DEFAULT_ACCOUNT)).toEqual(['office', 'home'])
    expect(await by('tag:a', 'b')).toEqual(['office'])
    for (const Name of DOCUMENTED_FILTERS.DescribePrefixLists) {
      expect((await account.call(describePrefixLists, { Filters: [{ Name, Values: ['x'] }] })).PrefixLists).toEqual([])
    }
  })

  it('answers lists and entries in pages', async () => {
    const { PrefixListId } = await create()
    await create({ PrefixListName: 'home' })
    const first = await account.call(describeManagedPrefixLists, { MaxResults: 1 })
    expect(first.PrefixLists?.map((list) => list.PrefixListName)).toEqual(['office'])
    const second = await account.call(describeManagedPrefixLists, { MaxResults: 1, NextToken: first.NextToken })
    expect(second).toMatchObject({ PrefixLists: [{ PrefixListName: 'home' }], NextToken: undefined })
    const page = await account.call(getManagedPrefixListEntries, { PrefixListId, MaxResults: 1 })
    expect(page.Entries).toMatchObject([{ Cidr: '10.1.0.0/16' }])
    expect((await account.call(getManagedPrefixListEntries, { PrefixListId, MaxResults: 1, NextToken: page.NextToken })).Entries)
      .toEqual([{ Cidr: '10.2.0.0/16' }])
    expect(await account.failure(getManagedPrefixListEntries, { PrefixListId, MaxResults: 101 })).toMatch(/^InvalidParameterValue/)
  })

  it('has none of EC2\'s own lists', async () => {
    const { PrefixListId } = await create()
    expect((await account.call(describePrefixLists, {})).PrefixLists).toEqual([])
    expect(await account.failure(describePrefixLists, { PrefixListIds: [PrefixListId] })).toMatch(/^InvalidPrefixListID.NotFound/)
  })
})
