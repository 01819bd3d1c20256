import {
  CreateFleetCommand, CreateLaunchTemplateCommand, CreateVpcCommand, DescribeEgressOnlyInternetGatewaysCommand, DescribeIamInstanceProfileAssociationsCommand, DescribeVpcClassicLinkCommand,
  DescribeInstancesCommand, DescribeSpotInstanceRequestsCommand, DescribeVpcClassicLinkDnsSupportCommand, DescribeVpcEndpointsCommand,
  DescribeVpnGatewaysCommand, GetPasswordDataCommand, RunInstancesCommand, type LaunchTemplateSpotMarketOptionsRequest,
  type TargetCapacitySpecificationRequest,
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

/** What Packer sends for no_ephemeral. */
const noEphemeral = [...'abcdefghijklmnopqrstuvwxyz'].map((letter) => ({ DeviceName: `xvdc${letter}`, NoDevice: '' }))

describe('a build of Packer', () => {
  it('launches with empty texts for what is not set', async () => {
    const { Instances: [builder] = [] } = await cloud.ec2.send(new RunInstancesCommand({
      ImageId: await tinyImageId(cloud), InstanceType: 't3.nano', UserData: '', MinCount: 1, MaxCount: 1, IamInstanceProfile: { Name: '' },
      Placement: { AvailabilityZone: '' }, EbsOptimized: false, SubnetId: '', InstanceInitiatedShutdownBehavior: 'stop',
      BlockDeviceMappings: [...noEphemeral, { DeviceName: '/dev/sdf', Ebs: { VolumeSize: 1, DeleteOnTermination: true } }],
    }))
    const { Reservations } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [builder?.InstanceId ?? ''] }))
    expect(Reservations?.[0]?.Instances?.[0]).toMatchObject({
      State: { Name: 'running' }, BlockDeviceMappings: [{ DeviceName: '/dev/xvda' }, { DeviceName: '/dev/sdf' }],
    })
  })

  const build = async (
    SpotOptions: LaunchTemplateSpotMarketOptionsRequest,
    target: TargetCapacitySpecificationRequest = { TotalTargetCapacity: 1, DefaultTargetCapacityType: 'spot' },
  ) => {
    const { LaunchTemplate: template } = await cloud.ec2.send(new CreateLaunchTemplateCommand({
      LaunchTemplateName: `packer-fleet-launch-template-${JSON.stringify([SpotOptions, target]).replaceAll(/\W/g, '')}`,
      VersionDescription: 'template generated by packer for launching spot instances',
      LaunchTemplateData: {
        DisableApiTermination: false, EbsOptimized: false, IamInstanceProfile: { Name: '' }, ImageId: await tinyImageId(cloud), UserData: '',
        InstanceType: 't3.nano', Placement: { AvailabilityZone: '' }, BlockDeviceMappings: noEphemeral,
        InstanceMarketOptions: { MarketType: 'spot', SpotOptions },
      },
    }))
    return cloud.ec2.send(new CreateFleetCommand({
      Type: 'instant', ReplaceUnhealthyInstances: false, TargetCapacitySpecification: target,
      LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateName: template?.LaunchTemplateName, Version: '1' }, Overrides: [] }],
    }))
  }

  it('with a spot_price is a fleet of one, by a template that names the market', async () => {
    const { Instances: [found] = [], Errors } = await build({ MaxPrice: '0.004' })
    expect(Errors).toEqual([])
    expect(found).toMatchObject({ Lifecycle: 'spot', InstanceType: 't3.nano', InstanceIds: [expect.any(String)] })
    const { Reservations } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: found?.InstanceIds ?? [] }))
    const instance = Reservations?.[0]?.Instances?.[0]
    expect(instance).toMatchObject({ InstanceLifecycle: 'spot', State: { Name: 'running' } })
    const { SpotInstanceRequests } = await cloud.ec2.send(new DescribeSpotInstanceRequestsCommand({
      SpotInstanceRequestIds: [instance?.SpotInstanceRequestId ?? ''],
    }))
    expect(SpotInstanceRequests).toMatchObject([{ SpotPrice: '0.004000', Type: 'one-time', State: 'active' }])
    expect((await build({})).Instances).toMatchObject([{ Lifecycle: 'spot' }])
  })

  it('is told when its price is too low, and what a fleet does not heed', async () => {
    const failure = async (...words: Parameters<typeof build>) => (await build(...words)).Errors?.map((each) => each.ErrorCode)
    expect(new Set(await failure({ MaxPrice: '0.001' }))).toEqual(new Set(['SpotMaxPriceTooLow']))
    expect(await failure({ SpotInstanceType: 'persistent' })).toEqual(['InvalidFleetConfiguration'])
    expect(await failure({ InstanceInterruptionBehavior: 'stop' })).toEqual(['InvalidFleetConfiguration'])
    expect(await failure({}, { TotalTargetCapacity: 1, DefaultTargetCapacityType: 'on-demand' })).toEqual(['InvalidFleetConfiguration'])
  })
})
