import {
  AcceptVpcPeeringConnectionCommand, AllocateAddressCommand, AuthorizeSecurityGroupIngressCommand, CreateInternetGatewayCommand,
  AttachInternetGatewayCommand, CreateNatGatewayCommand, CreateRouteCommand, CreateRouteTableCommand, CreateSubnetCommand,
  AssociateRouteTableCommand, CreateVpcCommand, CreateVpcPeeringConnectionCommand, DescribeRouteTablesCommand,
  CreateNetworkInsightsPathCommand, DeleteNetworkInsightsAnalysisCommand,
  DeleteNetworkInsightsPathCommand, DescribeNetworkInsightsAnalysesCommand,
  DescribeNetworkInsightsPathsCommand, RunInstancesCommand, StartNetworkInsightsAnalysisCommand,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
beforeAll(async () => {
  cloud = await startTestCloud()
})
afterAll(() => cloud.close())

describe('Network Insights through the SDK', () => {
  test('an analysis names the group that lets nobody in, and finds the way once it does', async () => {
    const { Instances = [] } = await cloud.ec2.send(new RunInstancesCommand({
      ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1,
    }))
    const instance = Instances[0]!
    const { Groups } = instance.NetworkInterfaces![0]!
    const { internet_gateway_id: Source } = await cloud.store.read((db) => db
      .selectFrom('internet_gateways').select('internet_gateway_id').where('vpc_id', '=', instance.VpcId!).executeTakeFirstOrThrow())
    const { NetworkInsightsPath: path } = await cloud.ec2.send(new CreateNetworkInsightsPathCommand({
      Source, Destination: instance.InstanceId, Protocol: 'tcp', DestinationPort: 22,
    }))
    const NetworkInsightsPathId = path?.NetworkInsightsPathId
    const analyse = async () => (await cloud.ec2.send(new StartNetworkInsightsAnalysisCommand({ NetworkInsightsPathId }))).NetworkInsightsAnalysis

    const closed = await analyse()
    expect(closed).toMatchObject({
      Status: 'succeeded', NetworkPathFound: false,
      Explanations: [{ ExplanationCode: 'ENI_SG_RULES_MISMATCH', Direction: 'ingress', SecurityGroups: [{ Id: Groups?.[0]?.GroupId }] }],
    })
    await cloud.ec2.send(new AuthorizeSecurityGroupIngressCommand({
      GroupId: Groups?.[0]?.GroupId, IpPermissions: [{ IpProtocol: 'tcp', FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: '0.0.0.0/0' }] }],
    }))
    const open = await analyse()
    expect(open?.NetworkPathFound).toBe(true)
    expect(open?.ForwardPathComponents?.map((each) => each.SequenceNumber)).toEqual([1, 2, 3, 4, 5])
    expect(open?.ForwardPathComponents?.[1]).toMatchObject({ AclRule: { Egress: false, RuleAction: 'allow', RuleNumber: 100, Protocol: 'all' } })
    expect(open?.ReturnPathComponents?.at(-1)?.Component?.Id).toBe(Source)

    const listed = await cloud.ec2.send(new DescribeNetworkInsightsAnalysesCommand({
      NetworkInsightsPathId, Filters: [{ Name: 'path-found', Values: ['true'] }],
    }))
    expect(listed.NetworkInsightsAnalyses).toEqual([open])
    for (const analysis of [closed, open]) {
      await cloud.ec2.send(new DeleteNetworkInsightsAnalysisCommand({ NetworkInsightsAnalysisId: analysis?.NetworkInsightsAnalysisId }))
    }
    await cloud.ec2.send(new DeleteNetworkInsightsPathCommand({ NetworkInsightsPathId }))
    expect((await cloud.ec2.send(new DescribeNetworkInsightsPathsCommand({}))).NetworkInsightsPaths).toEqual([])
  })

  test('a dry run makes no path', async () => {
    const { internet_gateway_id: Source } = await cloud.store.read((db) =>
      db.selectFrom('internet_gateways').select('internet_gateway_id').executeTakeFirstOrThrow())
    const call = cloud.ec2.send(new CreateNetworkInsightsPathCommand({ Source, DestinationIp: '198.18.0.9', Protocol: 'udp', DryRun: true }))
    await expect(call).rejects.toMatchObject({ name: 'DryRunOperation' })
  })

  test('an analysis follows peerings and NAT gateways as the calls made them', async () => {
    const { ec2 } = cloud
    const createVpc = async (CidrBlock: string) => (await ec2.send(new CreateVpcCommand({ CidrBlock }))).Vpc?.VpcId ?? ''
    const createSubnet = async (VpcId: string, CidrBlock: string) =>
      (await ec2.send(new CreateSubnetCommand({ VpcId, CidrBlock }))).Subnet?.SubnetId ?? ''
    const mainTable = async (VpcId: string) => (await ec2.send(new DescribeRouteTablesCommand({
      Filters: [{ Name: 'vpc-id', Values: [VpcId] }, { Name: 'association.main', Values: ['true'] }],
    }))).RouteTables?.[0]?.RouteTableId
    const launch = async (SubnetId: string) => (await ec2.send(new RunInstancesCommand({
      ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, SubnetId,
    }))).Instances?.[0]
    const [near, far] = [await createVpc('10.1.0.0/16'), await createVpc('10.2.0.0/16')]
    const [a, publicSubnet, b] = [
      await createSubnet(near, '10.1.0.0/24'), await createSubnet(near, '10.1.1.0/24'), await createSubnet(far, '10.2.0.0/24'),
    ]
    const [source, destination] = [await launch(a), await launch(b)]
    const analyse = async (end: { Destination: string | undefined } | { DestinationIp: string }) => {
      const { NetworkInsightsPath: path } = await ec2.send(new CreateNetworkInsightsPathCommand({
        Source: source?.InstanceId, Protocol: 'tcp', DestinationPort: 443, ...end,
      }))
      const { NetworkInsightsAnalysis: analysis } = await ec2.send(
        new StartNetworkInsightsAnalysisCommand({ NetworkInsightsPathId: path?.NetworkInsightsPathId }))
      return {
        codes: analysis?.Explanations?.map((each) => each.ExplanationCode),
        path: analysis?.ForwardPathComponents?.map((each) => each.Component?.Id),
      }
    }
    const toPeer = { Destination: destination?.InstanceId }
    expect((await analyse(toPeer)).codes).toEqual(['NO_ROUTE_TO_DESTINATION'])

    const { VpcPeeringConnection: peering } = await ec2.send(new CreateVpcPeeringConnectionCommand({ VpcId: near, PeerVpcId: far }))
    const VpcPeeringConnectionId = peering?.VpcPeeringConnectionId
    await ec2.send(new AcceptVpcPeeringConnectionCommand({ VpcPeeringConnectionId }))
    await ec2.send(new CreateRouteCommand({ RouteTableId: await mainTable(near), DestinationCidrBlock: '10.2.0.0/16', VpcPeeringConnectionId }))
    expect((await analyse(toPeer)).codes).toEqual(['ENI_SG_RULES_MISMATCH', 'NO_ROUTE_TO_DESTINATION'])
    await ec2.send(new CreateRouteCommand({ RouteTableId: await mainTable(far), DestinationCidrBlock: '10.1.0.0/16', VpcPeeringConnectionId }))
    await ec2.send(new AuthorizeSecurityGroupIngressCommand({
      GroupId: destination?.SecurityGroups?.[0]?.GroupId,
      IpPermissions: [{ IpProtocol: '-1', UserIdGroupPairs: [{ GroupId: source?.SecurityGroups?.[0]?.GroupId }] }],
    }))
    const joined = await analyse(toPeer)
    expect(joined.codes).toEqual([])
    expect(joined.path).toContain(VpcPeeringConnectionId)

    const toWorld = { DestinationIp: '192.0.2.1' }
    const { InternetGateway: gateway } = await ec2.send(new CreateInternetGatewayCommand({}))
    const GatewayId = gateway?.InternetGatewayId
    await ec2.send(new AttachInternetGatewayCommand({ InternetGatewayId: GatewayId, VpcId: near }))
    const { RouteTable: table } = await ec2.send(new CreateRouteTableCommand({ VpcId: near }))
    await ec2.send(new AssociateRouteTableCommand({ RouteTableId: table?.RouteTableId, SubnetId: publicSubnet }))
    await ec2.send(new CreateRouteCommand({ RouteTableId: table?.RouteTableId, DestinationCidrBlock: '0.0.0.0/0', GatewayId }))
    const { AllocationId } = await ec2.send(new AllocateAddressCommand({ Domain: 'vpc' }))
    const { NatGateway: nat } = await ec2.send(new CreateNatGatewayCommand({ SubnetId: publicSubnet, AllocationId }))
    expect((await analyse(toWorld)).codes).toEqual(['NO_ROUTE_TO_DESTINATION'])
    await ec2.send(new CreateRouteCommand({
      RouteTableId: await mainTable(near), DestinationCidrBlock: '0.0.0.0/0', NatGatewayId: nat?.NatGatewayId,
    }))
    const out = await analyse(toWorld)
    expect(out.codes).toEqual([])
    expect(out.path?.filter((id) => id === nat?.NatGatewayId || id === GatewayId)).toEqual([nat?.NatGatewayId, GatewayId])
  })
})
