import {
  CopySnapshotCommand, CreateSnapshotCommand, CreateSnapshotsCommand, CreateVolumeCommand, DeleteSnapshotCommand,
  DeleteVolumeCommand, DescribeSnapshotAttributeCommand, DescribeSnapshotsCommand, DescribeVolumesCommand,
  LockSnapshotCommand, ModifySnapshotAttributeCommand, RunInstancesCommand, StopInstancesCommand, TerminateInstancesCommand,
  UnlockSnapshotCommand, waitUntilSnapshotCompleted, type DescribeSnapshotsCommandInput, type EC2Client, type Snapshot,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'
import { OTHER_ACCOUNT } from '../support/rows.ts'

let cloud: TestCloud
let other: EC2Client
let imageId: string

beforeAll(async () => {
  cloud = await startTestCloud()
  other = cloud.client({ account: OTHER_ACCOUNT })
  imageId = await tinyImageId(cloud)
})
afterAll(async () => {
  other.destroy()
  await cloud.close()
})

const failure = (code: string) => expect.objectContaining({ name: code }) as Error
const SourceRegion = 'us-east-1'

async function describeOf(client: EC2Client, input: DescribeSnapshotsCommandInput): Promise<Snapshot[]> {
  return (await client.send(new DescribeSnapshotsCommand(input))).Snapshots ?? []
}

/** A running instance with a root and one data volume; their ids. */
async function launch(): Promise<{ id: string; root: string; data: string }> {
  const { Instances } = await cloud.ec2.send(new RunInstancesCommand({
    ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1,
    BlockDeviceMappings: [{ DeviceName: '/dev/sdf', Ebs: { VolumeSize: 2 } }],
  }))
  const id = Instances?.[0]?.InstanceId ?? ''
  const [root = '', data = ''] = cloud.host.world.machines.get(id)?.spec.disks.map((disk) => disk.volumeId) ?? []
  return { id, root, data }
}

/** The layers of a running instance's disks, from the top. */
const chainOf = (id: string, volumeId: string) =>
  cloud.host.world.machines.get(id)?.process?.disks.all.get(volumeId)?.spec.layers.map((layer) => layer.layerId) ?? []

describe('snapshots of an instance', () => {
  test('are of one instant: from then on its volumes write into other layers', async () => {
    const { id, root, data } = await launch()
    const [before] = chainOf(id, root)
    const { Snapshots = [] } = await cloud.ec2.send(new CreateSnapshotsCommand({
      InstanceSpecification: { InstanceId: id }, Description: 'both', CopyTagsFromSource: 'volume',
    }))
    expect(Snapshots.map((each) => [each.VolumeId, each.State, each.Progress, each.VolumeSize])).toEqual([
      [root, 'pending', '', 1], [data, 'pending', '', 2],
    ])
    const ids = Snapshots.map((each) => each.SnapshotId ?? '')
    expect(await describeOf(cloud.ec2, { SnapshotIds: ids }))
      .toMatchObject([{ State: 'completed', Progress: '100%' }, { State: 'completed' }])
    expect(chainOf(id, root).slice(1, 2)).toEqual([before])
    expect(cloud.host.world.layers.get(before ?? '')?.isSealed).toBe(true)
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
    for (const SnapshotId of ids) await cloud.ec2.send(new DeleteSnapshotCommand({ SnapshotId }))
    expect(cloud.host.world.layers.size).toBe(1)
  })

  test('running or stopped, are deleted in any order, before it or after it', async () => {
    const { id, root } = await launch()
    const { SnapshotId: first = '' } = await cloud.ec2.send(new CreateSnapshotCommand({ VolumeId: root }))
    await waitUntilSnapshotCompleted({ client: cloud.ec2, minDelay: 1, maxWaitTime: 10 }, { SnapshotIds: [first] })
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    const { SnapshotId: second = '' } = await cloud.ec2.send(new CreateSnapshotCommand({ VolumeId: root }))
    await cloud.ec2.send(new DeleteSnapshotCommand({ SnapshotId: first }))
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
    expect(await describeOf(cloud.ec2, { OwnerIds: ['self'] })).toMatchObject([{ SnapshotId: second, State: 'completed' }])
    // The image's own, and the two that the second snapshot is made of.
    expect(cloud.host.world.layers.size).toBe(3)
    await cloud.ec2.send(new DeleteSnapshotCommand({ SnapshotId: second }))
    expect(cloud.host.world.layers.size).toBe(1)
  })
})

describe('a snapshot of one account', () => {
  const share = (SnapshotId: string) => cloud.ec2.send(new ModifySnapshotAttributeCommand({
    SnapshotId, Attribute: 'createVolumePermission', OperationType: 'add', UserIds: [OTHER_ACCOUNT],
  }))

  async function makeSnapshot(): Promise<string> {
    const { VolumeId } = await cloud.ec2.send(new CreateVolumeCommand({ AvailabilityZone: 'us-east-1a', Size: 1 }))
    const { SnapshotId = '' } = await cloud.ec2.send(new CreateSnapshotCommand({ VolumeId }))
    await cloud.ec2.send(new DeleteVolumeCommand({ VolumeId }))
    return SnapshotId
  }

  test('is the other\'s to see, copy and make volumes of when it is shared, and no longer than that', async () => {
    const SnapshotId = await makeSnapshot()
    await expect(describeOf(other, { SnapshotIds: [SnapshotId] })).rejects.toEqual(failure('InvalidSnapshot.NotFound'))
    await expect(other.send(new CopySnapshotCommand({ SourceRegion, SourceSnapshotId: SnapshotId })))
      .rejects.toEqual(failure('InvalidSnapshot.NotFound'))
    await share(SnapshotId)
    expect(await describeOf(other, { RestorableByUserIds: ['self'] })).toMatchObject([{ SnapshotId, OwnerId: DEFAULT_ACCOUNT }])
    await expect(other.send(new DeleteSnapshotCommand({ SnapshotId }))).rejects.toEqual(failure('AuthFailure'))
    const copy = await other.send(new CopySnapshotCommand({ SourceRegion, SourceSnapshotId: SnapshotId, Description: 'mine' }))
    const { VolumeId } = await other.send(new CreateVolumeCommand({ AvailabilityZone: 'us-east-1b', SnapshotId }))

    await cloud.ec2.send(new DeleteSnapshotCommand({ SnapshotId }))
    expect(await describeOf(other, {})).toMatchObject([{ SnapshotId: copy.SnapshotId, State: 'completed', Description: 'mine' }])
    const { Volumes } = await other.send(new DescribeVolumesCommand({ VolumeIds: [VolumeId ?? ''] }))
    expect(Volumes).toMatchObject([{ State: 'available', SnapshotId }])
    await other.send(new DeleteSnapshotCommand({ SnapshotId: copy.SnapshotId }))
    await other.send(new DeleteVolumeCommand({ VolumeId }))
    expect(cloud.host.world.layers.size).toBe(1)
  })

  test('is filled anew for a copy under a key, which needs nothing of it afterwards', async () => {
    const SnapshotId = await makeSnapshot()
    const layers = new Set(cloud.host.world.layers.keys())
    const copy = await cloud.ec2.send(
      new CopySnapshotCommand({ SourceRegion, SourceSnapshotId: SnapshotId, Encrypted: true }))
    const [made] = await describeOf(cloud.ec2, { SnapshotIds: [copy.SnapshotId ?? ''] })
    expect(made).toMatchObject({ State: 'completed', Encrypted: true, TransferType: 'standard' })
    expect(made?.KmsKeyId).toMatch(new RegExp(`^arn:aws:kms:us-east-1:${DEFAULT_ACCOUNT}:key/`))
    await expect(share(copy.SnapshotId ?? '')).rejects.toEqual(failure('OperationNotPermitted'))
    await cloud.ec2.send(new DeleteSnapshotCommand({ SnapshotId }))
    const left = [...cloud.host.world.layers.values()].filter((layer) => !layers.has(layer.layerId))
    expect(left).toMatchObject([{ parentId: null, isSealed: true, key: expect.any(String) as string }])
    await cloud.ec2.send(new DeleteSnapshotCommand({ SnapshotId: copy.SnapshotId }))
    expect(cloud.host.world.layers.size).toBe(1)
  })

  test('says who may use it, and is not deleted while it is locked', async () => {
    const SnapshotId = await makeSnapshot()
    const CreateVolumePermission = { Add: [{ Group: 'all' as const }] }
    await cloud.ec2.send(new ModifySnapshotAttributeCommand({ SnapshotId, CreateVolumePermission }))
    const attribute = new DescribeSnapshotAttributeCommand({ SnapshotId, Attribute: 'createVolumePermission' })
    expect(await cloud.ec2.send(attribute)).toMatchObject({ SnapshotId, CreateVolumePermissions: [{ Group: 'all' }] })
    expect(await describeOf(other, { RestorableByUserIds: ['all'] })).toMatchObject([{ SnapshotId }])
    const lock = await cloud.ec2.send(new LockSnapshotCommand({ SnapshotId, LockMode: 'governance', LockDuration: 1 }))
    expect(lock).toMatchObject({ LockState: 'governance', LockExpiresOn: expect.any(Date) as Date })
    await expect(cloud.ec2.send(new DeleteSnapshotCommand({ SnapshotId }))).rejects.toEqual(failure('OperationNotPermitted'))
    await cloud.ec2.send(new UnlockSnapshotCommand({ SnapshotId }))
    await expect(cloud.ec2.send(new DeleteSnapshotCommand({ SnapshotId, DryRun: true })))
      .rejects.toEqual(failure('DryRunOperation'))
    await cloud.ec2.send(new DeleteSnapshotCommand({ SnapshotId }))
    expect(cloud.host.world.layers.size).toBe(1)
  })
})
