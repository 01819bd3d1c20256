import {
  AttachVolumeCommand, CopyImageCommand, CopySnapshotCommand, CreateImageCommand, CreateSnapshotCommand, CreateSnapshotsCommand,
  CreateVolumeCommand, DeleteVolumeCommand, DeregisterImageCommand, DetachVolumeCommand, DisableImageCommand, EnableImageCommand,
  ModifySnapshotAttributeCommand, ModifyVolumeCommand, RunInstancesCommand, StartInstancesCommand, StopInstancesCommand, TerminateInstancesCommand,
} from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { envelopeOf, type Envelope } from '../../src/events/envelope.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { FEED_BEGINNING, type FeedPosition } from '../../src/model/event-feed.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'
import { wholeFeed } from '../support/feed.ts'
import { OTHER_ACCOUNT } from '../support/rows.ts'

let cloud: TestCloud
let seen: FeedPosition
beforeEach(async () => {
  cloud = await startTestCloud()
  seen = FEED_BEGINNING
})
afterEach(() => cloud.close())

const ZONE = 'us-east-1a'
const SECOND = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
const REQUEST = expect.stringMatching(/^[0-9a-f-]{36}$/)

/** What has happened since the last time. */
async function happened(type?: string): Promise<Envelope[]> {
  await cloud.settle()
  const events = await wholeFeed(cloud.store, seen)
  seen = events.at(-1)?.position ?? seen
  return events.map((event) => envelopeOf(event, 'us-east-1')).filter((event) => type === undefined || event['detail-type'] === type)
}
const details = async (type?: string) => (await happened(type)).map(({ detail }) => detail)
const launch = async (): Promise<string> => {
  const { Instances } = await cloud.ec2.send(new RunInstancesCommand({
    ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: ZONE },
  }))
  return Instances?.[0]?.InstanceId ?? ''
}
const newVolume = async () => (await cloud.ec2.send(new CreateVolumeCommand({ AvailabilityZone: ZONE, Size: 1 }))).VolumeId ?? ''
const newSnapshot = async () => {
  const volumeId = await newVolume()
  const { SnapshotId = '' } = await cloud.ec2.send(new CreateSnapshotCommand({ VolumeId: volumeId }))
  return { volumeId, snapshotId: SnapshotId }
}

describe('an instance', () => {
  it('tells of every state that it enters, and its volume that it was made and deleted', async () => {
    const id = await launch()
    const events = await happened()
    const states = (all: Envelope[]) => all.filter(({ detail }) => detail['instance-id'] === id).map(({ detail }) => detail.state)
    expect(states(events)).toEqual(['pending', 'running'])
    expect(events.find(({ detail }) => detail.state === 'running')?.resources).toEqual([`arn:aws:ec2:us-east-1:${DEFAULT_ACCOUNT}:instance/${id}`])
    expect(events.filter((event) => event['detail-type'] === 'EBS Volume Notification').map(({ detail }) => detail))
      .toEqual([{ result: 'available', cause: '', event: 'createVolume', 'request-id': REQUEST }])
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
    const later = await happened()
    expect(states(later)).toEqual(['stopping', 'stopped', 'pending', 'running', 'shutting-down', 'terminated'])
    expect(later.find(({ detail }) => detail.event === 'deleteVolume')?.detail).toEqual({ result: 'deleted', cause: '', event: 'deleteVolume', 'request-id': '' })
  })
})

describe('a volume', () => {
  it('tells that it was made, attached, modified and deleted, and by which calls', async () => {
    const instanceId = await launch()
    await happened()
    const VolumeId = await newVolume()
    const made = await happened('EBS Volume Notification')
    expect(made).toMatchObject([{
      resources: [`arn:aws:ec2:us-east-1:${DEFAULT_ACCOUNT}:volume/${VolumeId}`],
      detail: { result: 'available', cause: '', event: 'createVolume', 'request-id': REQUEST },
    }])
    await cloud.ec2.send(new AttachVolumeCommand({ VolumeId, InstanceId: instanceId, Device: '/dev/sdf' }))
    expect(await details('EBS Volume Notification')).toEqual([{ result: 'attached', cause: '', event: 'attachVolume', 'request-id': REQUEST }])
    await cloud.ec2.send(new ModifyVolumeCommand({ VolumeId, Size: 2 }))
    expect(await details('EBS Volume Notification')).toEqual(['optimizing', 'completed'].map((result) => (
      { result, cause: '', event: 'modifyVolume', 'request-id': REQUEST })))
    await cloud.ec2.send(new DetachVolumeCommand({ VolumeId }))
    await cloud.ec2.send(new DeleteVolumeCommand({ VolumeId }))
    expect(await details('EBS Volume Notification')).toEqual([{ result: 'deleted', cause: '', event: 'deleteVolume', 'request-id': REQUEST }])
  })

  it('tells that it is attached at once where its instance is stopped', async () => {
    const instanceId = await launch()
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [instanceId] }))
    const VolumeId = await newVolume()
    await happened()
    await cloud.ec2.send(new AttachVolumeCommand({ VolumeId, InstanceId: instanceId, Device: '/dev/sdf' }))
    expect((await details('EBS Volume Notification')).map(({ event }) => event)).toEqual(['attachVolume'])
  })
})

describe('a snapshot', () => {
  const arn = (type: string, id: string) => `arn:aws:ec2::us-east-1:${type}/${id}`

  it('tells that it is complete, and a copy of it too', async () => {
    const { volumeId, snapshotId } = await newSnapshot()
    expect(await happened('EBS Snapshot Notification')).toMatchObject([{
      resources: [arn('snapshot', snapshotId)],
      detail: {
        event: 'createSnapshot', result: 'succeeded', cause: '', 'request-id': '', snapshot_id: arn('snapshot', snapshotId),
        source: arn('volume', volumeId), startTime: SECOND, endTime: SECOND,
      },
    }])
    const { SnapshotId = '' } = await cloud.ec2.send(new CopySnapshotCommand({ SourceRegion: 'us-east-1', SourceSnapshotId: snapshotId }))
    expect(await details('EBS Snapshot Notification')).toEqual([{
      event: 'copySnapshot', result: 'succeeded', cause: '', 'request-id': '', snapshot_id: arn('snapshot', SnapshotId),
      source: arn('snapshot', snapshotId), startTime: SECOND, endTime: SECOND, incremental: 'true', transferType: 'standard',
    }])
  })

  it('of several volumes tells of all of them together when the last one is complete', async () => {
    const instanceId = await launch()
    await cloud.ec2.send(new AttachVolumeCommand({ VolumeId: await newVolume(), InstanceId: instanceId, Device: '/dev/sdf' }))
    await happened()
    const { Snapshots = [] } = await cloud.ec2.send(new CreateSnapshotsCommand({ InstanceSpecification: { InstanceId: instanceId } }))
    const [event, ...others] = await happened('EBS Multi-Volume Snapshots Completion Status')
    expect(others).toEqual([])
    expect(event?.resources).toEqual(Snapshots.map((each) => arn('snapshot', each.SnapshotId ?? '')))
    expect(event?.detail).toEqual({
      event: 'createSnapshots', result: 'succeeded', cause: '', 'request-id': '', startTime: SECOND, endTime: SECOND,
      snapshots: Snapshots.map((each) => ({
        snapshot_id: arn('snapshot', each.SnapshotId ?? ''), source: arn('volume', each.VolumeId ?? ''), status: 'completed',
      })),
    })
  })

  it('that is shared tells the account that it is shared with, once', async () => {
    const { snapshotId: SnapshotId } = await newSnapshot()
    await happened()
    const share = { SnapshotId, Attribute: 'createVolumePermission' as const, OperationType: 'add' as const, UserIds: [OTHER_ACCOUNT] }
    await cloud.ec2.send(new ModifySnapshotAttributeCommand(share))
    await cloud.ec2.send(new ModifySnapshotAttributeCommand(share))
    expect(await happened()).toMatchObject([{
      account: OTHER_ACCOUNT,
      detail: { event: 'shareSnapshot', result: 'succeeded', snapshot_id: arn('snapshot', SnapshotId), source: DEFAULT_ACCOUNT },
    }])
  })
})

describe('an image', () => {
  it('tells that it is available, disabled and deregistered, and by which calls', async () => {
    const instanceId = await launch()
    await happened()
    const { ImageId = '' } = await cloud.ec2.send(new CreateImageCommand({ InstanceId: instanceId, Name: 'mine', NoReboot: true }))
    const change = (State: string, id = ImageId) => ({ RequestId: REQUEST, ImageId: id, State, ErrorMessage: '' })
    const made = await happened('EC2 AMI State Change')
    expect(made.map(({ detail }) => detail)).toEqual([change('available')])
    expect(made[0]?.resources).toEqual([`arn:aws:ec2:us-east-1::image/${ImageId}`])
    const { ImageId: copyId } = await cloud.ec2.send(new CopyImageCommand({ SourceImageId: ImageId, SourceRegion: 'us-east-1', Name: 'copy' }))
    expect(await details('EC2 AMI State Change')).toEqual([change('available', copyId)])
    await cloud.ec2.send(new DisableImageCommand({ ImageId }))
    await cloud.ec2.send(new EnableImageCommand({ ImageId }))
    await cloud.ec2.send(new DeregisterImageCommand({ ImageId }))
    expect(await details('EC2 AMI State Change')).toEqual([change('disabled'), change('available'), change('deregistered')])
  })
})

describe('a call that fails, or is only tried', () => {
  it('tells of nothing', async () => {
    await happened()
    await expect(cloud.ec2.send(new CreateVolumeCommand({ AvailabilityZone: ZONE, Size: 1, DryRun: true }))).rejects.toThrow(/would have succeeded/)
    await expect(cloud.ec2.send(new DeleteVolumeCommand({ VolumeId: 'vol-00000000000000000' }))).rejects.toThrow()
    expect(await happened()).toEqual([])
  })
})
