import type { CreateNetworkAclEntryRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { HOST_ID } from '../../test/support/rows.ts'
import { loadAcls } from '../vpc/load-routing.ts'
import {
  createNetworkAclEntry, deleteNetworkAclEntry, MAX_ENTRIES, replaceNetworkAclEntry,
} from './network-acl-entries.ts'
import { createNetworkAcl, describeNetworkAcls, replaceNetworkAclAssociation } from './network-acls.ts'

let account: MemoryAccount
let NetworkAclId: string
beforeEach(async () => {
  account = await openMemoryAccount()
  const made = await account.call(createNetworkAcl, { VpcId: account.defaultVpcId })
  NetworkAclId = made.NetworkAcl?.NetworkAclId ?? ''
})
afterEach(() => account.store.close())

type Change = Partial<CreateNetworkAclEntryRequest>
const entry = (change: Change = {}): CreateNetworkAclEntryRequest => ({
  NetworkAclId, RuleNumber: 100, Egress: false, Protocol: '-1', RuleAction: 'allow', CidrBlock: '0.0.0.0/0', ...change,
})
const add = (change: Change = {}) => account.call(createNetworkAclEntry, entry(change))
const failure = (change: Change) => account.failure(createNetworkAclEntry, entry(change))
const entries = async (id = NetworkAclId) => {
  const { NetworkAcls: [acl] = [] } = await account.call(describeNetworkAcls, { NetworkAclIds: [id] })
  return (acl?.Entries ?? []).filter((each) => each.RuleNumber !== 32767)
}

describe('createNetworkAclEntry', () => {
  it('keeps entries in the order in which they are tried, each direction by itself', async () => {
    await add({ RuleNumber: 300, RuleAction: 'deny' })
    await add({ RuleNumber: 20 })
    await add({ RuleNumber: 20, Egress: true })
    expect((await entries()).map((each) => [each.Egress, each.RuleNumber, each.RuleAction]))
      .toEqual([[true, 20, 'allow'], [false, 20, 'allow'], [false, 300, 'deny']])
  })

  it.each<[string, Change, object]>([
    ['tcp by name', { Protocol: 'tcp', PortRange: { From: 22, To: 80 } }, { Protocol: '6', PortRange: { From: 22, To: 80 } }],
    ['udp by number', { Protocol: '17', PortRange: { From: 0, To: 65535 } }, { Protocol: '17', PortRange: { From: 0, To: 65535 } }],
    ['ICMP with type and code', { Protocol: 'icmp', IcmpTypeCode: { Type: 8, Code: 0 } },
      { Protocol: '1', IcmpTypeCode: { Type: 8, Code: 0 } }],
    ['all of ICMP', { Protocol: '1', IcmpTypeCode: { Type: -1, Code: -1 } }, { Protocol: '1', IcmpTypeCode: { Type: -1, Code: -1 } }],
    ['another protocol, whose ports are passed over', { Protocol: '50', PortRange: { From: 1, To: 2 } }, { Protocol: '50' }],
    ['everything', { Protocol: 'all' }, { Protocol: '-1' }],
    ['a block that is not canonical', { CidrBlock: '100.68.0.18/18' }, { Protocol: '-1', CidrBlock: '100.68.0.0/18' }],
    ['ICMPv6 for an IPv4 block, all of it', { Protocol: '58', IcmpTypeCode: { Type: 1, Code: 1 } }, { Protocol: '58' }],
    ['IPv6', { CidrBlock: undefined, Ipv6CidrBlock: '2001:DB8::1/32', Protocol: 'icmpv6', IcmpTypeCode: { Type: 128, Code: -1 } },
      { CidrBlock: undefined, Ipv6CidrBlock: '2001:db8::/32', Protocol: '58', IcmpTypeCode: { Type: 128, Code: -1 } }],
  ])('takes %s', async (_what, change, shown) => {
    await add(change)
    expect(await entries()).toEqual([{ RuleNumber: 100, Egress: false, RuleAction: 'allow', CidrBlock: '0.0.0.0/0', ...shown }])
  })

  it.each<[string, Change, string]>([
    ['number 0', { RuleNumber: 0 }, 'InvalidParameterValue: Value (0) for parameter ruleNumber is invalid.'],
    ['number 32767', { RuleNumber: 32767 }, 'InvalidParameterValue: Value (32767) for parameter ruleNumber is invalid.'],
    ['no action', { RuleAction: undefined }, 'MissingParameter: The request must contain the parameter ruleAction'],
    ['a strange action', { RuleAction: 'drop' as never }, 'InvalidParameterValue: Value (drop) for parameter ruleAction is invalid.'],
    ['no protocol', { Protocol: undefined }, 'MissingParameter: The request must contain the parameter protocol'],
    ['protocol 256', { Protocol: '256' }, "InvalidParameterValue: Invalid value '256' for IP protocol. Unknown protocol."],
    ['an unknown protocol', { Protocol: 'tpc' }, "InvalidParameterValue: Invalid value 'tpc' for IP protocol. Unknown protocol."],
    ['tcp without ports', { Protocol: '6' }, 'MissingParameter: The request must contain the parameter portRange.from'],
    ['tcp without a last port', { Protocol: '6', PortRange: { From: 1 } }, 'MissingParameter: The request must contain the parameter portRange.to'],
    ['port 65536', { Protocol: '17', PortRange: { From: 1, To: 65536 } }, 'Value (65536) for parameter portRange.to is invalid.'],
    ['ports the wrong way round', { Protocol: '6', PortRange: { From: 2, To: 1 } }, 'InvalidParameterValue: Invalid TCP/UDP port range (2:1)'],
    ['ICMP without a type', { Protocol: '1', PortRange: { From: 0, To: 0 } },
      'MissingParameter: The request must contain the parameter icmpTypeCode.type'],
    ['ICMP without a code', { Protocol: '1', IcmpTypeCode: { Type: 8 } }, 'MissingParameter: The request must contain the parameter icmpTypeCode.code'],
    ['a code of all types', { Protocol: '1', IcmpTypeCode: { Type: -1, Code: 0 } }, 'ICMP code (0) must be -1 when the type is -1'],
    ['no block', { CidrBlock: '' }, 'MissingParameter: The request must contain the parameter cidrBlock'],
    ['two blocks', { Ipv6CidrBlock: '::/0' }, 'InvalidParameterCombination: The parameter cidrBlock cannot be used with the parameter ipv6CidrBlock'],
    ['a bad block', { CidrBlock: '10.0.0.0/33' }, 'InvalidParameterValue: CIDR block 10.0.0.0/33 is malformed'],
    ['a bad IPv6 block', { CidrBlock: '', Ipv6CidrBlock: '::/129' }, 'InvalidParameterValue: CIDR block ::/129 is malformed'],
    ['no direction', { Egress: undefined }, 'MissingParameter: The request must contain the parameter egress'],
    ['no ACL', { NetworkAclId: undefined }, 'MissingParameter: The request must contain the parameter networkAclId'],
    ['an ACL that is not there', { NetworkAclId: 'acl-00000000000000000' },
      "InvalidNetworkAclID.NotFound: The networkAcl ID 'acl-00000000000000000' does not exist"],
  ])('refuses %s', async (_what, change, expected) => {
    expect(await failure(change)).toContain(expected)
    expect(await entries()).toEqual([])
  })

  it('refuses a number that is taken', async () => {
    await add()
    expect(await failure({ RuleAction: 'deny' }))
      .toBe('NetworkAclEntryAlreadyExists: The network acl entry identified by 100 already exists.')
  })

  it('counts IPv4 and IPv6 and the directions apart, and the last entry with them', async () => {
    for (let number = 1; number < MAX_ENTRIES; number++) await add({ RuleNumber: number })
    const tooMany = 'NetworkAclEntryLimitExceeded: The maximum number of network acl entries has been reached.'
    expect(await failure({ RuleNumber: 200 })).toBe(tooMany)
    await add({ RuleNumber: 200, Egress: true })
    await add({ RuleNumber: 201, CidrBlock: undefined, Ipv6CidrBlock: '::/0' })
    expect(await account.failure(replaceNetworkAclEntry, entry({ RuleNumber: 201 }))).toBe(tooMany)
  })
})

describe('replaceNetworkAclEntry and deleteNetworkAclEntry', () => {
  it('replaces the whole entry', async () => {
    await add({ Protocol: '6', PortRange: { From: 22, To: 22 } })
    await account.call(replaceNetworkAclEntry, entry({ RuleAction: 'deny', CidrBlock: '10.0.0.0/8' }))
    expect(await entries()).toEqual([
      { RuleNumber: 100, Egress: false, RuleAction: 'deny', Protocol: '-1', CidrBlock: '10.0.0.0/8' }])
  })

  it('deletes one of its direction only', async () => {
    await add()
    await add({ Egress: true })
    await account.call(deleteNetworkAclEntry, { NetworkAclId, RuleNumber: 100, Egress: true })
    expect((await entries()).map((each) => each.Egress)).toEqual([false])
  })

  it('refuse an entry that is not there, and the one that denies all', async () => {
    const notThere = /^InvalidNetworkAclEntry.NotFound: The network acl entry identified by rule number 7 \(ingress\) does not exist/
    expect(await account.failure(replaceNetworkAclEntry, entry({ RuleNumber: 7 }))).toMatch(notThere)
    expect(await account.failure(deleteNetworkAclEntry, { NetworkAclId, RuleNumber: 7, Egress: false })).toMatch(notThere)
    expect(await account.failure(deleteNetworkAclEntry, { NetworkAclId, RuleNumber: 32767, Egress: false }))
      .toMatch(/^InvalidParameterValue: Value \(32767\) for parameter ruleNumber is invalid/)
  })
})

describe('the network', () => {
  const works = () => account.query((db) => db.selectFrom('work').select(['kind', 'id', 'generation']).execute())

  it('is woken by entries of an ACL that a subnet uses, and not by others', async () => {
    const subnet = await account.query((db) =>
      db.selectFrom('subnets').select('subnet_id').where('vpc_id', '=', account.defaultVpcId).executeTakeFirstOrThrow())
    await account.addInterface(subnet.subnet_id, '172.31.0.9', HOST_ID)
    await add()
    expect(await works()).toEqual([])
    const { NetworkAcls: [main] = [] } = await account.call(describeNetworkAcls, { Filters: [{ Name: 'default', Values: ['true'] }] })
    await add({ NetworkAclId: main?.NetworkAclId, RuleNumber: 1 })
    await account.call(replaceNetworkAclEntry, entry({ NetworkAclId: main?.NetworkAclId, RuleNumber: 1, RuleAction: 'deny' }))
    await account.call(deleteNetworkAclEntry, { NetworkAclId: main?.NetworkAclId, RuleNumber: 1, Egress: false })
    expect(await works()).toEqual([{ kind: 'vpc', id: account.defaultVpcId, generation: 3 }])
  })

  it('gets entries in their order, ports of the protocols that have some, once a subnet uses the ACL', async () => {
    await add({ RuleNumber: 200, RuleAction: 'deny' })
    await add({ RuleNumber: 9, Protocol: '6', PortRange: { From: 22, To: 23 } })
    await add({ RuleNumber: 10, Protocol: '1', IcmpTypeCode: { Type: 8, Code: -1 } })
    await add({ RuleNumber: 11, Protocol: '50' })
    const inSpec = async () =>
      (await account.query((db) => loadAcls(db, account.defaultVpcId))).find((acl) => acl.networkAclId === NetworkAclId)
    expect(await inSpec()).toBeUndefined()
    const { NetworkAcls: [main] = [] } = await account.call(describeNetworkAcls, { Filters: [{ Name: 'default', Values: ['true'] }] })
    await account.call(replaceNetworkAclAssociation, {
      NetworkAclId, AssociationId: main?.Associations?.[0]?.NetworkAclAssociationId,
    })
    const whole = { fromPort: null, toPort: null, cidr: '0.0.0.0/0' }
    expect(await inSpec()).toEqual({
      networkAclId: NetworkAclId, egress: [],
      ingress: [
        { ...whole, ruleNumber: 9, action: 'allow', protocol: 'tcp', fromPort: 22, toPort: 23 },
        { ...whole, ruleNumber: 10, action: 'allow', protocol: 'icmp', fromPort: 8, toPort: -1 },
        { ...whole, ruleNumber: 11, action: 'allow', protocol: '50' },
        { ...whole, ruleNumber: 200, action: 'deny', protocol: '-1' },
      ],
    })
  })
})
