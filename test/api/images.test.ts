import {
  CopyImageCommand, CreateImageCommand, DeregisterImageCommand, DescribeImageAttributeCommand, DescribeImagesCommand,
  DescribeInstancesCommand, DescribeSnapshotsCommand, DescribeVolumesCommand, ModifyImageAttributeCommand, RegisterImageCommand,
  RunInstancesCommand, StopInstancesCommand, waitUntilImageAvailable, type EC2Client,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'
import { OTHER_ACCOUNT } from '../support/rows.ts'

let cloud: TestCloud
let ec2: EC2Client
let other: EC2Client

beforeAll(async () => {
  cloud = await startTestCloud()
  ec2 = cloud.ec2
  other = cloud.client({ account: OTHER_ACCOUNT })
})

afterAll(async () => {
  other.destroy()
  await cloud.close()
})

/** A running instance of the image; by default of the tiny one, with a data volume. */
async function launch(client: EC2Client, imageId?: string, Count = 1) {
  const { Instances } = await client.send(new RunInstancesCommand({
    ImageId: imageId ?? (await tinyImageId(cloud)), InstanceType: 't3.micro', MinCount: Count, MaxCount: Count,
    ...(imageId ? {} : { BlockDeviceMappings: [{ DeviceName: '/dev/sdf', Ebs: { VolumeSize: 2 } }] }),
  }))
  return (Instances ?? []).map((each) => each.InstanceId ?? '')
}

const imageOf = async (client: EC2Client, imageId: string) =>
  (await client.send(new DescribeImagesCommand({ ImageIds: [imageId] }))).Images?.[0]

it('a running instance is baked into an image, of which copies are launched', async () => {
  const [instanceId = ''] = await launch(ec2)
  const { ImageId: imageId = '' } = await ec2.send(new CreateImageCommand({ InstanceId: instanceId, Name: 'baked', NoReboot: true }))
  await waitUntilImageAvailable({ client: ec2, maxWaitTime: 5, minDelay: 1 }, { ImageIds: [imageId] })
  const image = await imageOf(ec2, imageId)
  expect(image).toMatchObject({ State: 'available', SourceInstanceId: instanceId, BlockDeviceMappings: [{}, { DeviceName: '/dev/sdf' }] })
  const copies = await launch(ec2, imageId, 2)
  const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: copies }))
  expect(Reservations[0]?.Instances).toMatchObject([
    { State: { Name: 'running' }, ImageId: imageId, BlockDeviceMappings: [{}, { DeviceName: '/dev/sdf' }] }, { State: { Name: 'running' } },
  ])
  const snapshotIds = (image?.BlockDeviceMappings ?? []).map((each) => each.Ebs?.SnapshotId ?? '')
  const { Volumes = [] } = await ec2.send(new DescribeVolumesCommand({
    Filters: [{ Name: 'attachment.instance-id', Values: copies }, { Name: 'snapshot-id', Values: snapshotIds }],
  }))
  expect(Volumes).toHaveLength(4)
  expect((await imageOf(ec2, imageId))?.LastLaunchedTime).toBe(Reservations[0]?.Instances?.[0]?.LaunchTime?.toISOString())
})

it('an image is made while its instance reboots, of one that is stopped, and of an image of an image', async () => {
  let [instanceId = ''] = await launch(ec2)
  for (const [index, stop] of [false, true, false].entries()) {
    if (stop) await ec2.send(new StopInstancesCommand({ InstanceIds: [instanceId] }))
    const { ImageId: imageId = '' } = await ec2.send(new CreateImageCommand({ InstanceId: instanceId, Name: `generation ${index}` }))
    expect(await imageOf(ec2, imageId)).toMatchObject({ State: 'available' })
    const { Reservations } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [instanceId] }))
    expect(Reservations?.[0]?.Instances?.[0]?.State?.Name).toBe(stop ? 'stopped' : 'running')
    ;[instanceId = ''] = await launch(ec2, imageId)
  }
})

it('an image is shared with another account, which launches and copies it, until it is deregistered', async () => {
  const [instanceId = ''] = await launch(ec2)
  const { ImageId: imageId = '' } = await ec2.send(new CreateImageCommand({ InstanceId: instanceId, Name: 'shared', NoReboot: true }))
  await expect(launch(other, imageId)).rejects.toMatchObject({ name: 'InvalidAMIID.NotFound' })
  await ec2.send(new ModifyImageAttributeCommand({ ImageId: imageId, LaunchPermission: { Add: [{ UserId: OTHER_ACCOUNT }] } }))
  expect((await ec2.send(new DescribeImageAttributeCommand({ ImageId: imageId, Attribute: 'launchPermission' }))).LaunchPermissions).toEqual([
    { UserId: OTHER_ACCOUNT },
  ])
  const [theirs = ''] = await launch(other, imageId)
  const copy = new CopyImageCommand({ SourceImageId: imageId, SourceRegion: 'us-east-1', Name: 'shared' })
  await expect(other.send(copy)).rejects.toMatchObject({ name: 'InvalidRequest' })
  const own = await ec2.send(new CopyImageCommand({ SourceImageId: imageId, SourceRegion: 'us-east-1', Name: 'encrypted', Encrypted: true }))
  expect(await imageOf(ec2, own.ImageId ?? '')).toMatchObject({
    State: 'available', BlockDeviceMappings: [{ Ebs: { Encrypted: true } }, { Ebs: { Encrypted: true } }],
  })
  const gone = await ec2.send(new DeregisterImageCommand({ ImageId: imageId, DeleteAssociatedSnapshots: true }))
  expect(gone.DeleteSnapshotResults?.map((each) => each.ReturnCode)).toEqual(['success', 'success'])
  await expect(launch(other, imageId)).rejects.toMatchObject({ name: 'InvalidAMIID.NotFound' })
  const { Reservations } = await other.send(new DescribeInstancesCommand({ InstanceIds: [theirs] }))
  expect(Reservations?.[0]?.Instances?.[0]).toMatchObject({ State: { Name: 'running' }, ImageId: imageId })
  // The machine that runs on it can be baked again, although the image is gone.
  const { ImageId: again = '' } = await other.send(new CreateImageCommand({ InstanceId: theirs, Name: 'again', NoReboot: true }))
  expect(await imageOf(other, again)).toMatchObject({ State: 'available', BootMode: 'legacy-bios' })
})

it('an image is registered of snapshots', async () => {
  const { Snapshots = [] } = await ec2.send(new DescribeSnapshotsCommand({ OwnerIds: ['self'] }))
  const { ImageId: imageId = '' } = await ec2.send(new RegisterImageCommand({
    Name: 'registered', Architecture: 'x86_64', VirtualizationType: 'hvm', EnaSupport: true, RootDeviceName: '/dev/xvda',
    BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { SnapshotId: Snapshots[0]?.SnapshotId ?? '' } }],
  }))
  const [instanceId = ''] = await launch(ec2, imageId)
  const { Reservations } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [instanceId] }))
  expect(Reservations?.[0]?.Instances?.[0]).toMatchObject({ State: { Name: 'running' }, RootDeviceName: '/dev/xvda', Architecture: 'x86_64' })
})
