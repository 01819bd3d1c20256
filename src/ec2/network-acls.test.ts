import type { DescribeNetworkAclsRequest, NetworkAcl } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { HOST_ID, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { createNetworkAclEntry } from './network-acl-entries.ts'
import { createNetworkAcl, deleteNetworkAcl, describeNetworkAcls, replaceNetworkAclAssociation } from './network-acls.ts'
import { createTags, describeTags } from './tags.ts'

let account: MemoryAccount
beforeEach(async () => {
  account = await openMemoryAccount()
})
afterEach(() => account.store.close())

const OTHER_VPC = 'vpc-0123456789abcdef0'
const list = async (input: DescribeNetworkAclsRequest = {}) => (await account.call(describeNetworkAcls, input)).NetworkAcls ?? []
const create = async (input: object = {}): Promise<NetworkAcl> => {
  account.pass(1)
  return (await account.call(createNetworkAcl, { VpcId: account.defaultVpcId, ...input })).NetworkAcl ?? {}
}
const one = async (id: string | undefined) => (await list({ NetworkAclIds: [id ?? ''] }))[0] ?? {}
const dues = () => account.query((db) => db.selectFrom('work').select(['kind', 'id', 'host_id']).execute())
const deny = (Egress: boolean) =>
  ({ RuleNumber: 32767, Egress, RuleAction: 'deny', Protocol: '-1', CidrBlock: '0.0.0.0/0' })
const allow = (Egress: boolean) => ({ ...deny(Egress), RuleNumber: 100, RuleAction: 'allow' })

describe('the default network ACL', () => {
  it('lets everything through, is used by every subnet, and ends in the entry that denies all', async () => {
    const [acl, ...others] = await list()
    expect(others).toEqual([])
    expect(acl).toMatchObject({ VpcId: account.defaultVpcId, OwnerId: DEFAULT_ACCOUNT, IsDefault: true, Tags: [] })
    expect(acl?.Entries).toEqual([allow(true), deny(true), allow(false), deny(false)])
    expect(acl?.Associations).toHaveLength(3)
    expect(acl?.Associations?.[0]).toEqual({
      NetworkAclAssociationId: expect.stringMatching(/^aclassoc-[0-9a-f]{17}$/), NetworkAclId: acl?.NetworkAclId,
      SubnetId: expect.stringMatching(/^subnet-/),
    })
  })

  it('cannot be deleted', async () => {
    const [acl] = await list()
    const id = acl?.NetworkAclId ?? ''
    expect(await account.failure(deleteNetworkAcl, { NetworkAclId: id }))
      .toBe(`InvalidParameterValue: cannot delete default network ACL ${id}`)
  })
})

describe('createNetworkAcl', () => {
  it('makes one that denies everything and that no subnet uses', async () => {
    const tags = [{ Key: 'Env', Value: 'test' }]
    const acl = await create({ TagSpecifications: [{ ResourceType: 'network-acl', Tags: tags }] })
    expect(acl).toEqual({
      NetworkAclId: expect.stringMatching(/^acl-[0-9a-f]{17}$/), VpcId: account.defaultVpcId, OwnerId: DEFAULT_ACCOUNT,
      IsDefault: false, Associations: [], Entries: [deny(true), deny(false)], Tags: tags,
    })
    expect(await one(acl.NetworkAclId)).toEqual(acl)
    expect((await account.call(describeTags, {})).Tags).toMatchObject([{ ResourceType: 'network-acl', ...tags[0] }])
  })

  it('answers a repeated call with the one that the first made', async () => {
    const { NetworkAclId } = await create({ ClientToken: 'once' })
    const again = await account.call(createNetworkAcl, { VpcId: account.defaultVpcId, ClientToken: 'once' })
    expect(again).toMatchObject({ ClientToken: 'once', NetworkAcl: { NetworkAclId } })
    await account.addVpc(OTHER_VPC)
    expect(await account.failure(createNetworkAcl, { VpcId: OTHER_VPC, ClientToken: 'once' })).toMatch(/^IdempotentParameterMismatch/)
    await account.call(deleteNetworkAcl, { NetworkAclId })
    expect((await create({ ClientToken: 'once' })).NetworkAclId).not.toBe(NetworkAclId)
  })

  it('refuses a VPC that is not there, and the 201st ACL of one', async () => {
    expect(await account.failure(createNetworkAcl, { VpcId: '' })).toBe('MissingParameter: The request must contain the parameter vpcId')
    expect(await account.failure(createNetworkAcl, { VpcId: 'x' })).toMatch(/^InvalidVpcID.Malformed/)
    expect(await account.failure(createNetworkAcl, { VpcId: OTHER_VPC })).toMatch(/^InvalidVpcID.NotFound/)
    await account.query(async (db) => {
      for (let index = 0; index < 198; index++) {
        await db.insertInto('network_acls').values({
          network_acl_id: `acl-${index}`, account_id: DEFAULT_ACCOUNT, vpc_id: account.defaultVpcId, is_default: 0, created_ms: 0,
        }).execute()
      }
    })
    await create()
    expect(await account.failure(createNetworkAcl, { VpcId: account.defaultVpcId }))
      .toBe('NetworkAclLimitExceeded: The maximum number of network ACLs has been reached.')
  })
})

describe('deleteNetworkAcl', () => {
  it('takes entries and tags along', async () => {
    const { NetworkAclId: id = '' } = await create()
    await account.call(createTags, { Resources: [id], Tags: [{ Key: 'a', Value: 'b' }] })
    await account.call(createNetworkAclEntry, {
      NetworkAclId: id, RuleNumber: 1, Egress: false, Protocol: '-1', RuleAction: 'allow', CidrBlock: '0.0.0.0/0',
    })
    expect(await account.call(deleteNetworkAcl, { NetworkAclId: id })).toEqual({})
    expect(await account.failure(deleteNetworkAcl, { NetworkAclId: id }))
      .toBe(`InvalidNetworkAclID.NotFound: The networkAcl ID '${id}' does not exist`)
    expect((await account.call(describeTags, {})).Tags).toEqual([])
  })

  it('refuses one that a subnet uses', async () => {
    const { NetworkAclId: id = '' } = await create()
    const [main] = await list({ Filters: [{ Name: 'default', Values: ['true'] }] })
    await account.call(replaceNetworkAclAssociation, {
      NetworkAclId: id, AssociationId: main?.Associations?.[0]?.NetworkAclAssociationId,
    })
    expect(await account.failure(deleteNetworkAcl, { NetworkAclId: id }))
      .toBe(`DependencyViolation: The networkAcl '${id}' has dependencies and cannot be deleted.`)
  })
})

describe('replaceNetworkAclAssociation', () => {
  it('has the subnet use the other ACL under a new association, and wakes the hosts of the VPC', async () => {
    const [main] = await list()
    const old = main?.Associations?.[0]
    await account.addInterface(old?.SubnetId ?? '', '172.31.0.9', HOST_ID)
    const { NetworkAclId: id = '' } = await create()
    expect(await dues()).toEqual([])
    const { NewAssociationId } = await account.call(replaceNetworkAclAssociation, {
      NetworkAclId: id, AssociationId: old?.NetworkAclAssociationId,
    })
    expect(NewAssociationId).not.toBe(old?.NetworkAclAssociationId)
    expect((await one(id)).Associations).toEqual([
      { NetworkAclAssociationId: NewAssociationId, NetworkAclId: id, SubnetId: old?.SubnetId },
    ])
    expect((await one(main?.NetworkAclId)).Associations).toHaveLength(2)
    expect(await dues()).toEqual([{ kind: 'vpc', id: account.defaultVpcId, host_id: HOST_ID }])
    expect(await account.failure(replaceNetworkAclAssociation, { NetworkAclId: id, AssociationId: old?.NetworkAclAssociationId }))
      .toBe(`InvalidAssociationID.NotFound: The association ID '${old?.NetworkAclAssociationId}' does not exist`)
  })

  it('refuses an ACL of another VPC', async () => {
    await account.addVpc(OTHER_VPC)
    const [main] = await list()
    const [association] = main?.Associations ?? []
    const { NetworkAclId: id = '' } = await create({ VpcId: OTHER_VPC })
    expect(await account.failure(replaceNetworkAclAssociation, {
      NetworkAclId: id, AssociationId: association?.NetworkAclAssociationId,
    })).toBe(`InvalidParameterValue: Network ACL ${id} and subnet ${association?.SubnetId} belong to different networks`)
  })
})

describe('describeNetworkAcls', () => {
  it('knows every documented filter', async () => {
    for (const Name of DOCUMENTED_FILTERS.DescribeNetworkAcls) {
      expect(await list({ Filters: [{ Name, Values: ['nothing-has-this'] }] }), Name).toEqual([])
    }
    expect(await account.failure(describeNetworkAcls, { Filters: [{ Name: 'x', Values: [] }] }))
      .toBe("InvalidParameterValue: The filter 'x' is invalid")
  })

  it('finds ACLs by their entries, associations, VPC and tags', async () => {
    const [main] = await list()
    const acl = await create({ TagSpecifications: [{ ResourceType: 'network-acl', Tags: [{ Key: 'a', Value: 'b' }] }] })
    const ids = (...acls: NetworkAcl[]) => acls.map((each) => each.NetworkAclId)
    const by = async (Name: string, ...Values: string[]) => ids(...await list({ Filters: [{ Name, Values }] }))
    await account.call(createNetworkAclEntry, {
      NetworkAclId: acl.NetworkAclId, RuleNumber: 7, Egress: false, Protocol: 'tcp', RuleAction: 'allow',
      CidrBlock: '10.0.0.0/8', PortRange: { From: 22, To: 23 },
    })
    await account.call(createNetworkAclEntry, {
      NetworkAclId: acl.NetworkAclId, RuleNumber: 8, Egress: true, Protocol: 'icmpv6', RuleAction: 'allow',
      Ipv6CidrBlock: '::/0', IcmpTypeCode: { Type: 128, Code: 0 },
    })
    for (const [name, value] of [
      ['entry.protocol', 'tcp'], ['entry.protocol', '6'], ['entry.cidr', '10.*'], ['entry.port-range.from', '22'],
      ['entry.port-range.to', '23'], ['entry.rule-number', '7'], ['entry.ipv6-cidr', '::/0'], ['entry.icmp.type', '128'],
      ['entry.icmp.code', '0'], ['tag:a', 'b'], ['default', 'false'],
    ] as const) expect(await by(name, value), name).toEqual(ids(acl))
    expect(await by('association.subnet-id', main?.Associations?.[0]?.SubnetId ?? '')).toEqual(ids(main ?? {}))
    for (const [name, value] of [
      ['vpc-id', account.defaultVpcId], ['owner-id', DEFAULT_ACCOUNT], ['entry.rule-action', 'deny'], ['entry.egress', 'true'],
    ] as const) expect(await by(name, value), name).toEqual(ids(main ?? {}, acl))
  })

  it('answers in pages, oldest first, and never shows those of others', async () => {
    const made = ['', '', '', '', '']
    for (const index of made.keys()) made[index] = (await create()).NetworkAclId ?? ''
    const first = await account.call(describeNetworkAcls, { MaxResults: 5 })
    expect(first.NetworkAcls?.map((acl) => acl.NetworkAclId).slice(1)).toEqual(made.slice(0, 4))
    const rest = await list({ MaxResults: 5, NextToken: first.NextToken })
    expect(rest.map((acl) => acl.NetworkAclId)).toEqual(made.slice(4))
    expect(await account.failure(describeNetworkAcls, { MaxResults: 1001 })).toMatch(/^InvalidParameterValue/)
    const foreign = await account.query((db) =>
      db.selectFrom('network_acls').select('network_acl_id').where('account_id', '=', OTHER_ACCOUNT).executeTakeFirstOrThrow())
    expect(await account.failure(describeNetworkAcls, { NetworkAclIds: [foreign.network_acl_id] })).toMatch(/^InvalidNetworkAclID.NotFound/)
    expect(await account.failure(describeNetworkAcls, { NetworkAclIds: ['x'] })).toMatch(/^InvalidNetworkAclId.Malformed/)
  })
})
