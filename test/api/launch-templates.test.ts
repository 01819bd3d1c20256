import {
  AllocateAddressCommand, AssociateAddressCommand, CreateLaunchTemplateCommand, CreateLaunchTemplateVersionCommand, DeleteLaunchTemplateCommand,
  DeleteLaunchTemplateVersionsCommand, DescribeInstancesCommand, DescribeLaunchTemplatesCommand,
  DescribeLaunchTemplateVersionsCommand, DescribeSecurityGroupsCommand, DescribeSubnetsCommand, DescribeVolumesCommand, GetLaunchTemplateDataCommand, ModifyLaunchTemplateCommand, RunInstancesCommand,
  type DescribeLaunchTemplateVersionsRequest, type RequestLaunchTemplateData, type RunInstancesRequest,
} from '@aws-sdk/client-ec2'
import { AssumeRoleCommand } from '@aws-sdk/client-sts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { OTHER_ACCOUNT } from '../support/rows.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let imageId: string

beforeAll(async () => {
  cloud = await startTestCloud()
  imageId = await tinyImageId(cloud)
})
afterAll(() => cloud.close())

const create = async (name: string, data: RequestLaunchTemplateData, more: object = {}) => {
  const { LaunchTemplate } = await cloud.ec2.send(new CreateLaunchTemplateCommand({ LaunchTemplateName: name, LaunchTemplateData: data, ...more }))
  return LaunchTemplate?.LaunchTemplateId ?? ''
}
const addVersion = async (id: string, data: RequestLaunchTemplateData, more: object = {}) =>
  (await cloud.ec2.send(new CreateLaunchTemplateVersionCommand({ LaunchTemplateId: id, LaunchTemplateData: data, ...more }))).LaunchTemplateVersion
const versions = async (input: DescribeLaunchTemplateVersionsRequest) =>
  (await cloud.ec2.send(new DescribeLaunchTemplateVersionsCommand(input))).LaunchTemplateVersions ?? []
const run = async (input: Partial<RunInstancesRequest>) => {
  const { Instances } = await cloud.ec2.send(new RunInstancesCommand({ MinCount: 1, MaxCount: 1, ...input }))
  const { Reservations } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [Instances?.[0]?.InstanceId ?? ''] }))
  return Reservations?.[0]?.Instances?.[0]
}
const code = (attempt: Promise<unknown>) => attempt.then(() => 'no error', (error: Error) => `${error.name}: ${error.message}`)

describe('a launch template', () => {
  test('has numbered versions, of which one is the default; a version stands on another where it says so', async () => {
    const id = await create('web', { ImageId: imageId, InstanceType: 't3.micro' }, {
      VersionDescription: 'first', TagSpecifications: [{ ResourceType: 'launch-template', Tags: [{ Key: 'team', Value: 'a' }] }],
    })
    expect(await addVersion(id, { InstanceType: 't3.small' }, { SourceVersion: '1' })).toMatchObject({
      VersionNumber: 2, DefaultVersion: false, LaunchTemplateData: { ImageId: imageId, InstanceType: 't3.small' },
    })
    expect((await addVersion(id, { InstanceType: 't3.nano' }))?.LaunchTemplateData).toEqual({ InstanceType: 't3.nano' })
    const { LaunchTemplates } = await cloud.ec2.send(new DescribeLaunchTemplatesCommand({ Filters: [{ Name: 'tag:team', Values: ['a'] }] }))
    expect(LaunchTemplates).toMatchObject([{
      LaunchTemplateId: id, LaunchTemplateName: 'web', DefaultVersionNumber: 1, LatestVersionNumber: 3, Tags: [{ Key: 'team', Value: 'a' }],
      CreatedBy: 'arn:aws:iam::123456789012:root', CreateTime: expect.any(Date),
    }])
    expect((await versions({ LaunchTemplateName: 'web' })).map((each) => each.VersionNumber)).toEqual([3, 2, 1])
    expect(await versions({ LaunchTemplateId: id, Versions: ['$Default'] })).toMatchObject([{ VersionNumber: 1, VersionDescription: 'first' }])
    expect(await versions({ Versions: ['$Latest'] })).toMatchObject([{ LaunchTemplateName: 'web', VersionNumber: 3 }])
    expect(await versions({ LaunchTemplateId: id, MinVersion: '2', MaxVersion: '2' })).toMatchObject([{ VersionNumber: 2 }])
    expect(await versions({ LaunchTemplateId: id, Filters: [{ Name: 'instance-type', Values: ['t3.nano'] }] })).toMatchObject([{ VersionNumber: 3 }])
  })

  test('is by whoever made it: also a session of a role', async () => {
    const { Credentials: key } = await cloud.sts.send(new AssumeRoleCommand({
      RoleArn: 'arn:aws:iam::123456789012:role/baker', RoleSessionName: 'monday',
    }))
    const session = cloud.client({ credentials: {
      accessKeyId: key?.AccessKeyId ?? '', secretAccessKey: key?.SecretAccessKey ?? '', sessionToken: key?.SessionToken ?? '',
    } })
    const made = await session.send(new CreateLaunchTemplateCommand({ LaunchTemplateName: 'baked', LaunchTemplateData: { InstanceType: 't3.nano' } }))
    session.destroy()
    const CreatedBy = 'arn:aws:sts::123456789012:assumed-role/baker/monday'
    expect(made.LaunchTemplate).toMatchObject({ CreatedBy })
    expect(await versions({ LaunchTemplateName: 'baked' })).toMatchObject([{ CreatedBy }])
  })

  test('is made once for one client token, and its name is nobody else\'s in the account', async () => {
    const token = { ClientToken: 'once' }
    expect(await create('once', { InstanceType: 't3.nano' }, token)).toBe(await create('once', { InstanceType: 't3.nano' }, token))
    expect(await code(create('once', { InstanceType: 't3.micro' }))).toBe('InvalidLaunchTemplateName.AlreadyExistsException: Launch template name already in use.')
    expect(await code(create('no', { InstanceType: 't3.nano' }))).toContain('InvalidLaunchTemplateName.MalformedException')
    const other = cloud.client({ account: OTHER_ACCOUNT })
    expect((await other.send(new DescribeLaunchTemplatesCommand({}))).LaunchTemplates).toEqual([])
    expect(await code(other.send(new DescribeLaunchTemplatesCommand({ LaunchTemplateNames: ['once'] }))))
      .toBe('InvalidLaunchTemplateName.NotFoundException: At least one of the launch templates specified in the request does not exist.')
    expect(await code(other.send(new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateName: 'once' }))))
      .toBe('InvalidLaunchTemplateName.NotFoundException: The specified launch template, with template name once, does not exist.')
  })

  test('loses versions but its default one, and never uses a number again', async () => {
    const id = await create('shrinking', { InstanceType: 't3.nano' })
    await addVersion(id, { InstanceType: 't3.micro' })
    const { LaunchTemplate } = await cloud.ec2.send(new ModifyLaunchTemplateCommand({ LaunchTemplateId: id, DefaultVersion: '$Latest' }))
    expect(LaunchTemplate?.DefaultVersionNumber).toBe(2)
    await addVersion(id, { InstanceType: 't3.small' })
    const gone = await cloud.ec2.send(new DeleteLaunchTemplateVersionsCommand({ LaunchTemplateId: id, Versions: ['3', '2', '9'] }))
    expect(gone.SuccessfullyDeletedLaunchTemplateVersions).toMatchObject([{ VersionNumber: 3 }])
    expect(gone.UnsuccessfullyDeletedLaunchTemplateVersions).toMatchObject([
      { VersionNumber: 2, ResponseError: { Code: 'unexpectedError' } },
      { VersionNumber: 9, ResponseError: { Code: 'launchTemplateVersionDoesNotExist' } },
    ])
    expect(await versions({ LaunchTemplateId: id, Versions: ['$Latest'] })).toMatchObject([{ VersionNumber: 2 }])
    expect(await code(versions({ LaunchTemplateId: id, Versions: ['3'] })))
      .toBe(`InvalidLaunchTemplateId.VersionNotFound: Could not find the specified version 3 for the launch template with ID ${id}.`)
    expect((await addVersion(id, { InstanceType: 't3.nano' }))?.VersionNumber).toBe(4)
  })

  test('that is deleted is gone with its versions, and its name is free', async () => {
    const id = await create('gone', { InstanceType: 't3.nano' }, { ClientToken: 'gone' })
    await cloud.ec2.send(new DeleteLaunchTemplateCommand({ LaunchTemplateName: 'gone' }))
    expect(await code(versions({ LaunchTemplateId: id })))
      .toBe(`InvalidLaunchTemplateId.NotFound: The specified launch template, with template ID ${id}, does not exist.`)
    expect(await create('gone', { InstanceType: 't3.nano' }, { ClientToken: 'gone' })).not.toBe(id)
    expect(await code(versions({ LaunchTemplateId: 'lt-x' }))).toContain('InvalidLaunchTemplateId.Malformed')
  })
})

describe('a version of a launch template', () => {
  test('says something, and does not say both a type and attributes of types', async () => {
    expect(await code(create('empty', {}))).toMatch(/^MissingParameter: .*LaunchTemplateData/)
    const id = await create('attributes', { ImageId: imageId, InstanceType: 't3.nano' })
    expect(await code(addVersion(id, {}, { SourceVersion: '1' }))).toMatch(/^MissingParameter: .*LaunchTemplateData/)
    const both = { InstanceType: 't3.nano', InstanceRequirements: { VCpuCount: { Min: 1 }, MemoryMiB: { Min: 512 } } } as const
    expect(await code(create('both', both))).toMatch(/^InvalidParameterCombination/)
    const { InstanceRequirements } = both
    const byAttributes = (await addVersion(id, { InstanceRequirements }, { SourceVersion: '1' }))?.LaunchTemplateData
    expect(byAttributes).toEqual({ ImageId: imageId, InstanceRequirements })
    const byType = (await addVersion(id, { InstanceType: 't3.micro' }, { SourceVersion: '2' }))?.LaunchTemplateData
    expect(byType).toEqual({ ImageId: imageId, InstanceType: 't3.micro' })
    const byAttributesOnly = run({ LaunchTemplate: { LaunchTemplateId: id, Version: '2' }, InstanceType: 't3.nano' })
    expect(await code(byAttributesOnly)).toMatch(/^InvalidParameterCombination: .*InstanceRequirements/)
  })

  test('that stands on another has its devices, but not their snapshots', async () => {
    const id = await create('devices', { BlockDeviceMappings: [
      { DeviceName: '/dev/sdf', Ebs: { SnapshotId: 'snap-0123456789abcdef0', VolumeSize: 3 } }, { DeviceName: '/dev/sdg', NoDevice: '' },
    ] })
    const based = await addVersion(id, { InstanceType: 't3.nano' }, { SourceVersion: '$Latest' })
    expect(based?.LaunchTemplateData?.BlockDeviceMappings?.[0]).toEqual({ DeviceName: '/dev/sdf', Ebs: { VolumeSize: 3 } })
    expect((await versions({ LaunchTemplateId: id, Versions: ['1'] }))[0]?.LaunchTemplateData?.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId)
      .toBe('snap-0123456789abcdef0')
  })

  test('is looked for with EC2\'s own words', async () => {
    expect(await code(versions({}))).toMatch(/^MissingParameter: To describe the launch template data for all your launch templates, for ‘--versions’ specify ‘\$Latest’/)
    expect(await code(versions({ Versions: ['1'] }))).toMatch(/^InvalidParameterValue: To describe the launch template data for all/)
    const id = await create('modified', { InstanceType: 't3.nano' })
    const modify = (input: object) => cloud.ec2.send(new ModifyLaunchTemplateCommand({ LaunchTemplateId: id, DefaultVersion: '2', ...input }))
    expect(await code(modify({}))).toBe(
      'InvalidLaunchTemplateId.VersionNotFound: The launch template version 2 is not found for the specified launch template.')
    expect(await code(modify({ LaunchTemplateId: 'template_n', LaunchTemplateName: 'modified' }))).toBe(
      'InvalidParameterCombination: Either provide launch template ID or launch template name to modify the template.')
  })

  test('becomes the default one once for one client token, which may have 128 characters', async () => {
    const ClientToken = 't'.repeat(128)
    const id = await create('tokens', { InstanceType: 't3.nano' }, { ClientToken })
    await addVersion(id, { InstanceType: 't3.micro' }, { ClientToken })
    const modify = (DefaultVersion: string, more: object = {}) =>
      cloud.ec2.send(new ModifyLaunchTemplateCommand({ LaunchTemplateId: id, DefaultVersion, ...more }))
    await modify('2', { ClientToken })
    await modify('1')
    const { LaunchTemplate } = await modify('2', { ClientToken })
    expect(LaunchTemplate?.DefaultVersionNumber).toBe(1)
    expect(await versions({ LaunchTemplateId: id, Versions: ['$Default'] })).toMatchObject([{ VersionNumber: 1 }])
    expect(await code(modify('1', { ClientToken }))).toMatch(/^IdempotentParameterMismatch/)
    expect(await code(create('longer', { InstanceType: 't3.nano' }, { ClientToken: `${ClientToken}t` }))).toMatch(/^InvalidParameterValue/)
  })
})

describe('a launch from a template', () => {
  test('takes what the call does not say, and its instances know where they come from', async () => {
    const id = await create('launch', {
      ImageId: imageId, InstanceType: 't3.small', UserData: Buffer.from('#!/bin/sh').toString('base64'), DisableApiTermination: true,
      BlockDeviceMappings: [
        { DeviceName: '/dev/xvda', Ebs: { VolumeSize: 3 } }, { DeviceName: '/dev/sdf', Ebs: { VolumeSize: 1 } },
      ],
      TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'Name', Value: 'theirs' }, { Key: 'kept', Value: 'yes' }] }],
    })
    const instance = await run({
      LaunchTemplate: { LaunchTemplateId: id }, InstanceType: 't3.nano',
      BlockDeviceMappings: [{ DeviceName: '/dev/sdf', Ebs: { VolumeSize: 2 } }, { DeviceName: '/dev/sdg', Ebs: { VolumeSize: 1 } }],
      TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'Name', Value: 'mine' }] }],
    })
    expect(instance).toMatchObject({ ImageId: imageId, InstanceType: 't3.nano' })
    expect(instance?.BlockDeviceMappings?.map((each) => each.DeviceName)).toEqual(['/dev/xvda', '/dev/sdf', '/dev/sdg'])
    expect(Object.fromEntries(instance?.Tags?.map(({ Key, Value }) => [Key, Value]) ?? [])).toEqual({
      Name: 'mine', kept: 'yes', 'aws:ec2launchtemplate:id': id, 'aws:ec2launchtemplate:version': '1',
    })
    const { LaunchTemplateData } = await cloud.ec2.send(new GetLaunchTemplateDataCommand({ InstanceId: instance?.InstanceId ?? '' }))
    expect(LaunchTemplateData).toMatchObject({
      ImageId: imageId, InstanceType: 't3.nano', DisableApiTermination: true, UserData: Buffer.from('#!/bin/sh').toString('base64'),
      TagSpecifications: [{ ResourceType: 'instance', Tags: expect.arrayContaining([{ Key: 'Name', Value: 'mine' }]) }],
    })
    const copy = await run({ LaunchTemplate: { LaunchTemplateId: await create('copy', LaunchTemplateData as RequestLaunchTemplateData) } })
    expect(copy).toMatchObject({ InstanceType: 't3.nano', SubnetId: instance?.SubnetId })
  })

  test('uses the version that it names, else the default one, and fails where there is none', async () => {
    const id = await create('versions', { ImageId: imageId, InstanceType: 't3.nano' })
    await addVersion(id, { ImageId: imageId, InstanceType: 't3.small' })
    const type = async (Version?: string) => (await run({ LaunchTemplate: { LaunchTemplateName: 'versions', Version } }))?.InstanceType
    expect([await type(), await type('$Latest'), await type('1')]).toEqual(['t3.nano', 't3.small', 't3.nano'])
    expect(await code(type('7'))).toContain('InvalidLaunchTemplateId.VersionNotFound')
    expect(await code(run({ LaunchTemplate: { LaunchTemplateId: 'lt-00000000000000000' } }))).toContain('InvalidLaunchTemplateId.NotFound')
  })

  test('is refused where the template asks for what Hearth does not honour', async () => {
    const id = await create('profile', { ImageId: imageId, IamInstanceProfile: { Name: 'x' } })
    expect(await code(run({ LaunchTemplate: { LaunchTemplateId: id } }))).toContain('UnsupportedOperation: The parameter IamInstanceProfile')
  })

  test('is repeated by its client token, also when its template is gone', async () => {
    const id = await create('short-lived', { ImageId: imageId, InstanceType: 't3.nano' })
    const input = { LaunchTemplate: { LaunchTemplateId: id }, ClientToken: 'again' }
    const first = await run(input)
    await cloud.ec2.send(new DeleteLaunchTemplateCommand({ LaunchTemplateId: id }))
    expect((await run(input))?.InstanceId).toBe(first?.InstanceId)
  })

  test('encrypts a copy with the key that the volume of the first one has', async () => {
    const first = await run({
      ImageId: imageId, InstanceType: 't3.nano',
      BlockDeviceMappings: [{ DeviceName: '/dev/sdf', Ebs: { VolumeSize: 1, Encrypted: true, KmsKeyId: 'alias/aws/ebs' } }],
    })
    const { LaunchTemplateData } = await cloud.ec2.send(new GetLaunchTemplateDataCommand({ InstanceId: first?.InstanceId ?? '' }))
    const said = LaunchTemplateData?.BlockDeviceMappings?.find((each) => each.DeviceName === '/dev/sdf')
    expect(said?.Ebs).toMatchObject({ Encrypted: true, KmsKeyId: expect.stringMatching(/^arn:aws:kms:us-east-1:123456789012:key\//) })
    const id = await create('encrypted', LaunchTemplateData as RequestLaunchTemplateData)
    const copy = await run({ LaunchTemplate: { LaunchTemplateId: id } })
    const volumeId = copy?.BlockDeviceMappings?.find((each) => each.DeviceName === '/dev/sdf')?.Ebs?.VolumeId ?? ''
    const { Volumes } = await cloud.ec2.send(new DescribeVolumesCommand({ VolumeIds: [volumeId] }))
    expect(Volumes).toMatchObject([{ Encrypted: true, KmsKeyId: said?.Ebs?.KmsKeyId }])
  })

  test('is possible from what is said of an instance of any type', async () => {
    const old = await run({ ImageId: imageId, InstanceType: 't2.micro' })
    const { LaunchTemplateData } = await cloud.ec2.send(new GetLaunchTemplateDataCommand({ InstanceId: old?.InstanceId ?? '' }))
    const id = await create('t2-again', LaunchTemplateData as RequestLaunchTemplateData)
    expect((await run({ LaunchTemplate: { LaunchTemplateId: id } }))?.InstanceType).toBe('t2.micro')
  })

  test('is possible from what is said of an instance with two interfaces, one of which has an elastic address', async () => {
    const nic = (DeviceIndex: number) => ({ DeviceIndex, SubnetId: subnetId })
    const { Subnets } = await cloud.ec2.send(new DescribeSubnetsCommand({}))
    const subnetId = Subnets?.[0]?.SubnetId ?? ''
    const first = await run({ ImageId: imageId, InstanceType: 't3.micro', NetworkInterfaces: [nic(0), nic(1)] })
    const { AllocationId } = await cloud.ec2.send(new AllocateAddressCommand({}))
    const NetworkInterfaceId = first?.NetworkInterfaces?.[0]?.NetworkInterfaceId
    await cloud.ec2.send(new AssociateAddressCommand({ AllocationId, NetworkInterfaceId }))
    const { LaunchTemplateData } = await cloud.ec2.send(new GetLaunchTemplateDataCommand({ InstanceId: first?.InstanceId ?? '' }))
    const id = await create('two-interfaces', LaunchTemplateData as RequestLaunchTemplateData)
    expect((await run({ LaunchTemplate: { LaunchTemplateId: id } }))?.NetworkInterfaces).toHaveLength(2)
  })

  test('loses no security groups: beside interfaces of the call\'s own those of the template are refused', async () => {
    const { SecurityGroups } = await cloud.ec2.send(new DescribeSecurityGroupsCommand({}))
    const groupId = SecurityGroups?.[0]?.GroupId ?? ''
    const id = await create('groups', { ImageId: imageId, InstanceType: 't3.nano', SecurityGroupIds: [groupId] })
    const launch = (input: Partial<RunInstancesRequest>) => run({ LaunchTemplate: { LaunchTemplateId: id }, ...input })
    expect(await code(launch({ NetworkInterfaces: [{ DeviceIndex: 0, AssociatePublicIpAddress: false }] }))).toBe(
      'InvalidParameterCombination: Network interfaces and an instance-level security groups may not be specified on the same request')
    expect((await launch({ SecurityGroups: ['default'] }))?.SecurityGroups).toMatchObject([{ GroupName: 'default' }])
    const withInterface = await create('interface', { ImageId: imageId, InstanceType: 't3.nano', NetworkInterfaces: [{ DeviceIndex: 0 }] })
    const { Subnets } = await cloud.ec2.send(new DescribeSubnetsCommand({}))
    expect(await code(run({ LaunchTemplate: { LaunchTemplateId: withInterface }, SubnetId: Subnets?.[0]?.SubnetId }))).toBe(
      'InvalidParameterCombination: Network interfaces and an instance-level subnet ID may not be specified on the same request')
  })

  test('drops no tags: two specifications of one type are refused, with a template as without', async () => {
    const tags = (key: string) => ({ ResourceType: 'instance' as const, Tags: [{ Key: key, Value: '' }] })
    const id = await create('tags', { ImageId: imageId, InstanceType: 't3.nano', TagSpecifications: [tags('c')] })
    expect(await code(run({ LaunchTemplate: { LaunchTemplateId: id }, TagSpecifications: [tags('a'), tags('b')] })))
      .toContain('InvalidParameterValue: The same resource type may not be specified more than once')
    const ofRequests = await create('request-tags', {
      ImageId: imageId, InstanceType: 't3.nano', TagSpecifications: [{ ...tags('a'), ResourceType: 'spot-instances-request' }],
    })
    expect(await code(run({ LaunchTemplate: { LaunchTemplateId: ofRequests } }))).toBe(
      'InvalidParameterValue: You cannot specify tags for Spot instances requests if there are no Spot instances requests being created by the request.')
  })
})
