import {
  AuthorizeSecurityGroupIngressCommand, CreateNetworkInsightsPathCommand, DeleteNetworkInsightsAnalysisCommand,
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
})
