import type { CreateNatGatewayRequest, DescribeNatGatewaysRequest, NatGateway } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { HOST_ID, NOW_MS, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { loadVpcSpec } from '../vpc/load-spec.ts'
import { createNatGateway } from './create-nat-gateway.ts'
import { deleteNatGateway, describeNatGateways } from './nat-gateways.ts'
import { createTags, describeTags } from './tags.ts'

let account: MemoryAccount
let SubnetId: string
beforeEach(async () => {
  account = await openMemoryAccount()
  const subnet = await account.query((db) =>
    db.selectFrom('subnets').select('subnet_id').where('vpc_id', '=', account.defaultVpcId).orderBy('zone').executeTakeFirstOrThrow())
  SubnetId = subnet.subnet_id
  await allocate('eipalloc-1', '198.18.0.1')
})
afterEach(() => account.store.close())

const allocate = (id: string, publicIp: string) => account.query((db) => db.insertInto('addresses').values({
  allocation_id: id, account_id: DEFAULT_ACCOUNT, public_ip: publicIp, association_id: null, interface_id: null,
  private_ip: null, created_ms: 0, doc: '{}',
}).execute())
const create = async (input: Partial<CreateNatGatewayRequest> = {}): Promise<NatGateway & { NatGatewayId: string }> => {
  account.pass(1)
  const { NatGateway = {} } = await account.call(createNatGateway, { SubnetId, AllocationId: 'eipalloc-1', ...input })
  return { ...NatGateway, NatGatewayId: NatGateway.NatGatewayId ?? '' }
}
const createPrivate = (input: Partial<CreateNatGatewayRequest> = {}) =>
  create({ AllocationId: undefined, ConnectivityType: 'private', ...input })
const failure = (input: Partial<CreateNatGatewayRequest>) =>
  account.failure(createNatGateway, { SubnetId, AllocationId: 'eipalloc-1', ...input })
const list = async (input: DescribeNatGatewaysRequest = {}) => (await account.call(describeNatGateways, input)).NatGateways ?? []
const one = async (id: string) => (await list({ NatGatewayIds: [id] }))[0]
const interfaces = () => account.query((db) => db.selectFrom('interfaces').selectAll().execute())
const address = () => account.query((db) => db.selectFrom('addresses').selectAll().executeTakeFirstOrThrow())
const works = () => account.query((db) => db.selectFrom('work').select(['kind', 'id', 'host_id']).execute())
/** What the reconciler writes when the network has nothing of a removed interface any more. */
const forget = (interfaceId: string, deletedMs: number) => account.query(async (db) => {
  await db.updateTable('nat_gateways').set({ state: 'deleted', deleted_ms: deletedMs, interface_id: null })
    .where('interface_id', '=', interfaceId).execute()
  await db.deleteFrom('interfaces').where('interface_id', '=', interfaceId).execute()
})

describe('createNatGateway', () => {
  it('makes a public one with an interface of its own that has the Elastic IP', async () => {
    const tags = [{ Key: 'Env', Value: 'test' }]
    const made = await create({ TagSpecifications: [{ ResourceType: 'natgateway', Tags: tags }] })
    const [row] = await interfaces()
    expect(made).toEqual({
      NatGatewayId: expect.stringMatching(/^nat-[0-9a-f]{17}$/), SubnetId, VpcId: account.defaultVpcId, State: 'pending',
      ConnectivityType: 'public', AvailabilityMode: 'zonal', CreateTime: new Date(NOW_MS + 1), Tags: tags,
      NatGatewayAddresses: [{
        AllocationId: 'eipalloc-1', AssociationId: expect.stringMatching(/^eipassoc-/), IsPrimary: true, Status: 'associating',
        NetworkInterfaceId: row?.interface_id, PrivateIp: row?.private_ip, PublicIp: '198.18.0.1',
      }],
    })
    expect(await one(made.NatGatewayId)).toEqual(made)
    expect(row).toMatchObject({
      subnet_id: SubnetId, instance_id: null, host_id: HOST_ID, slot: expect.any(Number), public_ip: '198.18.0.1', status: 'pending',
      wanted: 1, ready: 0, source_dest_check: 0, requester_id: made.NatGatewayId,
      doc: expect.stringContaining(`Interface for NAT Gateway ${made.NatGatewayId}`),
    })
    expect(await address()).toMatchObject({
      association_id: made.NatGatewayAddresses?.[0]?.AssociationId, interface_id: row?.interface_id, private_ip: row?.private_ip,
    })
    expect(await works()).toEqual([{ kind: 'vpc', id: account.defaultVpcId, host_id: HOST_ID }])
  })

  it('makes a private one at the address that is asked for', async () => {
    const made = await createPrivate({ PrivateIpAddress: '172.31.0.77' })
    expect(made).toMatchObject({ ConnectivityType: 'private', State: 'pending' })
    expect(made.NatGatewayAddresses).toEqual([{
      IsPrimary: true, Status: 'assigning', PrivateIp: '172.31.0.77', NetworkInterfaceId: (await interfaces())[0]?.interface_id,
    }])
  })

  it('is part of the VPC that the network is told of', async () => {
    const made = await create()
    const { natGateways } = await account.query((db) => loadVpcSpec(db, account.defaultVpcId, HOST_ID, 1))
    const [row] = await interfaces()
    expect(natGateways).toEqual([{
      natGatewayId: made.NatGatewayId, interfaceId: row?.interface_id, subnetId: SubnetId, slot: row?.slot, mac: row?.mac,
      privateIp: row?.private_ip, publicIp: '198.18.0.1',
    }])
  })

  it('answers a repeated call with the one that the first made', async () => {
    const first = await create({ ClientToken: 'once' })
    expect((await create({ ClientToken: 'once' })).NatGatewayId).toBe(first.NatGatewayId)
    expect(await failure({ ClientToken: 'once', PrivateIpAddress: '172.31.0.9' })).toMatch(/^IdempotentParameterMismatch/)
    expect(await interfaces()).toHaveLength(1)
  })

  it.each<[string, Partial<CreateNatGatewayRequest>, string]>([
    ['no subnet', { SubnetId: '' }, 'MissingParameter: The request must contain the parameter subnetId'],
    ['a malformed subnet', { SubnetId: 'x' }, 'InvalidSubnetID.Malformed'],
    ['a subnet that is not there', { SubnetId: 'subnet-00000000000000000' },
      "InvalidSubnetID.NotFound: The subnet ID 'subnet-00000000000000000' does not exist"],
    ['a public one without an address', { AllocationId: '' }, 'MissingParameter: The request must contain the parameter allocationId'],
    ['an address that is not there', { AllocationId: 'eipalloc-2' },
      "InvalidElasticIpID.NotFound: The elasticIp ID 'eipalloc-2' does not exist"],
    ['a private one with an address', { ConnectivityType: 'private' }, 'InvalidParameterCombination'],
    ['another connectivity', { ConnectivityType: 'open' as never }, 'Value (open) for parameter ConnectivityType is invalid.'],
    ['a private address of another subnet', { PrivateIpAddress: '172.31.16.9' },
      "InvalidParameterValue: Address 172.31.16.9 does not fall within the subnet's address range"],
    ['secondary allocations', { SecondaryAllocationIds: ['eipalloc-2'] }, 'UnsupportedOperation: The parameter SecondaryAllocationIds'],
    ['secondary addresses', { SecondaryPrivateIpAddresses: ['172.31.0.9'] }, 'UnsupportedOperation: The parameter SecondaryPrivateIpAddresses'],
    ['a count of them', { SecondaryPrivateIpAddressCount: 1 }, 'UnsupportedOperation: The parameter SecondaryPrivateIpAddressCount'],
    ['a regional one', { AvailabilityMode: 'regional' }, 'UnsupportedOperation: The parameter AvailabilityMode=regional'],
    ['a VPC', { VpcId: 'vpc-1' }, 'UnsupportedOperation: The parameter VpcId'],
  ])('refuses %s', async (_what, input, expected) => {
    expect(await failure(input)).toContain(expected)
    expect(await list()).toEqual([])
    expect(await interfaces()).toEqual([])
    expect((await address()).association_id).toBeNull()
  })

  it('refuses an Elastic IP of another account, and an address that is in use', async () => {
    await account.query((db) => db.updateTable('addresses').set({ account_id: OTHER_ACCOUNT }).execute())
    expect(await failure({})).toMatch(/^InvalidElasticIpID.NotFound/)
    const made = await createPrivate({ PrivateIpAddress: '172.31.0.77' })
    expect(made.State).toBe('pending')
    expect(await failure({ AllocationId: undefined, ConnectivityType: 'private', PrivateIpAddress: '172.31.0.77' }))
      .toBe('InvalidIPAddress.InUse: Address 172.31.0.77 is in use.')
  })

  it('refuses the sixth in a zone', async () => {
    for (let index = 0; index < 5; index++) await createPrivate()
    expect(await failure({})).toBe('NatGatewayLimitExceeded: Performing this operation would exceed the limit of 5 NAT gateways')
    const other = await account.query((db) => db.selectFrom('subnets').select('subnet_id')
      .where('vpc_id', '=', account.defaultVpcId).where('zone', '=', 'us-east-1b').executeTakeFirstOrThrow())
    expect((await create({ SubnetId: other.subnet_id })).State).toBe('pending')
  })
})

describe('a NAT gateway that cannot work', () => {
  const failed = async (input: Partial<CreateNatGatewayRequest>, FailureCode: string, FailureMessage: string) => {
    const made = await create(input)
    expect(made).toMatchObject({ State: 'failed', FailureCode, FailureMessage, DeleteTime: made.CreateTime })
    expect(made.NatGatewayAddresses?.[0]).toMatchObject({ Status: 'failed', NetworkInterfaceId: undefined, PrivateIp: undefined })
    expect(await one(made.NatGatewayId)).toEqual(made)
    return made
  }

  it('has failed: no internet gateway', async () => {
    await account.query((db) => db.updateTable('internet_gateways').set({ vpc_id: null }).where('vpc_id', '=', account.defaultVpcId).execute())
    await failed({}, 'Gateway.NotAttached', `Network ${account.defaultVpcId} has no Internet gateway attached`)
    expect((await createPrivate()).State).toBe('pending')
  })

  it('has failed: the Elastic IP is associated', async () => {
    const first = await create()
    await failed({}, 'Resource.AlreadyAssociated', 'Elastic IP address eipalloc-1 is already associated')
    expect((await address()).association_id).toBe(first.NatGatewayAddresses?.[0]?.AssociationId)
  })

  it('has failed: the subnet is full', async () => {
    await account.query((db) => db.updateTable('subnets').set({ cidr: '172.31.0.0/28' }).where('subnet_id', '=', SubnetId).execute())
    for (let last = 4; last < 15; last++) await account.addInterface(SubnetId, `172.31.0.${last}`, null)
    await failed({}, 'InsufficientFreeAddressesInSubnet', 'Subnet has insufficient free addresses to create this NAT gateway')
  })

  it('is shown for an hour, or deleted before that', async () => {
    const first = await create()
    const second = await create()
    await account.call(deleteNatGateway, { NatGatewayId: second.NatGatewayId })
    expect((await one(second.NatGatewayId))?.State).toBe('deleted')
    const third = await create()
    account.pass(3_600_000)
    expect((await list()).map((each) => each.NatGatewayId)).toEqual([first.NatGatewayId])
    expect(third.State).toBe('failed')
  })
})

describe('deleteNatGateway', () => {
  it('frees the Elastic IP, gives the interface up and wakes its host', async () => {
    const { NatGatewayId, NatGatewayAddresses } = await create()
    await account.query((db) => db.deleteFrom('work').execute())
    expect(await account.call(deleteNatGateway, { NatGatewayId })).toEqual({ NatGatewayId })
    expect(await one(NatGatewayId)).toMatchObject({
      State: 'deleting', DeleteTime: new Date(NOW_MS + 1), NatGatewayAddresses: [{ ...NatGatewayAddresses?.[0], Status: 'succeeded' }],
    })
    expect(await address()).toMatchObject({ association_id: null, interface_id: null, private_ip: null })
    expect(await interfaces()).toMatchObject([{ status: 'removing', wanted: 0, public_ip: null, revision: 2 }])
    expect(await works()).toEqual([{ kind: 'ports', id: account.defaultVpcId, host_id: HOST_ID }])
    const { natGateways } = await account.query((db) => loadVpcSpec(db, account.defaultVpcId, HOST_ID, 1))
    expect(natGateways).toEqual([])
    expect(await account.call(deleteNatGateway, { NatGatewayId })).toEqual({ NatGatewayId })
  })

  it('leaves routes to it as blackholes', async () => {
    const { NatGatewayId } = await create()
    await account.query(async (db) => {
      const table = await db.selectFrom('route_tables').select('route_table_id').where('vpc_id', '=', account.defaultVpcId).executeTakeFirstOrThrow()
      await db.insertInto('routes').values({
        route_table_id: table.route_table_id, account_id: DEFAULT_ACCOUNT, destination: '10.0.0.0/8', target_kind: 'nat-gateway',
        target_id: NatGatewayId, created_ms: 0,
      }).execute()
    })
    const route = async () => (await account.query((db) => loadVpcSpec(db, account.defaultVpcId, HOST_ID, 1)))
      .routeTables[0]?.routes.find((each) => each.destination === '10.0.0.0/8')
    expect((await route())?.target).toEqual({ kind: 'nat-gateway', natGatewayId: NatGatewayId })
    await account.call(deleteNatGateway, { NatGatewayId })
    expect((await route())?.target).toEqual({ kind: 'blackhole' })
  })

  it('refuses what is not there', async () => {
    expect(await account.failure(deleteNatGateway, { NatGatewayId: 'nat-00000000000000000' }))
      .toBe('NatGatewayNotFound: The Nat Gateway nat-00000000000000000 was not found')
    expect(await account.failure(deleteNatGateway, { NatGatewayId: 'x' })).toMatch(/^NatGatewayMalformed/)
    expect(await account.failure(deleteNatGateway, { NatGatewayId: undefined })).toMatch(/^MissingParameter/)
  })
})

describe('a deleted NAT gateway', () => {
  let id: string
  beforeEach(async () => {
    const made = await create({ ClientToken: 'once' })
    id = made.NatGatewayId
    await account.call(createTags, { Resources: [id], Tags: [{ Key: 'a', Value: 'b' }] })
    await account.call(deleteNatGateway, { NatGatewayId: id })
    await forget(made.NatGatewayAddresses?.[0]?.NetworkInterfaceId ?? '', NOW_MS + 1)
  })

  it('is shown for an hour with what it had, and is gone for DeleteNatGateway', async () => {
    account.pass(3_599_999)
    expect(await one(id)).toMatchObject({
      State: 'deleted', NatGatewayAddresses: [{ AllocationId: 'eipalloc-1', PublicIp: '198.18.0.1' }], Tags: [{ Key: 'a', Value: 'b' }],
    })
    expect(await account.failure(deleteNatGateway, { NatGatewayId: id })).toMatch(/^NatGatewayNotFound/)
    account.pass(1)
    expect(await account.failure(describeNatGateways, { NatGatewayIds: [id] })).toBe(`NatGatewayNotFound: The Nat Gateway ${id} was not found`)
  })

  it('is forgotten with its tags and tokens by the next CreateNatGateway after that', async () => {
    account.pass(3_600_000)
    expect((await create({ ClientToken: 'once' })).NatGatewayId).not.toBe(id)
    expect((await account.call(describeTags, {})).Tags).toEqual([])
    expect(await account.query((db) => db.selectFrom('nat_gateways').selectAll().execute())).toHaveLength(1)
  })
})

describe('describeNatGateways', () => {
  it('knows every documented filter', async () => {
    const { NatGatewayId } = await create({ TagSpecifications: [{ ResourceType: 'natgateway', Tags: [{ Key: 'a', Value: 'b' }] }] })
    await createPrivate()
    const by = async (Name: string, value: string) => (await list({ Filter: [{ Name, Values: [value] }] })).map((each) => each.NatGatewayId)
    for (const name of DOCUMENTED_FILTERS.DescribeNatGateways) expect(await by(name, 'nothing-has-this'), name).toEqual([])
    for (const [name, value] of [['nat-gateway-id', NatGatewayId], ['tag:a', 'b'], ['tag-key', 'a']] as const) {
      expect(await by(name, value), name).toEqual([NatGatewayId])
    }
    for (const [name, value] of [['subnet-id', SubnetId], ['vpc-id', account.defaultVpcId], ['state', 'pending']] as const) {
      expect(await by(name, value), name).toHaveLength(2)
    }
  })

  it('answers in pages, oldest first', async () => {
    const made = ['', '', '', '', '']
    for (const index of made.keys()) made[index] = (await createPrivate()).NatGatewayId
    made.push((await create({ SubnetId: (await account.query((db) => db.selectFrom('subnets').select('subnet_id')
      .where('vpc_id', '=', account.defaultVpcId).where('zone', '=', 'us-east-1b').executeTakeFirstOrThrow())).subnet_id })).NatGatewayId)
    const first = await account.call(describeNatGateways, { MaxResults: 5 })
    expect(first.NatGateways?.map((each) => each.NatGatewayId)).toEqual(made.slice(0, 5))
    expect((await list({ NextToken: first.NextToken })).map((each) => each.NatGatewayId)).toEqual(made.slice(5))
  })
})
