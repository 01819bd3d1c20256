import {
  AllocateAddressCommand, CopyImageCommand, CopySnapshotCommand, CreateImageCommand, CreateKeyPairCommand, CreateLaunchTemplateCommand,
  CreateLaunchTemplateVersionCommand,
  CreateSnapshotCommand, CreateSubnetCommand, CreateVolumeCommand, DeleteSnapshotCommand, DeregisterImageCommand, DescribeAvailabilityZonesCommand,
  DescribeImagesCommand, DescribeInstancesCommand, DescribeKeyPairsCommand, DescribeLaunchTemplatesCommand, DescribeRegionsCommand,
  DescribeSecurityGroupsCommand, DescribeSnapshotsCommand, DescribeSubnetsCommand, DescribeTagsCommand, DescribeVpcsCommand, GetEbsDefaultKmsKeyIdCommand,
  GetSpotPlacementScoresCommand,
  ModifyImageAttributeCommand, ModifySnapshotAttributeCommand, RegisterImageCommand, RunInstancesCommand, type EC2Client,
} from '@aws-sdk/client-ec2'
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApi } from '../../src/api.ts'
import { parseCidr } from '../../src/core/cidr.ts'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { systemRandom } from '../../src/core/random.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { layerDoc } from '../../src/model/layer.ts'
import { capSupply } from '../../src/model/market-orders.ts'
import { startTestCloud, TEST_KEY, type TestCloud } from '../support/cloud.ts'
import { OTHER_ACCOUNT } from '../support/rows.ts'

const IRELAND = 'eu-west-1'
const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: { name: string; message: string }) => `${error.name}: ${error.message}`)

let cloud: TestCloud
/** Clients of the two regions. */
let virginia: EC2Client
let ireland: EC2Client
beforeAll(async () => {
  cloud = await startTestCloud({ moreRegions: [IRELAND] })
  virginia = cloud.ec2
  ireland = cloud.client({ region: IRELAND })
})
afterAll(async () => {
  ireland.destroy()
  await cloud.close()
})

const providersImage = async (client: EC2Client) =>
  (await client.send(new DescribeImagesCommand({ Owners: ['amazon'] }))).Images?.[0]?.ImageId ?? ''
const launch = async (client: EC2Client, imageId?: string, input: object = {}) => {
  const answer = await client.send(new RunInstancesCommand({
    ImageId: imageId ?? (await providersImage(client)), InstanceType: 't3.nano', MinCount: 1, MaxCount: 1, ...input,
  }))
  const found = await client.send(new DescribeInstancesCommand({ InstanceIds: [answer.Instances?.[0]?.InstanceId ?? ''] }))
  const instance = found.Reservations?.[0]?.Instances?.[0]
  if (!instance) throw new Error('no instance')
  return instance
}
/** A complete snapshot of a volume of its own, whose layer holds something. */
async function snapshotIn(client: EC2Client, region: string, content = 7): Promise<string> {
  const zone = `${region}a`
  const { VolumeId = '' } = await client.send(new CreateVolumeCommand({ AvailabilityZone: zone, Size: 1 }))
  const there = cloud.regions.get(region)
  const layers = await there?.store.read((db) => db.selectFrom('volumes').select('layer_id').where('volume_id', '=', VolumeId).execute())
  there?.host.world.layers.get(layers?.[0]?.layer_id ?? '')?.data.set(0, content)
  const { SnapshotId = '' } = await client.send(new CreateSnapshotCommand({ VolumeId }))
  return SnapshotId
}
const layerRowOf = async (region: string, snapshotId: string) => cloud.regions.get(region)?.store.read((db) => db
  .selectFrom('snapshots').innerJoin('layers', 'layers.layer_id', 'snapshots.layer_id').selectAll('layers')
  .where('snapshot_id', '=', snapshotId).executeTakeFirstOrThrow())
async function contentOf(region: string, snapshotId: string): Promise<[number, number][]> {
  const row = await layerRowOf(region, snapshotId)
  return [...(cloud.regions.get(region)?.host.world.dataOf(row?.layer_id ?? '') ?? [])]
}

describe('a cloud of two regions', () => {
  test('lists them in both, and the zones of each in that one', async () => {
    for (const client of [virginia, ireland]) {
      expect((await client.send(new DescribeRegionsCommand({}))).Regions).toEqual([
        { RegionName: 'us-east-1', Endpoint: 'ec2.us-east-1.amazonaws.com', OptInStatus: 'opt-in-not-required' },
        { RegionName: IRELAND, Endpoint: 'ec2.eu-west-1.amazonaws.com', OptInStatus: 'opt-in-not-required' },
      ])
    }
    const filtered = await virginia.send(new DescribeRegionsCommand({
      AllRegions: true, Filters: [{ Name: 'endpoint', Values: ['*eu*'] }, { Name: 'opt-in-status', Values: ['opt-in-not-required'] }],
    }))
    expect(filtered.Regions?.map((each) => each.RegionName)).toEqual([IRELAND])
    expect((await virginia.send(new DescribeRegionsCommand({ RegionNames: [IRELAND] }))).Regions).toHaveLength(1)
    expect(await failure(virginia.send(new DescribeRegionsCommand({ RegionNames: ['us-west-2'] }))))
      .toBe('InvalidParameterValue: Invalid region provided: [us-west-2]')
    const zones = (await ireland.send(new DescribeAvailabilityZonesCommand({}))).AvailabilityZones
    expect(zones?.map((zone) => [zone.ZoneName, zone.ZoneId, zone.RegionName, zone.GroupName])).toEqual([
      ['eu-west-1a', 'euw1-az1', IRELAND, 'eu-west-1-zg-1'], ['eu-west-1b', 'euw1-az2', IRELAND, 'eu-west-1-zg-1'],
      ['eu-west-1c', 'euw1-az3', IRELAND, 'eu-west-1-zg-1'],
    ])
  })

  test('tells who calls for another region which it has; who one is, it tells everybody', async () => {
    const oregon = cloud.client({ region: 'us-west-2' })
    expect(await failure(oregon.send(new DescribeVpcsCommand({})))).toBe(
      "AuthFailure: Credential should be scoped to a valid region, not 'us-west-2'. This cloud has us-east-1, eu-west-1; "
      + 'hearth up --more-regions adds others.',
    )
    oregon.destroy()
    const sts = new STSClient({ endpoint: cloud.endpoint, region: 'us-west-2', credentials: TEST_KEY, maxAttempts: 1 })
    expect((await sts.send(new GetCallerIdentityCommand({}))).Account).toBe(DEFAULT_ACCOUNT)
    sts.destroy()
  })

  test('names and places an instance as its region does', async () => {
    const [east, west] = [await launch(virginia), await launch(ireland)]
    expect(east).toMatchObject({ State: { Name: 'running' }, PrivateDnsName: expect.stringMatching(/\.ec2\.internal$/) as string })
    expect(west).toMatchObject({
      State: { Name: 'running' }, PrivateDnsName: expect.stringMatching(/\.eu-west-1\.compute\.internal$/) as string,
      PublicDnsName: expect.stringMatching(/\.eu-west-1\.compute\.amazonaws\.com$/) as string,
    })
    expect(west.Placement?.AvailabilityZone).toMatch(/^eu-west-1[abc]$/)
    expect(await failure(ireland.send(new DescribeInstancesCommand({ InstanceIds: [east.InstanceId ?? ''] })))).toMatch(/^InvalidInstanceID\.NotFound/)
    expect(await failure(virginia.send(new CreateVolumeCommand({ AvailabilityZone: 'eu-west-1a', Size: 1 }))))
      .toMatch(/^InvalidParameterValue|^InvalidZone/)
  })

  test('shows an account nothing of one region in the other', async () => {
    await virginia.send(new CreateKeyPairCommand({
      KeyName: 'only-here', TagSpecifications: [{ ResourceType: 'key-pair', Tags: [{ Key: 'where', Value: 'virginia' }] }],
    }))
    await virginia.send(new CreateLaunchTemplateCommand({ LaunchTemplateName: 'only-here', LaunchTemplateData: { InstanceType: 't3.nano' } }))
    const snapshotId = await snapshotIn(virginia, 'us-east-1')
    expect((await ireland.send(new DescribeKeyPairsCommand({}))).KeyPairs).toEqual([])
    expect((await ireland.send(new DescribeLaunchTemplatesCommand({}))).LaunchTemplates).toEqual([])
    expect((await ireland.send(new DescribeTagsCommand({}))).Tags).toEqual([])
    expect((await ireland.send(new DescribeSnapshotsCommand({ OwnerIds: ['self'] }))).Snapshots).toEqual([])
    expect(await failure(ireland.send(new DescribeSnapshotsCommand({ SnapshotIds: [snapshotId] })))).toMatch(/^InvalidSnapshot\.NotFound/)
    const idsOf = async (client: EC2Client) => {
      const vpcs = (await client.send(new DescribeVpcsCommand({}))).Vpcs?.map((vpc) => vpc.VpcId ?? '') ?? []
      const groups = (await client.send(new DescribeSecurityGroupsCommand({}))).SecurityGroups?.map((group) => group.GroupId ?? '') ?? []
      return { vpcs, groups, images: [await providersImage(client)] }
    }
    const [here, there] = [await idsOf(virginia), await idsOf(ireland)]
    expect([here.vpcs.length, there.vpcs.length, here.groups.length, there.groups.length]).toEqual([1, 1, 1, 1])
    expect(Object.values(here).flat().filter((id) => Object.values(there).flat().includes(id))).toEqual([])
    expect(await failure(ireland.send(new CreateSubnetCommand({ VpcId: here.vpcs[0], CidrBlock: '172.31.128.0/24' })))).toMatch(/^InvalidVpcID\.NotFound/)
    expect(await failure(launch(ireland, here.images[0]))).toMatch(/^InvalidAMIID\.NotFound/)
    await ireland.send(new CreateKeyPairCommand({ KeyName: 'only-here' }))
  })

  test('has a second account in a region as soon as it calls there, once, however many of its first calls come together', async () => {
    const other = cloud.client({ region: IRELAND, account: OTHER_ACCOUNT })
    const answers = await Promise.all(Array.from({ length: 8 }, () => other.send(new DescribeVpcsCommand({}))))
    for (const { Vpcs } of answers) expect(Vpcs).toMatchObject([{ IsDefault: true, OwnerId: OTHER_ACCOUNT }])
    expect(new Set(answers.flatMap(({ Vpcs = [] }) => Vpcs.map((each) => each.VpcId))).size).toBe(1)
    expect((await other.send(new DescribeSubnetsCommand({}))).Subnets).toHaveLength(3)
    other.destroy()
  })

  test('scores places for spot in all of its regions, or in those that are named, wherever it is asked', async () => {
    const scores = async (client: EC2Client, input: object = {}) => (await client.send(new GetSpotPlacementScoresCommand({
      InstanceTypes: ['m5.large', 'm5a.large', 'm5d.large'], TargetCapacity: 1, ...input,
    }))).SpotPlacementScores ?? []
    const regionsOf = async (...asked: Parameters<typeof scores>) => (await scores(...asked)).map((each) => each.Region).toSorted()
    for (const client of [virginia, ireland]) {
      expect(await regionsOf(client)).toEqual([IRELAND, 'us-east-1'])
      expect(await regionsOf(client, { RegionNames: [IRELAND] })).toEqual([IRELAND])
    }
    const zones = await scores(ireland, { SingleAvailabilityZone: true, RegionNames: ['us-east-1'] })
    expect(zones.map((each) => each.AvailabilityZoneId).toSorted()).toEqual(['use1-az1', 'use1-az2', 'use1-az3'])
    // The market of each is its own.
    await cloud.regions.get(IRELAND)?.store.transaction('test', async (db) => {
      for (const letter of ['a', 'b', 'c']) await capSupply(db, { zone: `${IRELAND}${letter}`, capPpm: 0 }, systemClock.now())
    })
    expect((await scores(virginia)).map((each) => [each.Region, (each.Score ?? 0) > 1])).toEqual([['us-east-1', true], [IRELAND, false]])
    expect(await failure(scores(virginia, { RegionNames: ['us-west-2'] })))
      .toBe('InvalidParameterValue: Value (us-west-2) for parameter RegionName is invalid. This cloud does not have that Region.')
  })

  test('knows in each who calls with the key of a session', async () => {
    const { Credentials: key } = await cloud.sts.send(new AssumeRoleCommand({
      RoleArn: 'arn:aws:iam::123456789012:role/baker', RoleSessionName: 'monday',
    }))
    const session = cloud.client({ region: IRELAND, credentials: {
      accessKeyId: key?.AccessKeyId ?? '', secretAccessKey: key?.SecretAccessKey ?? '', sessionToken: key?.SessionToken ?? '',
    } })
    const LaunchTemplateData = { InstanceType: 't3.nano' } as const
    const CreatedBy = 'arn:aws:sts::123456789012:assumed-role/baker/monday'
    expect((await session.send(new CreateLaunchTemplateCommand({ LaunchTemplateName: 'baked', LaunchTemplateData }))).LaunchTemplate)
      .toMatchObject({ CreatedBy })
    expect((await session.send(new CreateLaunchTemplateVersionCommand({ LaunchTemplateName: 'baked', LaunchTemplateData }))).LaunchTemplateVersion)
      .toMatchObject({ CreatedBy, VersionNumber: 2 })
    session.destroy()
  })

  test('gives out public addresses of each region from a block of its own', async () => {
    const allocate = async (client: EC2Client) => {
      const all = []
      for (let count = 0; count < 5; count++) all.push((await client.send(new AllocateAddressCommand({}))).PublicIp ?? '')
      return all
    }
    expect((await allocate(virginia)).every((address) => address.startsWith('198.18.'))).toBe(true)
    expect((await allocate(ireland)).every((address) => address.startsWith('198.19.'))).toBe(true)
  })

  test('does not start with settings by which a region might give out what another one uses', async () => {
    const region = (name: string, block: string) => ({
      region: name, zones: [`${name}a`], store: cloud.regions.get(name)?.store ?? cloud.store, publicPool: parseCidr(block) ?? { base: 0, prefix: 0 },
    })
    await expect(createApi({
      ...region('us-east-1', '198.19.0.0/16'), moreRegions: [region(IRELAND, '198.18.0.0/16')], clock: systemClock, random: systemRandom,
      log: silentLogger, placement: 'spread', auth: 'strict', credentials: { ...TEST_KEY, accountId: DEFAULT_ACCOUNT },
    })).rejects.toThrow(/^198\.1[89]\.\d+\.\d+ is in use in us-east-1, and with these settings it is one of eu-west-1's; /)
  })
})

describe('CopySnapshot from another region', () => {
  test('makes one of its own, which is there when the source is not any more', async () => {
    const source = await snapshotIn(virginia, 'us-east-1', 42)
    const { SnapshotId: copy = '', Tags } = await ireland.send(new CopySnapshotCommand({
      SourceRegion: 'us-east-1', SourceSnapshotId: source, Description: 'over there',
      TagSpecifications: [{ ResourceType: 'snapshot', Tags: [{ Key: 'a', Value: 'b' }] }],
    }))
    expect(Tags).toEqual([{ Key: 'a', Value: 'b' }])
    expect(copy).not.toBe(source)
    await virginia.send(new DeleteSnapshotCommand({ SnapshotId: source }))
    await cloud.settle()
    expect((await ireland.send(new DescribeSnapshotsCommand({ SnapshotIds: [copy] }))).Snapshots).toMatchObject([{
      State: 'completed', Progress: '100%', VolumeSize: 1, Description: 'over there', Encrypted: false, VolumeId: 'vol-ffffffff',
      Tags: [{ Key: 'a', Value: 'b' }], OwnerId: DEFAULT_ACCOUNT,
    }])
    expect(await contentOf(IRELAND, copy)).toEqual([[0, 42]])
  })

  test('encrypts under a key of the region that it copies to', async () => {
    const source = await snapshotIn(virginia, 'us-east-1', 43)
    const encrypted = await virginia.send(new CopySnapshotCommand({ SourceRegion: 'us-east-1', SourceSnapshotId: source, Encrypted: true }))
    const copy = await ireland.send(new CopySnapshotCommand({ SourceRegion: 'us-east-1', SourceSnapshotId: encrypted.SnapshotId }))
    const { KmsKeyId: keyHere } = await ireland.send(new GetEbsDefaultKmsKeyIdCommand({}))
    const [shown] = (await ireland.send(new DescribeSnapshotsCommand({ SnapshotIds: [copy.SnapshotId ?? ''] }))).Snapshots ?? []
    expect(shown).toMatchObject({ State: 'completed', Encrypted: true, KmsKeyId: expect.stringContaining('arn:aws:kms:eu-west-1:') as string })
    const keyId = (await layerRowOf(IRELAND, copy.SnapshotId ?? '').then((row) => row && layerDoc(row)))?.kmsKeyId
    expect(shown?.KmsKeyId).toContain(keyId)
    expect(keyHere).toBe('alias/aws/ebs')
    expect((await layerRowOf('us-east-1', encrypted.SnapshotId ?? '').then((row) => row && layerDoc(row)))?.kmsKeyId).not.toBe(keyId)
    expect(await contentOf(IRELAND, copy.SnapshotId ?? '')).toEqual([[0, 43]])
  })

  test('takes only what the account may see there', async () => {
    const source = await snapshotIn(virginia, 'us-east-1')
    const other = cloud.client({ region: IRELAND, account: OTHER_ACCOUNT })
    const copy = () => other.send(new CopySnapshotCommand({ SourceRegion: 'us-east-1', SourceSnapshotId: source }))
    expect(await failure(copy())).toMatch(/^InvalidSnapshot\.NotFound/)
    await virginia.send(new ModifySnapshotAttributeCommand({
      SnapshotId: source, Attribute: 'createVolumePermission', OperationType: 'add', UserIds: [OTHER_ACCOUNT],
    }))
    expect((await copy()).SnapshotId).toMatch(/^snap-/)
    other.destroy()
  })

  test.each<[string, object, RegExp]>([
    ['a region that is not there', { SourceRegion: 'us-west-2' }, /^InvalidParameterValue: .*us-west-2.*This cloud has us-east-1, eu-west-1/],
    ['a snapshot that is not there', { SourceSnapshotId: 'snap-0123456789abcdef0' }, /^InvalidSnapshot\.NotFound/],
    ['another destination', { DestinationRegion: 'us-east-1' }, /^InvalidParameterValue: .*us-east-1.*sent to eu-west-1/],
    ['a dry run', { DryRun: true }, /^DryRunOperation/],
  ])('answers for %s', async (_name, change, expected) => {
    const source = await snapshotIn(virginia, 'us-east-1')
    const before = (await ireland.send(new DescribeSnapshotsCommand({ OwnerIds: ['self'] }))).Snapshots?.length
    expect(await failure(ireland.send(new CopySnapshotCommand({ SourceRegion: 'us-east-1', SourceSnapshotId: source, ...change })))).toMatch(expected)
    expect((await ireland.send(new DescribeSnapshotsCommand({ OwnerIds: ['self'] }))).Snapshots).toHaveLength(before ?? -1)
  })
})

describe('CopyImage from another region', () => {
  /** An image of an instance, tagged. */
  async function imageIn(client: EC2Client, name: string): Promise<string> {
    const instance = await launch(client)
    const { ImageId = '' } = await client.send(new CreateImageCommand({
      InstanceId: instance.InstanceId ?? '', Name: name, Description: 'baked',
      TagSpecifications: [{ ResourceType: 'image', Tags: [{ Key: 'stage', Value: 'test' }] }],
    }))
    await cloud.settle()
    return ImageId
  }

  test('makes an image that instances can be launched of, whatever becomes of its source', async () => {
    const source = await imageIn(virginia, 'baked-1')
    const { ImageId: copy = '' } = await ireland.send(new CopyImageCommand({
      SourceRegion: 'us-east-1', SourceImageId: source, Name: 'baked-1', CopyImageTags: true,
    }))
    expect(copy).not.toBe(source)
    await virginia.send(new DeregisterImageCommand({ ImageId: source, DeleteAssociatedSnapshots: true }))
    await cloud.settle()
    const [image] = (await ireland.send(new DescribeImagesCommand({ ImageIds: [copy] }))).Images ?? []
    expect(image).toMatchObject({
      State: 'available', Name: 'baked-1', Description: 'baked', SourceImageId: source, SourceImageRegion: 'us-east-1', Public: false,
      Tags: [{ Key: 'stage', Value: 'test' }],
    })
    const snapshotId = image?.BlockDeviceMappings?.[0]?.Ebs?.SnapshotId ?? ''
    expect((await ireland.send(new DescribeSnapshotsCommand({ SnapshotIds: [snapshotId] }))).Snapshots).toMatchObject([{
      State: 'completed', Description: expect.stringMatching(`^Copied for DestinationAmi ${copy} from SourceAmi ${source} for SourceSnapshot snap-`) as string,
    }])
    expect(await launch(ireland, copy)).toMatchObject({ ImageId: copy, State: { Name: 'running' } })
  })

  test('with a ClientToken is one copy, also when its source is gone by the second call', async () => {
    const source = await imageIn(virginia, 'baked-2')
    const call = () => ireland.send(new CopyImageCommand({
      SourceRegion: 'us-east-1', SourceImageId: source, Name: 'baked-2', ClientToken: 'once',
    }))
    const first = await call()
    await virginia.send(new DeregisterImageCommand({ ImageId: source }))
    expect((await call()).ImageId).toBe(first.ImageId)
    const again = ireland.send(new CopyImageCommand({ SourceRegion: 'us-east-1', SourceImageId: source, Name: 'baked-3' }))
    expect(await failure(again)).toMatch(/^InvalidAMIID\.(NotFound|Unavailable)/)
  })

  test("copies the provider's image, which has another id in each region", async () => {
    const source = await providersImage(virginia)
    const { ImageId: copy = '' } = await ireland.send(new CopyImageCommand({ SourceRegion: 'us-east-1', SourceImageId: source, Name: 'mine' }))
    expect((await launch(ireland, copy)).State?.Name).toBe('running')
  })

  test('of several disks, shared by another account, is all encrypted under keys of the copier; each snapshot is copied once', async () => {
    const [root, data] = [await snapshotIn(virginia, 'us-east-1', 50), await snapshotIn(virginia, 'us-east-1', 51)]
    const { ImageId: source = '' } = await virginia.send(new RegisterImageCommand({
      Name: 'disks', Architecture: 'x86_64', VirtualizationType: 'hvm', EnaSupport: true, RootDeviceName: '/dev/xvda',
      BlockDeviceMappings: [
        { DeviceName: '/dev/xvda', Ebs: { SnapshotId: root } }, { DeviceName: '/dev/sdf', Ebs: { SnapshotId: data } },
        { DeviceName: '/dev/sdg', Ebs: { SnapshotId: data, DeleteOnTermination: false, VolumeSize: 2 } }, { DeviceName: '/dev/sdh', Ebs: { VolumeSize: 3 } },
      ],
      TagSpecifications: [{ ResourceType: 'image', Tags: [{ Key: 'ec2:SharedTag/stage', Value: 'gold' }, { Key: 'private', Value: 'x' }] }],
    }))
    await virginia.send(new ModifyImageAttributeCommand({ ImageId: source, LaunchPermission: { Add: [{ UserId: OTHER_ACCOUNT }] } }))
    const other = cloud.client({ region: IRELAND, account: OTHER_ACCOUNT })
    const copy = () => other.send(new CopyImageCommand({
      SourceRegion: 'us-east-1', SourceImageId: source, Name: 'disks', Encrypted: true, CopyImageTags: true,
      TagSpecifications: [{ ResourceType: 'snapshot', Tags: [{ Key: 'copied', Value: 'yes' }] }],
    }))
    // Whoever may launch it may not read its disks for that alone.
    expect(await failure(copy())).toBe('InvalidRequest: You do not have permission to access the storage of this ami')
    for (const SnapshotId of [root, data]) {
      await virginia.send(new ModifySnapshotAttributeCommand({
        SnapshotId, Attribute: 'createVolumePermission', OperationType: 'add', UserIds: [OTHER_ACCOUNT],
      }))
    }
    const { ImageId = '' } = await copy()
    const [image] = (await other.send(new DescribeImagesCommand({ ImageIds: [ImageId] }))).Images ?? []
    expect(image).toMatchObject({ State: 'available', OwnerId: OTHER_ACCOUNT, Public: false, Tags: [{ Key: 'ec2:SharedTag/stage', Value: 'gold' }] })
    const disks = image?.BlockDeviceMappings?.map(({ DeviceName, Ebs }) => [DeviceName, Ebs?.VolumeSize, Ebs?.Encrypted, Ebs?.DeleteOnTermination])
    expect(disks).toEqual([['/dev/xvda', 1, true, true], ['/dev/sdf', 1, true, true], ['/dev/sdg', 2, true, false], ['/dev/sdh', 3, true, true]])
    const [first, second, third, empty] = image?.BlockDeviceMappings?.map(({ Ebs }) => Ebs?.SnapshotId) ?? []
    expect([second === third, empty, await contentOf(IRELAND, first ?? ''), await contentOf(IRELAND, second ?? '')])
      .toEqual([true, undefined, [[0, 50]], [[0, 51]]])
    const { Snapshots = [] } = await other.send(new DescribeSnapshotsCommand({ OwnerIds: ['self'], Filters: [{ Name: 'tag:copied', Values: ['yes'] }] }))
    expect(Snapshots.map((each) => each.KmsKeyId?.split(':key/')[0])).toEqual([`arn:aws:kms:eu-west-1:${OTHER_ACCOUNT}`, `arn:aws:kms:eu-west-1:${OTHER_ACCOUNT}`])
    other.destroy()
  })

  test('takes no image that the account may not see there', async () => {
    const source = await imageIn(virginia, 'private')
    const other = cloud.client({ region: IRELAND, account: OTHER_ACCOUNT })
    expect(await failure(other.send(new CopyImageCommand({ SourceRegion: 'us-east-1', SourceImageId: source, Name: 'private' }))))
      .toMatch(/^InvalidAMIID\.NotFound/)
    other.destroy()
  })
})

describe('the computer', () => {
  test('is shared by its regions: each promises its part', async () => {
    const small = await startTestCloud({
      moreRegions: [IRELAND], capacity: { cpus: 8, memoryMib: 65_536, guestLimits: { vcpus: 8, memoryMib: 65_536 } },
    })
    const there = small.client({ region: IRELAND })
    for (const [client, zone] of [[small.ec2, 'us-east-1a'], [there, 'eu-west-1a']] as const) {
      const Placement = { AvailabilityZone: zone }
      await launch(client, undefined, { Placement, MinCount: 2, MaxCount: 2 })
      expect(await failure(launch(client, undefined, { Placement }))).toMatch(/^InsufficientInstanceCapacity/)
    }
    there.destroy()
    await small.close()
  })
})

describe('a cloud of one region', () => {
  test('serves whoever calls, whatever region they think it is', async () => {
    const single = await startTestCloud()
    const client = single.client({ region: 'eu-central-1' })
    // SDKs say of themselves where the copy is to be.
    const { VolumeId } = await client.send(new CreateVolumeCommand({ AvailabilityZone: 'us-east-1a', Size: 1 }))
    const { SnapshotId: SourceSnapshotId = '' } = await client.send(new CreateSnapshotCommand({ VolumeId }))
    for (const SourceRegion of ['us-east-1', 'eu-central-1']) {
      expect((await client.send(new CopySnapshotCommand({ SourceRegion, SourceSnapshotId }))).SnapshotId).toMatch(/^snap-/)
    }
    expect(await failure(client.send(new CopySnapshotCommand({ SourceRegion: 'eu-west-1', SourceSnapshotId }))))
      .toMatch(/^InvalidParameterValue: .*eu-west-1.* The only region of this cloud is us-east-1\.$/)
    expect((await client.send(new DescribeRegionsCommand({}))).Regions?.map((each) => each.RegionName)).toEqual(['us-east-1'])
    client.destroy()
    await single.close()
  })
})
