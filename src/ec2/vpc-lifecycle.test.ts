import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HOST_ID, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { openRoutingLab, type RoutingLab } from '../../test/support/routing-lab.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { createDefaultSubnet, createDefaultVpc } from './default-vpc.ts'
import { deleteSubnet } from './delete-subnet.ts'
import { deleteVpc } from './delete-vpc.ts'
import { createVpc } from './create-vpc.ts'
import { attachInternetGateway, createInternetGateway, deleteInternetGateway, describeInternetGateways, detachInternetGateway } from './internet-gateways.ts'
import { createRouteTable, describeRouteTables } from './route-tables.ts'
import { createSecurityGroup, describeSecurityGroups } from './security-groups.ts'
import { describeSubnets } from './subnets.ts'
import { describeTags } from './tags.ts'
import { describeVpcAttribute, modifyVpcAttribute, modifyVpcTenancy } from './vpc-attributes.ts'
import { associateVpcCidrBlock, disassociateVpcCidrBlock } from './vpc-cidrs.ts'
import { createRoute } from './routes.ts'
import { describeVpcs } from './vpcs.ts'

let lab: RoutingLab
beforeEach(async () => {
  lab = await openRoutingLab()
})
afterEach(() => lab.store.close())

const show = async (vpcId: string) => (await lab.call(describeVpcs, { VpcIds: [vpcId] })).Vpcs?.[0]
const inVpc = (vpcId: string) => ({ Filters: [{ Name: 'vpc-id', Values: [vpcId] }] })
const defaultVpc = async () =>
  (await lab.call(describeVpcs, { Filters: [{ Name: 'is-default', Values: ['true'] }] })).Vpcs?.[0]?.VpcId ?? ''

describe('CreateVpc', () => {
  it('makes a VPC with its main route table, default network ACL and default security group', async () => {
    const vpcId = await lab.addVpc('10.7.0.9/16', { TagSpecifications: [{ ResourceType: 'vpc', Tags: [{ Key: 'Name', Value: 'lab' }] }] })
    expect(await show(vpcId)).toMatchObject({
      State: 'available', CidrBlock: '10.7.0.0/16', IsDefault: false, OwnerId: DEFAULT_ACCOUNT, Tags: [{ Key: 'Name', Value: 'lab' }],
      DhcpOptionsId: (await show(await defaultVpc()))?.DhcpOptionsId,
    })
    const { RouteTables: tables } = await lab.call(describeRouteTables, inVpc(vpcId))
    expect(tables).toMatchObject([{
      Associations: [{ Main: true, AssociationState: { State: 'associated' } }],
      Routes: [{ DestinationCidrBlock: '10.7.0.0/16', GatewayId: 'local', Origin: 'CreateRouteTable', State: 'active' }],
    }])
    const { SecurityGroups: groups } = await lab.call(describeSecurityGroups, inVpc(vpcId))
    expect(groups).toMatchObject([{
      GroupName: 'default', Description: 'default VPC security group',
      IpPermissions: [{ IpProtocol: '-1', UserIdGroupPairs: [{ GroupId: groups?.[0]?.GroupId }] }],
      IpPermissionsEgress: [{ IpProtocol: '-1', IpRanges: [{ CidrIp: '0.0.0.0/0' }] }],
    }])
    const acls = await lab.query((db) => db.selectFrom('network_acls').select('is_default').where('vpc_id', '=', vpcId).execute())
    expect(acls).toEqual([{ is_default: 1 }])
  })

  it('answers that the VPC is pending', async () => {
    expect((await lab.call(createVpc, { CidrBlock: '10.0.0.0/28', InstanceTenancy: 'default' })).Vpc?.State).toBe('pending')
  })

  it.each([
    [{}, 'MissingParameter: The request must contain the parameter cidrBlock'],
    [{ CidrBlock: '10.0.0.0' }, 'InvalidParameterValue: Value (10.0.0.0) for parameter cidrBlock is invalid. This is not a valid CIDR block.'],
    [{ CidrBlock: '10.0.0.0/15' }, "InvalidVpc.Range: The CIDR '10.0.0.0/15' is invalid."],
    [{ CidrBlock: '10.0.0.0/29' }, "InvalidVpc.Range: The CIDR '10.0.0.0/29' is invalid."],
    [{ CidrBlock: '127.0.0.0/16' }, "InvalidVpc.Range: The CIDR '127.0.0.0/16' is invalid."],
    [{ CidrBlock: '10.0.0.0/16', InstanceTenancy: 'host' as const }, /^InvalidParameterValue/],
    [{ CidrBlock: '10.0.0.0/16', AmazonProvidedIpv6CidrBlock: true }, /^UnsupportedOperation/],
  ])('refuses %o', async (input, failure) => {
    expect(await lab.failure(createVpc, input)).toMatch(failure)
  })

  it('stops at five VPCs, for each account', async () => {
    for (let n = 1; n < 5; n++) await lab.addVpc(`10.${n}.0.0/16`)
    expect(await lab.failure(createVpc, { CidrBlock: '10.9.0.0/16' })).toBe('VpcLimitExceeded: The maximum number of VPCs has been reached.')
    await lab.addVpc('10.9.0.0/16', {}, OTHER_ACCOUNT)
  })
})

describe('DeleteVpc', () => {
  it('takes along what the VPC came with, and its tags', async () => {
    const vpcId = await lab.addVpc('10.0.0.0/16', { TagSpecifications: [{ ResourceType: 'vpc', Tags: [{ Key: 'a', Value: 'b' }] }] })
    await lab.query((db) => db.insertInto('slots').values({ host_id: HOST_ID, kind: 'vpc', slot: 7, owner_id: vpcId }).execute())
    await lab.takeWork()
    await lab.call(deleteVpc, { VpcId: vpcId })
    expect(await lab.failure(describeVpcs, { VpcIds: [vpcId] })).toBe(`InvalidVpcID.NotFound: The vpc ID '${vpcId}' does not exist`)
    expect((await lab.call(describeSecurityGroups, inVpc(vpcId))).SecurityGroups).toEqual([])
    expect((await lab.call(describeRouteTables, inVpc(vpcId))).RouteTables).toEqual([])
    expect((await lab.call(describeTags, {})).Tags).toEqual([])
    // The host that has a network of it must take that down.
    expect(await lab.takeWork()).toEqual([`vpc ${vpcId}`])
  })

  it.each([
    ['a subnet', async (vpcId: string) => void await lab.addSubnet(vpcId, '10.0.0.0/24')],
    ['a route table', async (vpcId: string) => void await lab.call(createRouteTable, { VpcId: vpcId })],
    ['a security group', async (VpcId: string) =>
      void await lab.call(createSecurityGroup, { GroupName: 'web', Description: 'web', VpcId })],
    ['an internet gateway', async (VpcId: string) => {
      const { InternetGateway: gateway } = await lab.call(createInternetGateway, {})
      await lab.call(attachInternetGateway, { VpcId, InternetGatewayId: gateway?.InternetGatewayId })
    }],
  ])('refuses while there is %s', async (_, add) => {
    const vpcId = await lab.addVpc('10.0.0.0/16')
    await add(vpcId)
    expect(await lab.failure(deleteVpc, { VpcId: vpcId }))
      .toBe(`DependencyViolation: The vpc '${vpcId}' has dependencies and cannot be deleted.`)
    expect(await show(vpcId)).toBeDefined()
  })

  it('does not know the VPCs of others', async () => {
    const foreign = await lab.addVpc('10.0.0.0/16', {}, OTHER_ACCOUNT)
    expect(await lab.failure(deleteVpc, { VpcId: foreign })).toMatch(/^InvalidVpcID.NotFound/)
  })
})

describe('the default VPC', () => {
  const deleteDefault = async () => {
    const vpcId = await defaultVpc()
    for (const subnet of (await lab.call(describeSubnets, {})).Subnets ?? []) await lab.call(deleteSubnet, { SubnetId: subnet.SubnetId })
    const { InternetGateways: [gateway] = [] } = await lab.call(describeInternetGateways, {})
    const { InternetGatewayId } = gateway ?? {}
    await lab.call(detachInternetGateway, { InternetGatewayId, VpcId: vpcId })
    await lab.call(deleteInternetGateway, { InternetGatewayId })
    await lab.call(deleteVpc, { VpcId: vpcId })
  }

  it('can be deleted and made again, with subnets, internet gateway and route', async () => {
    expect(await lab.failure(createDefaultVpc, {}))
      .toBe('DefaultVpcAlreadyExists: A Default VPC already exists for this account in this region.')
    await deleteDefault()
    expect(await lab.failure(createDefaultSubnet, { AvailabilityZone: 'us-east-1a' }))
      .toBe('DefaultVpcDoesNotExist: No default VPC exists for this account in this region.')
    const { Vpc: vpc } = await lab.call(createDefaultVpc, {})
    expect(vpc).toMatchObject({ CidrBlock: '172.31.0.0/16', IsDefault: true })
    const { Subnets: subnets = [] } = await lab.call(describeSubnets, {})
    expect(subnets.map((subnet) => [subnet.AvailabilityZone, subnet.DefaultForAz, subnet.MapPublicIpOnLaunch])).toEqual([
      ['us-east-1a', true, true], ['us-east-1b', true, true], ['us-east-1c', true, true],
    ])
    const { RouteTables: tables } = await lab.call(describeRouteTables, {})
    expect(tables?.[0]?.Routes?.map((route) => [route.DestinationCidrBlock, route.State])).toEqual([
      ['172.31.0.0/16', 'active'], ['0.0.0.0/0', 'active'],
    ])
  })

  it('gets the default subnet of a zone again, where there is room', async () => {
    const [first, second] = (await lab.call(describeSubnets, {})).Subnets ?? []
    expect(await lab.failure(createDefaultSubnet, { AvailabilityZoneId: 'use1-az1' }))
      .toBe(`DefaultSubnetAlreadyExistsInAvailabilityZone: '${first?.SubnetId}' is already the default subnet in us-east-1a.`)
    await lab.call(deleteSubnet, { SubnetId: second?.SubnetId })
    await lab.addInstance(first?.SubnetId ?? '', '172.31.0.10')
    const { Subnet: again } = await lab.call(createDefaultSubnet, { AvailabilityZone: 'us-east-1b' })
    expect(again).toMatchObject({
      CidrBlock: '172.31.16.0/20', AvailabilityZone: 'us-east-1b', DefaultForAz: true, MapPublicIpOnLaunch: true,
      AvailableIpAddressCount: 4091,
    })
    expect(await lab.takeWork()).toEqual([`vpc ${again?.VpcId}`])
    expect(await lab.failure(createDefaultSubnet, {})).toMatch(/^MissingParameter/)
    expect(await lab.failure(createDefaultSubnet, { AvailabilityZone: 'us-east-1x' })).toMatch(/^InvalidParameterValue: Value \(us-east-1x\)/)
  })
})

describe('ModifyVpcAttribute', () => {
  const attribute = async (VpcId: string, Attribute: 'enableDnsSupport' | 'enableDnsHostnames') => {
    const answer = await lab.call(describeVpcAttribute, { VpcId, Attribute })
    return answer.EnableDnsSupport?.Value ?? answer.EnableDnsHostnames?.Value
  }

  it('switches names and the resolver, which differ between the default VPC and others', async () => {
    const vpcId = await lab.addVpc('10.0.0.0/16')
    expect([await attribute(vpcId, 'enableDnsSupport'), await attribute(vpcId, 'enableDnsHostnames')]).toEqual([true, false])
    expect(await attribute(await defaultVpc(), 'enableDnsHostnames')).toBe(true)
    await lab.call(modifyVpcAttribute, { VpcId: vpcId, EnableDnsHostnames: { Value: true } })
    await lab.call(modifyVpcAttribute, { VpcId: vpcId, EnableDnsSupport: { Value: false } })
    expect([await attribute(vpcId, 'enableDnsSupport'), await attribute(vpcId, 'enableDnsHostnames')]).toEqual([false, true])
    expect(await lab.failure(modifyVpcAttribute, { VpcId: vpcId, EnableDnsHostnames: { Value: true } })).toMatch(/^InvalidParameterValue/)
  })

  it('wakes the network where something of the VPC runs', async () => {
    const vpcId = await lab.addVpc('10.0.0.0/16')
    await lab.addInstance(await lab.addSubnet(vpcId, '10.0.0.0/24'), '10.0.0.10')
    await lab.takeWork()
    await lab.call(modifyVpcAttribute, { VpcId: vpcId, EnableDnsSupport: { Value: false } })
    expect(await lab.takeWork()).toEqual([`vpc ${vpcId}`])
  })

  it('takes one attribute a call', async () => {
    const VpcId = await defaultVpc()
    const on = { Value: true }
    expect(await lab.failure(modifyVpcAttribute, { VpcId })).toMatch(/^MissingParameter/)
    expect(await lab.failure(modifyVpcAttribute, { VpcId, EnableDnsSupport: on, EnableDnsHostnames: on })).toMatch(/^InvalidParameterCombination/)
    expect(await lab.failure(modifyVpcAttribute, { VpcId, EnableNetworkAddressUsageMetrics: on })).toMatch(/^UnsupportedOperation/)
    await lab.call(modifyVpcAttribute, { VpcId, EnableNetworkAddressUsageMetrics: { Value: false } })
  })

  it('and tenancy goes back from dedicated to the default, and nowhere else', async () => {
    const VpcId = (await lab.call(createVpc, { CidrBlock: '10.0.0.0/16', InstanceTenancy: 'dedicated' })).Vpc?.VpcId
    const tenancy = async () => (await lab.call(describeVpcs, { VpcIds: [VpcId ?? ''] })).Vpcs?.[0]?.InstanceTenancy
    expect(await tenancy()).toBe('dedicated')
    expect(await lab.call(modifyVpcTenancy, { VpcId, InstanceTenancy: 'default' })).toEqual({ ReturnValue: true })
    expect(await tenancy()).toBe('default')
    expect(await lab.failure(modifyVpcTenancy, { VpcId, InstanceTenancy: 'dedicated' as 'default' })).toMatch(/^InvalidParameterValue/)
  })
})

describe('blocks beside the primary one', () => {
  it('are shown, are local in every route table, and take subnets', async () => {
    const vpcId = await lab.addVpc('10.0.0.0/16')
    const { CidrBlockAssociation: made } = await lab.call(associateVpcCidrBlock, { VpcId: vpcId, CidrBlock: '10.1.0.7/16' })
    expect(made).toMatchObject({ CidrBlock: '10.1.0.0/16', CidrBlockState: { State: 'associating' } })
    expect((await show(vpcId))?.CidrBlockAssociationSet?.map((each) => [each.CidrBlock, each.CidrBlockState?.State]))
      .toEqual([['10.0.0.0/16', 'associated'], ['10.1.0.0/16', 'associated']])
    const found = await lab.call(describeVpcs, { Filters: [{ Name: 'cidr-block-association.cidr-block', Values: ['10.1.*'] }] })
    expect(found.Vpcs).toHaveLength(1)
    const { RouteTables: tables } = await lab.call(describeRouteTables, inVpc(vpcId))
    expect(tables?.[0]?.Routes?.map((route) => route.GatewayId)).toEqual(['local', 'local'])
    const subnetId = await lab.addSubnet(vpcId, '10.1.0.0/24')
    const AssociationId = made?.AssociationId
    expect(await lab.failure(disassociateVpcCidrBlock, { AssociationId })).toMatch(/^DependencyViolation/)
    await lab.call(deleteSubnet, { SubnetId: subnetId })
    expect((await lab.call(disassociateVpcCidrBlock, { AssociationId })).CidrBlockAssociation?.CidrBlockState?.State).toBe('disassociating')
    expect((await show(vpcId))?.CidrBlockAssociationSet).toHaveLength(1)
    expect(await lab.failure(disassociateVpcCidrBlock, { AssociationId })).toBe(
      `InvalidVpcCidrBlockAssociationIdError.NotFound: The vpc CIDR block association ID '${AssociationId}' does not exist`)
  })

  it.each([
    ['10.0.0.0/16', '10.0.128.0/20', /^CidrConflict/],
    ['10.0.0.0/24', '10.0.0.0/16', /^CidrConflict/],
    ['10.5.0.0/16', '192.168.0.0/24', /^InvalidVpc.Range: The CIDR '192.168.0.0\/24' is restricted/],
    ['172.16.0.0/16', '172.31.0.0/20', /^InvalidVpc.Range/],
    ['192.168.0.0/24', '10.0.0.0/24', /^InvalidVpc.Range/],
    ['203.0.113.0/24', '10.0.0.0/24', /^InvalidVpc.Range/],
    ['10.1.0.0/16', '10.0.5.0/24', /^InvalidVpc.Range/],
    ['10.5.0.0/16', '198.19.0.0/24', /^InvalidVpc.Range/],
    ['10.5.0.0/16', '10.6.0.0/15', /^InvalidVpc.Range: The CIDR '10.6.0.0\/15' is invalid/],
    ['10.5.0.0/16', '100.64.0.0/16', /^no failure/],
    ['10.5.0.0/16', '203.0.113.0/24', /^no failure/],
    ['172.16.0.0/16', '172.20.0.0/16', /^no failure/],
  ])('of %s with %s: %s', async (first, second, failure) => {
    const VpcId = await lab.addVpc(first)
    expect(await lab.failure(associateVpcCidrBlock, { VpcId, CidrBlock: second })).toMatch(failure)
  })

  it('are five at most, the primary one among them, which cannot go', async () => {
    const VpcId = await lab.addVpc('10.5.0.0/24')
    for (let n = 1; n < 5; n++) await lab.call(associateVpcCidrBlock, { VpcId, CidrBlock: `10.5.${n}.0/24` })
    expect(await lab.failure(associateVpcCidrBlock, { VpcId, CidrBlock: '10.5.9.0/24' }))
      .toBe(`CidrLimitExceeded: This network '${VpcId}' has met its maximum number of allowed CIDRs: 5`)
    const primary = (await show(VpcId))?.CidrBlockAssociationSet?.[0]?.AssociationId
    expect(await lab.failure(disassociateVpcCidrBlock, { AssociationId: primary })).toBe(
      `OperationNotPermitted: The vpc CIDR block with association ID ${primary} may not be disassociated. It is the primary IPv4 CIDR block of the VPC`)
  })

  it('cannot hide where a route goes', async () => {
    const VpcId = await lab.addVpc('10.5.0.0/16')
    const { InternetGateway: gateway } = await lab.call(createInternetGateway, {})
    await lab.call(attachInternetGateway, { VpcId, InternetGatewayId: gateway?.InternetGatewayId })
    const { tableId } = await lab.mainTableOf(VpcId)
    await lab.call(createRoute, { RouteTableId: tableId, DestinationCidrBlock: '10.7.1.0/24', GatewayId: gateway?.InternetGatewayId })
    expect(await lab.failure(associateVpcCidrBlock, { VpcId, CidrBlock: '10.7.0.0/16' })).toMatch(/^CidrConflict.*route to 10.7.1.0\/24/)
    await lab.call(associateVpcCidrBlock, { VpcId, CidrBlock: '10.7.1.0/25' })
  })
})
