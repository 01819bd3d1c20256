import type { CreateRouteRequest, DescribeRouteTablesRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { HOST_ID, NOW_MS, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { openRoutingLab, type RoutingLab } from '../../test/support/routing-lab.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { attachInternetGateway, createInternetGateway, detachInternetGateway } from './internet-gateways.ts'
import { associateRouteTable, disassociateRouteTable, replaceRouteTableAssociation } from './route-table-associations.ts'
import { createRouteTable, deleteRouteTable, describeRouteTables } from './route-tables.ts'
import { createRoute, deleteRoute, replaceRoute } from './routes.ts'

let lab: RoutingLab
let vpcId: string
let tableId: string
beforeEach(async () => {
  lab = await openRoutingLab()
  vpcId = await lab.addVpc('10.0.0.0/16')
  tableId = await addTable()
})
afterEach(() => lab.store.close())

const addTable = async (VpcId = vpcId) => (await lab.call(createRouteTable, { VpcId })).RouteTable?.RouteTableId ?? ''
const show = async (id = tableId) => (await lab.call(describeRouteTables, { RouteTableIds: [id] })).RouteTables?.[0]
const list = async (input: DescribeRouteTablesRequest) =>
  ((await lab.call(describeRouteTables, input)).RouteTables ?? []).map((table) => table.RouteTableId)
const made = async (id = tableId) => (await show(id))?.Routes?.filter((route) => route.Origin === 'CreateRoute')
const addGateway = async (VpcId = vpcId) => {
  const id = (await lab.call(createInternetGateway, {})).InternetGateway?.InternetGatewayId ?? ''
  await lab.call(attachInternetGateway, { VpcId, InternetGatewayId: id })
  return id
}
const route = (DestinationCidrBlock: string, target: Partial<CreateRouteRequest>) =>
  ({ RouteTableId: tableId, DestinationCidrBlock, ...target })
const addNat = (state: 'available' | 'deleted' = 'available', vpc_id = vpcId) => lab.query(async (db) => {
  const nat_gateway_id = 'nat-0123456789abcdef0'
  const { subnet_id } = await db.selectFrom('subnets').select('subnet_id').executeTakeFirstOrThrow()
  await db.insertInto('nat_gateways').values({
    nat_gateway_id, account_id: DEFAULT_ACCOUNT, vpc_id, subnet_id, interface_id: null, host_id: HOST_ID,
    connectivity: 'public', state, created_ms: NOW_MS, deleted_ms: null, doc: '{}',
  }).execute()
  return nat_gateway_id
})

describe('a route table', () => {
  it('reaches its VPC, and is used by nobody at first', async () => {
    const answer = await lab.call(createRouteTable, {
      VpcId: vpcId, ClientToken: 'once', TagSpecifications: [{ ResourceType: 'route-table', Tags: [{ Key: 'a', Value: 'b' }] }],
    })
    expect(answer).toEqual({
      ClientToken: 'once',
      RouteTable: {
        RouteTableId: expect.stringMatching(/^rtb-[0-9a-f]{17}$/), VpcId: vpcId, OwnerId: DEFAULT_ACCOUNT, Associations: [],
        PropagatingVgws: [], Tags: [{ Key: 'a', Value: 'b' }],
        Routes: [{ DestinationCidrBlock: '10.0.0.0/16', GatewayId: 'local', Origin: 'CreateRouteTable', State: 'active' }],
      },
    })
    expect(await show(answer.RouteTable?.RouteTableId)).toEqual(answer.RouteTable)
  })

  it('is one for one client token, until it is deleted', async () => {
    const input = { VpcId: vpcId, ClientToken: 'once' }
    const first = await lab.call(createRouteTable, input)
    expect(await lab.call(createRouteTable, input)).toEqual(first)
    expect(await lab.failure(createRouteTable, { ...input, VpcId: await lab.addVpc('10.1.0.0/16') })).toMatch(/^IdempotentParameterMismatch/)
    await lab.call(deleteRouteTable, { RouteTableId: first.RouteTable?.RouteTableId })
    expect((await lab.call(createRouteTable, input)).RouteTable?.RouteTableId).not.toBe(first.RouteTable?.RouteTableId)
  })

  it('goes with its routes, but not while it is used, nor while it is the main one', async () => {
    await lab.call(createRoute, route('0.0.0.0/0', { GatewayId: await addGateway() }))
    await lab.call(deleteRouteTable, { RouteTableId: tableId })
    expect(await lab.failure(describeRouteTables, { RouteTableIds: [tableId] }))
      .toBe(`InvalidRouteTableID.NotFound: The routeTable ID '${tableId}' does not exist`)
    const main = await lab.mainTableOf(vpcId)
    expect(await lab.failure(deleteRouteTable, { RouteTableId: main.tableId }))
      .toBe(`DependencyViolation: The routeTable '${main.tableId}' has dependencies and cannot be deleted.`)
  })

  it("is its account's own", async () => {
    const { RouteTables: [foreign] = [] } = await lab.call(describeRouteTables, {}, OTHER_ACCOUNT)
    expect(await lab.failure(deleteRouteTable, { RouteTableId: foreign?.RouteTableId })).toMatch(/^InvalidRouteTableID.NotFound/)
    expect(await lab.failure(deleteRouteTable, { RouteTableId: 'rtb-1' })).toMatch(/^InvalidRouteTableId.Malformed/)
  })
})

describe('which table a subnet uses', () => {
  it('is its own while it is associated with one', async () => {
    const subnetId = await lab.addSubnet(vpcId, '10.0.0.0/24')
    const answer = await lab.call(associateRouteTable, { RouteTableId: tableId, SubnetId: subnetId })
    const association = {
      Main: false, RouteTableAssociationId: answer.AssociationId, RouteTableId: tableId, SubnetId: subnetId,
      AssociationState: { State: 'associated' },
    }
    expect((await show())?.Associations).toEqual([association])
    const byAssociation = { Name: 'association.route-table-association-id', Values: [answer.AssociationId ?? ''] }
    expect(await list({ Filters: [byAssociation] })).toEqual([tableId])
    expect(await lab.failure(associateRouteTable, { RouteTableId: await addTable(), SubnetId: subnetId }))
      .toMatch(/^Resource.AlreadyAssociated: the specified association for route table rtb-\w+ conflicts with an existing association$/)
    await lab.call(disassociateRouteTable, { AssociationId: answer.AssociationId })
    expect(await list({ Filters: [byAssociation] })).toEqual([])
    expect(await lab.failure(disassociateRouteTable, { AssociationId: answer.AssociationId }))
      .toBe(`InvalidAssociationID.NotFound: The association ID '${answer.AssociationId}' does not exist`)
  })

  it('can change at once', async () => {
    const subnetId = await lab.addSubnet(vpcId, '10.0.0.0/24')
    const { AssociationId } = await lab.call(associateRouteTable, { RouteTableId: tableId, SubnetId: subnetId })
    const other = await addTable()
    const { NewAssociationId } = await lab.call(replaceRouteTableAssociation, { AssociationId, RouteTableId: other })
    expect(NewAssociationId).not.toBe(AssociationId)
    expect((await show())?.Associations).toEqual([])
    expect((await show(other))?.Associations).toMatchObject([{ SubnetId: subnetId, RouteTableAssociationId: NewAssociationId }])
  })

  it('is the main one otherwise, which may become another, and is never none', async () => {
    const before = await lab.mainTableOf(vpcId)
    expect(await lab.failure(disassociateRouteTable, { AssociationId: before.associationId }))
      .toBe(`InvalidParameterValue: cannot disassociate the main route table association ${before.associationId}`)
    const { NewAssociationId } = await lab.call(replaceRouteTableAssociation, { AssociationId: before.associationId, RouteTableId: tableId })
    expect(await lab.mainTableOf(vpcId)).toEqual({ tableId, associationId: NewAssociationId })
    await lab.call(deleteRouteTable, { RouteTableId: before.tableId })
  })

  it('is one of its VPC', async () => {
    const elsewhere = await lab.addSubnet(await lab.addVpc('10.1.0.0/16'), '10.1.0.0/24')
    expect(await lab.failure(associateRouteTable, { RouteTableId: tableId, SubnetId: elsewhere }))
      .toBe(`InvalidParameterValue: Route table ${tableId} and subnet ${elsewhere} belong to different networks`)
    expect(await lab.failure(associateRouteTable, { RouteTableId: tableId, GatewayId: 'igw-1' })).toMatch(/^UnsupportedOperation/)
    expect(await lab.failure(associateRouteTable, { RouteTableId: tableId })).toMatch(/^MissingParameter/)
  })

  it('is told to the network', async () => {
    const subnetId = await lab.addSubnet(vpcId, '10.0.0.0/24')
    await lab.addInstance(subnetId, '10.0.0.10')
    await lab.takeWork()
    await lab.call(associateRouteTable, { RouteTableId: tableId, SubnetId: subnetId })
    expect(await lab.takeWork()).toEqual([`vpc ${vpcId}`])
  })
})

describe('a route', () => {
  it('goes to an internet gateway, and nowhere while that is detached', async () => {
    const GatewayId = await addGateway()
    expect(await lab.call(createRoute, route('0.0.0.0/0', { GatewayId }))).toEqual({ Return: true })
    const shown = { DestinationCidrBlock: '0.0.0.0/0', GatewayId, Origin: 'CreateRoute' }
    expect(await made()).toEqual([{ ...shown, State: 'active' }])
    await lab.call(detachInternetGateway, { InternetGatewayId: GatewayId, VpcId: vpcId })
    expect(await made()).toEqual([{ ...shown, State: 'blackhole' }])
  })

  it('goes to a NAT gateway until that is deleted', async () => {
    const NatGatewayId = await addNat()
    await lab.call(createRoute, route('0.0.0.0/0', { NatGatewayId }))
    expect(await made()).toMatchObject([{ NatGatewayId, State: 'active' }])
    await lab.query((db) => db.updateTable('nat_gateways').set({ state: 'deleted' }).execute())
    expect(await made()).toMatchObject([{ NatGatewayId, State: 'blackhole' }])
    expect(await lab.failure(createRoute, route('10.9.0.0/16', { NatGatewayId })))
      .toBe(`InvalidNatGatewayID.NotFound: The natGateway ID '${NatGatewayId}' does not exist`)
  })

  it('goes to an instance by its one interface, while it runs', async () => {
    const { instanceId, interfaceId } = await lab.addInstance(await lab.addSubnet(vpcId, '10.0.0.0/24'), '10.0.0.10')
    await lab.call(createRoute, route('192.168.7.9/16', { InstanceId: instanceId }))
    const shown = {
      DestinationCidrBlock: '192.168.0.0/16', NetworkInterfaceId: interfaceId, InstanceId: instanceId, InstanceOwnerId: DEFAULT_ACCOUNT,
      Origin: 'CreateRoute',
    }
    expect(await made()).toEqual([{ ...shown, State: 'active' }])
    await lab.query((db) => db.updateTable('interfaces').set({ wanted: 0 }).where('interface_id', '=', interfaceId).execute())
    expect(await made()).toEqual([{ ...shown, State: 'blackhole' }])
  })

  it('cannot guess which of several interfaces is meant', async () => {
    const subnetId = await lab.addSubnet(vpcId, '10.0.0.0/24')
    const [one, other] = [await lab.addInstance(subnetId, '10.0.0.10'), await lab.addInstance(subnetId, '10.0.0.11')]
    await lab.query((db) => db
      .updateTable('interfaces').set({ instance_id: one.instanceId, device_index: 1 }).where('interface_id', '=', other.interfaceId).execute())
    expect(await lab.failure(createRoute, route('0.0.0.0/0', { InstanceId: one.instanceId }))).toBe('InvalidInstanceID: There are ' +
      `multiple interfaces attached to instance '${one.instanceId}'. Please specify an interface ID for the operation instead.`)
    await lab.call(createRoute, route('0.0.0.0/0', { NetworkInterfaceId: other.interfaceId }))
  })

  it('may have a prefix list for its destination', async () => {
    const GatewayId = await addGateway()
    const DestinationPrefixListId = 'pl-0123456789abcdef0'
    const input = { RouteTableId: tableId, DestinationPrefixListId, GatewayId }
    expect(await lab.failure(createRoute, input))
      .toBe(`InvalidPrefixListID.NotFound: The prefix list ID '${DestinationPrefixListId}' does not exist`)
    await lab.query((db) => db.insertInto('prefix_lists').values({
      prefix_list_id: DestinationPrefixListId, account_id: DEFAULT_ACCOUNT, name: 'partners', address_family: 'IPv4', max_entries: 400,
      version: 1, state: 'create-complete', created_ms: NOW_MS,
    }).execute())
    await lab.call(createRoute, input)
    expect(await made()).toEqual([{ DestinationPrefixListId, GatewayId, Origin: 'CreateRoute', State: 'active' }])
    expect(await list({ Filters: [{ Name: 'route.destination-prefix-list-id', Values: [DestinationPrefixListId] }] })).toEqual([tableId])
    await lab.call(deleteRoute, { RouteTableId: tableId, DestinationPrefixListId })
    expect(await lab.failure(deleteRoute, { RouteTableId: tableId, DestinationPrefixListId })).toBe(
      `InvalidRoute.NotFound: no route with destination-prefix-list-id ${DestinationPrefixListId} in route table ${tableId}`)
  })

  it('has one target, which another can replace', async () => {
    const GatewayId = await addGateway()
    await lab.call(createRoute, route('0.0.0.0/0', { GatewayId }))
    expect(await lab.failure(createRoute, route('0.0.0.0/0', { GatewayId })))
      .toBe('RouteAlreadyExists: The route identified by 0.0.0.0/0 already exists.')
    const NatGatewayId = await addNat()
    await lab.call(replaceRoute, route('0.0.0.0/0', { NatGatewayId }))
    expect(await made()).toMatchObject([{ NatGatewayId }])
    expect(await lab.failure(replaceRoute, route('10.9.0.0/16', { NatGatewayId }))).toBe(
      "InvalidParameterValue: There is no route defined for '10.9.0.0/16' in the route table. Use CreateRoute instead.")
  })

  it('is deleted by its destination, in whatever form', async () => {
    await lab.call(createRoute, route('192.168.1.0/24', { GatewayId: await addGateway() }))
    await lab.call(deleteRoute, route('192.168.1.77/24', {}))
    expect(await made()).toEqual([])
    expect(await lab.failure(deleteRoute, route('192.168.1.0/24', {})))
      .toBe(`InvalidRoute.NotFound: no route with destination-cidr-block 192.168.1.0/24 in route table ${tableId}`)
    expect(await lab.failure(deleteRoute, route('10.0.0.0/16', {})))
      .toBe(`InvalidParameterValue: cannot remove local route 10.0.0.0/16 in route table ${tableId}`)
  })

  it('leaves what is local alone', async () => {
    const GatewayId = await addGateway()
    for (const block of ['10.0.0.0/16', '10.0.5.0/24']) {
      expect(await lab.failure(createRoute, route(block, { GatewayId }))).toBe(`InvalidParameterValue: The destination CIDR block ${block} ` +
        "is equal to or more specific than one of this VPC's CIDR blocks. This route can target only an interface or an instance.")
    }
    const { interfaceId: NetworkInterfaceId } = await lab.addInstance(await lab.addSubnet(vpcId, '10.0.0.0/24'), '10.0.0.10')
    expect(await lab.failure(createRoute, route('10.0.0.0/16', { NetworkInterfaceId }))).toMatch(/^RouteAlreadyExists/)
    expect(await lab.failure(createRoute, route('10.0.5.0/24', { NetworkInterfaceId }))).toMatch(/^UnsupportedOperation/)
    expect(await lab.failure(replaceRoute, route('10.0.0.0/16', { NetworkInterfaceId }))).toMatch(/^UnsupportedOperation/)
    expect(await lab.call(replaceRoute, { ...route('10.0.0.0/16', {}), LocalTarget: true })).toEqual({})
    expect(await lab.failure(createRoute, route('169.254.169.254/32', { GatewayId }))).toMatch(/^InvalidParameterValue/)
    await lab.call(createRoute, route('10.0.0.0/8', { GatewayId }))
  })

  it.each<[string, Partial<CreateRouteRequest>, RegExp]>([
    ['0.0.0.0/0', {}, /^MissingParameter/],
    ['', { GatewayId: 'igw-0123456789abcdef0' }, /^MissingParameter/],
    ['10.9.0.0', { GatewayId: 'igw-0123456789abcdef0' }, /^InvalidParameterValue: Value \(10.9.0.0\) for parameter destinationCidrBlock/],
    ['0.0.0.0/0', { GatewayId: 'igw-0123456789abcdef0' }, /^InvalidInternetGatewayID.NotFound/],
    ['0.0.0.0/0', { GatewayId: 'nat-0123456789abcdef0' }, /^InvalidGatewayID.NotFound: The gateway ID 'nat-0123456789abcdef0' does not exist/],
    ['0.0.0.0/0', { GatewayId: 'vgw-0123456789abcdef0' }, /^UnsupportedOperation/],
    ['0.0.0.0/0', { TransitGatewayId: 'tgw-0123456789abcdef0' }, /^UnsupportedOperation/],
    ['0.0.0.0/0', { NetworkInterfaceId: 'eni-0123456789abcdef0' }, /^InvalidNetworkInterfaceID.NotFound/],
    ['0.0.0.0/0', { InstanceId: 'i-0123456789abcdef0' }, /^InvalidInstanceID.NotFound/],
    ['0.0.0.0/0', { VpcPeeringConnectionId: 'pcx-0123456789abcdef0' }, /^InvalidVpcPeeringConnectionID.NotFound/],
    ['0.0.0.0/0', { NatGatewayId: 'nat-0', InstanceId: 'i-0' }, /^InvalidParameterCombination/],
    ['0.0.0.0/0', { DestinationPrefixListId: 'pl-0', NatGatewayId: 'nat-0' }, /^InvalidParameterCombination/],
    ['', { DestinationIpv6CidrBlock: '::/0', NatGatewayId: 'nat-0' }, /^UnsupportedOperation/],
  ])('to %s with %o is refused', async (destination, target, failure) => {
    expect(await lab.failure(createRoute, route(destination, target))).toMatch(failure)
  })

  it('stays within its VPC', async () => {
    const elsewhere = await lab.addVpc('10.1.0.0/16')
    const GatewayId = await addGateway(elsewhere)
    expect(await lab.failure(createRoute, route('0.0.0.0/0', { GatewayId })))
      .toBe(`InvalidParameterValue: route table ${tableId} and network gateway ${GatewayId} belong to different networks`)
    const { interfaceId } = await lab.addInstance(await lab.addSubnet(elsewhere, '10.1.0.0/24'), '10.1.0.10')
    expect(await lab.failure(createRoute, route('0.0.0.0/0', { NetworkInterfaceId: interfaceId })))
      .toBe(`InvalidParameterValue: route table ${tableId} and interface ${interfaceId} belong to different networks`)
  })

  it('is one of 500', async () => {
    const GatewayId = await addGateway()
    await lab.query((db) => db.insertInto('routes').values(Array.from({ length: 100 }, (_, n) => ({
      route_table_id: tableId, account_id: DEFAULT_ACCOUNT, destination: `172.16.${n}.0/24`, target_kind: 'internet-gateway' as const,
      target_id: GatewayId, created_ms: NOW_MS,
    }))).execute())
    const DestinationPrefixListId = 'pl-0123456789abcdef0'
    await lab.query((db) => db.insertInto('prefix_lists').values({
      prefix_list_id: DestinationPrefixListId, account_id: DEFAULT_ACCOUNT, name: 'many', address_family: 'IPv4', max_entries: 400,
      version: 1, state: 'create-complete', created_ms: NOW_MS,
    }).execute())
    await lab.call(createRoute, { RouteTableId: tableId, DestinationPrefixListId, GatewayId })
    expect(await lab.failure(createRoute, route('0.0.0.0/0', { GatewayId }))).toMatch(/^RouteLimitExceeded/)
  })
})

describe('DescribeRouteTables', () => {
  it.each(DOCUMENTED_FILTERS.DescribeRouteTables)('knows the filter %s', async (name) => {
    expect(await list({ Filters: [{ Name: name, Values: ['nothing'] }] })).toEqual([])
  })

  it('finds by association, route and VPC', async () => {
    const GatewayId = await addGateway()
    const subnetId = await lab.addSubnet(vpcId, '10.0.0.0/24')
    await lab.call(associateRouteTable, { RouteTableId: tableId, SubnetId: subnetId })
    await lab.call(createRoute, route('0.0.0.0/0', { GatewayId }))
    const { tableId: mainId } = await lab.mainTableOf(vpcId)
    const find = (Name: string, ...Values: string[]) => list({ Filters: [{ Name, Values }] })
    expect(await find('association.subnet-id', subnetId)).toEqual([tableId])
    expect(await find('association.route-table-id', tableId)).toEqual([tableId])
    expect(await find('association.main', 'false')).toEqual([tableId])
    expect(await find('route.gateway-id', GatewayId)).toEqual([tableId])
    expect(await find('route.destination-cidr-block', '10.0.*')).toEqual([mainId, tableId])
    expect(await find('vpc-id', vpcId)).toEqual([mainId, tableId])
    expect(await find('route-table-id', tableId)).toEqual([tableId])
    expect(await find('route.state', 'blackhole')).toEqual([])
    expect(await find('owner-id', DEFAULT_ACCOUNT)).toHaveLength(3)
    expect((await lab.call(describeRouteTables, { MaxResults: 5 })).RouteTables).toHaveLength(3)
    expect(await lab.failure(describeRouteTables, { MaxResults: 101 })).toMatch(/^InvalidParameterValue/)
  })
})
