import {
  CreateVpcCommand, DescribeEgressOnlyInternetGatewaysCommand, DescribeIamInstanceProfileAssociationsCommand, DescribeVpcClassicLinkCommand,
  DescribeVpcClassicLinkDnsSupportCommand, DescribeVpcEndpointsCommand, DescribeVpnGatewaysCommand, GetPasswordDataCommand,
  RunInstancesCommand,
} from '@aws-sdk/client-ec2'
import { GetInstanceProfileCommand, IAMClient, ListAccountAliasesCommand, ListInstanceProfilesCommand } from '@aws-sdk/client-iam'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestCloud, TEST_KEY, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let iam: IAMClient
beforeAll(async () => {
  cloud = await startTestCloud()
  iam = new IAMClient({ endpoint: cloud.endpoint, region: 'us-east-1', credentials: TEST_KEY, maxAttempts: 1 })
})
afterAll(async () => {
  iam.destroy()
  await cloud.close()
})

describe('what clients ask for before they do something else', () => {
  it('is no link to EC2-Classic, for Ansible\'s ec2_vpc_net and ec2_vpc_net_info', async () => {
    const { Vpc: vpc } = await cloud.ec2.send(new CreateVpcCommand({
      CidrBlock: '10.9.0.0/16', TagSpecifications: [{ ResourceType: 'vpc', Tags: [{ Key: 'Name', Value: 'shop' }] }],
    }))
    const VpcIds = [vpc?.VpcId ?? '']
    expect((await cloud.ec2.send(new DescribeVpcClassicLinkCommand({ VpcIds }))).Vpcs)
      .toEqual([{ VpcId: vpc?.VpcId, ClassicLinkEnabled: false, Tags: [{ Key: 'Name', Value: 'shop' }] }])
    expect((await cloud.ec2.send(new DescribeVpcClassicLinkDnsSupportCommand({ VpcIds }))).Vpcs)
      .toEqual([{ VpcId: vpc?.VpcId, ClassicLinkDnsSupported: false }])
    const linked = new DescribeVpcClassicLinkCommand({ Filters: [{ Name: 'is-classic-link-enabled', Values: ['true'] }] })
    expect((await cloud.ec2.send(linked)).Vpcs).toEqual([])
    const named = new DescribeVpcClassicLinkCommand({ Filters: [{ Name: 'tag:Name', Values: ['shop'] }] })
    expect((await cloud.ec2.send(named)).Vpcs).toHaveLength(1)
    await expect(cloud.ec2.send(new DescribeVpcClassicLinkCommand({ VpcIds: ['vpc-0123456789abcdef0'] })))
      .rejects.toMatchObject({ name: 'InvalidVpcID.NotFound' })
  })

  it('is no instance profile', async () => {
    await expect(iam.send(new GetInstanceProfileCommand({ InstanceProfileName: 'web' }))).rejects.toMatchObject({
      name: 'NoSuchEntityException', message: 'Instance Profile web cannot be found.', $metadata: { httpStatusCode: 404 },
    })
    expect((await iam.send(new ListInstanceProfilesCommand({}))).InstanceProfiles).toEqual([])
    expect((await iam.send(new ListAccountAliasesCommand({}))).AccountAliases).toEqual([])
    const ofAnInstance = new DescribeIamInstanceProfileAssociationsCommand({ Filters: [{ Name: 'state', Values: ['associated'] }] })
    expect((await cloud.ec2.send(ofAnInstance)).IamInstanceProfileAssociations).toEqual([])
    await expect(cloud.ec2.send(new DescribeIamInstanceProfileAssociationsCommand({ AssociationIds: ['iip-assoc-0123456789abcdef0'] })))
      .rejects.toMatchObject({ name: 'InvalidAssociationID.NotFound' })
  })

  it('is no gateway and no endpoint of a kind that cannot be made', async () => {
    const vpcOf = [{ Name: 'attachment.vpc-id', Values: ['vpc-0123456789abcdef0'] }]
    expect((await cloud.ec2.send(new DescribeVpnGatewaysCommand({ Filters: vpcOf }))).VpnGateways).toEqual([])
    expect((await cloud.ec2.send(new DescribeVpcEndpointsCommand({ MaxResults: 5 }))).VpcEndpoints).toEqual([])
    expect((await cloud.ec2.send(new DescribeEgressOnlyInternetGatewaysCommand({}))).EgressOnlyInternetGateways).toEqual([])
    await expect(cloud.ec2.send(new DescribeVpnGatewaysCommand({ VpnGatewayIds: ['vgw-0123456789abcdef0'] })))
      .rejects.toMatchObject({ name: 'InvalidVpnGatewayID.NotFound', message: 'The vpnGateway ID \'vgw-0123456789abcdef0\' does not exist' })
    await expect(cloud.ec2.send(new DescribeVpcEndpointsCommand({ Filters: [{ Name: 'colour', Values: ['red'] }] })))
      .rejects.toMatchObject({ name: 'InvalidParameterValue' })
  })

  it('is no password, as no instance is Windows', async () => {
    const ran = await cloud.ec2.send(new RunInstancesCommand({ ImageId: await tinyImageId(cloud), MinCount: 1, MaxCount: 1, InstanceType: 't3.nano' }))
    const InstanceId = ran.Instances?.[0]?.InstanceId ?? ''
    expect(await cloud.ec2.send(new GetPasswordDataCommand({ InstanceId }))).toMatchObject({ InstanceId, PasswordData: '' })
    await expect(cloud.ec2.send(new GetPasswordDataCommand({ InstanceId: 'i-0123456789abcdef0' })))
      .rejects.toMatchObject({ name: 'InvalidInstanceID.NotFound' })
  })
})
