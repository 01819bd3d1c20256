import {
  AssociateRouteTableCommand, AttachInternetGatewayCommand, CreateDefaultVpcCommand, CreateInternetGatewayCommand, CreateRouteCommand,
  CreateRouteTableCommand, CreateSecurityGroupCommand, CreateSubnetCommand, CreateVpcCommand, CreateVpcPeeringConnectionCommand,
  AcceptVpcPeeringConnectionCommand, DeleteInternetGatewayCommand, DeleteRouteTableCommand, DeleteSecurityGroupCommand,
  DeleteSubnetCommand, DeleteVpcCommand, DescribeInternetGatewaysCommand, DescribeRouteTablesCommand, DescribeSubnetsCommand,
  DescribeVpcAttributeCommand, DescribeVpcPeeringConnectionsCommand, DescribeVpcsCommand, DetachInternetGatewayCommand,
  DisassociateRouteTableCommand, ModifySubnetAttributeCommand, ModifyVpcAttributeCommand, ReplaceRouteCommand, RunInstancesCommand,
  TerminateInstancesCommand, waitUntilSubnetAvailable, waitUntilVpcAvailable,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
beforeAll(async () => {
  cloud = await startTestCloud()
})
afterAll(() => cloud.close())

const failure = (name: string, message: string) =>
  expect.objectContaining({ name, message: expect.stringContaining(message) })

/** What the network has in force for the VPC. */
const inForce = (vpcId: string) => cloud.host.network.vpcs.get(vpcId)

async function addVpc(CidrBlock: string): Promise<string> {
  const { Vpc: vpc } = await cloud.ec2.send(new CreateVpcCommand({
    CidrBlock, InstanceTenancy: 'default', AmazonProvidedIpv6CidrBlock: false,
    TagSpecifications: [{ ResourceType: 'vpc', Tags: [{ Key: 'Name', Value: CidrBlock }] }],
  }))
  const VpcId = vpc?.VpcId ?? ''
  await waitUntilVpcAvailable({ client: cloud.ec2, maxWaitTime: 20 }, { VpcIds: [VpcId] })
  return VpcId
}

async function addSubnet(VpcId: string, CidrBlock: string): Promise<string> {
  const { Subnet: subnet } = await cloud.ec2.send(new CreateSubnetCommand({ VpcId, CidrBlock }))
  await waitUntilSubnetAvailable({ client: cloud.ec2, maxWaitTime: 20 }, { SubnetIds: [subnet?.SubnetId ?? ''] })
  return subnet?.SubnetId ?? ''
}

describe('a VPC as Terraform makes it and takes it down', () => {
  let vpcId: string
  let publicId: string
  let privateId: string
  let gatewayId: string
  let tableId: string
  let associationId: string
  let groupId: string
  let instanceId: string
  const table = async () =>
    (await cloud.ec2.send(new DescribeRouteTablesCommand({ RouteTableIds: [tableId] }))).RouteTables?.[0]

  test('has its attributes set and read', async () => {
    vpcId = await addVpc('10.0.0.0/16')
    await cloud.ec2.send(new ModifyVpcAttributeCommand({ VpcId: vpcId, EnableDnsHostnames: { Value: true } }))
    const { EnableDnsHostnames: hostnames } =
      await cloud.ec2.send(new DescribeVpcAttributeCommand({ VpcId: vpcId, Attribute: 'enableDnsHostnames' }))
    expect(hostnames).toEqual({ Value: true })
    const main = await cloud.ec2.send(new DescribeRouteTablesCommand({
      Filters: [{ Name: 'association.main', Values: ['true'] }, { Name: 'vpc-id', Values: [vpcId] }],
    }))
    expect(main.RouteTables).toHaveLength(1)
  })

  test('gets a public and a private subnet, a gateway and a table with a route to it', async () => {
    publicId = await addSubnet(vpcId, '10.0.1.0/24')
    privateId = await addSubnet(vpcId, '10.0.2.0/24')
    await cloud.ec2.send(new ModifySubnetAttributeCommand({ SubnetId: publicId, MapPublicIpOnLaunch: { Value: true } }))
    const { InternetGateway: gateway } = await cloud.ec2.send(new CreateInternetGatewayCommand({}))
    gatewayId = gateway?.InternetGatewayId ?? ''
    await cloud.ec2.send(new AttachInternetGatewayCommand({ InternetGatewayId: gatewayId, VpcId: vpcId }))
    const { RouteTable: made } = await cloud.ec2.send(new CreateRouteTableCommand({ VpcId: vpcId, ClientToken: 'terraform-1' }))
    tableId = made?.RouteTableId ?? ''
    await cloud.ec2.send(new CreateRouteCommand({ RouteTableId: tableId, DestinationCidrBlock: '0.0.0.0/0', GatewayId: gatewayId }))
    const associated = await cloud.ec2.send(new AssociateRouteTableCommand({ RouteTableId: tableId, SubnetId: publicId }))
    associationId = associated.AssociationId ?? ''
    expect(associated.AssociationState).toEqual({ State: 'associated' })
    expect(await table()).toMatchObject({
      Associations: [{ SubnetId: publicId, Main: false, RouteTableAssociationId: associationId }],
      Routes: [
        { DestinationCidrBlock: '10.0.0.0/16', GatewayId: 'local', State: 'active' },
        { DestinationCidrBlock: '0.0.0.0/0', GatewayId: gatewayId, State: 'active' },
      ],
    })
  })

  test('runs an instance, for which the network knows subnets, tables and routes', async () => {
    const group = await cloud.ec2.send(new CreateSecurityGroupCommand({ GroupName: 'web', Description: 'web', VpcId: vpcId }))
    groupId = group.GroupId ?? ''
    const { Instances: [instance] = [] } = await cloud.ec2.send(new RunInstancesCommand({
      ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, SubnetId: publicId, SecurityGroupIds: [groupId],
    }))
    instanceId = instance?.InstanceId ?? ''
    const spec = inForce(vpcId)
    expect(spec?.hasInternetGateway).toBe(true)
    expect(spec?.subnets.map((subnet) => [subnet.cidr, subnet.routeTableId === tableId]).toSorted()).toEqual([['10.0.1.0/24', true], ['10.0.2.0/24', false]])
    expect(spec?.routeTables.find((each) => each.routeTableId === tableId)?.routes)
      .toEqual([{ destination: '0.0.0.0/0', target: { kind: 'internet-gateway' } }])
    const { Subnets: [subnet] = [] } = await cloud.ec2.send(new DescribeSubnetsCommand({ SubnetIds: [publicId] }))
    expect(subnet?.AvailableIpAddressCount).toBe(250)
  })

  test('puts changes in force while it runs', async () => {
    await cloud.ec2.send(new CreateRouteCommand({ RouteTableId: tableId, DestinationCidrBlock: '192.168.0.0/16', GatewayId: gatewayId }))
    await cloud.ec2.send(new ReplaceRouteCommand({ RouteTableId: tableId, DestinationCidrBlock: '192.168.0.0/16', InstanceId: instanceId }))
    const routes = inForce(vpcId)?.routeTables.find((each) => each.routeTableId === tableId)?.routes
    expect(routes?.map((route) => [route.destination, route.target.kind])).toEqual([['0.0.0.0/0', 'internet-gateway'], ['192.168.0.0/16', 'interface']])
    await cloud.ec2.send(new ModifyVpcAttributeCommand({ VpcId: vpcId, EnableDnsSupport: { Value: false } }))
    expect(inForce(vpcId)?.hasDns).toBe(false)
  })

  test('cannot be taken down in the wrong order', async () => {
    await expect(cloud.ec2.send(new DetachInternetGatewayCommand({ InternetGatewayId: gatewayId, VpcId: vpcId })))
      .rejects.toEqual(failure('DependencyViolation', `Network ${vpcId} has some mapped public address(es).`))
    await expect(cloud.ec2.send(new DeleteSubnetCommand({ SubnetId: publicId })))
      .rejects.toEqual(failure('DependencyViolation', `The subnet '${publicId}' has dependencies and cannot be deleted.`))
    await expect(cloud.ec2.send(new DeleteRouteTableCommand({ RouteTableId: tableId }))).rejects.toEqual(failure('DependencyViolation', tableId))
    await expect(cloud.ec2.send(new DeleteVpcCommand({ VpcId: vpcId }))).rejects.toEqual(failure('DependencyViolation', vpcId))
  })

  test('goes in the right one, and nothing is left', async () => {
    await cloud.ec2.send(new DisassociateRouteTableCommand({ AssociationId: associationId }))
    await cloud.ec2.send(new DeleteRouteTableCommand({ RouteTableId: tableId }))
    await expect(table()).rejects.toEqual(failure('InvalidRouteTableID.NotFound', tableId))
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instanceId] }))
    await cloud.ec2.send(new DetachInternetGatewayCommand({ InternetGatewayId: gatewayId, VpcId: vpcId }))
    await cloud.ec2.send(new DeleteInternetGatewayCommand({ InternetGatewayId: gatewayId }))
    await cloud.ec2.send(new DeleteSecurityGroupCommand({ GroupId: groupId }))
    for (const SubnetId of [publicId, privateId]) await cloud.ec2.send(new DeleteSubnetCommand({ SubnetId }))
    await cloud.ec2.send(new DeleteVpcCommand({ VpcId: vpcId }))
    await expect(cloud.ec2.send(new DescribeVpcsCommand({ VpcIds: [vpcId] }))).rejects.toEqual(failure('InvalidVpcID.NotFound', vpcId))
    expect(inForce(vpcId)).toBeUndefined()
    const slots = await cloud.store.read((db) => db.selectFrom('slots').select('owner_id').where('owner_id', '=', vpcId).execute())
    expect(slots).toEqual([])
  })
})

test('a peering links two VPCs of an account until it is deleted with one of them', async () => {
  const [one, other] = [await addVpc('10.1.0.0/16'), await addVpc('10.2.0.0/16')]
  const subnets = [await addSubnet(one, '10.1.0.0/24'), await addSubnet(other, '10.2.0.0/24')]
  const instances: string[] = []
  for (const SubnetId of subnets) {
    const { Instances: [instance] = [] } = await cloud.ec2.send(new RunInstancesCommand({
      ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, SubnetId,
    }))
    instances.push(instance?.InstanceId ?? '')
  }
  const { VpcPeeringConnection: asked } = await cloud.ec2.send(new CreateVpcPeeringConnectionCommand({ VpcId: one, PeerVpcId: other }))
  const VpcPeeringConnectionId = asked?.VpcPeeringConnectionId ?? ''
  expect(inForce(one)?.peerings).toEqual([])
  await cloud.ec2.send(new AcceptVpcPeeringConnectionCommand({ VpcPeeringConnectionId }))
  expect(inForce(one)?.peerings).toMatchObject([{ peeringId: VpcPeeringConnectionId, peerVpcId: other, peerCidrs: ['10.2.0.0/16'], side: 'requester' }])
  expect(inForce(other)?.peerings).toMatchObject([{ peeringId: VpcPeeringConnectionId, peerVpcId: one, side: 'accepter' }])
  await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: instances }))
  for (const SubnetId of subnets) await cloud.ec2.send(new DeleteSubnetCommand({ SubnetId }))
  for (const VpcId of [one, other]) await cloud.ec2.send(new DeleteVpcCommand({ VpcId }))
  const { VpcPeeringConnections: [ended] = [] } =
    await cloud.ec2.send(new DescribeVpcPeeringConnectionsCommand({ VpcPeeringConnectionIds: [VpcPeeringConnectionId] }))
  expect(ended?.Status?.Code).toBe('deleted')
  const slots = await cloud.store.read((db) => db.selectFrom('slots').select('owner_id').where('kind', '=', 'vpc').execute())
  expect(slots.map((slot) => slot.owner_id)).not.toEqual(expect.arrayContaining([VpcPeeringConnectionId]))
})

test('the default VPC can be deleted, without which launches must name a subnet, and made again', async () => {
  const { Vpcs: [vpc] = [] } = await cloud.ec2.send(new DescribeVpcsCommand({ Filters: [{ Name: 'is-default', Values: ['true'] }] }))
  const VpcId = vpc?.VpcId ?? ''
  const { Subnets: subnets = [] } = await cloud.ec2.send(new DescribeSubnetsCommand({ Filters: [{ Name: 'vpc-id', Values: [VpcId] }] }))
  for (const { SubnetId } of subnets) await cloud.ec2.send(new DeleteSubnetCommand({ SubnetId }))
  const { InternetGateways: [gateway] = [] } =
    await cloud.ec2.send(new DescribeInternetGatewaysCommand({ Filters: [{ Name: 'attachment.vpc-id', Values: [VpcId] }] }))
  await cloud.ec2.send(new DetachInternetGatewayCommand({ InternetGatewayId: gateway?.InternetGatewayId, VpcId }))
  await cloud.ec2.send(new DeleteInternetGatewayCommand({ InternetGatewayId: gateway?.InternetGatewayId }))
  await cloud.ec2.send(new DeleteVpcCommand({ VpcId }))
  const launch = async () => cloud.ec2.send(new RunInstancesCommand({ ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1 }))
  await expect(launch()).rejects.toThrow()
  await cloud.ec2.send(new CreateDefaultVpcCommand({}))
  const { Instances: [instance] = [] } = await launch()
  expect(instance?.PrivateIpAddress).toMatch(/^172\.31\./)
})
